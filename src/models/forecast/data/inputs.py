"""Which days a forecast is asked for: a file's rows, days of the family's own data, or days behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.forecast.data.sales import forecast_of, load_sales
from models.forecast.history import day_numbers
from models.forecast.rows import INPUT_COLUMNS, checked_rows
from promotion.config.family import FamilyConfig
from promotion.data.tables import CHUNK_ROWS, read_chunks
from promotion.errors import DataError, UsageError
from promotion.prediction.inputs import Asked, AskedRows

PLAN_DAYS = 364
"""A day behind the data is opened, promoted and a holiday as the same weekday so many days before."""
_NAME = "Id"  # of a row in Kaggle's own test file


@dataclass(frozen=True, slots=True)
class Span:
    """Days from `first` to `last`, both included; None where it is open.

    Raises:
        UsageError: It ends before it begins.
    """

    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        if self.first and self.last and self.last < self.first:
            raise UsageError(f"--end-date {self.last} lies before --start-date {self.first}")

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows whose day lies inside."""
        inside = np.ones(len(rows), dtype=bool)
        if self.first:
            inside &= (rows["Date"] >= pd.Timestamp(self.first)).to_numpy()
        if self.last:
            inside &= (rows["Date"] <= pd.Timestamp(self.last)).to_numpy()
        return rows[inside]


class SalesFileRows(AskedRows):
    """Rows of a file with stores and days: Store, Date, Open, Promo, StateHoliday, SchoolHoliday; others are optional.

    Args:
        path: CSV or Parquet, for instance Kaggle's test.csv.
        span: Other days are left out.
    """

    def __init__(self, path: Path, span: Span) -> None:
        super().__init__(str(path), path)
        self._span = span

    def check(self) -> None:
        """Hold columns and first rows against the contract; which stores there are only a model knows."""
        for chunk in islice(self._read(), 1):
            stores = chunk.rows[["Store"]] if "Store" in chunk.rows else pd.DataFrame()
            checked_rows(chunk.rows, stores, self.path, chunk.rows.index)

    def chunks(self, model: Any) -> Iterator[Asked]:
        """All rows of the span, each chunk held against the contract and the model's stores."""
        found, beyond = False, 0
        for chunk in self._read():
            tidy = checked_rows(chunk.rows, model.stores, self.path, chunk.rows.index)
            tidy = self._span.of(tidy.set_axis(range(chunk.first, chunk.first + len(tidy))))
            if tidy.empty:
                continue
            found = True
            beyond += int((day_numbers(tidy["Date"]) > model.history.last_day + model.horizon).sum())
            yield Asked(tidy, _shown(tidy), chunk.done)
        if not found:
            raise DataError(f"{self.path}: no row lies between --start-date and --end-date")
        if beyond:
            self.notes.append(_too_far(beyond, model))

    def _read(self) -> Iterator[Any]:
        return read_chunks(self.path, as_text=False, texts=("StateHoliday",))


class SalesDays(AskedRows):
    """The family's own stores, on days of its data or behind it.

    Days of the data come as they were, with what was sold; without a span they are the holdout, its last days, which no
    model has learned from. Days behind it have no plan yet: each is opened, promoted and a holiday as the same weekday
    `PLAN_DAYS` days before.

    Args:
        config: A forecasting family.
        home: The project's home folder.
        span: Days; from the holdout, or to the data's last day, where it is open. Where it begins behind the data it
            goes as far as a forecast reaches.

    Raises:
        DataError: The family's files are missing or break their contract.
        UsageError: There is nothing to take a plan from.
    """

    def __init__(self, config: FamilyConfig, home: Path, span: Span) -> None:
        super().__init__(config.data.path, home / config.data.path)
        data = load_sales(config, home)
        self.data_sha256 = data.sha256
        self._rows, planned = _days(data.rows, span, forecast_of(config).horizon_days)
        if planned:
            self.notes.append(
                f"{planned} rows lie behind the data: opening, promotions and holidays are assumed to be those of the "
                f"same weekday {PLAN_DAYS // 7} weeks before; give the real plan with --input"
            )

    def check(self) -> None:
        """Nothing more: the files were checked when they were read."""

    def chunks(self, model: Any) -> Iterator[Asked]:
        """All days, sorted by day, then store."""
        beyond = int((day_numbers(self._rows["Date"]) > model.history.last_day + model.horizon).sum())
        for start in range(0, len(self._rows), CHUNK_ROWS):
            part = self._rows.iloc[start : start + CHUNK_ROWS]
            tidy = checked_rows(part[list(INPUT_COLUMNS)], model.stores, self.path)
            done = (start + len(part)) / len(self._rows)
            yield Asked(tidy, _shown(tidy), done, part["Sales"])
        if beyond:
            self.notes.append(_too_far(beyond, model))


def _days(data: pd.DataFrame, span: Span, horizon: int) -> tuple[pd.DataFrame, int]:
    """Rows of the span with their sales, NaN behind the data; and how many lie there."""
    last = data["Date"].iloc[-1].date()
    first = span.first or (pd.Timestamp(min(span.last or last, last)) - pd.Timedelta(days=horizon - 1)).date()
    end = span.last or (last if first <= last else (pd.Timestamp(first) + pd.Timedelta(days=horizon - 1)).date())
    known = Span(first, end).of(data)
    planned = data.iloc[:0]
    if end > last:
        shift = pd.Timedelta(days=PLAN_DAYS)
        if pd.Timestamp(end) - shift > pd.Timestamp(last):
            raise UsageError(f"--end-date {end}: the data ends on {last}, further than a year ahead there is no plan")
        moved = data.assign(Date=data["Date"] + shift, Sales=np.nan)
        planned = Span(first, end).of(moved[moved["Date"] > pd.Timestamp(last)])
    rows = pd.concat([part for part in (known, planned) if len(part)], ignore_index=True) if len(known) else planned
    if rows.empty:
        raise UsageError(f"no day between {first} and {end} is in the data or near behind it: it ends on {last}")
    return rows.reset_index(drop=True), len(planned)


def _shown(tidy: pd.DataFrame) -> pd.DataFrame:
    names = [*([_NAME] if _NAME in tidy else []), "Store", "Date"]
    shown = tidy[names].copy()
    shown.insert(0, "row", tidy.index)
    return shown


def _too_far(rows: int, model: Any) -> str:
    until = np.datetime64(model.history.last_day, "D")
    return (
        f"{rows} rows lie more than {model.horizon} days behind {until}, the last day this version knows: "
        "it was never measured that far ahead; train again on newer data"
    )
