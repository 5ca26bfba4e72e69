"""Features are made from what was known at the origin, for the row's own store, and from nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.models.forecast.conftest import make_sales

from models.forecast.calendar import calendar_features
from models.forecast.data.sales import Sales
from models.forecast.features import Features, build_features
from models.forecast.history import History, day_numbers
from models.forecast.windows import Window, holdout
from promotion.errors import DataError


@pytest.fixture
def window(sales: Sales) -> Window:
    return holdout(History.of(sales.rows).last_day, 42)


@pytest.fixture
def held(sales: Sales, window: Window) -> pd.DataFrame:
    return sales.rows[window.holds(day_numbers(sales.rows["Date"]))]


def _features(sales: Sales, rows: pd.DataFrame, origin: int) -> Features:
    return build_features(rows, sales.stores, History.of(sales.rows), np.full(len(rows), origin))


def _same(first: Features, second: Features) -> bool:
    return first.table.equals(second.table) and bool(np.array_equal(first.base, second.base))


def _with_sales(sales: Sales, where: np.ndarray, values: int | np.ndarray) -> Sales:
    sold = sales.rows["Sales"].to_numpy().copy()
    sold[where] = values
    return replace(sales, rows=sales.rows.assign(Sales=sold))


def test_targets_inside_the_horizon_move_no_feature(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """Whatever was sold after the origin, a lot, nothing or the truth, the features are the same to the last bit."""
    inside = window.holds(day_numbers(sales.rows["Date"]))
    expected = _features(sales, held, window.origin)

    for values in (0, 123_456, np.random.default_rng(1).integers(0, 50_000, inside.sum())):
        assert _same(expected, _features(_with_sales(sales, inside, values), held, window.origin))


def test_other_stores_move_no_feature(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """A store's features come from its own past: the others' sales may be anything, the others may be missing."""
    own = held[held["Store"] == 3]
    expected = _features(sales, own, window.origin)
    others = (sales.rows["Store"] != 3).to_numpy()
    alone = replace(sales, rows=sales.rows[~others])

    assert _same(expected, _features(_with_sales(sales, others, 99_999), own, window.origin))
    assert _same(expected, _features(alone, own, window.origin))


def test_the_last_known_day_moves_features(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """The test above would pass with features that look at nothing: the day of the origin itself is looked at."""
    last = day_numbers(sales.rows["Date"]) == window.origin - 1
    changed = _with_sales(sales, last, 1)

    assert not _same(_features(sales, held, window.origin), _features(changed, held, window.origin))


def test_training_rows_know_nothing_of_their_own_window(sales: Sales, sold: pd.DataFrame) -> None:
    """At many origins at once, each row is made as if its origin were the only one and the future did not exist."""
    history = History.of(sales.rows)
    rows = sold[(sold["Date"] >= "2014-09-01") & (sold["Date"] < "2015-03-01")]
    days = day_numbers(rows["Date"])
    origins = history.last_day - 42 * (1 + (history.last_day - days) // 42)
    together = build_features(rows, sales.stores, history, origins)

    for origin in np.unique(origins)[[0, -1]]:
        at = origins == origin
        alone = build_features(rows[at], sales.stores, history.until(int(origin)), origins[at])
        pd.testing.assert_frame_equal(alone.table, together.table[at])


def test_an_origin_on_or_after_its_day_is_refused(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """Nobody can ask for a feature that knows its own answer."""
    with pytest.raises(ValueError, match="before the day"):
        _features(sales, held, window.origin + 1)


def test_rows_may_come_in_any_order_and_number(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """A row's features do not depend on the rows beside it."""
    together = _features(sales, held, window.origin)
    shuffled = held.sample(frac=0.3, random_state=1)

    apart = _features(sales, shuffled, window.origin)

    pd.testing.assert_frame_equal(together.table.loc[shuffled.index], apart.table)


def test_an_unknown_store_is_named(sales: Sales, held: pd.DataFrame, window: Window) -> None:
    """A store without history cannot be forecast."""
    with pytest.raises(DataError, match="no history of store 77"):
        _features(sales, held.assign(Store=77), window.origin)


def test_long_closures_are_remembered(sales: Sales) -> None:
    """Days since a store opened again are counted from its first day of sales."""
    closed = (sales.rows["Store"] == 2) & sales.rows["Date"].between("2015-05-01", "2015-05-31")
    reopened = _with_sales(sales, closed.to_numpy(), 0)
    rows = sales.rows[(sales.rows["Store"] == 2) & (sales.rows["Date"] == "2015-06-25")]
    origin = int(day_numbers(rows["Date"])[0]) - 6

    features = _features(reopened, rows, origin)

    assert 24 == features.table["since_reopening"].iloc[0]


@pytest.mark.parametrize(
    ("day", "name", "expected"),
    [
        ("2015-04-05", "from_easter", 0),
        ("2015-05-01", "since_holiday", 0),
        ("2015-04-30", "until_holiday", 1),
        ("2015-12-24", "until_holiday", 1),
        ("2015-02-28", "days_to_month_end", 0),
        ("2015-07-31", "weekday", 4),
    ],
)
def test_the_calendar_is_right(day: str, name: str, expected: float) -> None:
    """Weekdays, month ends and German public holidays of known days."""
    number = day_numbers(pd.Series(pd.to_datetime([day])))

    assert expected == calendar_features(number)[name][0]


def test_the_same_seed_gives_the_same_stores() -> None:
    """Invented data can be made again; another seed makes other data."""
    first, again, other = make_sales(3, 200), make_sales(3, 200), make_sales(3, 200, seed=7)

    pd.testing.assert_frame_equal(first.rows, again.rows)
    assert not first.rows["Sales"].equals(other.rows["Sales"])
