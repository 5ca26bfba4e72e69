"""Forecasts beside what was sold: errors, windows, and days that are still to come."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.promotion.monitoring.logs import NOON

from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY
from promotion.errors import DataError, UsageError
from promotion.gates.evidence import Interval
from promotion.monitoring.observe.forecasts import observe_forecasts, rmspe_and_mae
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.watch import KnownVersion, Watch
from promotion.monitoring.report.page import write_monitoring_page
from promotion.monitoring.thresholds import judge

MODEL = "rossmann-ensemble"
CONFIG = load_config(REPOSITORY / "config", MODEL)
POLICY = CONFIG.monitoring


def tables(folder: Path, error: float, *, days: int = 42, version: int = 2, first: int = -41) -> tuple[Path, Path]:
    """Sales of 20 stores around noon, and forecasts that miss them by a normal error of that share."""
    random = np.random.default_rng(version)
    dates = [(NOON + timedelta(days=first + day)).date().isoformat() for day in range(days)]
    rows = pd.DataFrame([{"Store": store, "Date": date} for date in dates for store in range(1, 21)])
    sales = random.integers(3000, 9000, len(rows))
    sales[::17] = 0
    forecast = np.maximum(sales * (1 + error * random.normal(size=len(rows))), 0)
    predictions = folder / "predictions.csv"
    rows.assign(prediction=forecast, model=MODEL, version=version, run_id="r").to_csv(predictions, index=False)
    rows.assign(Sales=sales).to_csv(folder / "sales.csv", index=False)
    return predictions, folder / "sales.csv"


def look(source: Path, labels: Path | None, **changes: Any) -> Observation:
    given: dict[str, Any] = {
        "config": CONFIG,
        "source": str(source),
        "until": NOON,
        "window": timedelta(days=42),
        "labels": labels,
    }
    known = KnownVersion((MODEL, 2), True, {(MODEL, 2): {"rmspe": Interval(0.09, 0.085, 0.095)}}, {}, {})  # noqa: FBT003  # is recorded
    return observe_forecasts(Watch(**(given | changes)), known)[0]


def levels(observation: Observation) -> dict[str, str | None]:
    assert POLICY is not None
    return {finding.key: finding.level for finding in judge(observation, POLICY) if finding.key == "rmspe"}


@pytest.mark.parametrize(
    ("error", "expected"), [(0.085, {}), (0.125, {"rmspe": "warning"}), (0.2, {"rmspe": "critical"})]
)
@pytest.mark.system
def test_an_error_that_rose_is_found(tmp_path: Path, error: float, expected: dict[str, str]) -> None:
    """0.09 at promotion: 0.125 is a warning, 0.2 critical; absolute differences upwards."""
    seen = look(*tables(tmp_path, error))
    value = seen.metrics["rmspe"].value

    assert value == pytest.approx(error, rel=0.1)
    assert expected == levels(seen)
    assert (840, 840, 1.0) == (seen.rows, seen.labelled, seen.coverage)


def test_the_errors_are_the_published_formulas() -> None:
    """Rows without sales have no percentage, and an absolute error all the same."""
    sales, forecast = np.array([100.0, 200.0, 0.0]), np.array([110.0, 180.0, 30.0])
    found = rmspe_and_mae(sales, forecast, np.array([1, 2, 1]))

    assert pytest.approx(0.1) == found["rmspe"][0]
    assert pytest.approx(20.0) == found["mae"][0]
    assert {"mae"} == set(rmspe_and_mae(np.zeros(2), np.ones(2), np.array([1, 2])))


@pytest.mark.system
def test_days_to_come_are_not_looked_at(tmp_path: Path) -> None:
    """A forecast of the next weeks is no mistake and no data yet."""
    source, labels = tables(tmp_path, 0.085, days=60)
    seen = look(source, labels)

    assert 840 == seen.rows
    assert levels(seen) == {}


def test_sales_that_have_not_arrived_leave_it_open(tmp_path: Path) -> None:
    """Without labels, or with those of three days: not enough data."""
    source, labels = tables(tmp_path, 0.5)
    table = pd.read_csv(labels)
    table.head(60).to_csv(labels, index=False)

    assert {"rmspe": None} == levels(look(source, None))
    assert {"rmspe": None} == levels(look(source, labels))


@pytest.mark.system
def test_the_page_shows_a_forecast(tmp_path: Path) -> None:
    """With the error over time and its bounds."""
    seen = look(*tables(tmp_path, 0.2))
    path = tmp_path / "reports" / "monitoring" / "rossmann.html"
    assert POLICY is not None
    write_monitoring_page(path, CONFIG, [(seen, judge(seen, POLICY))], [], [], at=NOON)

    assert "rmspe over time" in path.read_text(encoding="utf-8")


def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path) -> None:
    """Missing, another kind, without its columns; and no Spark."""
    source, labels = tables(tmp_path, 0.1)
    for path, kind, says in (
        (tmp_path / "no.csv", UsageError, "no such file"),
        (tmp_path / "log.jsonl", UsageError, "come as"),
        (labels, DataError, "'prediction' is missing"),
    ):
        with pytest.raises(kind, match=says):
            look(path, labels)
    with pytest.raises(UsageError, match="not by Spark"):
        look(source, labels, engine="spark")
