from __future__ import annotations

import math
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.inspection import permutation_importance

from models.data.sources import make_missing
from models.training.candidates import build_pipeline
from models.training.folds import compare_folds
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.arrays import FloatArray, IntArray
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import ArtifactRefused, PromotionError
from promotion.evaluation.holdout import HoldoutEvaluator
from promotion.evaluation.metrics import (
    METRICS,
    intervals,
    paired_difference,
    permutation_losses,
    probability_of,
    scores,
)


def rows(seed: int, count: int = 80) -> tuple[IntArray, FloatArray]:
    """A target, and probabilities that know something about it; rounded, so that some are tied."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 2, count)
    return target, np.clip(np.round(0.35 * target + random.random(count) * 0.7, 1), 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_scikit_learns(seed: int) -> None:
    """Every metric equals scikit-learn's, ties included."""
    target, probability = rows(seed)
    predicted = (probability > 0.5).astype(int)
    expected = {
        "roc_auc": reference.roc_auc_score(target, probability),
        "accuracy": reference.accuracy_score(target, predicted),
        "precision": reference.precision_score(target, predicted),
        "recall": reference.recall_score(target, predicted),
        "f1": reference.f1_score(target, predicted),
    }
    assert pytest.approx(expected) == {name: float(value) for name, value in scores(target, probability).items()}


def test_many_resamples_at_once() -> None:
    """Scoring a block of resamples gives each row's own score."""
    targets, probabilities = (np.array(arrays) for arrays in zip(*(rows(seed) for seed in range(3)), strict=True))
    for name, block in scores(targets, probabilities).items():
        alone = [float(scores(targets[i], probabilities[i])[name]) for i in range(3)]
        assert pytest.approx(alone) == block.tolist()


def rows_of_three(seed: int, count: int = 60) -> tuple[IntArray, FloatArray]:
    """A target of three classes, and probabilities that know something about it, some of them tied."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 3, count)
    weight = np.round(random.random((count, 3)), 1) + 0.05 + 0.5 * np.eye(3)[target]
    return target, weight / weight.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(3))
def test_several_classes_are_averaged_as_by_scikit_learn(seed: int) -> None:
    """Each class against the rest, and the plain mean over the classes, ties included."""
    target, probability = rows_of_three(seed)
    predicted = probability.argmax(axis=1)
    expected = {
        "roc_auc": reference.roc_auc_score(target, probability, multi_class="ovr", average="macro"),
        "accuracy": reference.accuracy_score(target, predicted),
        "precision": reference.precision_score(target, predicted, average="macro"),
        "recall": reference.recall_score(target, predicted, average="macro"),
        "f1": reference.f1_score(target, predicted, average="macro"),
    }
    assert pytest.approx(expected) == {name: float(value) for name, value in scores(target, probability).items()}


def test_many_resamples_of_several_classes_at_once() -> None:
    """Scoring a block of resamples gives each row's own score, for several classes too."""
    drawn = [rows_of_three(seed) for seed in range(3)]
    targets, probabilities = (np.array(arrays) for arrays in zip(*drawn, strict=True))
    for name, block in scores(targets, probabilities).items():
        assert pytest.approx([float(scores(*one)[name]) for one in drawn]) == block.tolist()


@pytest.mark.system
def test_intervals_and_differences_of_several_classes() -> None:
    """Intervals surround their value; a model does not differ from itself and differs from noise."""
    target, probability = rows_of_three(1, count=300)
    for interval in intervals(target, probability, 42).values():
        assert interval.low < interval.value < interval.high
    same = paired_difference(target, probability, probability, "f1", 42)
    assert (0.0, 0.0, 0.0) == (same.value, same.low, same.high)
    noise = np.random.default_rng(0).dirichlet([1, 1, 1], 300)
    assert paired_difference(target, probability, noise, "roc_auc", 42).low > 0


def test_a_class_without_rows_has_no_area() -> None:
    """Where a class does not occur, ROC-AUC is NaN and the others count its zero."""
    _, probability = rows_of_three(2)
    target = np.zeros(len(probability), dtype=np.int64)
    found = scores(target, probability)
    assert math.isnan(found["roc_auc"])
    assert float(found["recall"]) == pytest.approx(float(found["accuracy"]) / 3)


