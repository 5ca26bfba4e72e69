"""When a forecast is issued and which days it is for: the time order that training, folds and prediction share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.history import Days, day_numbers


@dataclass(frozen=True, slots=True)
class Window:
    """The days one forecast is judged on.

    Attributes:
        origin: Last day that is known when the forecast is issued, in days since 1970-01-01.
        last: Last day of the window.
    """

    origin: int
    last: int

    @property
    def label(self) -> str:
        """First and last day, ISO 8601."""
        return f"{_date(self.origin + 1)} … {_date(self.last)}"

    def holds(self, days: Days) -> NDArray[np.bool_]:
        """Which of the days lie inside."""
        return (days > self.origin) & (days <= self.last)


def holdout(last_day: int, horizon: int) -> Window:
    """The window that ends with the data: nothing may be learned from it."""
    return Window(last_day - horizon, last_day)


def days_needed(held_out: int, folds: int, horizon: int, warm_up: int) -> int:
    """Days that sales must reach back, so that the oldest fold has days to learn from behind its warm-up.

    Args:
        held_out: Days of the window that nothing is learned from.
        folds: Windows of the same length before it.
        horizon: Days a forecast reaches.
        warm_up: Days of history before the first origin.
    """
    return held_out * (folds + 1) + horizon + warm_up + 1


def folds_before(window: Window, count: int) -> list[Window]:
    """The windows of the same length right before one, newest first."""
    length = window.last - window.origin
    return [Window(window.origin - k * length, window.origin - (k - 1) * length) for k in range(1, count + 1)]


def sold_rows(rows: pd.DataFrame, window: Window) -> pd.DataFrame:
    """The rows of a window that a forecast can be judged on: with sales, of stores that had sales before."""
    days = day_numbers(rows["Date"])
    sold = (rows["Sales"] > 0).to_numpy()
    known = rows["Store"][sold & (days <= window.origin)].unique()
    return rows[window.holds(days) & sold & rows["Store"].isin(known).to_numpy()]


def origins_of(days: Days, last_known: int, horizon: int) -> Days:
    """The origin of each day's forecast: days behind the known ones are predicted from all that is known.

    Days inside the known past are predicted as they would have been then: windows of `horizon` days are counted back
    from `last_known`, and each day's origin is the day before its window begins. An origin depends on its own day only,
    so rows may be predicted one by one or in any chunks.
    """
    back = np.maximum(0, -((days - last_known - 1) // horizon))
    return last_known - horizon * back


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Past days as forecasts to learn from.

    Attributes:
        rows: The days, with sales.
        origins: Of each row, days since 1970-01-01.
        age: Days from each row's own day to the last known one.
    """

    rows: pd.DataFrame
    origins: Days
    age: Days


def training_rows(
    rows: pd.DataFrame, last_known: int, *, horizon: int, offsets: Sequence[int], first_origin: int
) -> TrainingRows:
    """Every day with sales until `last_known`, each with origins as real forecasts would have.

    Args:
        rows: Days with sales; later ones are left out.
        last_known: Last day that may be learned from.
        horizon: Days a forecast reaches.
        offsets: Shifts of the windows, days: each lets the same day be learned once more, from another distance. The
            days behind the newest origin are learned too, though their window is not over.
        first_origin: Earlier origins know too little and are left out.
    """
    days = day_numbers(rows["Date"])
    origins = np.stack([origins_of(days, last_known - offset, horizon) for offset in offsets])
    place, kept = np.nonzero((days <= last_known) & (origins >= first_origin))
    return TrainingRows(rows.iloc[kept], origins[place, kept], last_known - days[kept])


def _date(day: int) -> str:
    return str(np.datetime64(day, "D"))
