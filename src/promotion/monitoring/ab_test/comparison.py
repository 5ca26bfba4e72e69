"""What an A/B test says: the difference, its interval that holds however often one looks, and what it still takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.delivery.canary.records import VersionName
from promotion.errors import UsageError
from promotion.evaluation.intervals import sequential, sequential_difference
from promotion.monitoring.ab_test.outcomes import Arms

ERROR = 0.05
METRIC = "accuracy"
_MOST = 1 << 40
_MOST_SLICES = 20


@dataclass(frozen=True, slots=True)
class ArmSlice:
    """The comparison within one group of rows; the groups share the error.

    Attributes:
        group: The column's value.
        champion_keys: How many keys count for the champion.
        challenger_keys: For the challenger.
        champion_value: The metric; None without keys.
        challenger_value: Likewise.
        low: Lower end of the difference.
        high: Upper end.
    """

    group: str
    champion_keys: int
    challenger_keys: int
    champion_value: float | None
    challenger_value: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class AbTest:
    """One look at an A/B test.

    Attributes:
        metric: What is compared.
        champion: Registered model and number.
        challenger: Likewise.
        is_paired: Whether both answered the same rows.
        champion_keys: How many keys count for it.
        challenger_keys: How many for the other.
        champion_value: Its metric; None without keys.
        challenger_value: Likewise.
        difference: Challenger minus champion.
        low: Lower end of its interval, at every look at once.
        high: Upper end.
        error: Probability that the true difference is ever outside.
        effect: The difference that somebody wants to see.
        required_keys: How many keys an arm needs until one of that size is surely seen.
        left_out: What does not count, by reason.
        slices: The same within groups of rows.
    """

    metric: str
    champion: VersionName
    challenger: VersionName
    is_paired: bool
    champion_keys: int
    challenger_keys: int
    champion_value: float | None
    challenger_value: float | None
    difference: float | None
    low: float
    high: float
    error: float
    effect: float
    required_keys: int
    left_out: dict[str, int]
    slices: tuple[ArmSlice, ...] = ()

    @property
    def verdict(self) -> str:
        """What may be said now."""
        if self.low > 0:
            return "the challenger is better"
        if self.high < 0:
            return "the champion is better"
        return "not decided"

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "slices": [asdict(each) for each in self.slices], "verdict": self.verdict}

    def __str__(self) -> str:
        ours, theirs = (f"{model} v{number}" for model, number in (self.challenger, self.champion))
        known = "unknown" if self.difference is None else f"{self.difference:+.4f}"
        keys = f"{self.challenger_keys} and {self.champion_keys} keys{' in pairs' if self.is_paired else ''}"
        interval = f"{self.low:+.4f} to {self.high:+.4f}"
        return f"{ours} against {theirs}: {self.metric} {known} ({interval}), {keys}: {self.verdict}"


def compare_arms(arms: Arms, effect: float, error: float = ERROR) -> AbTest:
    """Compare both arms.

    Args:
        arms: What both did.
        effect: The difference that somebody wants to see.
        error: Probability that the interval ever leaves the true difference out.
    """
    theirs, ours = arms.champion_values, arms.challenger_values
    low, high = _ends(arms, theirs, ours, error)
    values = [_mean(theirs), _mean(ours)]
    return AbTest(
        metric=METRIC,
        champion=arms.champion,
        challenger=arms.challenger,
        is_paired=arms.is_paired,
        champion_keys=len(theirs),
        challenger_keys=len(ours),
        champion_value=values[0],
        challenger_value=values[1],
        difference=None if values[0] is None or values[1] is None else values[1] - values[0],
        low=low,
        high=high,
        error=error,
        effect=effect,
        required_keys=required_keys(0.5 if values[0] is None else values[0], effect, error),
        left_out=arms.left_out,
        slices=tuple(_slices(arms, error)),
    )


def _slices(arms: Arms, error: float) -> Iterator[ArmSlice]:
    if arms.champion_groups is None or arms.challenger_groups is None:
        return
    groups = sorted({*arms.champion_groups, *arms.challenger_groups})
    if len(groups) > _MOST_SLICES:
        raise UsageError(f"--slice has {len(groups)} values, expected {_MOST_SLICES} at most: choose another column")
    for group in groups:
        theirs = arms.champion_values[arms.champion_groups == group]
        ours = arms.challenger_values[arms.challenger_groups == group]
        low, high = _ends(arms, theirs, ours, error / len(groups))
        yield ArmSlice(group, len(theirs), len(ours), _mean(theirs), _mean(ours), low, high)


def _ends(arms: Arms, theirs: NDArray[np.float64], ours: NDArray[np.float64], error: float) -> tuple[float, float]:
    """Both ends of the difference's interval."""
    if not arms.is_paired:
        pairs = (float(ours.sum()), len(ours)), (float(theirs.sum()), len(theirs))
        return sequential_difference(*pairs, error)[1:]
    # A difference from -1 to 1, brought to the range of a share.
    low, high = sequential(float(((ours - theirs + 1) / 2).sum()), len(ours), error)
    return 2 * low - 1, 2 * high - 1


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def required_keys(value: float, effect: float, error: float) -> int:
    """How many keys each of two arms needs until a difference is surely seen, as far as one can tell beforehand.

    Args:
        value: The champion's metric.
        effect: The difference.
        error: See `compare_arms`.
    """

    def is_enough(keys: int) -> bool:
        better = min(value + effect, 1.0)
        return sequential_difference((better * keys, keys), ((better - effect) * keys, keys), error)[1] > 0

    most = 2
    while not is_enough(most) and most < _MOST:
        most *= 2
    least = most // 2
    while most - least > max(1, math.floor(least / 100)):
        middle = (least + most) // 2
        least, most = (least, middle) if is_enough(middle) else (middle, most)
    return most
