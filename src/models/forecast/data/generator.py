"""Invented stores for people without Kaggle's files: the same columns, a believable structure, one seed.

Nothing here was fitted to anybody's sales. Each store sells its own level times weekday, promotion, season, holiday and
slowly drifting factors, with noise of a few percent, as a chain of drugstores might.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.calendar import calendar_features
from models.forecast.history import Days
from promotion.data.arrays import FloatArray

FIRST_DAY = np.datetime64("2013-01-01", "D")
ALL_DAYS = 942
_NOISE = 0.068  # standard deviation of ln(sales) from one day to the next, unexplained
_DRIFT = 0.0022  # of a store's level, a day
# Half a year without rows in one store of six, as in Kaggle's file.
_GAP = tuple(int(np.datetime64(day, "D").astype(np.int64)) for day in ("2014-07-01", "2014-12-31"))
_GAP_SHARE = 180 / 1115
_INTERVALS = np.array(["Jan,Apr,Jul,Oct", "Feb,May,Aug,Nov", "Mar,Jun,Sept,Dec"], dtype=object)
_WEEKDAY = np.log([1.17, 1.03, 0.98, 0.98, 1.03, 0.87, 1.05])
_SATURDAY, _SUNDAY = 5, 6
_YEAR_DAYS = 365.25


@dataclass(frozen=True, slots=True)
class Invented:
    """Two tables with Kaggle's columns: `train`, one line a store and day, newest day first, and `store`."""

    train: pd.DataFrame
    store: pd.DataFrame


def invent_sales(stores: int = 200, days: int = ALL_DAYS, seed: int = 42) -> Invented:
    """Make up sales of some stores.

    Args:
        stores: How many, numbered from 1.
        days: From 2013-01-01 on.
        seed: The same seed gives the same tables.
    """
    random = np.random.default_rng(seed)
    store = _store_table(stores, random)
    day = FIRST_DAY.astype(np.int64) + np.arange(days)
    calendar = calendar_features(day)
    weekday = calendar["weekday"].astype(np.int64)
    promo = _promo(weekday, random)
    regions = random.integers(0, 8, stores)
    school = _school(day, random)[regions]
    holiday = _holidays(calendar)
    sunday_open = (store["StoreType"] == "b").to_numpy()[:, None] & (weekday == _SUNDAY)
    regular = (weekday != _SUNDAY) & (holiday == "0")
    is_open = (regular | (sunday_open & (holiday == "0"))) & ~_refurbished(stores, days, random)
    mean = _log_sales(store, day, calendar, promo, school, random)
    noise = random.standard_t(6, (stores, days)) * _NOISE * np.sqrt(4 / 6)
    sales = np.where(is_open, np.rint(np.exp(mean + noise)), 0).astype(np.int64)
    basket = random.normal(9.3, 1.2, (stores, 1)).clip(5, 14)
    customers = np.rint(sales / (basket * np.exp(random.normal(0, 0.04, (stores, days))))).astype(np.int64)
    newest_first = slice(None, None, -1)

    def column(values: NDArray[Any], dtype: Any = np.int64) -> NDArray[Any]:
        flat: NDArray[Any] = np.broadcast_to(values, (stores, days)).T[newest_first].reshape(-1).astype(dtype)
        return flat

    recorded = np.ones((stores, days), dtype=bool)
    gone = random.choice(stores, round(_GAP_SHARE * stores), replace=False)
    recorded[np.ix_(gone, (day >= _GAP[0]) & (day <= _GAP[1]))] = False
    train = pd.DataFrame(
        {
            "Store": column(np.arange(1, stores + 1)[:, None]),
            "DayOfWeek": column(weekday + 1),
            "Date": column(day.astype("datetime64[D]"), "datetime64[s]"),
            "Sales": column(sales),
            "Customers": column(customers),
            "Open": column(is_open),
            "Promo": column(promo),
            "StateHoliday": pd.Categorical(column(holiday, "U1"), categories=["0", "a", "b", "c"]),
            "SchoolHoliday": column(school),
        }
    )
    kept = column(recorded, np.bool_)
    return Invented(train[kept].reset_index(drop=True), store)


def _store_table(stores: int, random: np.random.Generator) -> pd.DataFrame:
    kind = random.choice(["a", "b", "c", "d"], stores, p=[0.54, 0.015, 0.133, 0.312])
    competition = random.random(stores) < 0.68
    promo2 = random.random(stores) < 0.51

    def only(where: NDArray[np.bool_], values: NDArray[Any]) -> FloatArray:
        return np.where(where, values.astype(np.float64), np.nan)

    return pd.DataFrame(
        {
            "Store": np.arange(1, stores + 1),
            "StoreType": kind,
            "Assortment": random.choice(["a", "b", "c"], stores, p=[0.53, 0.01, 0.46]),
            "CompetitionDistance": (10 * np.rint(np.exp(random.normal(7.7, 1.2, stores)).clip(20, 76000) / 10)),
            "CompetitionOpenSinceMonth": only(competition, random.integers(1, 13, stores)),
            "CompetitionOpenSinceYear": only(competition, random.integers(2002, 2016, stores)),
            "Promo2": promo2.astype(np.int64),
            "Promo2SinceWeek": only(promo2, random.integers(1, 51, stores)),
            "Promo2SinceYear": only(promo2, random.integers(2009, 2015, stores)),
            "PromoInterval": pd.Series(random.choice(_INTERVALS, stores, p=[0.59, 0.23, 0.18])).where(promo2),
        }
    )


