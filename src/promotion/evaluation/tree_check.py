"""Refuse trees whose nodes point outside: scikit-learn follows them without looking, into foreign memory.

The type check of skops cannot see it: a crafted file holds a genuine `sklearn.tree._tree.Tree` with wrong numbers in it
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
        if tree.n_features != width or not _is_well_formed(tree):
            return f"tree {number} has nodes that point outside the tree or its columns"
    return None


def _is_well_formed(tree: Tree) -> bool:
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    own = np.arange(tree.node_count)
    leaf = (left == _LEAF) & (right == _LEAF)
    inside = (left > own) & (left < tree.node_count) & (right > own) & (right < tree.node_count)
    has_column = (feature >= 0) & (feature < tree.n_features)
    return tree.node_count > 0 and bool((leaf | (inside & has_column)).all())


def _trees(value: Any, seen: set[int]) -> Iterator[Tree]:
    """Every tree reachable through estimators, lists, tuples, dictionaries and arrays of objects."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tree):
        yield value
    elif isinstance(value, BaseEstimator):
        yield from _trees(vars(value), seen)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _trees(item, seen)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for item in np.ravel(value).tolist() if isinstance(value, np.ndarray) else value:
            yield from _trees(item, seen)
