"""Kaggle's two Rossmann tables, read strictly: every broken rule is said at once, before anything is learned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from promotion.config import FamilyConfig, Forecast
from promotion.errors import ConfigError, DataError

_SHOWN = 3
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
# What a row to predict must bring; the store table and the history say the rest.
INPUT_COLUMNS = ("Store", "Date", "Open", "Promo", "StateHoliday", "SchoolHoliday")
_DTYPES: dict[str, Any] = {"StateHoliday": "string"}
_CODES = {"Open": (0, 1), "Promo": (0, 1), "SchoolHoliday": (0, 1), "StateHoliday": ("0", "a", "b", "c")}


@dataclass(frozen=True, slots=True)
class Sales:
    """Both tables.

    Attributes:
        rows: One line a store and day, sorted by day, then store: `INPUT_COLUMNS` and Sales.
        stores: One line a store.
        sha256: Digest of the bytes of both files, the sales file first.
    """

    rows: pd.DataFrame
    stores: pd.DataFrame
    sha256: str


def load_sales(config: FamilyConfig, home: Path) -> Sales:
    """Read the family's two files; raises as `read_sales` does.

    Args:
        config: A forecasting family; its paths are relative to `home`.
        home: The project's home folder.
    """
    return read_sales(*sales_files(config, home))


def sales_files(config: FamilyConfig, home: Path) -> tuple[Path, Path]:
    """Where the family's sales and its store table are.

    Raises:
        ConfigError: The family foretells nothing.
    """
    return home / config.data.path, home / forecast_of(config).stores


def forecast_of(config: FamilyConfig) -> Forecast:
    """The family's section on forecasting.

    Raises:
        ConfigError: It has none.
    """
    if config.forecast is None:
        raise ConfigError(f"config/{config.family}.yaml: task {config.task} foretells no sales: use train.py")
    return config.forecast


def read_sales(sales: Path, stores: Path) -> Sales:
    """Read and check both files.

    Raises:
        DataError: A file is missing, unreadable or breaks the contract.
    """
    rows = _read(sales, [*INPUT_COLUMNS, "Sales"])
    table = _read(stores, list(STORE_COLUMNS))[list(STORE_COLUMNS)]
    rows = checked_rows(rows, table, sales)
    _refuse(sales, [("Sales", "must be 0 or more euros, and a number", ~(rows["Sales"] >= 0))])
    repeated = rows.duplicated(["Store", "Date"])
    _refuse(sales, [("Store and Date", "the same store and day stands there twice", repeated)])
    digest = hashlib.sha256(sales.read_bytes())
    digest.update(stores.read_bytes())
    ordered = rows[[*INPUT_COLUMNS, "Sales"]].sort_values(["Date", "Store"], ignore_index=True)
    return Sales(ordered, table, digest.hexdigest())


def checked_rows(rows: pd.DataFrame, stores: pd.DataFrame, place: Path | str) -> pd.DataFrame:
    """Bring rows into the form the features need, or say everything that is wrong with them.

    An empty `Open` counts as open, as in Kaggle's own test file.

    Args:
        rows: `INPUT_COLUMNS` in any spelling of their types; further columns are kept.
        stores: Kaggle's store table.
        place: Where the rows come from, for the message.

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
    _refuse(place, broken)
    whole = dict.fromkeys(("Store", "Open", "Promo", "SchoolHoliday"), np.int64)
    return tidy.astype(whole)


def _letters(values: pd.Series) -> pd.Series:
    """Kaggle writes no holiday as 0, as text or as a number."""
    if is_numeric_dtype(values):
        return values.map({0: "0"})
    return values.astype("string").replace({"0.0": "0"})


def _refuse(place: Path | str, broken: list[tuple[str, str, pd.Series]]) -> None:
    lines = []
    for column, rule, wrong in broken:
        at = np.flatnonzero(wrong.to_numpy(dtype=bool))
        if at.size:
            shown = ", ".join(str(row + 2) for row in at[:_SHOWN])
            lines.append(f"column {column!r} {rule}: {at.size} of {len(wrong)} rows, first: line {shown}")
    if lines:
        summary = f"{place} breaks the data contract: "
        raise DataError(summary + lines[0] if len(lines) == 1 else "\n- ".join([summary, *lines]))


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=_DTYPES)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a CSV; scripts/download-data.py brings it") from error
    except (OSError, ValueError) as error:
        summary = " ".join(str(error).split())
        raise DataError(f"{path}: not readable as CSV: {summary}") from error
    if missing := [name for name in columns if name not in table]:
        raise DataError(f"{path}: missing columns {', '.join(missing)}")
    return table
