"""What any calendar tells in advance about a day: weekday, season, and how far the German public holidays are."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from dateutil.easter import easter

from models.forecast.history import Days, Floats

# Days from Easter Sunday to the movable holidays all German states keep: Good Friday ... Whit Monday.
_MOVABLE = (-2, 1, 39, 50)
_FIXED = ((1, 1), (5, 1), (10, 3), (12, 25), (12, 26))
_FAR_DAYS = 14
_EASTER_BEFORE, _EASTER_AFTER = -50, 64
_NAMES = (
    "weekday",
    "day_of_month",
    "days_to_month_end",
    "month",
    "day_of_year",
    "since_holiday",
    "until_holiday",
    "from_easter",
)


def calendar_features(days: Days) -> dict[str, Floats]:
    """Calendar columns of each day, by name; every value depends on its own day alone.

    Returns:
        `weekday` 0 Monday ... 6, days since and until the nearest national holiday (at most 14), and days from Easter
        (NaN further away than Ash Wednesday and Corpus Christi are).
    """
    unique, inverse = np.unique(days, return_inverse=True)
    dates = pd.to_datetime(unique, unit="D")
    holidays = _holidays(int(dates.year.min()) - 1, int(dates.year.max()) + 1)
    after = np.searchsorted(holidays, unique, side="left")
    columns = (
        dates.day_of_week,
        dates.day,
        dates.days_in_month - dates.day,
        dates.month,
        dates.day_of_year,
        np.minimum(unique - holidays[np.searchsorted(holidays, unique, side="right") - 1], _FAR_DAYS),
        np.minimum(holidays[after] - unique, _FAR_DAYS),
        _from_easter(unique),
    )
    return {name: np.asarray(column, dtype=np.float32)[inverse] for name, column in zip(_NAMES, columns, strict=True)}


def same_day_last_year(days: Days) -> Days:
    """The day 52 weeks before: same weekday, same season."""
    return days - 364


def same_easter_day_last_year(days: Days) -> tuple[Days, np.ndarray]:
    """The day as far from last year's Easter as each day is from this year's, and where that means anything."""
    unique, inverse = np.unique(days, return_inverse=True)
    years = pd.to_datetime(unique, unit="D").year.to_numpy()
    shift = np.array([_easter(year) - _easter(year - 1) for year in years], dtype=np.int64)
    return days - shift[inverse], np.isfinite(_from_easter(unique))[inverse]


def _from_easter(days: Days) -> np.ndarray:
    years = pd.to_datetime(days, unit="D").year.to_numpy()
    distance = days - np.array([_easter(year) for year in years], dtype=np.int64)
    return np.where((distance >= _EASTER_BEFORE) & (distance <= _EASTER_AFTER), distance.astype(np.float64), np.nan)


@cache
def _easter(year: int) -> int:
    return int(np.datetime64(easter(int(year)), "D").astype(np.int64))


@cache
def _holidays(first_year: int, last_year: int) -> Days:
    days = []
    for year in range(first_year, last_year + 1):
        days += [_easter(year) + shift for shift in _MOVABLE]
        days += [int(np.datetime64(f"{year}-{month:02}-{day:02}", "D").astype(np.int64)) for month, day in _FIXED]
    return np.array(sorted(days), dtype=np.int64)
