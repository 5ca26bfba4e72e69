"""CatBoost with categories, of which it writes no ONNX graph: its own file is exported, proven and served."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from tests.promotion.evaluation.received.made import FEATURES, a_received_family, customers, save
from tests.promotion.factories import a_manifest, a_version, seal_unsigned
from tests.promotion.serving.conftest import Serve
from tests.promotion.serving.exporting import write

from promotion.export.documents import documents_of
from promotion.export.export import _write_engine
from promotion.export.onnx import ParityFailed, prove
from promotion.export.received import received_version
from promotion.serving.errors import ExportRefused
from promotion.serving.exported.folder import read_export
from promotion.serving.exported.model import open_model

CATEGORIES = ["plan", "is_member", "visits"]
SANDBOX = {"artifacts": {"code": "sandbox"}}
TASKS: dict[str, dict[str, Any]] = {
    "binary-classification": {},
    "multiclass-classification": {"holdout": {"path": "holdout.csv", "target": "plan_next"}},
    "regression": {"holdout": {"path": "holdout.csv", "target": "paid"}},
}

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]


def rows_of(count: int, seed: int) -> pd.DataFrame:
    """Customers with a third class, and a measure that may be missing."""
    frame = customers(count, seed)
    frame["plan_next"] = np.where(frame["age"] > 60, "gold", np.where(frame["plan"] == "plus", "plus", "basic"))
    return frame.assign(spent=frame["spent"].where(frame.index % 7 != 0))


def learned(task: str) -> Any:
    """A model of texts, booleans and whole numbers as categories."""
    import catboost

    frame, target = rows_of(400, 2), TASKS[task].get("holdout", {"target": "churned"})["target"]
    kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
    # The order of the columns is the model's own.
    made = kind(iterations=20, verbose=False, allow_writing_files=False, random_seed=1, thread_count=1)
    return made.fit(frame[FEATURES[::-1]], frame[target], cat_features=CATEGORIES)


def exported(home: Path, model: Any, task: str, *, pickled: bool = False, **rules: Any) -> Path:
    """The folder a server starts from, as the export writes it."""
    home.mkdir(exist_ok=True)
    rows_of(300, 1).to_csv(home / "holdout.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, saved = rows_of(400, 2), {"serialization_format": "cloudpickle"} if pickled else {"flavour": "catboost"}
        files = save(home / "model", model, rows[FEATURES[::-1] if pickled else FEATURES], **saved)
    folder = home / "export"
    folder.mkdir()
    with received_version(a_received_family(**TASKS[task], task=task, **rules), a_version(), files, home) as source:
        documents = documents_of(source, generated=False)
        engine, parity = _write_engine(files, folder, source, documents, "onnx")
        assert engine == "catboost"
        assert parity is not None
        assert 302 <= parity.rows  # an empty row and one of categories that nobody saw among them
        documents.write(folder)
    seal_unsigned(folder, a_manifest(family="churn", task=task, engine="catboost"))
    return folder


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Two classes that are words."""
    model = learned("binary-classification")
    return exported(tmp_path_factory.mktemp("binary"), model, "binary-classification"), model


def asked() -> pd.DataFrame:
    """Rows with a missing measure, a text, a flag and a whole number that nobody saw."""
    rows = rows_of(40, 3)[FEATURES]
    rows.loc[1, "plan"], rows.loc[2, "visits"], rows.loc[3, "plan"] = "platinum", 77, ""
    return rows


def tensors(rows: pd.DataFrame) -> list[dict[str, Any]]:
    kinds = {"plan": "BYTES", "is_member": "BOOL", "spent": "FP64"}
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": kinds.get(str(name), "INT64"),
            "data": rows[name].astype(object).where(rows[name].notna(), None).tolist(),
        }
        for name in rows.columns
    ]


@pytest.mark.parametrize("task", TASKS)
def test_every_protocol_answers_as_the_library(serve: Serve, tmp_path: Path, task: str) -> None:
    """Unseen categories and missing measures included."""
    model = learned(task)
    server, rows = serve(exported(tmp_path, model, task)), asked()
    sent = json.loads(rows.to_json(orient="records"))

    typed = server.post("/predict", {"rows": sent}).json()["predictions"]
    told = server.post("/invocations", {"dataframe_records": sent}).json()["predictions"]
    comma = server.post("/invocations", rows.drop(3).to_csv(index=False), **{"Content-Type": "text/csv"}).json()
    tensor = server.post("/v2/models/churn/infer", {"inputs": tensors(rows)}).json()["outputs"]

    wanted = model.predict(rows[FEATURES[::-1]]).reshape(-1).tolist()
    assert 'engine="catboost"' in server.get("/metrics").text
    assert "catboost_cbm" == server.get("/v2/models/churn").json()["platform"]
    if task == "regression":
        for found in ([answer["value"] for answer in typed], told, tensor[0]["data"]):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
        return
    assert wanted == told == [answer["label"] for answer in typed]
    assert wanted[:3] + wanted[4:] == comma["predictions"]
    probability = model.predict_proba(rows[FEATURES[::-1]])
    classes = sorted(model.classes_)
    assert classes == [classes[place] for place in range(len(classes))]
    assert wanted == [classes[place] for place in tensor[0]["data"]]
    found = [[answer["probabilities"][name] for name in classes] for answer in typed]
    np.testing.assert_allclose(found, probability, atol=1e-5)


