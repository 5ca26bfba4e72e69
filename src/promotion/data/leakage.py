"""Rows that a split separates although they know each other: of one patient, or copies."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.config.family import FamilyConfig
from promotion.data.arrays import IntArray
from promotion.data.datasets import Dataset
from promotion.data.splits import split_rows

TOLERATED = 0.05
"""Share of the test rows that may have a companion among the training rows."""
_FEWEST, _LARGEST = 10, 20
"""A column that names something names so many things at least, each in so many rows on average at most."""
_NAMES = re.compile(
    r"(^|[\W_])(id|key|uuid|nr|no|number|patient|subject|customer|client|user|person)$|[a-z](?-i:I[dD])$", re.IGNORECASE
)
_DATE = r"\d{4}-\d{2}-\d{2}.*"
_FINE = 20
"""Different values from which on agreeing in a column is no chance."""
_FEATURES = 8
_NOTHING = 0.02
"""Standard deviations; two measured values that lie closer are alike."""
_MEASURED = 4
"""So many measured columns make it no chance that two rows are alike."""


def leaks(dataset: Dataset, config: FamilyConfig) -> list[str]:
    """What suggests that test rows are known from the training rows, one line each; empty when nothing does."""
    learn, check = split_rows(dataset.belonging, config.split)
    return [*_named(dataset, config, learn, check), *_copies(dataset.features, learn, check)]


def _named(dataset: Dataset, config: FamilyConfig, learn: IntArray, check: IntArray) -> Iterator[str]:
    """Columns that name what rows belong to, where the split does not know."""
    if config.split.groups is not None or config.split.time is not None:
        return
    others = {str(name): cells for name, cells in dataset.others.items()}
    ids = {name: dataset.features[name] for name in config.features if _NAMES.search(name)}
    for name, cells in (others | ids).items():
        if not (count := names_things(name, cells)):
            continue
        codes = pd.factorize(cells)[0]
        shared = float(np.isin(codes[check], codes[learn][codes[learn] >= 0]).mean())
        if shared > TOLERATED:
            yield (
                f"column {name!r} names {count} things, and {shared:.0%} of the test rows share theirs with training "
                f"rows: where they belong together, write split: {{groups: {name}}}"
            )


def names_things(name: str, cells: pd.Series) -> int:
    """How many things a column seems to name that rows belong to, such as patients; 0 where it seems to name none.

    Args:
        name: Of the column.
        cells: Texts, or numbers where the name says that they are no measurements.
    """
    filled = cells.dropna()
    count = int(filled.nunique())
    is_text = pd.to_numeric(filled, errors="coerce").isna().any() and not filled.astype(str).str.match(_DATE).all()
    is_name = is_text or _NAMES.search(name) is not None
    return count if is_name and _FEWEST <= count < len(filled) <= _LARGEST * count else 0


def _copies(features: pd.DataFrame, learn: IntArray, check: IntArray) -> Iterator[str]:
    """Test rows that stand among the training rows as well, wholly, in all features but one, or but for a little."""
    codes = np.stack([pd.factorize(features[name], use_na_sentinel=False)[0] for name in features], axis=1)
    # A row's hash is the sum of its cells': the hash without one of them is a difference.
    cells = np.stack([_hashes(codes[:, place], place) for place in range(codes.shape[1])], axis=1)
    whole = cells.sum(axis=1, dtype=np.uint64)
    same = np.isin(whole[check], whole[learn])
    advice = "remove the copies, or name what such rows belong to in split: {groups: …}"
    if same.mean() > TOLERATED:
        yield f"{same.sum()} of {len(check)} test rows ({same.mean():.0%}) have all values of a training row: {advice}"
    like = ~same & _alike(features, codes, learn, check)
    if like.mean() > TOLERATED:
        yield (
            f"{like.sum()} of {len(check)} test rows ({like.mean():.0%}) differ from a training row by "
            f"next to nothing, less than {_NOTHING:.0%} of a standard deviation in any measured column: {advice}"
        )
        return
    fine = (codes.max(axis=0, initial=0) >= _FINE).sum()
    if codes.shape[1] < _FEATURES or 2 * fine < _FEATURES:
        return
    near = np.zeros(len(check), dtype=bool)
    for place in range(codes.shape[1]):
        rest = whole - cells[:, place]
        near |= np.isin(rest[check], rest[learn])
    near &= ~same
    if near.mean() > TOLERATED:
        yield (
            f"{near.sum()} of {len(check)} test rows ({near.mean():.0%}) have the values of a training row in all "
            f"features but one: {advice}"
        )


def _alike(features: pd.DataFrame, codes: IntArray, learn: IntArray, check: IntArray) -> NDArray[np.bool_]:
    """Test rows that lie within a hair of a training row in every measured column, and agree with it in all others."""
    from scipy.spatial import KDTree

    measured = np.array([pd.api.types.is_float_dtype(features[name]) for name in features])
    measured &= codes.max(axis=0, initial=0) >= _FINE
    if measured.sum() < _MEASURED:
        return np.zeros(len(check), dtype=bool)
    numbers = features.loc[:, measured].to_numpy(dtype=np.float64)
    spread = np.nanstd(numbers, axis=0)
    # What is missing is alike; codes that differ lie a whole unit apart.
    scaled = np.nan_to_num((numbers - np.nanmean(numbers, axis=0)) / np.where(spread > 0, spread, 1), nan=1e6)
    points = np.column_stack([scaled, codes[:, ~measured]])
    distance, _ = KDTree(points[learn]).query(points[check], p=np.inf, distance_upper_bound=_NOTHING)
    alike: NDArray[np.bool_] = np.isfinite(distance)
    return alike


def _hashes(codes: IntArray, place: int) -> np.ndarray:
    """A random number for each value of a column, the same in every run."""
    drawn = np.random.default_rng(place).integers(0, 2**64, size=int(codes.max(initial=0)) + 1, dtype=np.uint64)
    return drawn[codes]
