from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from mlflow.models import Model
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.neighbors import KDTree
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from tests.promotion.diabetes import diabetes

from models.training import packaging
from models.training.candidates import algorithms_of, build_pipeline
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import ArtifactRefused
from promotion.evaluation.loading import load_artifact

SMALL = {"catboost": {"iterations": 5}, "hist_gradient_boosting": {"max_iter": 5}} | {
    name: {"n_estimators": 5} for name in ("random_forest", "gradient_boosting", "lightgbm", "xgboost")
}


def save(model: Any, folder: Path, **options: Any) -> Path:
    mlflow.sklearn.save_model(model, folder, pip_requirements=["scikit-learn"], **options)
    return folder


def fitted() -> Pipeline:
    features = pd.DataFrame(np.random.default_rng(0).random((40, 3)), columns=["a", "b", "c"])
    forest = RandomForestClassifier(n_estimators=3, random_state=0)
    return Pipeline([("estimator", forest)]).fit(features, (features["a"] > 0.5).astype(int))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(fitted(), tmp_path_factory.mktemp("saved") / "model", skops_trusted_types=sorted(TRUSTED_TYPES))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(folder: Path, **values: Any) -> None:
    path = folder / "MLmodel"
    document = yaml.safe_load(path.read_text())
    document["flavors"]["sklearn"].update(values)
    path.write_text(yaml.safe_dump(document))


def test_round_trip(folder: Path) -> None:
    """What was saved comes back and answers alike."""
    rows = pd.DataFrame(np.random.default_rng(1).random((10, 3)), columns=["a", "b", "c"])
    assert np.array_equal(fitted().predict_proba(rows), load_artifact(folder).predict_proba(rows))


