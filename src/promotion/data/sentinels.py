"""Sentinel values: numbers that say something else, such as -999 for a missing one, where no bound forbids them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from promotion.config.family import FamilyConfig
from promotion.config.training import Column
from promotion.data.datasets import Dataset

_MARKS = frozenset([-1.0, -9.0, *(sign * (10.0**digits - 1) for digits in range(2, 10) for sign in (-1, 1))])
"""Numbers by which files of others say that a value is missing."""
_FEWEST = 10
"""Different values that a column needs beside one for it to lie apart."""
_FAR = 100
"""Times the range of all other values."""
_ABSURD = 1e12
"""Times the size of an ordinary value."""


def sentinels(dataset: Dataset, config: FamilyConfig) -> Iterator[str]:
    """Numbers that lie apart from all others of their column, one line each, with the keys that allow or forbid them.

    A bound in the column's contract has settled it on that side. A number lies apart if it is far beyond the range of
    all others; one that is known as a mark also if it is as far beyond as they reach, or the only one below zero.
    """
    columns = {str(name): cells for name, cells in dataset.features.items() if is_numeric_dtype(cells)}
    if not config.classes:
        columns[config.target.column] = pd.Series(dataset.target)
    for name, cells in columns.items():
        column = config.data.columns[name]
        if column.type not in {"number", "integer"}:
            continue
        counts = cells.value_counts().sort_index()
        for value, low, high in _apart(counts.index.tolist(), column):
            found = f"{value:.15g} in {counts[value]} of {len(cells)} rows, all others {low:.4g} to {high:.4g}"
            key, less = ("minimum", "greater") if value < low else ("maximum", "smaller")
            yield (
                f"column {name!r}: {found}: where it stands for a missing value, list it under data: na_values; "
                f"{key}: {value:.15g} in the column allows it, a {less} {key} refuses it"
            )


def _apart(values: list[float], column: Column) -> Iterator[tuple[float, float, float]]:
    """Numbers that lie apart, from the ends of the sorted ones inwards, with the range of those that are left."""
    ends = [end for end, bound in ((0, column.minimum), (-1, column.maximum)) if bound is None]
    found = []
    while len(values) > _FEWEST:
        value = next((values[end] for end in ends if _lies_apart(values[end], _without(values, end))), None)
        if value is None:
            break
        found.append(value)
        values = [other for other in values if other != value]
    return ((value, values[0], values[-1]) for value in found)


def _without(values: list[float], end: int) -> list[float]:
    return values[1:] if end == 0 else values[:-1]


def _lies_apart(value: float, rest: list[float]) -> bool:
    low, high = rest[0], rest[-1]
    gap = low - value if value < low else value - high
    if gap >= _FAR * (high - low) or abs(value) >= _ABSURD * (1 + float(np.median(np.abs(rest)))):
        return True
    return value in _MARKS and (gap >= high - low or value < 0 <= low)
