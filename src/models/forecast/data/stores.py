"""Kaggle's store table, read strictly: what it says of a store's promotions and competition becomes features."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.forecast.features import INTERVALS, KINDS
from models.forecast.rows import STORE_COLUMNS, numbers_of, refuse_broken

_FARTHEST_METRES = 1_000_000
_FIRST_YEAR, _LAST_YEAR = 1800, 2200
_OF_COMPETITION = ("CompetitionOpenSinceMonth", "CompetitionOpenSinceYear")
_OF_PROMO2 = ("Promo2SinceWeek", "Promo2SinceYear", "PromoInterval")
_RANGES = {
    "CompetitionOpenSinceMonth": (1, 12),
    "CompetitionOpenSinceYear": (_FIRST_YEAR, _LAST_YEAR),
    "Promo2SinceWeek": (1, 53),
    "Promo2SinceYear": (_FIRST_YEAR, _LAST_YEAR),
}
_EMPTY = "or empty where there is none, for which 0 and -1 do not stand"


def checked_stores(table: pd.DataFrame, place: Path) -> pd.DataFrame:
    """Bring the table into the form the features need, or say everything that is wrong with it.

    Args:
        table: `STORE_COLUMNS` in any spelling of their types; further columns are left out.
        place: Where it comes from, for the message.

    Raises:
        DataError: One line a broken rule.
    """
    found = table[list(STORE_COLUMNS)]
    texts = ("StoreType", "Assortment", "PromoInterval")
    numbers = {name: numbers_of(found[name]) for name in STORE_COLUMNS if name not in texts}
    interval = found["PromoInterval"].astype("object").str.replace(" ", "")
    distance = numbers["CompetitionDistance"]
    broken = [
        ("Store", "must be a whole number from 1", ~_is_whole(numbers["Store"], 1, np.iinfo(np.int32).max)),
        ("Store", "repeats an earlier store", numbers["Store"].duplicated() & numbers["Store"].notna()),
        *((name, f"must be one of {', '.join(KINDS)}", ~found[name].isin(KINDS)) for name in texts[:2]),
        (
            "CompetitionDistance",
            f"must be whole metres above 0 and up to {_FARTHEST_METRES:,} without thousands separators, {_EMPTY}",
            found["CompetitionDistance"].notna() & ~_is_whole(distance, 1, _FARTHEST_METRES),
        ),
        ("Promo2", "must be one of 0, 1", ~numbers["Promo2"].isin((0, 1))),
    ]
    for name, (least, most) in _RANGES.items():
        rule = f"must be a whole number from {least} to {most}, {_EMPTY}"
        broken.append((name, rule, found[name].notna() & ~_is_whole(numbers[name], least, most)))
    known = " or ".join(INTERVALS)
    stated = found["PromoInterval"].notna()
    broken.append(("PromoInterval", f"must be {known}, {_EMPTY}", stated & ~interval.isin(INTERVALS)))
    refuse_broken(place, found, broken, found.index)
    weeks = zip(numbers["Promo2SinceYear"], numbers["Promo2SinceWeek"], strict=True)
    strange = pd.Series([not _is_week(year, week) for year, week in weeks], index=found.index)
    broken = [("Promo2SinceWeek", "must be a week of Promo2SinceYear (ISO 8601)", strange)]
    takes_part = numbers["Promo2"] == 1
    for name in _OF_PROMO2:
        broken.append((name, "must be there where Promo2 is 1, and only there", found[name].notna() != takes_part))
    since = [found[name].notna() for name in _OF_COMPETITION]
    rule = f"must be there with {_OF_COMPETITION[1]}, or both be empty"
    broken.append((_OF_COMPETITION[0], rule, since[0] != since[1]))
    refuse_broken(place, found, broken, found.index)
    return found.assign(PromoInterval=interval.where(stated), **numbers)


def _is_whole(values: pd.Series, least: int, most: int) -> Any:
    return (values >= least) & (values <= most) & (values % 1 == 0)


def _is_week(year: float, week: float) -> bool:
    """Whether a year has a week; a missing one is none that is wrong."""
    if not (np.isfinite(year) and np.isfinite(week)):
        return True
    try:
        date.fromisocalendar(int(year), int(week), 1)
    except ValueError:
        return False
    return True
