"""What an export is made from, whoever trained the version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from promotion.data.arrays import FloatArray, IntArray
from promotion.export.contract import Contract
from promotion.gates.evidence import Interval


@dataclass(frozen=True)
class ServableVersion:
    """A version, ready to be exported.

    Attributes:
        contract: Its columns and classes.
        model: The registered model: `predict`, and for classes `predict_proba`.
        rows: Rows that were held out × features.
        learned: Rows whose statistics live traffic is compared with: those learned from, where they are known.
        metrics: What the model was worth on the rows held out.
        data_sha256: Digest of the file that the rows come from.
        graph: Makes the ONNX graph.
        segments: Features whose groups have statistics of their own.
        measure: What the model is worth on some of the rows held out, by their places; None where nobody can tell.
    """

    contract: Contract
    model: Any
    rows: pd.DataFrame
    learned: pd.DataFrame
    metrics: Mapping[str, Interval]
    data_sha256: str
    graph: Callable[[], bytes]
    segments: Sequence[str] = ()
    measure: Callable[[IntArray], Mapping[str, Interval]] | None = None

    def answers(self, rows: pd.DataFrame) -> FloatArray:
        """The model's answers to rows: probabilities, shape (rows, classes), or numbers, shape (rows,)."""
        found = self.model.predict_proba(rows) if self.contract.classes else self.model.predict(rows)
        return np.asarray(found, dtype=np.float64)
