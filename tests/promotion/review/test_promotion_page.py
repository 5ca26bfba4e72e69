from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from promotion.bootstrap import open_promotions
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.datasets import Partition
from promotion.pages.charts import Axis, Frame
from promotion.registry.stages import Stage
from promotion.review.promotion_page import default_path, write_promotion_page
from promotion.review.side_by_side import SHOWN_ROWS, SideBySide, compare_classifiers
from promotion.service import PromotionPlan, PromotionService

pytestmark = pytest.mark.system  # whole trainings first

Register = Callable[..., int]
MODEL = "heart-disease-logistic_regression"


def a_partition(config: FamilyConfig, target: np.ndarray) -> Partition:
    """Test rows whose numbers in the file are 10, 20, 30 and so on."""
    rows = len(target)
    features = pd.DataFrame({name: np.arange(rows, dtype=float) for name in config.features})
    features.index = pd.Index(range(9, 10 * rows, 10))
    nobody = features.iloc[:0]
    return Partition(nobody, features, target[:0], target)


@pytest.fixture(scope="module")
def heart() -> FamilyConfig:
    return load_config(REPOSITORY / "config", "heart-disease")


@pytest.fixture(scope="module")
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def target(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 2, 300)


@pytest.fixture(scope="module")
def candidate(target: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.clip(0.35 * target + 0.65 * random.random(300), 0, 1)


@pytest.fixture(scope="module")
def production(random: np.random.Generator) -> np.ndarray:
    return random.random(300)


@pytest.fixture(scope="module")
def compared(heart: FamilyConfig, target: np.ndarray, candidate: np.ndarray, production: np.ndarray) -> SideBySide:
    return compare_classifiers(heart, a_partition(heart, target), candidate, production)


def test_both_are_scored_on_the_same_rows(compared: SideBySide, target: np.ndarray, candidate: np.ndarray) -> None:
    """Values as scikit-learn computes them, each inside its interval; the difference is theirs, interval included."""
    row = next(row for row in compared.metrics if row.name == "roc_auc")

    assert row.second is not None
    assert row.difference is not None
    assert pytest.approx(roc_auc_score(target, candidate)) == row.first.value
    assert row.first.low < row.first.value < row.first.high
    assert pytest.approx(row.first.value - row.second.value) == row.difference.value
    assert 0 < row.difference.low < row.difference.value < row.difference.high


def test_confusion_matrices_count_every_row_once(compared: SideBySide, target: np.ndarray) -> None:
    """Rows are true classes, and shares are of these."""
    assert ["candidate", "production"] == [matrix.role for matrix in compared.matrices]
    for matrix in compared.matrices:
        assert np.bincount(target).tolist() == np.sum(matrix.counts, axis=1).tolist()
        assert [1.0, 1.0] == pytest.approx([sum(share for _, share in row) for row in matrix.cells])


def test_disagreements_are_real_ranked_and_found_in_the_file(
    compared: SideBySide, target: np.ndarray, candidate: np.ndarray, production: np.ndarray
) -> None:
    """Only rows with two answers, the farthest apart first, by the number of the file's row, no more than fit."""
    differing = (candidate > 0.5) != (production > 0.5)
    farthest = int(np.argmax(np.where(differing, np.abs(candidate - production), -1)))
    first = compared.disagreements[0]

    assert int(differing.sum()) == compared.disagreeing
    assert int(differing.sum()) == sum(compared.right)
    assert SHOWN_ROWS == len(compared.disagreements)
    assert 10 * (farthest + 1) == first.row
    assert pytest.approx(abs(candidate[farthest] - production[farthest])) == first.distance
    assert compared.classes[target[farthest]] == first.actual
    assert first.actual == {"candidate": first.candidate, "production": first.production}[first.right][0]
    assert ("age", f"{farthest} years") in first.inputs
    distances = [row.distance for row in compared.disagreements]
    assert sorted(distances, reverse=True) == distances


def test_curves_start_and_end_in_their_corners(compared: SideBySide) -> None:
    """One chart of the positive class with a line for each model, area and Brier score in words."""
    (roc,), (calibration,) = compared.curves, compared.calibration

    assert ["candidate", "production"] == [series.role for series in roc.series]
    assert [((0, 0), (1, 1))] * 2 == [(series.points[0], series.points[-1]) for series in roc.series]
    assert "Area under the curve" in roc.description
    for series in calibration.series:
        assert 10 == len(series.points) == len(series.bars)
        assert all(bar.low <= share <= bar.high for (_, share), bar in zip(series.points, series.bars, strict=True))
        assert [place for place, _ in series.points] == sorted(place for place, _ in series.points)


def test_brier_score(compared: SideBySide, target: np.ndarray, candidate: np.ndarray) -> None:
    """As scikit-learn computes it."""
    assert f"candidate {brier_score_loss(target, candidate):.4f}" in compared.calibration[0].note


def test_tied_probabilities_share_a_bin(heart: FamilyConfig) -> None:
    """A tree says 0 to most and 1 to some: two bins, however the rows are ordered."""
    target = np.array([0] * 40 + [1] * 20)
    certain = target.astype(float)
    chart = compare_classifiers(heart, a_partition(heart, target), certain, None).calibration[0]

    assert [(0.0, 0.0), (1.0, 1.0)] == list(chart.series[0].points)


def test_without_production_there_is_nothing_to_compare(
    heart: FamilyConfig, target: np.ndarray, candidate: np.ndarray
) -> None:
    """One line in each chart, one matrix, no difference, no disagreement."""
    alone = compare_classifiers(heart, a_partition(heart, target), candidate, None)

    assert (1, 1, 1) == (len(alone.curves[0].series), len(alone.calibration[0].series), len(alone.matrices))
    assert {(None, None)} == {(row.second, row.difference) for row in alone.metrics}
    assert (None, []) == (alone.disagreeing, alone.disagreements)


def test_several_classes_are_each_held_against_the_rest(random: np.random.Generator) -> None:
    """Three charts of each kind, a three by three matrix, answers with the probability of the class answered."""
    iris = load_config(REPOSITORY / "config", "iris-classifier")
    target = random.integers(0, 3, 90)
    ours = random.dirichlet(np.ones(3), 90) * 0.5 + np.eye(3)[target] * 0.5
    theirs = random.dirichlet(np.ones(3), 90)
    compared = compare_classifiers(iris, a_partition(iris, target), ours, theirs)
    first = compared.disagreements[0]

    assert [f"ROC, {name}" for name in iris.classes] == [chart.title for chart in compared.curves]
    assert 3 == len(compared.calibration)
    assert (3, 3) == np.shape(compared.matrices[0].counts)
    index = first.row // 10 - 1
    assert iris.classes[ours[index].argmax()] == first.candidate[0]
    assert pytest.approx(ours[index].max()) == first.candidate[1]
    assert pytest.approx(np.abs(ours[index] - theirs[index]).sum() / 2) == first.distance


def test_points_lie_inside_the_frame() -> None:
    """Left below is zero, right above one; a missing point would leave the path open."""
    assert "M46.0,280.0L178.0,145.0L310.0,10.0" == Frame().path([(0, 0), (0.5, 0.5), (1, 1)])
    assert "M46.0,280.0M310.0,10.0" == Frame().path([(0, 0), (0.5, None), (0.7, float("nan")), (1, 1)])


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([0.81, 0.97], 0.8, 1.0), ([0.5, 0.5], 0.5, 0.6), ([float("nan"), 0.3], 0.3, 0.4), ([], 0.0, 1.0)],
)
def test_an_axis_ends_on_tenths(values: list[float], low: float, high: float) -> None:
    """And has a length even when all values are one."""
    axis = Axis.around(values)

    assert (low, high) == pytest.approx((axis.low, axis.high))
    assert ("0.00%", "100.00%") == (axis.percent(axis.low), axis.percent(axis.high))


