"""Whether a file's rows are of one kind from the first to the last: where errors gather, other rows were appended."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import kolmogorov

from promotion.data.datasets import Dataset

SURPRISING = 1e-3
"""Probability of such a change by chance, from which on it is told."""
_LEAST_CHANGE = 0.05
"""Of the error rate: what a forest expects of itself is a little off where rows are few of a kind."""
_LEAST_ROWS = 100
_LEAST_OF_A_CLASS = 10
_FOLDS, _TREES = 5, 30


def order_problems(dataset: Dataset, seed: int) -> list[str]:
    """Where in the file a classifier begins to err more, or less, than it expects to; empty where nowhere.

    A small forest answers each row from the other parts of the file. What it errs beyond its own expectation, 1 minus
    the probability of the class it names, is compared within each class: its mean is zero wherever the rows lie, also
    in a sorted file, unless features and classes belong together in another way there. The largest partial sum in row
    order is held against that of a Brownian bridge (Kolmogorov's distribution; CUSUM, Brown, Durbin & Evans 1975, JRSS
    B 37:149-192).

    Args:
        dataset: The rows in the file's order.
        seed: Of the folds.
    """
    target = dataset.target
    rows = len(target)
    if np.issubdtype(target.dtype, np.floating):
        return []
    counts = np.bincount(target)
    if rows < _LEAST_ROWS or counts[counts > 0].min() < _LEAST_OF_A_CLASS or np.count_nonzero(counts) == 1:
        return []
    wrong, expected = _errors(dataset, seed)
    excess = wrong - expected
    # A file sorted by class is no file of two kinds: the rarer class is always answered wrongly more often.
    excess -= (np.bincount(target, weights=excess) / np.maximum(counts, 1))[target]
    spread = float(excess.std()) * np.sqrt(rows)
    if spread == 0:
        return []
    path = np.cumsum(excess)
    place = int(np.abs(path[:-1]).argmax()) + 1
    chance = float(kolmogorov(abs(path[place - 1]) / spread))
    before, after = float(wrong[:place].mean()), float(wrong[place:].mean())
    if chance >= SURPRISING or abs(after - before) < _LEAST_CHANGE:
        return []
    share = f"a small forest errs in {after:.0%} of the rows, before it in {before:.0%}"
    return [f"from row {place + 1} of {rows} on, {share} (p = {chance:.1g}): find out how the file was put together"]


def _errors(dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row is answered wrongly, and how probable the model says that is."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=seed)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    # Medians, because a forest takes no empty cells in every release that may be installed.
    table = dataset.features.apply(lambda cells: pd.factorize(cells, sort=True)[0] if cells.dtype == object else cells)
    features = table.fillna(table.median()).fillna(0)
    found = cross_val_predict(forest, features, dataset.target, cv=folds, method="predict_proba")
    classes = np.unique(dataset.target)
    wrong = (classes[found.argmax(axis=1)] != dataset.target).astype(np.float64)
    return wrong, 1 - found.max(axis=1)
