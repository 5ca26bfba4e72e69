"""What an analysis is made of, as plain records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Self

from promotion.errors import UsageError

FULL = 100
"""The step that deploys the version on every pod and removes the canary."""

DEFAULT_STEPS = (10, 25, 50, FULL)

ERROR = 0.05
"""Probability that an analysis decides wrongly at any step, by any measure, however often it looks."""


class Decision(StrEnum):
    """What an analysis says; after `hold` nothing moves until a person asks again."""

    ADVANCE = "advance"
    HOLD = "hold"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class AnalysisPlan:
    """What is analysed, and how long.

    Attributes:
        steps: Shares of the requests in percent, ascending; 100 deploys fully.
        seconds: How long one step may wait for evidence before it holds.
        requests: How many requests the canary has to answer at each step at least.
    """

    steps: tuple[int, ...] = DEFAULT_STEPS
    seconds: float = 1800.0
    requests: int = 500

    @property
    def is_full(self) -> bool:
        """Whether it ends on every pod."""
        return self.steps[-1] == FULL

    @classmethod
    def of(cls, steps: str, seconds: float, requests: int) -> Self:
        """Read steps as they are written on a command line.

        Raises:
            UsageError: They are no ascending percentages.
        """
        parts = [part.strip() for part in steps.split(",")]
        shares = tuple(int(part) for part in parts if part.isascii() and part.isdecimal())
        is_ascending = all(one < other for one, other in pairwise(shares))
        if len(shares) != len(parts) or not is_ascending or not 0 < shares[0] <= shares[-1] <= FULL:
            default = ",".join(map(str, DEFAULT_STEPS))
            raise UsageError(f"--steps {steps!r}: expected ascending percentages from 1 to {FULL}, such as {default}")
        return cls(shares, seconds, requests)


@dataclass(frozen=True, slots=True)
class AnalysisProgress:
    """How far a canary came through its steps.

    Attributes:
        plan: What was asked for.
        step: Position of the step that is analysed now, or is next; behind the last one when all are passed.
        tries: How often that step was begun.
        said: What the last analysis said.
    """

    plan: AnalysisPlan
    step: int = 0
    tries: int = 0
    said: str = ""

    @property
    def percent(self) -> int | None:
        """The step in percent; None when all are passed."""
        return self.plan.steps[self.step] if self.step < len(self.plan.steps) else None

    @property
    def error(self) -> float:
        """What of `ERROR` this try of this step may spend: all tries of all steps together spend no more than it."""
        # 1/2 + 1/6 + 1/12 + … = 1
        return ERROR / len(self.plan.steps) / (self.tries * (self.tries + 1))

    def begun(self) -> Self:
        """The step is tried, maybe once more."""
        return replace(self, tries=self.tries + 1)

    def decided(self, analysis: Analysis) -> Self:
        """An analysis came to its end."""
        after = replace(self, said=str(analysis))
        return replace(after, step=self.step + 1, tries=0) if analysis.decision is Decision.ADVANCE else after

    def as_json(self) -> dict[str, Any]:
        """What the journal keeps; its text is for those who only read."""
        return {**asdict(self), "text": str(self)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """What the journal kept."""
        plan, known = kept["plan"], {name: value for name, value in kept.items() if name != "text"}
        return cls(**{**known, "plan": AnalysisPlan(**{**plan, "steps": tuple(plan["steps"])})})

    def __str__(self) -> str:
        steps = ", ".join(map(str, self.plan.steps))
        now = f"step {self.percent} %" if self.percent else "all steps are passed"
        return f"{now} (of {steps}){f'; {self.said}' if self.said else ''}"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the pods of one track did within the same time.

    Attributes:
        requests: That ask for predictions.
        failures: Of these, answered with 500 or above.
        slower: Of these, how many took longer than so many seconds, as the server's metrics spell it.
        predictions: Predicted rows by class; empty for a regression.
        labelled: Keys whose label arrived, each counted once; None where nobody asks for labels.
        wrong: Of these, answered otherwise.
    """

    requests: int = 0
    failures: int = 0
    slower: Mapping[str, int] = field(default_factory=dict)
    predictions: Mapping[str, int] = field(default_factory=dict)
    labelled: int | None = None
    wrong: int = 0


VersionName = tuple[str, int]
"""Registered model and MLflow's number."""

LabelCounts = tuple[int, int]
"""Labelled keys, and how many of these were answered wrongly."""

LiveLabels = Callable[[VersionName, VersionName, datetime], tuple[LabelCounts, LabelCounts]]
"""What labels say of two versions, the canary's and the stable pods', since a time."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of the canary against the stable pods.

    Attributes:
        measure: What.
        canary: Its share.
        stable: Theirs.
        low: Lower end of the difference, at every look at once.
        high: Upper end.
        allowed: Largest difference that is accepted.
        is_about_predictions: Whether a difference, in either direction, is for people to judge.
        is_awaited: Whether a canary goes on only when this is surely accepted.
    """

    measure: str
    canary: float
    stable: float
    low: float
    high: float
    allowed: float
    is_about_predictions: bool = False
    is_awaited: bool = True

    @property
    def is_beyond(self) -> bool:
        """Whether the difference is surely greater than what is accepted."""
        return self.low > self.allowed or (self.is_about_predictions and self.high < -self.allowed)

    @property
    def is_within(self) -> bool:
        """Whether the difference is surely accepted."""
        return self.high <= self.allowed and (not self.is_about_predictions or self.low >= -self.allowed)

    def __str__(self) -> str:
        return (
            f"{self.measure}: {self.canary:.2%} against {self.stable:.2%}, "
            f"a difference from {self.low:+.2%} to {self.high:+.2%} where {self.allowed:.0%} are accepted"
        )


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one step showed.

    Attributes:
        percent: The step.
        share: The canary's real part of the pods.
        decision: What follows.
        why: In one line.
        canary: What its pods did.
        stable: What theirs did.
        comparisons: Measure by measure.
    """

    percent: int
    share: float
    decision: Decision
    why: str
    canary: Counts
    stable: Counts
    comparisons: tuple[Comparison, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        return {**asdict(self), "decision": self.decision.value, "comparisons": [asdict(c) for c in self.comparisons]}

    def __str__(self) -> str:
        return f"{self.decision} at {self.percent} % ({self.share:.0%} of the pods): {self.why}"
