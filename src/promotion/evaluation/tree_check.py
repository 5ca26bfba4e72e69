"""Refuse trees whose nodes point outside: scikit-learn follows them without looking, into foreign memory.

The type check of skops cannot see it: a crafted file holds a genuine `sklearn.tree._tree.Tree`, or a `TreePredictor` of
histogram gradient boosting, with wrong numbers in it
(https://github.com/scikit-learn/scikit-learn/pull/34558).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.tree._tree import Tree

_LEAF = -1
_PREDICTOR = "TreePredictor"


def find_unsafe_tree(model: Any) -> str | None:
    """Why a loaded pipeline must not run: the first tree that is not well formed; None when all are.

    In a tree scikit-learn has grown, an inner node has two children behind it in the list (so walks end) and asks for a
    column that exists.
    """
    if not isinstance(model, BaseEstimator):
        return f"expected a scikit-learn estimator, found {type(model).__name__}"
    last = model.steps[-1][-1] if isinstance(model, Pipeline) and isinstance(model.steps, list) else model
    width = getattr(last, "n_features_in_", None)
    for number, tree in enumerate(_trees(model, set())):
        is_safe = _is_safe_tree(tree, width) if isinstance(tree, Tree) else _is_safe_predictor(tree, width)
        if not is_safe:
            return f"tree {number} has nodes that point outside the tree or its columns"
    return None


def _is_safe_tree(tree: Tree, width: Any) -> bool:
    left, right = tree.children_left, tree.children_right
    leaf = (left == _LEAF) & (right == _LEAF)
    return bool(tree.n_features == width) and _is_well_formed(leaf, left, right, tree.feature, width)


def _is_safe_predictor(tree: Any, width: Any) -> bool:
    """None of ours splits by category, which would be a way to other places in memory."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    nodes = tree.nodes
    if not isinstance(nodes, np.ndarray) or nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1:
        return False
    left, right = (nodes[side].astype(np.int64) for side in ("left", "right"))
    is_plain = isinstance(width, int) and not nodes["is_categorical"].any()
    return is_plain and _is_well_formed(nodes["is_leaf"] == 1, left, right, nodes["feature_idx"], width)


def _is_well_formed(leaf: Any, left: Any, right: Any, feature: Any, width: int) -> bool:
    count = len(leaf)
    own = np.arange(count)
    inside = (left > own) & (left < count) & (right > own) & (right < count)
    has_column = (feature >= 0) & (feature < width)
    return count > 0 and bool((leaf | (inside & has_column)).all())


def _trees(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every tree reachable through estimators, lists, tuples, dictionaries and arrays of objects."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tree) or type(value).__name__ == _PREDICTOR:
        yield value
    elif isinstance(value, BaseEstimator):
        yield from _trees(vars(value), seen)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _trees(item, seen)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in np.ravel(value).tolist() if isinstance(value, np.ndarray) else value:
            yield from _trees(item, seen)
