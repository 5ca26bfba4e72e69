"""Kaggle's two Rossmann tables, read strictly: every broken rule is said at once, before anything is learned."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from datetime import datetime, time
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from models.forecast.data.stores import checked_stores
from models.forecast.rows import INPUT_COLUMNS, STORE_COLUMNS, checked_rows, numbers_of, refuse_broken
from promotion.config.family import FamilyConfig
from promotion.config.forecasting import Forecast
from promotion.config.training import Data
from promotion.data.header import names_in
from promotion.data.parsing import csv_text, parquet_cells, why_unreadable
from promotion.data.thousands import ADVICE, AMBIGUOUS, thousands
from promotion.errors import ConfigError, DataError

_DTYPES: dict[str, Any] = {"StateHoliday": "string"}
_MOST_EUROS = 1_000_000_000
_COUNTED = {"Sales", "Store", "CompetitionDistance"}
"""Whole numbers beyond a thousand."""


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
    return read_sales(*sales_files(config, home), config.data)


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


def read_sales(sales: Path, stores: Path, data: Data) -> Sales:
    """Read and check both files.

    Args:
        sales: CSV, packed or not, Parquet or a workbook; its name says which.
        stores: Likewise.
        data: Says how a CSV is written.

    Raises:
        DataError: A file is missing, unreadable or breaks the contract.
    """
    contents = [_bytes(path) for path in (sales, stores)]
    rows = _table(contents[0], sales, [*INPUT_COLUMNS, "Sales"], data)
    table = checked_stores(_table(contents[1], stores, list(STORE_COLUMNS), data), stores)
    euros = numbers_of(rows["Sales"])
    rule = f"must be 0 or more whole euros, a number up to {_MOST_EUROS:,} without thousands separators"
    wrong = ~((euros >= 0) & (euros <= _MOST_EUROS) & (euros % 1 == 0))
    rows = checked_rows(rows, table, sales, rows.index, also=[("Sales", rule, wrong)]).assign(Sales=euros)
    repeated = rows.duplicated(["Store", "Date"])
    twice = ("Store and Date", "the same store and day stands there twice", repeated)
    refuse_broken(sales, rows, [twice], rows.index)
    ordered = rows[[*INPUT_COLUMNS, "Sales"]].sort_values(["Date", "Store"], ignore_index=True)
    return Sales(ordered, table, hashlib.sha256(b"".join(contents)).hexdigest())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a CSV; scripts/download-data.py brings it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _table(content: bytes, path: Path, columns: list[str], data: Data) -> pd.DataFrame:
    """A file's cells, numbers where a whole column is numbers; the index holds their lines."""
    kind = path.suffix.lower()
    if kind == ".parquet":
        table = parquet_cells(content, path)
    elif kind == ".xlsx":
        table = _cells(_sheet(content, path), path, columns, Data(path=path.name, columns={}))
    else:
        table = _cells(csv_text(content, path, data), path, columns, data)
    if missing := [name for name in columns if name not in table]:
        found = ", ".join(map(str, table.columns))
        raise DataError(f"{path}: missing columns {', '.join(missing)}; its header names {found}")
    return table


def _cells(text: str, path: Path, columns: list[str], data: Data) -> pd.DataFrame:
    names_in(StringIO(text, newline=""), path, columns, data.delimiter, "delimiter under data")
    try:
        with warnings.catch_warnings():
            # Cells behind the last column would be dropped with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # With blank lines, row number and line number go together.
            table = pd.read_csv(
                StringIO(text),
                dtype=_DTYPES,
                sep=data.delimiter,
                decimal=data.decimal,
                na_values=data.na_values,
                index_col=False,
                skip_blank_lines=False,
                low_memory=False,
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        raise DataError(f"{path}: {why_unreadable(error)}") from error
    for name in _COUNTED & set(table.select_dtypes("float")):
        texts = pd.read_csv(
            StringIO(text), dtype=str, sep=data.delimiter, usecols=[name], index_col=False, skip_blank_lines=False
        )[name]
        unclear = thousands(texts, data.decimal, are_whole=True, most=_MOST_EUROS)
        refuse_broken(path, texts.to_frame(), [(name, f"{AMBIGUOUS.format(mark=data.decimal)}: {ADVICE}", unclear)])
    table.index += 2
    return table.dropna(how="all")


def _sheet(content: bytes, path: Path) -> str:
    """The first sheet of a workbook as CSV; a day, which a workbook keeps with a clock time of midnight, as a date.

    Raises:
        DataError: Its reader is not installed, or finds no workbook in it.
    """
    try:
        table = pd.read_excel(BytesIO(content), dtype=object)
    except ImportError as error:
        raise DataError(f"{path}: a workbook is read with openpyxl: pip install openpyxl, or save it as CSV") from error
    except Exception as error:  # whatever its reader stumbles over
        raise DataError(f"{path}: not readable as a workbook: {' '.join(str(error).split())}") from error
    return table.map(_as_day).to_csv(index=False)


def _as_day(cell: Any) -> Any:
    if not isinstance(cell, datetime) or cell is pd.NaT:
        return cell
    return cell.date().isoformat() if cell.time() == time.min else cell
