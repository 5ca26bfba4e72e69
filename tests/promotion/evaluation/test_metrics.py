"""Metrics of numbers: scikit-learn's, along the axis of the rows, beside those of classes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference
from tests.promotion.diabetes import diabetes

from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import DataError, PromotionError
from promotion.evaluation.metrics import (
    NUMBER_METRICS,
    intervals,
    paired_differences,
    permutation_losses,
    response_of,
    scores,
)
from promotion.evaluation.signature import data_problems

RANDOM = np.random.default_rng(4)
TARGET = RANDOM.normal(10, 3, (2, 80))
ANSWERED = TARGET + RANDOM.normal(0.5, 1, (2, 80))


def test_numbers_are_measured_row_by_row() -> None:
    """Each line of a block is a sample of its own."""
    found = scores(TARGET, ANSWERED)
    assert set(NUMBER_METRICS) == set(found)
    for place, (true, said) in enumerate(zip(TARGET, ANSWERED, strict=True)):
        assert {
            "rmse": pytest.approx(reference.root_mean_squared_error(true, said)),
            "mae": pytest.approx(reference.mean_absolute_error(true, said)),
            "mape": pytest.approx(reference.mean_absolute_percentage_error(true, said)),
            "r2": pytest.approx(reference.r2_score(true, said)),
        } == {name: values[place] for name, values in found.items()}


def test_intervals_of_numbers_hold_the_value_and_pairs_are_narrower() -> None:
    """What both models share cancels in the difference; whole numbers in a float column are no classes."""
    target, said = TARGET[0].round(), ANSWERED[0]
    alone, both = intervals(target, said, 1), paired_differences(target, said + 0.1, said, 1)
    for name in NUMBER_METRICS:
        assert alone[name].low < alone[name].value < alone[name].high
        assert both[name].high - both[name].low < alone[name].high - alone[name].low
    assert both["rmse"].value > 0 > both["r2"].value


def test_an_important_column_gains_error_when_shuffled() -> None:
    """Of an error the gain is shown, so that more always means more important."""
    rows = pd.DataFrame({"used": TARGET[0], "idle": ANSWERED[1]})
    model = SimpleNamespace(predict=lambda frame: frame["used"].to_numpy())
    for metric in ("rmse", "r2"):
        used, idle = permutation_losses(model, rows, TARGET[0], classes=0, metric=metric, seed=1)
        assert used.min() > 0.1
        assert np.abs(idle).max() == 0


@pytest.mark.parametrize("answer", [np.array([1.0, np.nan]), np.ones(3), np.ones((2, 2))])
def test_answers_that_are_no_numbers_are_refused(answer: Any) -> None:
    """Neither NaN nor another shape is scored."""
    with pytest.raises(PromotionError, match="a finite number for each of 2 rows"):
        response_of(SimpleNamespace(predict=lambda _: answer), pd.DataFrame({"x": [1, 2]}), 0)


@pytest.mark.system
def test_rows_of_a_regression_are_split_and_looked_at(tmp_path: Path) -> None:
    """The target stays a number; a constant one is told."""
    family = diabetes(tmp_path)
    dataset = load_dataset(family, tmp_path)
    part = split_dataset(dataset, family)
    assert np.float64 == dataset.target.dtype
    assert (353, 89) == (len(part.train_target), len(part.test_target))
    assert [] == family.classes == data_problems(family, tmp_path)

    path = tmp_path / "data" / "diabetes.csv"
    pd.read_csv(path).assign(target=7.0).to_csv(path, index=False)
    assert ["column 'target': the same value in all 442 rows, so there is nothing to learn"] == data_problems(
        family, tmp_path
    )
    pd.read_csv(path).head(1).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"1 rows, cannot be split .* rows are needed on both sides"):
        split_dataset(load_dataset(family, tmp_path), family)
