"""The types a skops file may hold beyond those skops itself vouches for (estimators, arrays, dtypes): ours alone.

MLflow loads a skops model with the trusted types its own MLmodel file lists, so a crafted model can trust itself.
"""

from __future__ import annotations

TRUSTED_TYPES = frozenset({"numpy.dtype", "sklearn.tree._tree.Tree"})
