"""Files that are written where nobody brought one."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from models.data.download import provide
from models.data.sources import SOURCES, describe_invention, make_missing, write_iris
from models.data.synthetic_patients import invent_alzheimer
from models.training.candidates import build_candidates
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import load_dataset, split_dataset
from promotion.data.files import file_sha256
from promotion.errors import ConfigError, DataError
from promotion.evaluation.metrics import probability_of, scores

REAL = REPOSITORY.parent / "shared" / "data" / "alzheimer" / "alzheimers_disease_data.csv"


@pytest.fixture(scope="module")
def alzheimer() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "alzheimer_classifier")


@pytest.fixture(scope="module")
def iris() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "iris-classifier")


def figures(config: FamilyConfig, home: Path) -> dict[str, dict[str, float]]:
    """What each candidate reaches on the test rows."""
    part = split_dataset(load_dataset(config, home), config)
    reached = {}
    for name, model in build_candidates(config).items():
        model.fit(part.train_features, part.train_target)
        probability = probability_of(model, part.test_features, len(config.classes))
        reached[name] = {metric: float(value) for metric, value in scores(part.test_target, probability).items()}
    return reached


def test_iris_is_scikit_learns(iris: FamilyConfig, tmp_path: Path) -> None:
    """The file holds scikit-learn's numbers to the last digit, in its order."""
    assert make_missing(iris, tmp_path) is SOURCES["iris"]
    dataset = load_dataset(iris, tmp_path)
    np.testing.assert_array_equal(load_iris().data, dataset.features.to_numpy())
    np.testing.assert_array_equal(load_iris().target, dataset.target)
    assert "" == describe_invention(iris, dataset.sha256)


@pytest.mark.system
def test_iris_reaches_the_documented_accuracy(iris: FamilyConfig, tmp_path: Path) -> None:
    """A random forest of 100 trees, depth 5, gets 28 of the 30 test rows right."""
    make_missing(iris, tmp_path)
    assert pytest.approx(28 / 30) == figures(iris, tmp_path)["random_forest"]["accuracy"]


def test_invention_repeats_to_the_byte() -> None:
    """A seed always gives the same file, another seed another one; the default file is pinned."""
    assert invent_alzheimer(rows=50, seed=3) == invent_alzheimer(rows=50, seed=3)
    assert invent_alzheimer(rows=50, seed=3) != invent_alzheimer(rows=50, seed=4)
    digest = hashlib.sha256(invent_alzheimer().encode()).hexdigest()
    assert "6f20ba5d23da5532cfa672fd982d9bedd02f33dabf081e95a202ea1eca4ac6d6" == digest


@pytest.mark.system
def test_invention_keeps_the_contract(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """Invented rows have the real table's columns in its order, its size, and about a third of them positive."""
    made = make_missing(alzheimer, tmp_path)
    dataset = load_dataset(alzheimer, tmp_path)
    assert made is not None
    assert made.invented
    assert "no patients" in describe_invention(alzheimer, dataset.sha256)
    assert 2149 == len(dataset.target)
    assert pytest.approx(0.35, abs=0.03) == dataset.target.mean()
    assert list(alzheimer.data.columns) == list(pd.read_csv(tmp_path / alzheimer.data.path).columns)


@pytest.mark.parametrize("seed", [42, *(pytest.param(seed, marks=pytest.mark.system) for seed in (1, 3))])
@pytest.mark.system
def test_the_linear_model_misses_the_gate_and_the_forest_passes(
    seed: int, alzheimer: FamilyConfig, tmp_path: Path
) -> None:
    """Accuracy 0.85 and ROC-AUC 0.80 divide the two candidates, whatever the seed of the invented rows."""
    (tmp_path / "data").mkdir()
    (tmp_path / alzheimer.data.path).write_text(invent_alzheimer(seed=seed), encoding="utf-8")
    divided(figures(alzheimer, tmp_path))


if REAL.exists():  # the Kaggle file may not be handed on

    def test_real_patients_divide_the_candidates_too(alzheimer: FamilyConfig, tmp_path: Path) -> None:
        """The user's own file takes the place of the invented one, keeps the contract and gives the same verdict."""
        path = tmp_path / alzheimer.data.path
        path.parent.mkdir()
        path.write_bytes(REAL.read_bytes())
        provided = provide(alzheimer, tmp_path, force=True)
        assert ("cached", None) == (provided.origin, provided.reason)
        assert REAL.read_bytes() == path.read_bytes()
        assert list(alzheimer.data.columns) == list(pd.read_csv(path, nrows=1).columns)
        divided(figures(alzheimer, tmp_path))


def divided(reached: dict[str, dict[str, float]]) -> None:
    assert reached["logistic_regression"]["accuracy"] < 0.85
    assert reached["random_forest"]["accuracy"] >= 0.85
    assert reached["random_forest"]["roc_auc"] >= 0.80


def test_a_file_that_is_there_is_never_replaced(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """Not by training, not by downloading, not by force; and it is not called invented."""
    path = tmp_path / alzheimer.data.path
    path.parent.mkdir()
    path.write_text("mine", encoding="utf-8")
    assert make_missing(alzheimer, tmp_path) is None
    provided = provide(alzheimer, tmp_path, force=True)
    assert ("cached", None) == (provided.origin, provided.reason)
    assert "mine" == path.read_text(encoding="utf-8")


def test_provided_and_said_to_be_invented(alzheimer: FamilyConfig, tmp_path: Path) -> None:
    """The first call writes the file, the second finds it; both say that the rows are invented."""
    first, second = (provide(alzheimer, tmp_path, offline=True) for _ in range(2))
    assert ("generated", "cached") == (first.origin, second.origin)
    assert "data/alzheimer.csv: rows invented" in str(first.reason)
    assert first.reason == second.reason
    assert file_sha256(tmp_path / alzheimer.data.path) == first.sha256
    assert ["alzheimer.csv"] == [path.name for path in (tmp_path / "data").iterdir()]


def test_a_generator_nobody_knows(iris: FamilyConfig, tmp_path: Path) -> None:
    """An unknown generator is named with its file, its key and the known ones."""
    data = iris.data.model_copy(update={"generator": "roses"})
    with pytest.raises(
        ConfigError,
        match=r"iris-classifier.yaml:\d+: data.generator: unknown source 'roses'; expected one of iris, alzh",
    ):
        make_missing(iris.model_copy(update={"data": data}), tmp_path)


def test_a_folder_that_cannot_be(iris: FamilyConfig, tmp_path: Path) -> None:
    """A file in the folder's place is one line."""
    (tmp_path / "data").write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match=r"data/iris.csv: cannot be written: .*; make room or give write permission"):
        make_missing(iris, tmp_path)


def test_csv_is_plain() -> None:
    """Pandas reads it with its defaults, and nothing is missing."""
    assert not pd.read_csv(io.StringIO(write_iris())).isna().any(axis=None)
