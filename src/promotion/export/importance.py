"""Which features move a model's answers, whoever trained it: asked of the model, on rows that were held out."""

from __future__ import annotations

import numpy as np

from promotion.data.arrays import with_cells
from promotion.export.servable import ServableVersion

_PAIRS = 1000
_SEED = 42


def feature_importance(source: ServableVersion) -> dict[str, float]:
    """Share of each feature in what moves the model's answers, all features together 1.

    Permutation importance (Breiman 2001, Machine Learning 45:5-32) of the answers themselves: by how much they change
    on average when a row gets the value of another one. It needs no label, and is 0 for what the model does not use.

    Args:
        source: The version.

    Returns:
        By feature; empty where no answer changes, or one is no finite number.
    """
    random = np.random.default_rng(_SEED)
    rows, others = (source.rows.iloc[random.integers(0, len(source.rows), _PAIRS)] for _ in range(2))
    before = source.answers(rows)
    moved = {
        name: float(np.abs(source.answers(with_cells(rows, {name: others[name].array})) - before).mean())
        for name in source.contract.features
    }
    total = sum(moved.values())
    return {name: round(change / total, 6) for name, change in moved.items()} if 0 < total < np.inf else {}
