"""What is known of the stores up to a day, as dense arrays: cutting at that day is what makes leakage impossible."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.errors import ArtifactRefused, DataError

Floats = NDArray[np.float32]
Bytes = NDArray[np.int8]
Days = NDArray[np.int64]
_FIELDS = ("stores", "first_day", "log_sales", "promo", "school")


@dataclass(frozen=True, slots=True)
class History:
    """Past sales of every store, one column a day.

    Days are whole numbers: days since 1970-01-01.

    Attributes:
        stores: Numbers of the stores, ascending, shape (stores,).
        first_day: Day of the first column.
        log_sales: ln(1 + sales in euros), NaN where the store sold nothing or the day is unknown, shape (stores, days).
        promo: 1 where a promotion ran, shape (stores, days).
        school: 1 where the schools were closed, shape (stores, days).
    """

    stores: NDArray[np.int64]
    first_day: int
    log_sales: Floats
    promo: Bytes
    school: Bytes

    @classmethod
    def of(cls, rows: pd.DataFrame) -> History:
        """Arrange rows with their sales by store and day.

        Args:
            rows: Columns Store, Date, Sales, Promo, SchoolHoliday; one row a store and day.
        """
        stores, store = np.unique(rows["Store"].to_numpy(dtype=np.int64), return_inverse=True)
        days = day_numbers(rows["Date"])
        first = int(days.min())
        shape = (len(stores), int(days.max()) - first + 1)
        sales = rows["Sales"].to_numpy(dtype=np.float64)
        log_sales = np.full(shape, np.nan, dtype=np.float32)
        log_sales[store, days - first] = np.where(sales > 0, np.log1p(np.maximum(sales, 0)), np.nan)
        flags = []
        for name in ("Promo", "SchoolHoliday"):
            flag = np.zeros(shape, dtype=np.int8)
            flag[store, days - first] = rows[name].to_numpy(dtype=np.int8)
            flags.append(flag)
        return cls(stores, first, log_sales, *flags)

    @property
    def last_day(self) -> int:
        """The last day anything is known of."""
        return self.first_day + int(self.log_sales.shape[1]) - 1

    def until(self, day: int) -> History:
        """The same history as it was known at the end of `day`."""
        width = max(0, day - self.first_day + 1)
        return replace(
            self, log_sales=self.log_sales[:, :width], promo=self.promo[:, :width], school=self.school[:, :width]
        )

    def of_stores(self, lines: NDArray[np.intp]) -> History:
        """The same history of some stores, given by their lines in ascending order."""
        return replace(
            self,
            stores=self.stores[lines],
            log_sales=self.log_sales[lines],
            promo=self.promo[lines],
            school=self.school[lines],
        )

    def positions(self, stores: NDArray[np.int64]) -> NDArray[np.intp]:
        """Line of each store in the arrays.

        Raises:
            DataError: One of the stores is unknown.
        """
        found = np.searchsorted(self.stores, stores)
        known = found < len(self.stores)
        known[known] = self.stores[found[known]] == stores[known]
        if not known.all():
            strange = ", ".join(str(store) for store in np.unique(stores[~known])[:5])
            raise DataError(f"no history of store {strange}: train again on data that holds it, or leave its rows out")
        return found

    def save(self, path: Path) -> None:
        """Write a NumPy archive without objects."""
        arrays: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _FIELDS}
        np.savez_compressed(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> History:
        """Read what `save` wrote.

        Raises:
            ArtifactRefused: The file is missing or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                stores, first_day, *arrays = (archive[name] for name in _FIELDS)
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactRefused(f"{path}: not a sales history: {error}") from error
        return cls(stores, int(first_day), *arrays)


def day_numbers(dates: pd.Series) -> Days:
    """Days since 1970-01-01 of a column of dates."""
    return dates.to_numpy(dtype="datetime64[D]").astype(np.int64)
