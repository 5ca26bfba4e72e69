"""Versions that were trained elsewhere are exported by their own library's converter, where they may be loaded."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.promotion.evaluation.received.made import (
    FEATURES,
    LinearRegression,
    a_received_family,
    customers,
    fitted,
    save,
    save_code,
)
from tests.promotion.factories import a_version

from promotion.errors import ArtifactRefused, ConfigError
from promotion.export.documents import documents_of, emptied, expected_document, reference_document, schema_document
from promotion.export.onnx import NotTranslatable, Parity, prove
from promotion.export.received import received_version

NUMBERS = ["age", "spent", "visits"]
SANDBOX = {"artifacts": {"code": "sandbox"}}
REGRESSION = {"task": "regression", "holdout": {"path": "holdout.csv", "target": "paid"}}

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A holdout of rows with a gap."""
    frame = customers()
    frame.to_csv(tmp_path / "holdout.csv", index=False)
    return tmp_path


def proven(home: Path, folder: Path, **rules: Any) -> tuple[Parity, dict[str, Any], dict[str, Any]]:
    """Export and prove; with the documents beside the graph."""
    with received_version(a_received_family(**rules), a_version(), folder, home) as source:
        contract = source.contract
        rows = pd.concat([source.rows, emptied(contract, source.rows)], ignore_index=True)
        graph = source.graph()
        parity = prove(graph, source.model, contract, rows)
        documents = documents_of(source, generated=True)
        importance = documents.files["reference.json"]["importance"]
        assert importance.keys() == set(contract.features)
        assert pytest.approx(1.0, abs=1e-4) == sum(importance.values())
        generated = documents.generated
        assert generated is not None
        prove(graph, source.model, contract, generated)  # takes them as it takes real ones
        answered = source.answers(source.rows)
        reference = reference_document(contract, source.learned, answered, source.metrics, source.data_sha256)
        return parity, reference, expected_document(contract, source.model, rows, 3)


@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("serialisation", ["cloudpickle", "pickle", "skops"])
def test_a_pipeline_with_texts(home: Path, serialisation: str) -> None:
    """A pickled one is converted inside the sandbox; texts, booleans and words as classes stay what they are."""
    folder = save(home / "model", fitted(), customers()[FEATURES], serialization_format=serialisation)
    parity, reference, expected = proven(home, folder, **SANDBOX)

    assert 300 == parity.rows
    assert parity.difference < 1e-6
    assert {"basic", "plus", "gold"} == reference["features"]["plan"]["texts"].keys()
    assert {"no", "yes"} == reference["predictions"]["labels"].keys()
    assert reference["metrics"]["roc_auc"]["value"] > 0.8
    assert isinstance(expected["rows"][0]["plan"], str)
    assert isinstance(expected["rows"][0]["is_member"], bool)


def test_classes_have_the_names_that_the_family_gives_them(home: Path) -> None:
    """By their values in the target, each of them."""
    folder = save(home / "model", fitted(), customers()[FEATURES], serialization_format="skops")
    named = a_received_family(classes={"yes": "leaves", "no": "stays"})
    with received_version(named, a_version(), folder, home) as source:
        assert (["no", "yes"], ["stays", "leaves"]) == (source.contract.classes, source.contract.names)
        assert ["stays", "leaves"] == schema_document(source.contract)["labels"]
        assert {"no", "yes"} == set(schema_document(source.contract)["answers"])
    with (
        pytest.raises(ConfigError, match=r"classes: names 0, 1; expected one name for each of no, yes"),
        received_version(a_received_family(classes={0: "stays", 1: "leaves"}), a_version(), folder, home) as source,
    ):
        pass