def _promo(weekday: Days, random: np.random.Generator) -> NDArray[np.bool_]:
    """Monday to Friday of every other week, with a week moved now and then."""
    week = np.cumsum(weekday == 0)
    turns = (np.arange(week.max() + 1) % 2 == 0) ^ (random.random(week.max() + 1) < 0.05)
    promoted: NDArray[np.bool_] = turns[week] & (weekday < _SATURDAY)
    return promoted


def _school(day: Days, random: np.random.Generator) -> NDArray[np.bool_]:
    """School holidays of eight regions: Christmas, Easter, summer, autumn, each region on its own weeks."""
    of_year = pd.to_datetime(day, unit="D").day_of_year.to_numpy()
    easter = calendar_features(day)["from_easter"]
    regions = []
    for _ in range(8):
        summer, autumn = random.integers(170, 212), random.integers(276, 298)
        regions.append(
            (of_year <= 5)
            | (of_year >= 357)
            | ((easter >= -9) & (easter <= 8))
            | ((of_year >= summer) & (of_year < summer + 43))
            | ((of_year >= autumn) & (of_year < autumn + 12))
        )
    weekday = calendar_features(day)["weekday"]
    return np.array(regions) & (weekday < _SATURDAY)


def _holidays(calendar: dict[str, NDArray[np.float32]]) -> NDArray[np.str_]:
    """Kaggle's letters: a public holiday, b Easter, c Christmas, 0 none."""
    is_holiday = calendar["since_holiday"] == 0
    is_easter = np.isin(calendar["from_easter"], (-2, 1))
    is_christmas = (calendar["month"] == 12) & (calendar["day_of_month"] >= 25)
    return np.where(is_holiday, np.where(is_easter, "b", np.where(is_christmas, "c", "a")), "0")


def _refurbished(stores: int, days: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """One store in twelve is closed for some weeks once, with rows that say so."""
    length = np.where(random.random(stores) < 1 / 12, random.integers(14, 90, stores), 0)
    start = random.integers(120, max(121, days - 150), stores)
    column = np.arange(days)
    return (column >= start[:, None]) & (column < (start + length)[:, None])


def _log_sales(
    store: pd.DataFrame,
    day: Days,
    calendar: dict[str, NDArray[np.float32]],
    promo: NDArray[np.bool_],
    school: NDArray[np.bool_],
    random: np.random.Generator,
) -> FloatArray:
    """What ln(sales) is before the day's noise, shape (stores, days)."""
    stores, days = len(store), len(day)

    def each(mean: float, spread: float) -> FloatArray:
        return random.normal(mean, spread, (stores, 1))

    kind = store["StoreType"].map({"a": 0.0, "b": 0.35, "c": 0.02, "d": 0.0}).to_numpy()[:, None]
    level = each(8.72, 0.36) + kind + np.where(store["Assortment"] == "c", 0.08, 0.0)[:, None]
    drift = np.cumsum(random.normal(0, _DRIFT, (stores, days)), axis=1) + each(0.0, 0.03) * np.arange(days) / _YEAR_DAYS
    weekday = calendar["weekday"].astype(np.int64)
    week = (_WEEKDAY + random.normal(0, 0.06, (stores, 7)))[:, weekday]
    monday = np.where(weekday == 0, 0.12, 0.0)
    promoted = promo * (each(0.30, 0.08).clip(0.05) + monday)
    season = np.zeros((stores, days))
    angle = 2 * np.pi * (day % _YEAR_DAYS) / _YEAR_DAYS
    for harmonic in (1, 2):
        season += each(0.02, 0.02) * np.cos(harmonic * angle) + each(0.0, 0.02) * np.sin(harmonic * angle)
    december = np.where(calendar["month"] == 12, (calendar["day_of_month"] - 1) / 23, 0).clip(0, 1)
    season += december * each(0.32, 0.08)
    before = np.where(calendar["until_holiday"] <= 1, 0.16, np.where(calendar["until_holiday"] == 2, 0.08, 0.0))
    payday = np.where((calendar["days_to_month_end"] <= 1) | (calendar["day_of_month"] <= 3), 1.0, 0.0)
    calendar_part = before + payday * each(0.06, 0.02) + school * each(0.02, 0.02)
    total: FloatArray = level + drift + week + promoted + season + calendar_part
    return total + _competition(store, day) + _promo2(store, day)


def _competition(store: pd.DataFrame, day: Days) -> FloatArray:
    """A competitor takes some sales from the month it opens; the nearer the more."""
    dates = pd.to_datetime(day, unit="D")
    months = (12 * dates.year + dates.month).to_numpy()
    opened = (12 * store["CompetitionOpenSinceYear"] + store["CompetitionOpenSinceMonth"]).to_numpy()[:, None]
    loss = 0.12 * np.exp(-store["CompetitionDistance"].to_numpy()[:, None] / 1500)
    return np.where(months >= opened, -loss * (1 - np.exp(-(months - opened + 1).clip(0) / 2)), 0.0)


def _promo2(store: pd.DataFrame, day: Days) -> FloatArray:
    """The continuing promotion lifts the months it starts anew in."""
    first = store["PromoInterval"].map(dict(zip(_INTERVALS, (1, 2, 3), strict=True))).to_numpy(dtype=np.float64)
    month = pd.to_datetime(day, unit="D").month.to_numpy()
    return np.where((month - first[:, None]) % 3 == 0, 0.025, 0.0)
