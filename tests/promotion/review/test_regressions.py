"""Two models that predict numbers: how far off they are, whether they are biased, and how it is drawn."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.promotion.diabetes import diabetes

from promotion.config.settings import Settings
from promotion.data.datasets import Partition
from promotion.pages.charts import Axis
from promotion.review.findings import NO, OPEN, YES
from promotion.review.regressions import compare_regressors, review_numbers

RANDOM = np.random.default_rng(5)
TARGET = RANDOM.normal(150, 50, 120)
CLOSE, FAR = TARGET + RANDOM.normal(0, 10, 120), TARGET + RANDOM.normal(0, 30, 120)


def part() -> Partition:
    rows = pd.DataFrame({"age": np.arange(120.0)})
    return Partition(rows.iloc[:0], rows, TARGET[:0], TARGET)


def test_both_are_measured_and_drawn() -> None:
    """Less error is better, more explained variance too; residuals and errors are drawn inside their frames."""
    found = compare_regressors(diabetes(), part(), CLOSE, FAR)
    assert {"rmse": "better", "mae": "better", "mape": "better", "r2": "better"} == {
        row.name: row.reading for row in found.metrics
    }
    assert ["Residuals", "Errors"] == [chart.title for chart in found.curves]
    assert "Predicted target [points]" == found.curves[0].x_label
    for chart in found.curves:
        (left, right), (low, high) = chart.frame.x, chart.frame.y
        for series in chart.series:
            assert all(left <= x <= right and low <= y <= high for x, y in series.points)
            assert all(low <= bar.low <= bar.high <= high for bar in series.bars)
    assert [] == [*found.matrices, *found.disagreements]
    assert found.disagreeing is None

    alone = compare_regressors(diabetes(), part(), CLOSE, None)
    assert [1, 1] == [len(chart.series) for chart in alone.curves]
    assert "" == alone.metrics[0].reading


def test_metrics_of_different_units_have_an_axis_each() -> None:
    """Shares lie on one axis; an error in points beside a share of the variance would hide the share."""
    shares = Axis.each({"f1": [0.5, 0.6], "r2": [-0.2, 0.9]})
    assert shares["f1"] is shares["r2"]
    errors = Axis.each({"rmse": [55.0, 61.0], "r2": [0.3, 0.5]})
    assert (55.0, 61.0) == pytest.approx((errors["rmse"].low, errors["rmse"].high), abs=2)
    assert errors["r2"].high <= 0.5


@pytest.mark.parametrize(
    ("shift", "noise", "verdict"), [(0.0, 10, YES), (20.0, 10, NO), (-20.0, 10, NO), (9.0, 200, OPEN)]
)
def test_a_bias_is_said_where_it_is_none_of_chance(tmp_path: Path, shift: float, noise: float, verdict: str) -> None:
    """A mean error of more than a tenth of the target's spread, and of more than its own standard errors."""
    family = diabetes(tmp_path)
    drawn = np.random.default_rng(6).normal(0, 1, 89)
    off = shift + noise * (drawn - drawn.mean()) / drawn.std()

    def predict(rows: pd.DataFrame) -> np.ndarray:
        table = pd.read_csv(tmp_path / "data" / "diabetes.csv")
        return np.asarray(table["target"].to_numpy()[rows.index] + off)

    exact = SimpleNamespace(predict=lambda rows: predict(rows) - off)
    settings = Settings(home=tmp_path, tracking_uri="", registry_uri="", database_url="sqlite://")
    found = review_numbers(family, settings, SimpleNamespace(predict=predict), exact, ("v2", "v1"))

    assert ["rmse of v2 is better than that of v1", "No obvious bias", "Answers have not shifted as a whole"] == [
        check.question for check in found.checks
    ]
    assert [NO, verdict, verdict] == [check.verdict for check in found.checks]
    apart = [abs(row["apart"]) for row in found.tables[0].rows]
    assert apart == sorted(apart, reverse=True)