@pytest.mark.system
def test_importance_for_several_classes(iris: tuple[FamilyConfig, Path]) -> None:
    """Shuffling a petal's measure costs accuracy, as scikit-learn's permutation importance says."""
    config, home = iris
    part = split_dataset(load_dataset(config, home), config)
    model = build_pipeline(config, "random_forest").fit(part.train_features, part.train_target)
    ours = permutation_losses(model, part.train_features, part.train_target, classes=3, metric="accuracy", seed=42)
    expected = permutation_importance(
        model, part.train_features, part.train_target, scoring="accuracy", n_repeats=5, random_state=0
    ).importances_mean
    assert (4, 5) == ours.shape
    assert pytest.approx(expected, abs=0.05) == ours.mean(axis=1)


@pytest.mark.system
def test_holdout_of_several_classes(skops_flavour: None, iris: tuple[FamilyConfig, Path], tmp_path: Path) -> None:
    """A registered iris model is scored on the 30 test rows; one with other classes is refused."""
    config, home = iris
    part = split_dataset(load_dataset(config, home), config)
    model = build_pipeline(config, "random_forest").fit(part.train_features, part.train_target)
    mlflow.sklearn.save_model(model, tmp_path / "model", pip_requirements=[], skops_trusted_types=sorted(TRUSTED_TYPES))
    evaluator = HoldoutEvaluator(config, home)
    scored = evaluator.evaluate(tmp_path / "model")
    assert (30, "0.9333") == (scored.rows, f"{scored.metrics['accuracy']:.4f}")
    assert 0.0 == evaluator.difference(scored, scored, "accuracy").value
    with pytest.raises(PromotionError, match=r"of shape \(30, 2\), got shape \(30, 3\)"):
        probability_of(model, part.test_features, classes=2)


def test_nothing_to_divide_by() -> None:
    """Without predicted positives precision and F1 are 0; with a single class ROC-AUC is NaN, not a number made up."""
    none_predicted = scores(np.array([0, 1]), np.array([0.1, 0.2]))
    assert (0.0, 0.0) == (float(none_predicted["precision"]), float(none_predicted["f1"]))
    assert math.isnan(scores(np.array([1, 1]), np.array([0.1, 0.9]))["roc_auc"])


def test_intervals_surround_the_value_and_repeat() -> None:
    """Each interval holds its point estimate, is not empty, and is the same for the same seed."""
    target, probability = rows(1)
    first, again, other = (intervals(target, probability, seed) for seed in (42, 42, 43))
    assert first == again
    assert first != other
    assert list(METRICS) == list(first)
    for interval in first.values():
        assert interval.low < interval.value < interval.high


def test_interval_width_is_plausible() -> None:
    """The ROC-AUC interval is about as wide as Hanley and McNeil's formula says."""
    target, probability = rows(2, count=400)
    area = intervals(target, probability, 42)["roc_auc"]
    positives, negatives = target.sum(), (1 - target).sum()
    q1, q2 = area.value / (2 - area.value), 2 * area.value**2 / (1 + area.value)
    variance = (
        area.value * (1 - area.value) + (positives - 1) * (q1 - area.value**2) + (negatives - 1) * (q2 - area.value**2)
    ) / (positives * negatives)
    assert pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.2) == area.high - area.low


@pytest.mark.system
def test_paired_difference() -> None:
    """A model does not differ from itself; against noise the interval excludes zero; pairing narrows the interval."""
    target, probability = rows(3, count=300)
    same = paired_difference(target, probability, probability, "roc_auc", 42)
    assert (0.0, 0.0, 0.0) == (same.value, same.low, same.high)
    noise = np.random.default_rng(0).random(300)
    assert paired_difference(target, probability, noise, "roc_auc", 42).low > 0
    similar = np.clip(probability + np.random.default_rng(1).normal(0, 0.02, 300), 0, 1)
    paired = paired_difference(target, probability, similar, "roc_auc", 42)
    alone = intervals(target, probability, 42)["roc_auc"]
    assert paired.high - paired.low < (alone.high - alone.low) / 2