@pytest.fixture
def service(settings: Settings, register: Register) -> PromotionService:
    """Version 1 of the logistic regression is in Production, and version 2 is the very same model."""
    register(MODEL, Stage.PRODUCTION)
    register(MODEL)
    service = open_promotions(settings)
    service.synchronise("heart-disease")
    return service


def written(service: PromotionService, plan: PromotionPlan, folder: Path) -> str:
    path = folder / "reports" / "page.html"
    write_promotion_page(service, plan, path)
    return path.read_text(encoding="utf-8")


def test_the_page_begins_with_the_verdict(service: PromotionService, tmp_path: Path) -> None:
    """What refuses, then the gates, the same figures for the same model, and that they disagree nowhere."""
    plan = service.check(service.candidate(MODEL, 2))
    page = written(service, plan, tmp_path)
    refusals = [gate.name for gate in plan.report.refusals]

    assert f"May not enter Production: {len(refusals)} of {len(plan.report.results)} gates refuse" in page
    assert "better than Production" in refusals
    assert page.index("May not enter") < page.index("<h2>Gates</h2>") < page.index("<h2>Metrics</h2>")
    assert "<b>+0.0000</b>" in page
    assert "these rows cannot tell" in page
    assert "Nowhere: they give the same answer to each of the 61 rows." in page
    assert str(plan.report.digest) in page
    assert plan.report.evidence in page


def test_the_page_changes_nothing(service: PromotionService, settings: Settings, tmp_path: Path) -> None:
    """Neither journal nor registry, byte for byte."""
    plan = service.check(service.candidate(MODEL, 2))
    before = [(settings.home / name).read_bytes() for name in ("promotion.db", "mlflow.db")]
    written(service, plan, tmp_path)

    assert before == [(settings.home / name).read_bytes() for name in ("promotion.db", "mlflow.db")]


def test_the_first_version_of_a_family_stands_alone(settings: Settings, register: Register, tmp_path: Path) -> None:
    """No Production: its own figures, and that nothing serves yet."""
    register(MODEL)
    service = open_promotions(settings)
    page = written(service, service.check(service.candidate(MODEL)), tmp_path)

    assert "where nothing serves yet" in page
    assert "Where they disagree" not in page
    assert "<h2>Curves</h2>" in page


def test_a_refused_artifact_is_not_loaded_for_the_page(
    settings: Settings, register: Register, fitted_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle beside the model: the gates say so, and nothing is scored."""
    folder = tmp_path / "bad"
    shutil.copytree(fitted_model, folder)
    (folder / "extra.pkl").write_bytes(b"\x80\x04.")
    register(MODEL, source=folder)
    service = open_promotions(settings)
    plan = service.check(service.candidate(MODEL))
    loaded: list[Any] = []
    monkeypatch.setattr("promotion.evaluation.loading.load_artifact", loaded.append)
    page = written(service, plan, tmp_path)

    assert [] == loaded
    assert "cannot be overridden" in page
    assert "<h2>Not scored</h2>" in page


def test_a_model_without_configuration_has_a_page_too(settings: Settings, register: Register, tmp_path: Path) -> None:
    """Its gates and lineage; it is never loaded."""
    register("somebodys-model")
    service = open_promotions(settings)
    plan = service.check(service.candidate("somebodys-model"))
    page = written(service, plan, tmp_path)

    assert "somebodys-model 1" in page
    assert "<h2>Not scored</h2>" in page
    assert settings.home / "reports" / "promotion" / "somebodys-model-v1.html" == default_path(settings, plan)
