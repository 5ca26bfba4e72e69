"""Days among a table's columns: texts as ISO 8601 writes them, and the numbers they are computed and compared with."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

REFERENCE = date(1970, 1, 1)
"""Days are counted from here, as NumPy, Arrow and UNIX count them."""
EXAMPLE = "2024-03-09"
MISSING_DAY = float(np.iinfo(np.int64).min)
"""What NumPy makes of a day that is missing; as exact in 32 bits as in 64."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def days_since_reference(cells: pd.Series) -> pd.Series:
    """Days since `REFERENCE`, float64; NaN where a cell is missing or no day such as `EXAMPLE`."""
    return pd.Series([_number(cell) for cell in cells], cells.index, dtype=np.float64)


def day_text(number: float) -> str:
    """The day so many days after `REFERENCE`, or the nearest that a calendar has."""
    first, last = date.min.toordinal(), date.max.toordinal()
    return date.fromordinal(min(max(round(number) + REFERENCE.toordinal(), first), last)).isoformat()


def as_written(cell: Any) -> str:
    """A cell as a CSV has it; of a day, which Parquet often keeps as its midnight, the date alone."""
    return str(cell).removesuffix(" 00:00:00") if isinstance(cell, datetime) else str(cell)


def _number(cell: Any) -> float:
    text = as_written(cell)
    try:
        found = date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        found = None
    return np.nan if found is None else float((found - REFERENCE).days)
