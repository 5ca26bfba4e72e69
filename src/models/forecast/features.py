"""One function makes the features at training, validation and prediction; nothing sold after the origin is in.

A forecast is issued at the end of a day, its *origin*, for the days behind it. `build_features` cuts the history at
each row's origin before anything is computed, and looks at the row's own store only: a target inside the horizon, or
another store's, cannot move a feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.calendar import calendar_features, same_day_last_year, same_easter_day_last_year
from models.forecast.history import Days, Floats, History, day_numbers

_WEEKS = 108  # of the past that is looked at: two years, and the weeks around the same day two years ago
_DAYS = 7 * _WEEKS
_LOOKBACK_WEEKS = (104, 52, 26, 13, 6)  # long to short: each is drawn towards the one before
_PRIOR_DAYS = 3.0  # how many days' weight the longer look-back has in the shorter one
_LEVEL_DAYS = (7, 14, 28, 56, 112)
_LEVEL_PRIOR_DAYS = 5.0
_YEAR = 364
_CLOSURE_DAYS = 14
_MONTHLY_BUCKETS = 6
INTERVALS = {"Jan,Apr,Jul,Oct": 1, "Feb,May,Aug,Nov": 2, "Mar,Jun,Sept,Dec": 3}
_HOLIDAYS = {"0": 0, "a": 1, "b": 2, "c": 3}
KINDS = {"a": 0, "b": 1, "c": 2, "d": 3}


@dataclass(frozen=True, slots=True)
class Features:
    """What a booster sees.

    Attributes:
        table: One line a row, float32; NaN where the past says nothing.
        base: ln(1 + sales) expected from the store's own weekday and promotion means and its recent level, shape
            (rows,); boosters learn what is left. NaN for a store without sales before the origin.
    """

    table: pd.DataFrame
    base: NDArray[np.float64]


def build_features(rows: pd.DataFrame, stores: pd.DataFrame, history: History, origins: Days) -> Features:
    """Make the features of each row from what was known at its origin.

    Args:
        rows: What is known in advance: columns Store, Date, Promo, StateHoliday, SchoolHoliday.
        stores: Kaggle's store table, one line a store.
        history: Past sales; may reach beyond the origins, is cut there.
        origins: Last known day of each row, days since 1970-01-01, shape (rows,); before the row's own day.

    Returns:
        Features in the order of the rows. Cost is linear in rows, and in stores × distinct origins.

    Raises:
        DataError: A row's store has no history.
        ValueError: An origin is not before its row's day.
    """
    days = day_numbers(rows["Date"])
    if (origins >= days).any():
        message = "an origin must lie before the day it is used for"
        raise ValueError(message)
    asked, lines = np.unique(history.positions(rows["Store"].to_numpy(dtype=np.int64)), return_inverse=True)
    history = history.of_stores(asked)
    known = calendar_features(days) | _attributes(rows, stores, days)
    known["horizon"] = (days - origins).astype(np.float32)
    parts: list[tuple[NDArray[np.intp], dict[str, Floats]]] = []
    for origin in np.unique(origins):
        at = np.flatnonzero(origins == origin)
        promo = rows["Promo"].to_numpy(dtype=np.int64)[at]
        monthly = known["day_of_month"][at]
        past = _Past(history.until(int(origin)))
        parts.append((at, past.features(lines[at], days[at], promo, monthly)))
    columns = {name: np.empty(len(rows), dtype=np.float32) for name in (parts[0][1] if parts else ())}
    for at, values in parts:
        for name, column in values.items():
            columns[name][at] = column
    base = columns.pop("base", np.empty(0, dtype=np.float32)).astype(np.float64)
    return Features(pd.DataFrame(known | columns, index=rows.index), base)


def _attributes(rows: pd.DataFrame, stores: pd.DataFrame, days: Days) -> dict[str, Floats]:
    """What the row and the store table say: promotions, holidays, kind of store, competition."""
    table = stores.set_index("Store")
    line = table.index.get_indexer(pd.Index(rows["Store"]))

    def of_store(column: pd.Series) -> Floats:
        values = np.append(column.to_numpy(dtype=np.float32), np.float32(np.nan))
        return values[line]

    dates = pd.to_datetime(pd.Series(days), unit="D")
    months = (12 * dates.dt.year + dates.dt.month).to_numpy(dtype=np.float32)
    opened = of_store(12 * table["CompetitionOpenSinceYear"] + table["CompetitionOpenSinceMonth"])
    began = pd.to_datetime(
        table["Promo2SinceYear"].astype("Int64").astype("string")
        + "-"
        + table["Promo2SinceWeek"].astype("Int64").astype("string")
        + "-1",
        format="%G-%V-%u",
    )
    since = days - of_store((began - pd.Timestamp(0)).dt.days.astype("float64"))
    interval = of_store(table["PromoInterval"].map(INTERVALS).astype("float64"))
    in_month = (dates.dt.month.to_numpy() - interval) % 3 == 0
    return {
        "promo": rows["Promo"].to_numpy(dtype=np.float32),
        "state_holiday": rows["StateHoliday"].astype(str).map(_HOLIDAYS).to_numpy(dtype=np.float32),
        "school_holiday": rows["SchoolHoliday"].to_numpy(dtype=np.float32),
        "store_type": of_store(table["StoreType"].map(KINDS)),
        "assortment": of_store(table["Assortment"].map(KINDS)),
        "competition_distance": of_store(np.log1p(table["CompetitionDistance"])),
        "competition_months": np.clip(months - opened, -12, 60).astype(np.float32),
        "promo2_weeks": np.clip(since / 7, -1, 200).astype(np.float32),
        "promo2_starts": np.where((since >= 0) & in_month, 1, 0).astype(np.float32),
    }


class _Past:
    """Summaries of every store at one origin; `past` ends there, so nothing later can get in."""

    def __init__(self, past: History) -> None:
        self._origin = past.last_day
        self._log_sales = _last_days(past.log_sales, np.float32(np.nan))
        promo, school = _last_days(past.promo, np.int8(0)), _last_days(past.school, np.int8(0))
        self._open = np.isfinite(self._log_sales)
        sales = np.where(self._open, self._log_sales, np.float32(0))
        self._means = _cell_means(sales, self._open, promo)
        expected = self._expected(self._means[52], promo)
        residual = np.where(self._open, self._log_sales - expected, np.float32(0)).astype(np.float64)
        self._running = _Running(residual, self._open)
        self._promo_running = _Running(residual, self._open & (promo == 1))
        self._plain_running = _Running(residual, self._open & (promo == 0))
        self._squares = _Running(residual**2, self._open)
        self._school = _Running(residual, self._open & (school == 1))
        self._residual = residual

    def features(self, line: NDArray[np.intp], days: Days, promo: Days, day_of_month: Floats) -> dict[str, Floats]:
        """Columns of the rows: `line` is their store's line, `days` what is predicted."""
        place = (days - self._origin - 1) % 7  # column in a week that ends at the origin
        cells = {f"mean_{weeks}w": mean[line, place, promo] for weeks, mean in self._means.items()}
        stores = self._of_stores()
        columns = {name: values[line] for name, values in stores.items()}
        columns |= self._of_season(line, days, stores)
        columns |= self._of_day_in_month(line, day_of_month)
        columns["since_reopening"] = np.minimum(days - self._reopened()[line], _YEAR)
        base = cells["mean_52w"] + columns["level_56d"]
        relative = {f"{name}_to_base": value - base for name, value in cells.items()}
        named = relative | columns | {"base": base, "expected": base}
        return {name: np.asarray(value, dtype=np.float32) for name, value in named.items()}

    def _expected(self, mean: Floats, promo: NDArray[np.int8]) -> Floats:
        place = np.tile(np.arange(7), _WEEKS)
        return np.where(promo == 1, mean[:, place, 1], mean[:, place, 0])

    def _of_stores(self) -> dict[str, NDArray[np.float64]]:
        columns = {}
        for length in _LEVEL_DAYS:
            total, count = self._running.total(_DAYS - length, _DAYS)
            columns[f"level_{length}d"] = total / (count + _LEVEL_PRIOR_DAYS)
        for name, running in (("promo", self._promo_running), ("plain", self._plain_running)):
            total, count = running.total(_DAYS - 42, _DAYS)
            columns[f"level_{name}"] = total / (count + _LEVEL_PRIOR_DAYS)
        total, count = self._school.total(_DAYS - _YEAR, _DAYS)
        columns["school_effect"] = total / (count + _LEVEL_PRIOR_DAYS)
        total, count = self._squares.total(_DAYS - 182, _DAYS)
        columns["spread"] = np.sqrt(_ratio(total, count))
        columns["growth"] = _mean(self._running, _DAYS - 56, _DAYS) - _mean(
            self._running, _DAYS - _YEAR - 56, _DAYS - _YEAR
        )
        columns["last_year_level"] = _mean(self._running, _DAYS - _YEAR - 28, _DAYS - _YEAR)
        _, opened = self._running.total(_DAYS - 91, _DAYS)
        columns["open_share"] = opened / 91
        return columns

    def _of_season(
        self, line: NDArray[np.intp], days: Days, stores: dict[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        """What the store did around the same day a year ago, against its level then."""
        then = stores["last_year_level"][line]
        columns = {}
        last = self._column(same_day_last_year(days))
        for name, at in (("year", last), ("two_years", last - _YEAR)):
            for reach in (3, 10):
                columns[f"{name}_ago_{reach}d"] = self._around(line, at, reach)
        columns["year_ago_change"] = columns["year_ago_10d"] - then
        columns["year_ago_day"] = self._around(line, last, 0)
        easter, near = same_easter_day_last_year(days)
        at = self._column(easter)
        columns["easter_ago_day"] = np.where(near, self._around(line, at, 0), np.nan)
        columns["easter_ago_3d"] = np.where(near, self._around(line, at, 3), np.nan)
        return columns

    def _of_day_in_month(self, line: NDArray[np.intp], day_of_month: Floats) -> dict[str, NDArray[np.float64]]:
        """How the store sells in the same part of the month, over a year."""
        bucket = np.minimum((np.arange(1, 32) - 1) // 5, _MONTHLY_BUCKETS - 1)
        dates = pd.to_datetime(np.arange(self._origin - _YEAR + 1, self._origin + 1), unit="D")
        which = bucket[dates.day.to_numpy() - 1]
        recent, opened = self._residual[:, -_YEAR:], self._open[:, -_YEAR:]
        # Masked rows of full length keep the order of adding, so the last bit, the same for any set of stores.
        table = np.stack(
            [
                np.where(which == number, recent, 0.0).sum(axis=1)
                / ((opened & (which == number)).sum(axis=1) + _LEVEL_PRIOR_DAYS)
                for number in range(_MONTHLY_BUCKETS)
            ],
            axis=1,
        )
        return {"month_part": table[line, bucket[day_of_month.astype(np.int64) - 1]]}

    def _reopened(self) -> Days:
        """First day of sales behind each store's last long closure; far back where there was none."""
        column = np.where(self._open, np.arange(_DAYS), -1)
        before = np.maximum.accumulate(column, axis=1)
        gap = np.zeros_like(column)
        gap[:, 1:] = column[:, 1:] - before[:, :-1]
        long = self._open & (gap > _CLOSURE_DAYS)
        long[:, 1:] &= before[:, :-1] >= 0
        last = np.where(long, np.arange(_DAYS), -_YEAR).max(axis=1)
        reopened: Days = self._origin - _DAYS + 1 + last
        return reopened

    def _column(self, days: Days) -> Days:
        return days - self._origin + _DAYS - 1

    def _around(self, line: NDArray[np.intp], column: Days, reach: int) -> NDArray[np.float64]:
        start, stop = np.clip(column - reach, 0, _DAYS), np.clip(column + reach + 1, 0, _DAYS)
        return _ratio(*self._running.between(line, start, stop))


class _Running:
    """Sums over any span of days in constant time."""

    def __init__(self, values: NDArray[np.float64], counted: NDArray[np.bool_]) -> None:
        self._sums = _cumulative(np.where(counted, values, 0.0))
        self._counts = _cumulative(counted.astype(np.float64))

    def total(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._sums[:, stop] - self._sums[:, start], self._counts[:, stop] - self._counts[:, start]

    def between(
        self, line: NDArray[np.intp], start: Days, stop: Days
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (
            self._sums[line, stop] - self._sums[line, start],
            self._counts[line, stop] - self._counts[line, start],
        )


def _cell_means(sales: Floats, is_open: NDArray[np.bool_], promo: NDArray[np.int8]) -> dict[int, Floats]:
    """Mean ln(1 + sales) by place in the week and promotion for each look-back, each drawn towards the longer one.

    Returns:
        By look-back in weeks, shape (stores, 7, 2).
    """
    stores = len(sales)
    shape = (stores, _WEEKS, 7)
    promoted = (promo == 1) & is_open
    plain = (promo == 0) & is_open
    total, count = sales.sum(axis=1, dtype=np.float64), is_open.sum(axis=1)
    overall = _ratio(total, count)
    prior = np.broadcast_to(overall[:, None, None], (stores, 7, 2))
    means = {}
    for weeks in _LOOKBACK_WEEKS:
        sums, counts = [], []
        for chosen in (plain, promoted):
            window = np.where(chosen, sales, np.float32(0)).reshape(shape)[:, -weeks:]
            sums.append(window.sum(axis=1, dtype=np.float64))
            counts.append(chosen.reshape(shape)[:, -weeks:].sum(axis=1))
        prior = (np.stack(sums, axis=2) + _PRIOR_DAYS * prior) / (np.stack(counts, axis=2) + _PRIOR_DAYS)
        means[weeks] = prior.astype(np.float32)
    return means


def _last_days(values: NDArray[Any], missing: np.generic) -> NDArray[Any]:
    """The last `_DAYS` columns, filled up on the left."""
    lacking = max(0, _DAYS - values.shape[1])
    return np.pad(values[:, -_DAYS:], ((0, 0), (lacking, 0)), constant_values=missing)


def _cumulative(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _mean(running: _Running, start: int, stop: int) -> NDArray[np.float64]:
    return _ratio(*running.total(start, stop))


def _ratio(total: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return quotient