@pytest.mark.needs("bwrap")
def test_a_number(home: Path) -> None:
    """A regression's graph answers numbers, proven relative to their size."""
    folder = save(
        home / "model",
        fitted(last=LinearRegression(), target="paid"),
        customers()[FEATURES],
        serialization_format="cloudpickle",
    )
    parity, reference, expected = proven(home, folder, **REGRESSION, **SANDBOX)

    assert 300 == parity.rows
    assert {"rmse", "mae"} == reference["metrics"].keys()
    assert 3 == len(expected["values"])


@pytest.mark.needs("bwrap", "onnxmltools")
@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("xgboost", "classes"),
        ("xgboost", "three classes"),
        ("xgboost", "native booster"),
        ("lightgbm", "classes"),
        ("lightgbm", "numbers"),
        ("lightgbm", "native booster"),
        ("catboost", "three classes"),
        ("catboost", "numbers"),
    ],
)
def test_boosters(home: Path, kind: str, task: str) -> None:
    """By their library's own converter; what the library's scikit-learn face is saved as, too."""
    learned = customers(400, 2)
    learned.columns = [f"{name} (x)" if name == "spent" else name for name in learned]
    names = [f"{name} (x)" if name == "spent" else name for name in NUMBERS]
    customers().rename(columns={"spent": "spent (x)"}).assign(third=lambda rows: rows["age"] // 30).to_csv(
        home / "holdout.csv", index=False
    )
    target = {
        "numbers": learned["paid"],
        "three classes": learned["age"] // 30,
    }.get(task, (learned["churned"] == "yes").astype(int))
    target = target - target.min() if task == "three classes" else target
    rules: dict[str, Any] = {"numbers": REGRESSION}.get(task, {})
    if task == "three classes":
        holdout = {"path": "holdout.csv", "target": "third"}
        rules = {"task": "multiclass-classification", "holdout": holdout}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = booster(kind, task).fit(learned[names], target)
        if task == "native booster":
            model = model.get_booster() if kind == "xgboost" else model.booster_
    folder = save(home / "model", model, learned[names], flavour=kind)

    assert 300 == proven(home, folder, **rules, **SANDBOX)[0].rows


def booster(kind: str, task: str) -> Any:
    """An untrained one."""
    if kind == "xgboost":
        import xgboost

        return (xgboost.XGBRegressor if task == "numbers" else xgboost.XGBClassifier)(n_estimators=5, max_depth=3)
    if kind == "lightgbm":
        import lightgbm

        return (lightgbm.LGBMRegressor if task == "numbers" else lightgbm.LGBMClassifier)(n_estimators=5, verbose=-1)
    import catboost

    made = catboost.CatBoostRegressor if task == "numbers" else catboost.CatBoostClassifier
    return made(iterations=5, verbose=False, allow_writing_files=False)


def test_a_graph_of_somebody_elses(home: Path) -> None:
    """An ONNX model is served in the server's form: an input for each column."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = customers()[NUMBERS].astype(np.float32)
    model = LogisticRegression(max_iter=1000).fit(rows.to_numpy(), (customers()["churned"] == "yes").astype(int))
    folder = save(home / "model", to_onnx(model, rows.to_numpy()[:1]), rows, flavour="onnx")

    assert 300 == proven(home, folder)[0].rows


def test_what_runs_as_code_only_is_served_by_mlflow(home: Path) -> None:
    """In one line, without being loaded."""
    folder = save_code(home / "model", "return np.ones(len(rows))", customers()[FEATURES])
    with pytest.raises(
        NotTranslatable, match=r"runs as code only, so it is not exported: .*mlflow models serve"
    ) as caught:
        proven(home, folder, **SANDBOX)
    assert 1 == len(str(caught.value).splitlines())


def test_a_pickle_is_converted_only_where_it_may_be_loaded(home: Path) -> None:
    """The refusal names the line that allows it."""
    folder = save(home / "model", fitted(), customers()[FEATURES], serialization_format="cloudpickle")
    with pytest.raises(ArtifactRefused, match=r"write `artifacts: \{code: sandbox\}`"):
        proven(home, folder)
