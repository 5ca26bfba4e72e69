"""Whether a file's rows are of one kind from the first to the last: where errors gather, other rows were appended."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import kolmogorov

from promotion.data.datasets import Dataset

SURPRISING = 1e-3
"""Probability of such a change by chance, from which on it is told."""
_LEAST_CHANGE = 0.05
"""Of the error rate: what a forest expects of itself is a little off where rows are few of a kind."""
_LEAST_GROWTH = 1.25
"""Of a number's median error, from the better to the worse part of the rows."""
_LEAST_ROWS = 100
_LEAST_OF_A_CLASS = 10
_FOLDS, _TREES = 5, 30
_PARTS = 10
"""Within which errors of numbers are compared."""


def order_problems(dataset: Dataset, seed: int) -> list[str]:
    """Where in the file a small forest begins to err more, or less, than it should; empty where nowhere.

    It answers each row from the other parts of the file. Of a class, what it errs beyond its own expectation, 1 minus
    the probability of the class it names, is compared within each class; of a number, the rank of its absolute error
    among the rows that are as hard by their features, within each tenth of the numbers. The mean is zero wherever the
    rows lie, also in a sorted file, unless features and target belong together in another way there. The largest
    partial sum in row order is held against that of a Brownian bridge (Kolmogorov's distribution; CUSUM, Brown, Durbin
    & Evans 1975, JRSS B 37:149-192).

    Args:
        dataset: The rows in the file's order.
        seed: Of the folds.
    """
    target, rows = dataset.target, len(dataset.target)
    is_number = np.issubdtype(target.dtype, np.floating)
    is_rare = not is_number and np.unique(target, return_counts=True)[1].min() < _LEAST_OF_A_CLASS
    if rows < _LEAST_ROWS or is_rare or len(np.unique(target)) == 1:
        return []
    errors, excess = _of_numbers(dataset, seed) if is_number else _of_classes(dataset, seed)
    spread = float(excess.std()) * np.sqrt(rows)
    if spread == 0:
        return []
    path = np.cumsum(excess)
    place = int(np.abs(path[:-1]).argmax()) + 1
    chance = float(kolmogorov(abs(path[place - 1]) / spread))
    change = (_change_of_numbers if is_number else _change_of_classes)(errors[:place], errors[place:])
    if chance >= SURPRISING or not change:
        return []
    return [f"from row {place + 1} of {rows} on, {change} (p = {chance:.1g}): find out how the file was put together"]


def _change_of_classes(wrong_before: NDArray[np.float64], wrong_after: NDArray[np.float64]) -> str:
    """How the error rate changes; empty where hardly."""
    before, after = float(wrong_before.mean()), float(wrong_after.mean())
    if abs(after - before) < _LEAST_CHANGE:
        return ""
    return f"a small forest errs in {after:.0%} of the rows, before it in {before:.0%}"


def _change_of_numbers(off_before: NDArray[np.float64], off_after: NDArray[np.float64]) -> str:
    """How the median error changes; empty where hardly."""
    before, after = float(np.median(off_before)), float(np.median(off_after))
    if max(after, before) < _LEAST_GROWTH * min(after, before):
        return ""
    return f"a small forest is off by {after:.4g} in half of the rows, before it by {before:.4g}"


def _of_classes(dataset: Dataset, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whether each row is answered wrongly, and that beyond what the model says of itself, by class zero on average."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    target = dataset.target
    forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=seed)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    found = cross_val_predict(forest, _table(dataset), target, cv=folds, method="predict_proba")
    wrong = (np.unique(target)[found.argmax(axis=1)] != target).astype(np.float64)
    # A file sorted by class is no file of two kinds: the rarer class is always answered wrongly more often.
    return wrong, _centred(wrong - (1 - found.max(axis=1)), target)


def _of_numbers(dataset: Dataset, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far off each row's answer is, and the rank of that among rows that are as hard, zero on average."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    forest = RandomForestRegressor(_TREES, min_samples_leaf=3, random_state=seed)
    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    table = _table(dataset)
    off = np.abs(dataset.target - cross_val_predict(forest, table, dataset.target, cv=folds))
    hardness = _tenths(cross_val_predict(forest, table, off, cv=folds))
    ranks = pd.Series(off).groupby(hardness).rank(pct=True).to_numpy(dtype=np.float64)
    # Sorted by the target, a file is still of one kind: what is far from the middle is always further off.
    return off, _centred(ranks, _tenths(dataset.target))


def _tenths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    places = np.asarray(pd.Series(values).rank(method="min"), dtype=np.int64) - 1
    return np.asarray(places * _PARTS // len(values), dtype=np.int64)


def _centred(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    means = np.bincount(groups, weights=values) / np.maximum(np.bincount(groups), 1)
    centred: NDArray[np.float64] = values - means[groups]
    return centred


def _table(dataset: Dataset) -> pd.DataFrame:
    """The features as numbers; with medians, because a forest takes no empty cells in every release there is."""
    table = dataset.features.apply(lambda cells: pd.factorize(cells, sort=True)[0] if cells.dtype == object else cells)
    filled: pd.DataFrame = table.fillna(table.median()).fillna(0)
    return filled
