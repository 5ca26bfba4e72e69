"""The ensemble: what it may learn from, how it is weighed, and that it comes back from its files unchanged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.models.forecast.conftest import quick_plan

from models.forecast.data.sales import Sales
from models.forecast.ensemble import Ensemble
from models.forecast.evaluation.rmspe import fit_weights, rmspe
from models.forecast.history import day_numbers
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training import learning
from models.forecast.training.learning import Learned, Learner
from models.forecast.training.training import plan_of
from models.forecast.windows import Window, folds_before, holdout, origins_of, training_rows
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY
from promotion.errors import ArtifactRefused, ConfigError, DataError

pytestmark = pytest.mark.system


@pytest.fixture
def held(sales: Sales, learned: Learned) -> pd.DataFrame:
    return sales.rows[learned.window.holds(day_numbers(sales.rows["Date"]))]


def test_nothing_of_the_holdout_is_learned(sales: Sales, learned: Learned, held: pd.DataFrame) -> None:
    """With other sales in the last 42 days, the same ensemble comes out: weights, boosters and forecasts of them.

    So does a second training with the same seed on the same days.
    """
    changed = sales.rows.copy()
    changed.loc[held.index, "Sales"] = np.random.default_rng(3).integers(0, 40_000, len(held))

    other = Learner(replace(sales, rows=changed), quick_plan()).learn()

    assert learned.ensemble.weights == other.ensemble.weights
    rows = held[list(INPUT_COLUMNS)]
    np.testing.assert_array_equal(learned.ensemble.predict(rows), other.ensemble.predict(rows))


def test_a_fold_is_learned_from_what_lies_before_it(sales: Sales, learned: Learned) -> None:
    """Cut off everything behind a fold, and its forecasts are the same."""
    fold = learned.folds["lightgbm"][1]
    days = day_numbers(sales.rows["Date"])
    early = replace(sales, rows=sales.rows[days <= fold.window.last])

    plan = quick_plan(folds=1)
    learner = Learner(early, replace(plan, params={"lightgbm": plan.params["lightgbm"]}))

    again = learner.learn(Window(fold.window.last, fold.window.last + 42))

    np.testing.assert_array_equal(fold.forecast, again.folds["lightgbm"][0].forecast)


def test_the_forecast_is_better_than_the_stores_means(sales: Sales, learned: Learned, held: pd.DataFrame) -> None:
    """Even a small ensemble learns the structure of invented stores."""
    found = rmspe(held["Sales"].to_numpy(dtype=float), learned.ensemble.predict(held))

    assert 0.05 < found < 0.11


def test_closed_stores_sell_nothing_and_an_empty_open_is_open(learned: Learned, held: pd.DataFrame) -> None:
    """Zero where Open is 0; a missing Open, as in Kaggle's test file, is forecast."""
    row = held[held["Open"] == 1].head(1)

    closed, unknown, opened = (learned.ensemble.predict(row.assign(Open=value))[0] for value in (0, np.nan, 1))

    assert 0 == closed
    assert opened == unknown > 0


def test_every_row_is_answered_on_its_own(learned: Learned, held: pd.DataFrame) -> None:
    """One row, any order, any chunk: the same euros; Sales beside the inputs are not looked at."""
    together = learned.ensemble.predict(held)
    places = [0, 17, 101]

    apart = [learned.ensemble.predict(held.iloc[[place]].assign(Sales=1))[0] for place in places]

    np.testing.assert_array_equal(together[places], apart)


def test_a_store_without_a_past_does_not_stop_the_others(sales: Sales, learned: Learned) -> None:
    """A store that opens inside the holdout is not learned from, not scored, and named when somebody asks for it."""
    before = (sales.rows["Store"] == 5) & (day_numbers(sales.rows["Date"]) <= learned.window.origin)
    young = replace(sales, rows=sales.rows.assign(Sales=sales.rows["Sales"].where(~before, 0)))
    plan = quick_plan(folds=1, rounds=5)
    learner = Learner(young, replace(plan, params={"lightgbm": plan.params["lightgbm"]}))

    ensemble = learner.learn().ensemble

    rows = learner.sold_in(learned.window)
    assert 5 not in set(rows["Store"])
    assert np.isfinite(ensemble.predict(rows)).all()
    with pytest.raises(DataError, match="store 5 had no sales"):
        ensemble.predict(young.rows[(young.rows["Store"] == 5) & (young.rows["Sales"] > 0)])


def test_files_give_the_same_forecasts(learned: Learned, held: pd.DataFrame, tmp_path: Path) -> None:
    """Saved in native formats and read back, no forecast changes."""
    learned.ensemble.save(tmp_path / "ensemble")

    again = Ensemble.load(tmp_path / "ensemble")

    np.testing.assert_allclose(again.predict(held), learned.ensemble.predict(held), rtol=1e-12)


@pytest.mark.parametrize("name", ["ensemble.json", "lightgbm.txt", "xgboost.ubj", "catboost.cbm", "history.npz"])
def test_a_broken_file_is_refused(learned: Learned, tmp_path: Path, name: str) -> None:
    """A missing or damaged file is one clear line, whichever it is."""
    learned.ensemble.save(tmp_path)
    (tmp_path / name).write_bytes(b"not this")

    with pytest.raises(ArtifactRefused):
        Ensemble.load(tmp_path)