@pytest.mark.system
def test_loading_needs_no_mlflow(folder: Path) -> None:
    """Gates load models often; MLflow's seconds of import are not spent."""
    code = (
        "import sys; from pathlib import Path; from promotion.evaluation.loading import load_artifact;"
        "load_artifact(Path(sys.argv[1])); print('mlflow' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    answer = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    assert "False" == answer.stdout.strip()


def test_model_cannot_trust_itself(tmp_path: Path) -> None:
    """A type outside our list is refused although the model's own MLmodel declares it trusted."""
    crafted = Pipeline([("call", FunctionTransformer(func=os.system)), ("estimator", RandomForestClassifier())])
    folder = save(crafted, tmp_path / "model", skops_trusted_types=["posix.system"])
    with pytest.raises(ArtifactRefused, match=r"types outside our allow-list: .*posix\.system"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["model.pkl", "data/helper.JOBLIB", "python_model.cloudpickle"])
def test_pickle_beside_the_model(folder: Path, name: str) -> None:
    """A pickle anywhere in the folder is refused, whatever MLmodel says."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(ArtifactRefused, match=f"pickle is never loaded .*{Path(name).name}"):
        load_artifact(folder)


@pytest.mark.parametrize("values", [{"serialization_format": "cloudpickle"}, {"serialization_format": None}])
def test_pickle_under_another_name(folder: Path, values: dict[str, Any]) -> None:
    """A model that MLmodel declares, or would default to, pickled is refused."""
    edit(folder, **values)
    with pytest.raises(ArtifactRefused, match="pickle is never loaded"):
        load_artifact(folder)


@pytest.mark.parametrize("name", ["../outside.skops", "/etc/hostname", "absent.skops", "link.skops", None, 3])
def test_path_leads_out(folder: Path, name: object) -> None:
    """The model file must lie inside the folder: no `..`, no absolute path, no link out, no missing name."""
    shutil.copy(folder / "model.skops", folder.parent / "outside.skops")
    (folder / "link.skops").symlink_to(folder.parent / "outside.skops")
    edit(folder, pickled_model=name)
    with pytest.raises(ArtifactRefused, match="expected a file"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "missing or not an MLmodel file"),
        ("flavors: [", "missing or not an MLmodel file"),
        ("just text", "missing or not an MLmodel file"),
        ("flavors: {xgboost: {}}", "expected a scikit-learn model, found flavours: xgboost"),
        ("flavors: {sklearn: 1}", "expected a scikit-learn model"),
    ],
)
def test_broken_mlmodel(folder: Path, text: str | None, expected: str) -> None:
    """A missing, unreadable or foreign MLmodel is refused in one line."""
    (folder / "MLmodel").unlink()
    if text is not None:
        (folder / "MLmodel").write_text(text)
    with pytest.raises(ArtifactRefused, match=expected):
        load_artifact(folder)


def test_truncated_model(folder: Path) -> None:
    """Half a model file is refused in one line."""
    path = folder / "model.skops"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactRefused, match="not readable as a skops model"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**6), ("left_child", 0), ("feature", 77), ("feature", -5)]
)
def test_tree_that_points_outside(folder: Path, field: str, value: int) -> None:
    """A tree whose nodes lead outside, or in circles, would crash or hang scikit-learn: it is refused."""
    model = fitted()
    tree = model.named_steps["estimator"].estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][0][field] = value
    tree.__setstate__(state)
    skops.io.dump(model, folder / "model.skops")
    with pytest.raises(ArtifactRefused, match="tree 1 has nodes that point outside"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 77), ("feature_idx", -5), ("is_categorical", 1)]
)
def test_histogram_tree_that_points_outside(folder: Path, field: str, value: int) -> None:
    """The same of histogram gradient boosting, whose trees are of another kind; splits by category are not ours."""
    features = pd.DataFrame(np.random.default_rng(0).random((40, 3)), columns=["a", "b", "c"])
    boosting = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=5)
    model = Pipeline([("estimator", boosting)]).fit(features, features["a"])
    skops.io.dump(model, folder / "model.skops")
    assert np.array_equal(model.predict(features), load_artifact(folder).predict(features))
    boosting._predictors[1][0].nodes[field][0] = value
    skops.io.dump(model, folder / "model.skops")
    with pytest.raises(ArtifactRefused, match="tree 1 has nodes that point outside"):
        load_artifact(folder)


@pytest.mark.system
@pytest.mark.parametrize("task", ["binary-classification", "multiclass-classification", "regression"])
def test_every_algorithm_is_packed_and_comes_back(tmp_path: Path, task: str) -> None:
    """Each loads from its own files with the types that we trust, names its library, and answers alike."""
    family = diabetes(tmp_path)
    part = split_dataset(load_dataset(family, tmp_path), family)
    target = part.train_target
    if task != "regression":
        target = np.digitize(target, [150.0] if task.startswith("binary") else [100.0, 200.0])
    for algorithm in algorithms_of(task):
        config = diabetes(candidates={algorithm: {"params": SMALL.get(algorithm, {})}}).model_copy(
            update={"task": task}
        )
        model = build_pipeline(config, algorithm).fit(part.train_features, target)
        packaging._save(model, diabetes(), part.train_features, tmp_path / algorithm, Model())
        loaded = load_artifact(tmp_path / algorithm)
        method = "predict" if task == "regression" else "predict_proba"
        assert np.array_equal(*(getattr(it, method)(part.test_features) for it in (model, loaded))), algorithm
        library = {"xgboost": "xgboost-cpu"}.get(algorithm, algorithm)
        required = (tmp_path / algorithm / "requirements.txt").read_text()
        assert (library in required) == (algorithm in {"lightgbm", "xgboost", "catboost"})


def test_only_pipelines(folder: Path) -> None:
    """Something else than a pipeline, though made of trusted types, is not a model of ours."""
    skops.io.dump({"estimator": 1}, folder / "model.skops")
    with pytest.raises(ArtifactRefused, match="expected a scikit-learn estimator, found dict"):
        load_artifact(folder)


def test_unlisted_type_inside(folder: Path) -> None:
    """An unlisted compiled type is refused by name."""
    model = fitted()
    model.neighbours_ = KDTree(np.zeros((3, 2)))
    skops.io.dump(model, folder / "model.skops")
    with pytest.raises(ArtifactRefused, match="KDTree"):
        load_artifact(folder)
