"""Arrays of numbers, as type names, and columns of any name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def with_cells(rows: pd.DataFrame, cells: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these cells in these columns: `DataFrame.assign` takes a column `self` for its own argument."""
    changed = rows.copy(deep=False)
    for name, values in cells.items():
        changed[name] = values
    return changed
