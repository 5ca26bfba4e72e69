"""Kaggle's two Rossmann tables, read strictly: every broken rule is said at once, before anything is learned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, time
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from models.forecast.data.stores import checked_stores
from models.forecast.rows import INPUT_COLUMNS, STORE_COLUMNS, checked_rows, numbers_of, refuse_broken
from promotion.config.family import FamilyConfig
from promotion.config.forecasting import Forecast
from promotion.data.header import names_in
from promotion.errors import ConfigError, DataError

_DTYPES: dict[str, Any] = {"StateHoliday": "string"}
_MOST_EUROS = 1_000_000_000


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
        raise ConfigError(f"{config.at('task')}: {config.task} foretells no sales: use train.py")
    return config.forecast


def read_sales(sales: Path, stores: Path) -> Sales:
    """Read and check both files.

    Raises:
        DataError: A file is missing, unreadable or breaks the contract.
    """
    rows = _read(sales, [*INPUT_COLUMNS, "Sales"])
    table = checked_stores(_read(stores, list(STORE_COLUMNS)), stores)
    euros = numbers_of(rows["Sales"])
    rule = f"must be 0 or more euros, and a number up to {_MOST_EUROS:,} without thousands separators"
    wrong = ~((euros >= 0) & (euros <= _MOST_EUROS))
    rows = checked_rows(rows, table, sales, also=[("Sales", rule, wrong)]).assign(Sales=euros)
    repeated = rows.duplicated(["Store", "Date"])
    refuse_broken(sales, rows, [("Store and Date", "the same store and day stands there twice", repeated)])
    digest = hashlib.sha256(sales.read_bytes())
    digest.update(stores.read_bytes())
    ordered = rows[[*INPUT_COLUMNS, "Sales"]].sort_values(["Date", "Store"], ignore_index=True)
    return Sales(ordered, table, digest.hexdigest())


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        sheet = _sheet(path) if path.suffix.lower() == ".xlsx" else ""
        with StringIO(sheet) if sheet else path.open(encoding="utf-8-sig", newline="") as file:
            names_in(file, path, columns)
        table = pd.read_csv(StringIO(sheet) if sheet else path, dtype=_DTYPES, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a CSV; scripts/download-data.py brings it") from error
    except (OSError, ValueError) as error:
        summary = " ".join(str(error).split())
        raise DataError(f"{path}: not readable as CSV: {summary}") from error
    if missing := [name for name in columns if name not in table]:
        raise DataError(f"{path}: missing columns {', '.join(missing)}")
    return table


def _sheet(path: Path) -> str:
    """The first sheet of a workbook as CSV; a day, which a workbook keeps with a clock time of midnight, as a date.

    Raises:
        DataError: Its reader is not installed, or finds no workbook in it.
    """
    try:
        table = pd.read_excel(path, dtype=object)
    except ImportError as error:
        raise DataError(f"{path}: a workbook is read with openpyxl: pip install openpyxl, or save it as CSV") from error
    except OSError:
        raise
    except Exception as error:  # whatever its reader stumbles over
        raise DataError(f"{path}: not readable as a workbook: {' '.join(str(error).split())}") from error
    return table.map(_as_day).to_csv(index=False)


def _as_day(cell: Any) -> Any:
    if not isinstance(cell, datetime) or cell is pd.NaT:
        return cell
    return cell.date().isoformat() if cell.time() == time.min else cell
