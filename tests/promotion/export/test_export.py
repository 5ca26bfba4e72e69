"""Translating a model: it answers alike, with empty cells too, and always to the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from tests.promotion.diabetes import diabetes

from models.data.sources import make_missing
from models.training.candidates import algorithms_of, build_pipeline
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.errors import GateRefused
from promotion.export.contract import contract_of
from promotion.export.documents import (
    documents_of,
    emptied,
    expected_document,
    reference_document,
    schema_document,
    segments_document,
)
from promotion.export.export import _measured_now
from promotion.export.importance import feature_importance
from promotion.export.onnx import LABEL, PROBABILITIES, NotTranslatable, ParityFailed, answers, prove, translate
from promotion.export.servable import ServableVersion
from promotion.gates.evidence import Interval

SMALL = {
    **{name: {"n_estimators": 10} for name in ("random_forest", "gradient_boosting", "lightgbm", "xgboost")},
    "hist_gradient_boosting": {"max_iter": 10},
    "catboost": {"iterations": 10},
}
BOOSTERS = {"lightgbm", "xgboost", "catboost", "hist_gradient_boosting"}


def algorithms(task: str) -> list[Any]:
    """Those of a task; what takes seconds to import and translate is for the system tests."""
    slow = pytest.mark.system
    return [pytest.param(name, marks=[slow] if name in BOOSTERS else []) for name in algorithms_of(task)]


def family(name: str, home: Path = REPOSITORY) -> tuple[FamilyConfig, Partition]:
    config = load_config(REPOSITORY / "config", name)
    make_missing(config, home)
    return config, split_dataset(load_dataset(config, home), config)


@pytest.fixture(scope="module")
def heart() -> tuple[FamilyConfig, Partition]:
    return family("heart-disease")


@pytest.fixture(
    scope="module",
    params=["heart-disease", "iris-classifier", pytest.param("alzheimer_classifier", marks=pytest.mark.system)],
)
def any_family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FamilyConfig, Partition]:
    home = REPOSITORY if request.param == "heart-disease" else tmp_path_factory.mktemp("home")
    return family(request.param, home)


@pytest.mark.parametrize("algorithm", algorithms("binary-classification"))
@pytest.mark.system
def test_every_algorithm_of_every_family_answers_alike(
    any_family: tuple[FamilyConfig, Partition], algorithm: str
) -> None:
    """Held-out rows, and the same with every cell empty that may be: float32 rounding and nothing else."""
    config, part = any_family
    with_algorithm = config.candidates | {
        algorithm: config.candidates.get(algorithm, next(iter(config.candidates.values())))
    }
    params = {algorithm: with_algorithm[algorithm].model_copy(update={"params": SMALL.get(algorithm, {})})}
    config = config.model_copy(update={"candidates": params})
    model = build_pipeline(config, algorithm).fit(part.train_features, part.train_target)
    rows = pd.concat([part.test_features, emptied(contract_of(config), part.test_features)], ignore_index=True)

    graph = translate(model, contract_of(config))
    found = prove(graph, model, contract_of(config), rows)

    assert len(rows) == found.rows
    assert 1e-6 > found.difference
    assert model.predict(rows).reshape(-1).tolist() == answers(graph, rows)[0].tolist()


@pytest.mark.parametrize("algorithm", algorithms("regression"))
@pytest.mark.system
def test_every_regression_answers_alike(tmp_path: Path, algorithm: str) -> None:
    """Numbers within rounding, with empty cells too."""
    config = diabetes(tmp_path, candidates={algorithm: {"params": SMALL.get(algorithm, {})}})
    part = split_dataset(load_dataset(config, tmp_path), config)
    model = build_pipeline(config, algorithm).fit(part.train_features, part.train_target)
    rows = pd.concat([part.test_features, emptied(contract_of(config), part.test_features)], ignore_index=True)

    found = prove(translate(model, contract_of(config)), model, contract_of(config), rows)

    assert len(rows) == found.rows == 178
    assert 1e-3 > found.difference


def test_the_graph_takes_and_gives_what_a_server_expects(heart: tuple[FamilyConfig, Partition]) -> None:
    """One float32 column a feature in the family's order; int64 labels and float32 probabilities."""
    import onnxruntime

    config, part = heart
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    session = onnxruntime.InferenceSession(translate(model, contract_of(config)))

    assert [(name, "tensor(float)", [None, 1]) for name in config.features] == [
        (item.name, item.type, item.shape) for item in session.get_inputs()
    ]
    assert [(LABEL, "tensor(int64)", [None]), (PROBABILITIES, "tensor(float)", [None, 2])] == [
        (item.name, item.type, item.shape) for item in session.get_outputs()
    ]


