"""What the gates ask of whoever can run a model; training implements it, so that promotion imports no learning code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Evaluation(Protocol):
    """One model scored now on the family's test rows.

    Attributes:
        metrics: Every metric by name, dimensionless.
        rows: Number of rows scored.
        data_sha256: Digest of the data file the rows come from.
    """

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric by name."""

    @property
    def rows(self) -> int:
        """How many rows were scored."""

    @property
    def data_sha256(self) -> str:
        """Digest of the data file."""


class Evaluator(Protocol):
    """Scores model artifacts on one family's test rows."""

    def evaluate(self, artifact: Path) -> Evaluation:
        """Load the model under `artifact` and score it.

        Raises:
            DataError: The test rows cannot be read or break their contract.
            PromotionError: The model cannot be loaded or run; the message says why.
        """

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production on the same rows: point estimate and paired bootstrap interval."""