def test_a_later_format_is_refused(learned: Learned, tmp_path: Path) -> None:
    """An ensemble of another format says which commit to use."""
    learned.ensemble.save(tmp_path)
    facts = json.loads((tmp_path / "ensemble.json").read_text())
    (tmp_path / "ensemble.json").write_text(json.dumps(facts | {"format": 99}))

    with pytest.raises(ArtifactRefused, match="format 99"):
        Ensemble.load(tmp_path)


def test_a_wrong_parameter_is_named(sales: Sales) -> None:
    """A booster that refuses a parameter says so as a mistake in the file."""
    plan = quick_plan(params={"catboost": {"no_such_parameter": 1}})

    with pytest.raises(ConfigError, match=r"candidates\.catboost\.params"):
        Learner(sales, plan).learn()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("Date", "tomorrow", "must be a date"), ("StateHoliday", "x", "one of 0, a, b, c"), ("Promo", 2, "one of 0, 1")],
)
def test_wrong_rows_are_refused(learned: Learned, held: pd.DataFrame, column: str, value: object, message: str) -> None:
    """Rows that break their contract are named with column, rule and line."""
    rows = held.head(3).astype({column: object})
    rows[column] = [rows[column].iloc[0], value, rows[column].iloc[2]]

    with pytest.raises(DataError, match=message):
        learned.ensemble.predict(rows)


def test_rmspe_ignores_days_without_sales() -> None:
    """Kaggle's metric: 10 % off twice is 0.1, and a closed day does not count."""
    assert pytest.approx(0.1) == rmspe(np.array([100.0, 200.0, 0.0]), np.array([90.0, 220.0, 500.0]))


def test_weights_prefer_the_better_forecast() -> None:
    """A noisy member weighs less than a good one, and none is left out."""
    random = np.random.default_rng(0)
    sales = np.exp(random.normal(8, 0.5, 2000))
    good, bad = (sales * np.exp(random.normal(0, noise, 2000)) for noise in (0.05, 0.2))

    weights = fit_weights(sales, np.stack([good, bad], axis=1))

    assert weights[0] > weights[1] > 0


def test_origins_lie_before_the_windows() -> None:
    """Days of the known past are predicted from before their own 42 days; later days from everything."""
    days = np.array([1000, 959, 958, 1001, 1100])

    assert [958, 958, 916, 1000, 1000] == origins_of(days, 1000, 42).tolist()


def test_a_day_is_learned_from_several_distances(sold: pd.DataFrame) -> None:
    """Once from each offset, never from its own day or later, and nothing behind the last known day."""
    last = int(day_numbers(sold["Date"]).max()) - 42

    past = training_rows(sold, last, horizon=42, offsets=[0, 14, 28], first_origin=last - 200)

    days = day_numbers(past.rows["Date"])
    distance = days - past.origins
    assert days.max() == last
    assert (distance >= 1).all()
    assert (distance <= 42 + 28).all()
    one_day = distance[(days == last - 50) & (past.rows["Store"] == 1).to_numpy()]
    assert 3 == len(set(one_day))


def test_several_origins_pay_off(sales: Sales, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the past is short, days seen from several distances foretell better than days seen from a single one."""
    plan = quick_plan(fold_rows=20_000, final_rows=20_000, warm_up=56)
    plan = replace(plan, params={"lightgbm": plan.params["lightgbm"]})

    def forecast_error() -> float:
        learner = Learner(sales, plan)
        window = folds_before(holdout(learner.history.last_day, 42), 12)[-1]
        rows = learner.sold_in(window)
        return rmspe(rows["Sales"].to_numpy(dtype=float), learner.learn(window).ensemble.predict(rows))

    several = forecast_error()
    monkeypatch.setattr(learning, "_ORIGINS", 1)

    assert several < forecast_error()


def test_folds_end_where_the_next_window_begins() -> None:
    """Windows follow each other without a gap."""
    last = holdout(1000, 42)

    assert [Window(916, 958), Window(874, 916)] == folds_before(last, 2)


@pytest.mark.parametrize(("cores", "load", "free"), [(8, 0.3, 8), (8, 2.9, 6), (2, 2.0, 1), (2, 9.0, 1)])
def test_boosters_use_the_processors_that_nobody_else_is_busy_on(
    monkeypatch: pytest.MonkeyPatch, cores: int, load: float, free: int
) -> None:
    """At least one; the family's file or the caller says otherwise."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(cores)))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    config = load_config(REPOSITORY / "config", "rossmann-ensemble")

    assert free == plan_of(config).threads
    assert 5 == plan_of(config, threads=5).threads


def test_a_sample_is_less_work_in_rows_and_rounds() -> None:
    """Rows alone save little where there are few stores."""
    config = load_config(REPOSITORY / "config", "rossmann-ensemble")
    whole, sample = plan_of(config), plan_of(config, sample=True)

    assert (10_000, 10_000, 200, 15) == (sample.fold_rows, sample.final_rows, sample.rounds, sample.patience)
    assert (whole.folds, whole.params) == (sample.folds, sample.params)