@pytest.mark.system
def test_a_forest_behind_a_scaler_is_refused_with_row_and_difference(heart: tuple[FamilyConfig, Partition]) -> None:
    """32-bit scaled measures fall on the other side of 64-bit thresholds; whoever builds such a model is told."""
    config, part = heart
    steps = [
        ("impute", SimpleImputer()),
        ("scale", StandardScaler()),
        ("trees", RandomForestClassifier(random_state=0)),
    ]
    model = Pipeline(steps).fit(part.train_features, part.train_target)
    concatenated = _as_columns(model, config)

    with pytest.raises(
        ParityFailed, match=r"differs .* in \d+ of 242 held-out rows.*row \d+ \(age=\d+.*--native"
    ) as caught:
        prove(translate(concatenated, contract_of(config)), concatenated, contract_of(config), part.train_features)

    assert 3 == caught.value.exit_code
    assert config.features == list(caught.value.details["row"])
    assert 1e-5 < caught.value.details["difference"]


def _as_columns(model: Pipeline, config: FamilyConfig) -> Pipeline:
    """The same pipeline behind a step that takes named columns, as ours do."""
    from sklearn.compose import ColumnTransformer

    columns = ColumnTransformer([("all", "passthrough", config.features)])
    return Pipeline([("columns", columns), *model.steps]).fit(*_training(config))


def _training(config: FamilyConfig) -> tuple[pd.DataFrame, np.ndarray]:
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    return part.train_features, part.train_target


def test_what_has_no_counterpart_is_refused(heart: tuple[FamilyConfig, Partition]) -> None:
    """One line that names the way out."""
    config, part = heart

    class Odd(KNeighborsClassifier):  # type: ignore[misc]  # scikit-learn has no types
        """An estimator nobody wrote a translation for."""

    model = Pipeline([("odd", Odd())]).fit(part.train_features.fillna(0), part.train_target)

    with pytest.raises(NotTranslatable, match=r"cannot be translated to ONNX .*--native") as caught:
        translate(model, contract_of(config))
    assert isinstance(caught.value, GateRefused)


TWICE = """
import sys, hashlib
from pathlib import Path
from promotion.export.contract import contract_of
from promotion.export.onnx import translate
from promotion.evaluation.loading import load_artifact
from promotion.config.family import load_config
config = load_config(Path(sys.argv[1]), "heart-disease")
print(hashlib.sha256(translate(load_artifact(Path(sys.argv[2])), contract_of(config))).hexdigest())
"""


