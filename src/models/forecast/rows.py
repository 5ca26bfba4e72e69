"""What a row to predict must bring, checked before a feature is made of it; the model takes this with it."""

from __future__ import annotations

from collections.abc import Sequence
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
_SHOWN = 10
_LONGEST_CELL = 30
_EARLIEST, _LATEST = pd.Timestamp(1980, 1, 1), pd.Timestamp(2099, 12, 31)
_DAY = r"\d{4}-?\d{2}-?\d{2}(?:[ T]00:00(?::00(?:\.0+)?)?)?"
_CODES = {"Open": (0, 1), "Promo": (0, 1), "SchoolHoliday": (0, 1), "StateHoliday": ("0", "a", "b", "c")}


BrokenRule = tuple[str, str, pd.Series]
"""A column, the rule, and which rows break it."""


def checked_rows(
    rows: pd.DataFrame,
    stores: pd.DataFrame,
    place: Path | str,
    lines: pd.Index | None = None,
    also: Sequence[BrokenRule] = (),
) -> pd.DataFrame:
    """Bring rows into the form the features need, or say everything that is wrong with them.

    An empty `Open` counts as open, as in Kaggle's own test file.

    Args:
        rows: `INPUT_COLUMNS` in any spelling of their types; further columns are kept.
        stores: Kaggle's store table.
        place: Where the rows come from, for the message.
        lines: Line of each row there; from 2 on where none is given.
        also: Further rules to say in one go.

    Raises:
        DataError: One line a broken rule.
    """
    missing = [name for name in INPUT_COLUMNS if name not in rows]
    if missing:
        raise DataError(f"{place}: missing columns {', '.join(missing)}; a row needs {', '.join(INPUT_COLUMNS)}")
    if rows.empty:
        raise DataError(f"{place}: no rows")
    tidy = rows.assign(
        Store=numbers_of(rows["Store"]),
        Date=_days(rows["Date"]),
        Open=numbers_of(rows["Open"].fillna(1)),
        Promo=numbers_of(rows["Promo"]),
        StateHoliday=_letters(rows["StateHoliday"]),
        SchoolHoliday=numbers_of(rows["SchoolHoliday"]),
    )
    day = (
        f"must be a date such as 2015-07-31, from {_EARLIEST.year} to {_LATEST.year}: a clock time or an offset may "
        "move a sale to another day, and a number is a spreadsheet's count of days"
    )
    broken = [("Date", day, tidy["Date"].isna())]
    broken.append(("Store", "must be in the store table", ~tidy["Store"].isin(stores["Store"])))
    for name, codes in _CODES.items():
        allowed = ", ".join(str(code) for code in codes)
        broken.append((name, f"must be one of {allowed}", ~tidy[name].isin(codes)))
    broken += also
    refuse_broken(place, rows, broken, lines)
    whole = dict.fromkeys(("Store", "Open", "Promo", "SchoolHoliday"), np.int64)
    return tidy.astype(whole)


def numbers_of(values: pd.Series) -> pd.Series:
    """Cells as numbers, NaN where they are none: one text makes pandas read a whole column as texts."""
    return values if is_numeric_dtype(values) else pd.to_numeric(values, errors="coerce")


def _days(values: pd.Series) -> pd.Series:
    """Dates without a time of day; missing where there is one, or an offset, which moves midnight to another day."""
    places, found = pd.factorize(values)
    text = pd.Series(found).astype("string").str.strip()
    days = pd.to_datetime(text.where(text.str.fullmatch(_DAY)), errors="coerce", format="ISO8601")
    days = days.where(days.between(_EARLIEST, _LATEST))
    # The place of a missing cell is -1: the last one.
    every = np.append(days.to_numpy(dtype="datetime64[us]"), np.datetime64("NaT", "us"))
    return pd.Series(every[places], index=values.index)


def _letters(values: pd.Series) -> pd.Series:
    """Kaggle writes no holiday as 0, as text or as a number."""
    if is_numeric_dtype(values):
        return values.map({0: "0"})
    return values.astype("string").replace({"0.0": "0"})


def refuse_broken(
    place: Path | str, rows: pd.DataFrame, broken: Sequence[BrokenRule], lines: pd.Index | None = None
) -> None:
    """Say every broken rule at once, or nothing.

    Args:
        place: Where the rows come from.
        rows: Their cells as they were found there.
        broken: Column, rule, and which rows break it.
        lines: Line of each row there; from 2 on where none is given.

    Raises:
        DataError: At least one row breaks a rule.
    """
    said = []
    numbers = np.arange(2, len(rows) + 2) if lines is None else lines.to_numpy()
    for column, rule, wrong in broken:
        at = np.flatnonzero(wrong.to_numpy(dtype=bool))
        if at.size:
            found = rows[column].iloc[at[:_SHOWN]] if column in rows else [None] * min(at.size, _SHOWN)
            shown = ", ".join(f"{line}{_shown(cell)}" for line, cell in zip(numbers[at[:_SHOWN]], found, strict=True))
            said.append(f"column {column!r} {rule}: {at.size} of {len(wrong)} rows, first: line {shown}")
    if said:
        summary = f"{place} breaks the data contract: "
        if len(said) == 1:
            raise DataError(summary + said[0])
        raise DataError(summary, *(f"- {line}" for line in said))


def _shown(cell: object) -> str:
    """A cell as it stands in the file, for a message; an empty one is said to be that."""
    if cell is None:
        return ""
    if pd.isna(cell):  # type: ignore[call-overload]  # one cell
        return " (empty)"
    text = str(cell)
    return f" ({text if len(text) <= _LONGEST_CELL else text[:_LONGEST_CELL] + '…'!r})"
