"""What a row to predict must bring, checked before a feature is made of it; the model takes this with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from promotion.errors import DataError

INPUT_COLUMNS = ("Store", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday")
STORE_COLUMNS = (
    "Store",
    "StoreType",
    "Assortment",
    "CompetitionDistance",
    "CompetitionOpenSinceMonth",
    "CompetitionOpenSinceYear",
    "Promo2",
    "Promo2SinceWeek",
    "Promo2SinceYear",
    "PromoInterval",
)
_SHOWN = 3
_CODES = {"Open": (0, 1), "Promo": (0, 1), "SchoolHoliday": (0, 1), "StateHoliday": ("0", "a", "b", "c")}


def checked_rows(rows: pd.DataFrame, stores: pd.DataFrame, place: Path | str, first_line: int = 2) -> pd.DataFrame:
    """Bring rows into the form the features need, or say everything that is wrong with them.

    An empty `Open` counts as open, as in Kaggle's own test file.

    Args:
        rows: `INPUT_COLUMNS` in any spelling of their types; further columns are kept.
        stores: Kaggle's store table.
        place: Where the rows come from, for the message.
        first_line: Line of the first row there.

    Raises:
        DataError: One line a broken rule.
    """
    missing = [name for name in INPUT_COLUMNS if name not in rows]
    if missing:
        raise DataError(f"{place}: missing columns {', '.join(missing)}; a row needs {', '.join(INPUT_COLUMNS)}")
    if rows.empty:
        raise DataError(f"{place}: no rows")
    tidy = rows.assign(
        Date=pd.to_datetime(rows["Date"], errors="coerce", format="ISO8601"),
        Open=rows["Open"].fillna(1),
        StateHoliday=_letters(rows["StateHoliday"]),
    )
    broken = [("Date", "must be a date such as 2015-07-31", tidy["Date"].isna())]
    broken.append(("Store", "must be in the store table", ~tidy["Store"].isin(stores["Store"])))
    for name, codes in _CODES.items():
        allowed = ", ".join(str(code) for code in codes)
        broken.append((name, f"must be one of {allowed}", ~tidy[name].isin(codes)))
    refuse_broken(place, broken, first_line)
    whole = dict.fromkeys(("Store", "Open", "Promo", "SchoolHoliday"), np.int64)
    return tidy.astype(whole)


def _letters(values: pd.Series) -> pd.Series:
    """Kaggle writes no holiday as 0, as text or as a number."""
    if is_numeric_dtype(values):
        return values.map({0: "0"})
    return values.astype("string").replace({"0.0": "0"})


def refuse_broken(place: Path | str, broken: list[tuple[str, str, pd.Series]], first_line: int = 2) -> None:
    """Say every broken rule at once, or nothing.

    Args:
        place: Where the rows come from.
        broken: Column, rule, and which rows break it.
        first_line: Line of the first row there.

    Raises:
        DataError: At least one row breaks a rule.
    """
    lines = []
    for column, rule, wrong in broken:
        at = np.flatnonzero(wrong.to_numpy(dtype=bool))
        if at.size:
            shown = ", ".join(str(row + first_line) for row in at[:_SHOWN])
            lines.append(f"column {column!r} {rule}: {at.size} of {len(wrong)} rows, first: line {shown}")
    if lines:
        summary = f"{place} breaks the data contract: "
        raise DataError(summary + lines[0] if len(lines) == 1 else "\n- ".join([summary, *lines]))
