"""What the rows really were, once somebody knows: labels that arrive late, by request and row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

UNKNOWN = -1
"""A row without a label."""


@dataclass(frozen=True)
class Labels:
    """Labels by request and row.

    Attributes:
        keys: `request_id/row`, each once.
        classes: Position of the class of each, or the number that was to be predicted, shape (len(keys),).
        conflicting: Rows left out because they have two labels that differ.
        unknown: Labels left out because they are no class of the family, or of no row.
        total: Labels in the file; a row of it whose label is still empty is none.
        example: One of the unknown ones.
    """

    keys: pa.Array
    classes: NDArray[np.int64] | NDArray[np.float64]
    conflicting: int = 0
    unknown: int = 0
    total: int = 0
    example: str = ""

    def of(self, request_ids: Any, rows: Any) -> Any:
        """The label of each row; `UNKNOWN`, or of numbers NaN, where there is none.

        Args:
            request_ids: Arrow strings, one a row.
            rows: Arrow integers: position within the request.
        """
        keys = _keys(request_ids, rows).to_pylist()
        found = np.fromiter((self._places.get(key, UNKNOWN) for key in keys), np.int64, len(keys))
        # The last one is of no row, so that a place of -1 reads as "no label".
        return self._or_none[found]

    @cached_property
    def _places(self) -> dict[str, int]:
        """Made once for all blocks of a log; Arrow would index all labels again for each."""
        return {key: place for place, key in enumerate(self.keys.to_pylist())}

    @cached_property
    def _or_none(self) -> NDArray[Any]:
        return np.append(self.classes, np.nan if self.classes.dtype.kind == "f" else UNKNOWN)


def _keys(request_ids: Any, rows: Any) -> Any:
    return pc.binary_join_element_wise(request_ids.cast(pa.string()), rows.cast(pa.string()), "/")