@pytest.mark.system
def test_permutation_losses_are_scikit_learns(config: FamilyConfig) -> None:
    """Shuffling a column costs what scikit-learn's permutation importance says, up to the luck of the shuffles."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    ours = permutation_losses(model, part.train_features, part.train_target, classes=2, metric="roc_auc", seed=42)
    expected = permutation_importance(
        model, part.train_features, part.train_target, scoring="roc_auc", n_repeats=5, random_state=0
    ).importances_mean
    assert (13, 5) == ours.shape
    assert pytest.approx(expected, abs=0.01) == ours.mean(axis=1)


def test_corrected_resampled_t_test() -> None:
    """The statistic is Nadeau and Bengio's: variance times 1/J + n_test/n_train."""
    first, second = np.array([0.9, 0.8, 0.85, 0.95]), np.array([0.85, 0.82, 0.8, 0.9])
    comparison = compare_folds(first, second, folds=2)
    difference = first - second
    error = math.sqrt((1 / 4 + 1) * difference.var(ddof=1))
    assert pytest.approx(difference.mean() - 3.182446 * error, rel=1e-5) == comparison.difference.low
    assert not comparison.is_significant
    assert compare_folds(first, first - 0.2 + np.array([0, 1e-3, 0, 1e-3]), folds=2).is_significant
    assert pytest.approx(1.0) == compare_folds(first, first, folds=2).p_value


@pytest.fixture(scope="module")
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> tuple[FamilyConfig, Path]:
    """The iris family, and a home with its file."""
    family, home = load_config(REPOSITORY / "config", "iris-classifier"), tmp_path_factory.mktemp("iris")
    make_missing(family, home)
    return family, home


@pytest.fixture(scope="module")
def artifacts(skops_flavour: None, config: FamilyConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two fitted candidates as MLflow writes them."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    folder = tmp_path_factory.mktemp("artifacts")
    for algorithm in ("logistic_regression", "random_forest"):
        model = build_pipeline(config, algorithm).fit(part.train_features, part.train_target)
        mlflow.sklearn.save_model(
            model, folder / algorithm, pip_requirements=["scikit-learn"], skops_trusted_types=sorted(TRUSTED_TYPES)
        )
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.system
def test_holdout_reproduces_the_documented_score(config: FamilyConfig, artifacts: dict[str, Path]) -> None:
    """The logistic regression scores 0.9665 on the 61 test rows, the random forest about 0.95."""
    evaluator = HoldoutEvaluator(config, REPOSITORY)
    regression = evaluator.evaluate(artifacts["logistic_regression"])
    forest = evaluator.evaluate(artifacts["random_forest"])
    assert "0.9665" == f"{regression.metrics['roc_auc']:.4f}"
    assert pytest.approx(0.95, abs=0.005) == forest.metrics["roc_auc"]
    assert (61, config.data.sha256) == (regression.rows, regression.data_sha256)
    assert set(METRICS) == set(regression.metrics)


@pytest.mark.system
def test_holdout_difference(config: FamilyConfig, artifacts: dict[str, Path]) -> None:
    """The paired difference is the difference of the two scores, and its interval here includes zero."""
    evaluator = HoldoutEvaluator(config, REPOSITORY)
    regression, forest = (evaluator.evaluate(artifacts[name]) for name in ("logistic_regression", "random_forest"))
    difference = evaluator.difference(regression, forest, "roc_auc")
    assert pytest.approx(regression.metrics["roc_auc"] - forest.metrics["roc_auc"]) == difference.value
    assert difference.low < 0 < difference.high
    with pytest.raises(PromotionError, match="unknown metric 'auc'"):
        evaluator.difference(regression, forest, "auc")


def test_different_rows_are_not_compared(home: Path, config: FamilyConfig, artifacts: dict[str, Path]) -> None:
    """Scores on another state of the data file are not compared."""
    before = HoldoutEvaluator(config, REPOSITORY).evaluate(artifacts["logistic_regression"])
    data = home / config.data.path
    data.write_text("\n".join(data.read_text().splitlines()[:-1]) + "\n")
    evaluator = HoldoutEvaluator(config, home)
    now = evaluator.evaluate(artifacts["logistic_regression"])
    with pytest.raises(PromotionError, match="not scored on the same rows"):
        evaluator.difference(now, before, "roc_auc")


def test_artifact_that_is_not_there(config: FamilyConfig, tmp_path: Path) -> None:
    """A missing artifact is refused in one line."""
    with pytest.raises(ArtifactRefused, match="MLmodel"):
        HoldoutEvaluator(config, REPOSITORY).evaluate(tmp_path)


def test_model_that_does_not_fit_the_rows(config: FamilyConfig) -> None:
    """A model trained on other columns is refused with the reason, not with a traceback."""
    part = split_dataset(load_dataset(config, REPOSITORY), config)
    model = build_pipeline(config, "logistic_regression").fit(part.train_features, part.train_target)
    with pytest.raises(PromotionError, match=r"cannot score the test rows: (ValueError|KeyError): .*thal"):
        probability_of(model, part.test_features.drop(columns="thal"), classes=2)