def test_what_the_library_refuses_is_refused_with_the_column(serve: Serve, binary: tuple[Path, Any]) -> None:
    """CatBoost takes no empty category, so the schema allows none, whatever a signature says."""
    row = json.loads(asked().head(1).to_json(orient="records"))[0]
    answer = serve(binary[0]).post("/predict", row | {"plan": None})
    assert 422 == answer.status_code
    assert "row 0: plan is None; allowed: a text" in answer.json()["error"]


@pytest.mark.needs("bwrap")
def test_a_pickled_one_leaves_the_sandbox_as_its_own_file(tmp_path: Path) -> None:
    """With the registered answers."""
    pipeline = make_pipeline(learned("binary-classification"))
    folder = exported(tmp_path, pipeline, "binary-classification", pickled=True, **SANDBOX)
    assert (folder / "model" / "model.cbm").read_bytes().startswith(b"CBM1")
    assert "churn" == open_model(read_export(folder), "champion").manifest.family


def test_the_file_is_proven(tmp_path: Path) -> None:
    """Against the registered model, whose every row counts."""
    rows_of(300, 1).to_csv(tmp_path / "holdout.csv", index=False)
    files = save(tmp_path / "model", learned("binary-classification"), rows_of(400, 2)[FEATURES], flavour="catboost")
    other = learned("binary-classification").copy()
    other.set_scale_and_bias(1.5, 0.1)
    other.save_model(tmp_path / "other.cbm")
    with received_version(a_received_family(), a_version(), files, tmp_path) as source:
        content = (tmp_path / "other.cbm").read_bytes()
        with pytest.raises(ParityFailed, match=r"CatBoost's file differs .* in 300 of 300 held-out rows"):
            prove(content, source.model, source.contract, source.rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"CBM1 and nothing", r"model\.cbm cannot be loaded: "), (None, r"files does not list model/model\.cbm")],
)
def test_another_file_does_not_start(binary: tuple[Path, Any], tmp_path: Path, content: Any, said: str) -> None:
    """In one line."""
    folder = shutil.copytree(binary[0], tmp_path / "changed")
    if content is None:
        (folder / "model" / "model.cbm").unlink()
    else:
        (folder / "model" / "model.cbm").write_bytes(content)
    seal_unsigned(folder, a_manifest(engine="catboost"))
    with pytest.raises(ExportRefused, match=said):
        open_model(read_export(folder), "champion")


def test_other_columns_do_not_start(binary: tuple[Path, Any], tmp_path: Path) -> None:
    """A schema of fewer columns than the file has."""
    folder = shutil.copytree(binary[0], tmp_path / "changed")
    schema = json.loads((folder / "schema.json").read_text())
    write(folder / "schema.json", schema | {"features": schema["features"][1:]})
    seal_unsigned(folder, a_manifest(engine="catboost"))
    with pytest.raises(ExportRefused, match=r"expected those of schema\.json"):
        open_model(read_export(folder), "champion")


@pytest.mark.parametrize("kind", ["unused category", "counts", "plain"])
def test_what_a_graph_would_get_wrong(tmp_path: Path, kind: str) -> None:
    """A category that no tree asks for, an exponent that the graph leaves out; and a plain CatBoost."""
    import catboost

    frame, is_class = rows_of(400, 2), kind == "unused category"
    options = {"iterations": 5, "verbose": False, "allow_writing_files": False, "thread_count": 1}
    target = frame["visits"] % 3 if is_class else frame["visits"] if kind == "counts" else frame["paid"]
    made = {
        "unused category": lambda: catboost.CatBoostClassifier(**options),
        "counts": lambda: catboost.CatBoostRegressor(loss_function="Poisson", **options),
        "plain": lambda: catboost.CatBoost({"loss_function": "RMSE", **options}),
    }
    names = ["age", "spent"] if kind == "counts" else FEATURES
    pool = catboost.Pool(frame[names], target, cat_features=[] if kind == "counts" else ["plan"])
    model = made[kind]().fit(pool)
    assert kind != "unused category" or 0 == model.get_feature_importance()[1]
    rows_of(300, 1).assign(third=lambda rows: rows["visits"] % 3).to_csv(tmp_path / "holdout.csv", index=False)
    files = save(tmp_path / "model", model, frame[names], flavour="catboost")
    column = {"unused category": "third", "counts": "visits", "plain": "paid"}[kind]
    task = "multiclass-classification" if is_class else "regression"
    family = a_received_family(task=task, holdout={"path": "holdout.csv", "target": column})
    with received_version(family, a_version(), files, tmp_path) as source:
        assert 300 == prove(source.graph(), source.model, source.contract, source.rows).rows
