"""What the gates ask of whoever can run a model; training implements it, so that promotion imports no learning code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SliceFigure:
    """A metric in one group of rows; NaN where there are too few of them, or it cannot be said.

    Attributes:
        column: Whose values are the groups.
        group: The value, or the range.
        metric: By name.
        rows: How many are in the group.
        value: Of the metric.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    column: str
    group: str
    metric: str
    rows: int
    value: float
    low: float
    high: float


class Evaluation(Protocol):
    """One model scored now on the family's test rows."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Every metric by name, dimensionless."""

    @property
    def rows(self) -> int:
        """How many rows were scored."""

    @property
    def data_sha256(self) -> str:
        """Digest of the data file the rows come from."""

    @property
    def slices(self) -> tuple[SliceFigure, ...]:
        """Metrics in groups of the rows, where the family's file asks for some."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model version costs to run, measured on this machine; `evaluation.cost` says how, and its limits.

    Attributes:
        latency_p95_ms: 95 of 100 requests of one row were answered at least this fast, in milliseconds.
        latency_p50_ms: Median of the same requests, in milliseconds.
        peak_memory_mb: Peak resident memory of the measuring process, everything in it: interpreter, libraries, model
            and requests; MB of 10^6 bytes.
        cpu_ms_per_request: CPU time, user and system, of a request of one row on average, in milliseconds. At r
            requests a second the model keeps r × cpu_ms_per_request / 1000 cores busy.
        requests: How many requests were timed.
        undisturbed_p95_ms: The same 95th percentile without the time in which others had the processor; None where
            nobody measured it.
        waiting: Share of the requests' time that this was.
        load: Processes that wanted to run on the machine in the last minute, a core; above 1 it was busy.
    """

    latency_p95_ms: float
    latency_p50_ms: float
    peak_memory_mb: float
    cpu_ms_per_request: float
    requests: int
    undisturbed_p95_ms: float | None = None
    waiting: float = 0.0
    load: float | None = None


class Evaluator(Protocol):
    """Scores and measures model artifacts of one family, on its test rows."""

    @property
    def feature_hash(self) -> str:
        """Fingerprint of the feature view: names, types and constraints of what the family's models are fed."""

    def evaluate(self, artifact: Path) -> Evaluation:
        """Load the model under `artifact` and score it.

        Raises:
            DataError: The test rows cannot be read or break their contract.
            PromotionError: The model cannot be loaded or run; the message says why.
        """

    def load(self, artifact: Path) -> None:
        """Load the model under `artifact` and do nothing with it.

        Raises:
            PromotionError: The model cannot be loaded; the message says why.
        """

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production on the same rows: point estimate and paired bootstrap interval."""

    def measure(self, artifact: Path) -> Measurement:
        """Run the model under `artifact` in a process of its own, one row at a time, and say what that costs.

        Raises:
            DataError: The test rows cannot be read or break their contract.
            PromotionError: The model cannot be loaded, or crashes, fails or does not end; the message says why.
        """

    def schema_problems(self, artifact: Path) -> list[str]:
        """Where the signature of the model under `artifact` differs from the family's features; empty when nowhere."""

    @property
    def data_sha256(self) -> str:
        """Digest of the rows that models are scored on.

        Raises:
            DataError: They cannot be read.
        """

    def holdout_problems(self) -> list[str]:
        """Why no model can be scored on the rows, such as a missing target; empty when one can.

        Raises:
            DataError: They cannot be read.
        """

    def data_problems(self) -> list[str]:
        """What is wrong with the family's data, each with its figure; empty when nothing is."""

    def split_problems(self, trained: Mapping[str, Any]) -> list[str]:
        """Why the test rows may be known to a version; empty where nothing says so.

        Args:
            trained: The version's lineage: which data and which split it was trained on.

        Raises:
            DataError: The rows cannot be read.
        """