@pytest.mark.system
def test_another_process_writes_the_same_bytes(fitted_model: Path) -> None:
    """Whatever the seed of Python's hashes: no set's order and no random name gets into the graph."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", TWICE, str(REPOSITORY / "config"), str(fitted_model)],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }

    assert 1 == len(digests)


def test_the_schema_is_the_data_contract(heart: tuple[FamilyConfig, Partition]) -> None:
    """Types, bounds, codes and hints as configured; which class is the positive one."""
    schema = schema_document(contract_of(heart[0]))
    by_name = {item["name"]: item for item in schema["features"]}

    assert heart[0].features == list(by_name)
    assert [3, 6, 7] == by_name["thal"]["codes"]
    assert by_name["thal"]["nullable"]
    assert "mm Hg" == by_name["trestbps"]["unit"]
    assert ["not num > 0", "num > 0"] == schema["labels"]
    assert 1 == schema["positive"]


def test_classes_have_the_names_that_the_family_gives_them(heart: tuple[FamilyConfig, Partition]) -> None:
    """In what the server says; what data and statistics hold stays as it is."""
    config = FamilyConfig.model_validate(
        {**heart[0].model_dump(exclude_unset=True), "classes": {0: "healthy", 1: "disease"}}
    )
    plain, named = schema_document(contract_of(heart[0])), schema_document(contract_of(config))

    assert ["healthy", "disease"] == named["labels"] == config.labels
    assert {**plain, "labels": None} == {**named, "labels": None}
    assert ["not num > 0", "num > 0"] == plain["labels"] == config.classes


def test_the_reference_counts_every_row_once(heart: tuple[FamilyConfig, Partition]) -> None:
    """Bins and codes of the training rows; of predictions, those on rows held out."""
    config, part = heart
    probability = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])

    found = reference_document(
        contract_of(config), part.train_features, probability, {"roc_auc": Interval(0.9, 0.8, 1.0)}, "d" * 64
    )

    rows = len(part.train_features)
    for name in config.features:
        feature = found["features"][name]
        counts = feature["counts"] if name in config.numeric else feature["codes"].values()
        assert rows == sum(counts) + round(feature["missing"] * rows)
    assert {"not num > 0": 1, "num > 0": 2} == found["predictions"]["labels"]
    assert [0, 1, 0, 0, 0, 0, 0, 0, 1, 1] == found["predictions"]["probability"]["counts"]
    assert {"value": 0.9, "low": 0.8, "high": 1.0} == found["metrics"]["roc_auc"]


@pytest.mark.system
def test_groups_of_a_segment_have_a_reference_of_their_own(heart: tuple[FamilyConfig, Partition]) -> None:
    """Rows, answers and metrics of the group alone; a group of few rows has none, since it might name somebody."""
    config, part = heart
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    source = ServableVersion(
        contract_of(config),
        model,
        part.test_features,
        part.train_features,
        {},
        "d" * 64,
        bytes,
        segments=["sex", "thal", "restecg"],
        measure=lambda places: _measured_now(config, part, model, places),
    )

    found = segments_document(source, source.answers(source.rows))

    assert {"sex=0", "sex=1", "thal=3", "thal=7", "restecg=0", "restecg=2"} == set(found)
    for name in ("sex=0", "sex=1"):
        value = float(name[-1])
        held_out, learned = (int((rows["sex"] == value).sum()) for rows in (part.test_features, part.train_features))
        assert {f"{value:g}": learned} == found[name]["features"]["sex"]["codes"]
        assert held_out == sum(found[name]["predictions"]["labels"].values())
        right = model.predict(part.test_features) == part.test_target
        assert (
            pytest.approx(right[part.test_features["sex"] == value].mean())
            == found[name]["metrics"]["accuracy"]["value"]
        )


class _OfThree:
    """Answers that hang on `age` twice as much as on `chol`, and on nothing else."""

    def predict_proba(self, rows: pd.DataFrame) -> Any:
        chance = (2 * rows["age"].rank(pct=True) + rows["chol"].rank(pct=True)).to_numpy() / 3
        return np.stack([1 - chance, chance], axis=1)

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.predict_proba(rows).argmax(axis=1)


def test_the_reference_knows_what_moves_the_answers(heart: tuple[FamilyConfig, Partition]) -> None:
    """By shuffling each feature: what the model does not use has no share; the same in each group of a segment."""
    config, part = heart
    source = ServableVersion(
        contract_of(config), _OfThree(), part.test_features, part.train_features, {}, "d" * 64, bytes, segments=["sex"]
    )

    found = documents_of(source, generated=False).files["reference.json"]["importance"]

    assert list(config.features) == list(found)
    assert pytest.approx(1.0, abs=1e-4) == sum(found.values())
    assert {"age", "chol"} == {name for name, share in found.items() if share}
    assert pytest.approx(2 / 3, abs=0.05) == found["age"]
    assert found == feature_importance(source)


@pytest.mark.parametrize("answer", [0.3, np.nan])
def test_a_model_that_answers_always_the_same_says_no_importance(
    heart: tuple[FamilyConfig, Partition], answer: float
) -> None:
    """Neither does one whose answers are no numbers: unknown is not zero."""
    config, part = heart

    class Constant:
        def predict_proba(self, rows: pd.DataFrame) -> Any:
            return np.full((len(rows), 2), answer)

    source = ServableVersion(
        contract_of(config), Constant(), part.test_features, part.train_features, {}, "d" * 64, bytes
    )

    assert {} == feature_importance(source)


def test_a_constant_and_an_empty_column_have_statistics(heart: tuple[FamilyConfig, Partition]) -> None:
    """One bin for the one value; none without values. Infinite or missing metrics are left out."""
    config, part = heart
    train = part.train_features.assign(age=50.0, chol=np.nan)

    found = reference_document(
        contract_of(config), train, np.array([[1.0, 0.0]]), {"roc_auc": Interval(np.nan, 0, 1)}, "d" * 64
    )

    assert [50.0, 50.0] == found["features"]["age"]["edges"]
    assert [len(train)] == found["features"]["age"]["counts"]
    assert [] == found["features"]["chol"]["edges"]
    assert 1.0 == found["features"]["chol"]["missing"]
    assert {} == found["metrics"]


def test_expected_rows_are_what_a_person_would_send(heart: tuple[FamilyConfig, Partition]) -> None:
    """Whole numbers without a point, empty cells as null, and the model's own answers."""
    config, part = heart
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    rows = emptied(contract_of(config), part.test_features.head(3))

    document = expected_document(contract_of(config), model, rows, 2)

    assert isinstance(document["rows"][0]["age"], int)
    assert document["rows"][0]["thal"] is None
    assert isinstance(document["rows"][0]["oldpeak"], float)
    assert model.predict(rows)[:2].tolist() == document["labels"]
    assert model.predict_proba(rows)[:2].tolist() == document["probabilities"]


@pytest.mark.system
def test_equally_likely_classes(heart: tuple[FamilyConfig, Partition]) -> None:
    """With half the votes each the graph names the first class, as scikit-learn does; such rows test nobody."""
    config, part = heart
    params = {"random_forest": config.candidates["random_forest"].model_copy(update={"params": {"n_estimators": 50}})}
    config = config.model_copy(update={"candidates": params})
    model = build_pipeline(config, "random_forest").fit(part.train_features, part.train_target)
    rows = part.test_features[model.predict_proba(part.test_features)[:, 0] == 0.5]

    found, probability = answers(translate(model, contract_of(config)), rows)

    assert len(rows)
    assert np.abs(probability - 0.5).max() < 1e-6
    assert model.predict(rows).tolist() == found.tolist() == [0] * len(rows)
    assert [] == expected_document(contract_of(config), model, rows, 20)["rows"]
