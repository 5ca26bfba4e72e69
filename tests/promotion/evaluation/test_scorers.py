"""Metrics by name are scikit-learn's, with intervals that draw the same rows for both models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as reference

from promotion.config.evidence import SliceRule
from promotion.errors import UsageError
from promotion.evaluation.received.predictions import Answers
from promotion.evaluation.scorers import difference, interval, score_of
from promotion.evaluation.slices import slice_figures

RANDOM = np.random.default_rng(3)
TARGET = RANDOM.integers(0, 2, 200)
CHANCE = np.clip(0.3 * TARGET + RANDOM.random(200) * 0.7, 0, 1)
BINARY = Answers((CHANCE > 0.5).astype(np.int64), CHANCE)
SEVERAL = RANDOM.integers(0, 3, 200)
WEIGHT = RANDOM.random((200, 3)) + np.eye(3)[SEVERAL]
CHANCES = WEIGHT / WEIGHT.sum(axis=1, keepdims=True)
MULTI = Answers(CHANCES.argmax(axis=1), CHANCES)
NUMBERS = RANDOM.normal(10, 3, 200)
FORECAST = Answers(NUMBERS + RANDOM.normal(0, 1, 200))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", reference.accuracy_score(TARGET, BINARY.predicted)),
        ("precision", reference.precision_score(TARGET, BINARY.predicted)),
        ("recall", reference.recall_score(TARGET, BINARY.predicted)),
        ("f1", reference.f1_score(TARGET, BINARY.predicted)),
        ("mcc", reference.matthews_corrcoef(TARGET, BINARY.predicted)),
        ("roc_auc", reference.roc_auc_score(TARGET, CHANCE)),
        ("average_precision", reference.average_precision_score(TARGET, CHANCE)),
        ("log_loss", reference.log_loss(TARGET, CHANCE)),
        ("brier", reference.brier_score_loss(TARGET, CHANCE)),
        ("neg_log_loss", -reference.log_loss(TARGET, CHANCE)),
        ("balanced_accuracy", reference.balanced_accuracy_score(TARGET, BINARY.predicted)),
        ("jaccard", reference.jaccard_score(TARGET, BINARY.predicted)),
    ],
)
def test_two_classes(name: str, expected: float) -> None:
    """Ours, and scorers by their names, which are negated where they measure an error."""
    assert pytest.approx(expected) == score_of(name, "binary-classification", 2).value(TARGET, BINARY)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", reference.accuracy_score(SEVERAL, MULTI.predicted)),
        ("precision", reference.precision_score(SEVERAL, MULTI.predicted, average="macro")),
        ("recall", reference.recall_score(SEVERAL, MULTI.predicted, average="macro")),
        ("f1", reference.f1_score(SEVERAL, MULTI.predicted, average="macro")),
        ("mcc", reference.matthews_corrcoef(SEVERAL, MULTI.predicted)),
        ("roc_auc", reference.roc_auc_score(SEVERAL, CHANCES, multi_class="ovr")),
        ("log_loss", reference.log_loss(SEVERAL, CHANCES)),
        ("average_precision", reference.average_precision_score(np.eye(3)[SEVERAL], CHANCES)),
        ("f1_weighted", reference.f1_score(SEVERAL, MULTI.predicted, average="weighted")),
    ],
)
def test_several_classes(name: str, expected: float) -> None:
    """The plain mean over the classes."""
    assert pytest.approx(expected) == score_of(name, "multiclass-classification", 3).value(SEVERAL, MULTI)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", reference.root_mean_squared_error(NUMBERS, FORECAST.predicted)),
        ("mse", reference.mean_squared_error(NUMBERS, FORECAST.predicted)),
        ("mae", reference.mean_absolute_error(NUMBERS, FORECAST.predicted)),
        ("mape", reference.mean_absolute_percentage_error(NUMBERS, FORECAST.predicted)),
        ("r2", reference.r2_score(NUMBERS, FORECAST.predicted)),
        ("pinball", reference.mean_pinball_loss(NUMBERS, FORECAST.predicted)),
        ("pinball_0.9", reference.mean_pinball_loss(NUMBERS, FORECAST.predicted, alpha=0.9)),
        ("neg_median_absolute_error", -reference.median_absolute_error(NUMBERS, FORECAST.predicted)),
        ("explained_variance", reference.explained_variance_score(NUMBERS, FORECAST.predicted)),
    ],
)
def test_numbers(name: str, expected: float) -> None:
    """Errors are errors, scorers are negated."""
    assert pytest.approx(expected) == score_of(name, "regression", 0).value(NUMBERS, FORECAST)


@pytest.mark.parametrize(
    ("name", "task"),
    [("rmze", "regression"), ("rmse", "binary-classification"), ("mcc", "regression"), ("pinball_2", "regression")],
)
def test_what_does_not_measure_the_task_is_unknown(name: str, task: str) -> None:
    """The names that do are said."""
    with pytest.raises(UsageError, match=f"unknown metric '{name}' for {task}: expected one of"):
        score_of(name, task, 2)


@pytest.mark.parametrize("name", ["rmse", "r2", "neg_median_absolute_error"])
@pytest.mark.system
def test_paired_intervals(name: str) -> None:
    """A model does not differ from itself, and differs from noise; whole groups are drawn where there are some."""
    score = score_of(name, "regression", 0)
    noise = Answers(NUMBERS + RANDOM.normal(0, 9, 200))
    same = difference(score, NUMBERS, FORECAST, FORECAST, seed=1, groups=None)
    assert (0, 0, 0) == (same.value, same.low, same.high)
    found = difference(score, NUMBERS, FORECAST, noise, seed=1, groups=None)
    assert math.copysign(1, found.low) == math.copysign(1, found.high) == (-1 if name == "rmse" else 1)
    assert found.low < found.value < found.high
    if name.startswith("neg"):
        return
    groups = np.repeat(np.arange(10), 20)
    grouped = interval(score, NUMBERS, FORECAST, seed=1, groups=groups)
    assert grouped.low < grouped.value < grouped.high


def figures(column: list[Any], **rule: Any) -> dict[str, tuple[int, float]]:
    """Rows and recall of each group."""
    import pandas as pd

    rules = [SliceRule.model_validate({"column": "x", "metric": "recall", "minimum_rows": 1, **rule})]
    target = np.ones(len(column), dtype=np.int64)
    said = Answers((np.arange(len(column)) % 2).astype(np.int64))
    frame = pd.DataFrame({"x": column})
    found = slice_figures(rules, frame, target, said, task="binary-classification", classes=2)
    return {each.group: (each.rows, each.value) for each in found}


@pytest.mark.system
def test_groups_are_values_ranges_and_what_is_missing() -> None:
    """Texts by value, numbers by value or range, also where a CSV holds them as text."""
    assert {"a": (1, 0.0), "b": (2, 0.5), "missing": (1, 1.0)} == figures(["a", "b", "b", None])
    assert {"1": (2, 0.5), "2": (2, 0.5)} == figures(["1", "1", "2", "2"])
    assert {"< 5": (4, 0.5), "≥ 5": (2, 0.5)} == figures([0, 1, 2, 3, 5, 6], bins=[5])
    assert ["< 3", "3 – 6", "6 – 9", "≥ 9"] == list(figures(list(map(str, range(13)))))


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (1, ["2024-01"]),
        (9, ["2024-01", "2024-02", "2024-03", "2024-04"]),
        (40, [f"{year}-Q{quarter}" for year in (2024, 2025) for quarter in (1, 2, 3, 4)][:6]),
        (400, [str(year) for year in range(2024, 2038) if year != 2035]),
    ],
)
@pytest.mark.parametrize("kind", ["day", "moment", "timestamp"])
@pytest.mark.system
def test_groups_of_many_days_are_periods(step: int, names: list[str], kind: str) -> None:
    """The shortest of month, quarter and year that are few; a missing day is a group as elsewhere."""
    import pandas as pd

    days = pd.Series(pd.date_range("2024-01-01", periods=13, freq=f"{step}D")).astype(object)
    column = days if kind == "timestamp" else days.map(str) if kind == "moment" else days.map(lambda day: str(day)[:10])

    found = figures([*column, None])

    assert [*names, "missing"] == list(found)
    assert 14 == sum(rows for rows, _ in found.values())
    assert ["2024-01-01", "2024-01-02"] == list(figures(["2024-01-02", "2024-01-01"])), "few days are groups themselves"


def test_a_group_without_a_positive_row_has_no_recall() -> None:
    """Zero of zero is nothing that could be compared."""
    import pandas as pd

    rules = [SliceRule(column="x", metric="recall", minimum_rows=1)]
    frame, target = pd.DataFrame({"x": ["a", "b"]}), np.array([0, 1])
    found = slice_figures(rules, frame, target, Answers(target), task="binary-classification", classes=2)
    assert math.isnan(found[0].value)
    assert 1.0 == found[1].value
