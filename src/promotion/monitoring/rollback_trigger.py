"""Whether what the version in Production did lately is bad enough, and long enough, to take it back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from promotion.config.policy import Monitoring
from promotion.evaluation.intervals import is_beyond_bound, share_reach
from promotion.monitoring.label_evidence import rollback_problem
from promotion.monitoring.observe.observation import Lately, Observation, Reading, Stretch
from promotion.monitoring.performance_thresholds import doubt

PREFIX = "rollback:"
"""Of the keys of findings about the way back, before the trigger's own key."""
WARNED = "trigger:"
"""The same of what people are told before a version goes."""
_CLOSE = 1e-9
"""Of two figures that are the same to everybody but a computer: 0.90 - 0.80 is 0.09999999999999998."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One reason to take a version back, and what the newest windows say of it.

    Attributes:
        key: `accuracy`, `error_rate` or `latency`.
        bound: Beyond which a window is bad: a share, an absolute difference of accuracies, or milliseconds.
        reference: Accuracy at promotion; None for the others, and where nobody wrote it down.
        stretches: The windows, oldest first.
        bad: Which of them are beyond the bound, on rows enough.
        needed: How many have to be.
        problem: Why nothing can be said; empty when something can.
        doubt: Why it may be chance, or the fault of one instance; empty when it is neither.
        coverage: Of the accuracy: share of the rows that have a label.
    """

    key: str
    bound: float
    reference: float | None
    stretches: Sequence[Stretch]
    bad: Sequence[bool]
    needed: int
    problem: str = ""
    doubt: str = ""
    coverage: float | None = None

    @property
    def fires(self) -> bool:
        """Whether enough windows are bad, and the newest still is: what is over takes nothing back."""
        return not self.problem and not self.doubt and self.bad[-1] and sum(self.bad) >= self.needed

    @property
    def text(self) -> str:
        """One line for a person, with the measured figures."""
        if self.problem:
            return f"{_NAMES[self.key]}: unknown, {self.problem}"
        figures = ", ".join(
            f"{_SPELLING[self.key].format(it.value)} of {it.rows:,}" if it.enough or is_bad else f"too few, {it.rows:,}"
            for it, is_bad in zip(self.stretches, self.bad, strict=True)
        )
        labels = "" if self.coverage in {None, 1.0} else f", {self.coverage:.1%} of the rows have a label"
        promoted = "" if self.reference is None else f" ({self.reference:.3f} at promotion{labels})"
        since, until = self.stretches[0].since, self.stretches[-1].until
        end = f"{until:%H:%M:%S}" if since.date() == until.date() else f"{until:%Y-%m-%d %H:%M:%S}"
        return (
            f"{_NAMES[self.key]} beyond {_SPELLING[self.key].format(self.bound)} in {sum(self.bad)} of the newest "
            f"{len(self.stretches)} windows, {self.needed} needed: {figures}{promoted}, "
            f"{since:%Y-%m-%d %H:%M:%S} to {end} UTC" + (f"; {self.doubt}" if self.doubt else "")
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        document = asdict(self)
        for stretch in document["stretches"]:
            stretch |= {name: stretch[name].isoformat() for name in ("since", "until")}
        return document | {"fires": self.fires, "text": self.text}


_STRICTER = 50
"""So many times less often than an alert may chance take a version back: it is asked at every look of a year."""
_DROP = "accuracy"
"""The one figure that is compared with its value at promotion."""
_NAMES = {"accuracy": "drop of the accuracy", "error_rate": "error rate", "latency": "latency p95"}
_SPELLING = {"accuracy": "{:.3f}", "error_rate": "{:.1%}", "latency": "{:.0f} ms"}


def triggers(observation: Observation, policy: Monitoring) -> list[Trigger]:
    """Every trigger the family's bounds set, for the version in Production; empty for any other.

    Args:
        observation: What was seen.
        policy: The family's.
    """
    bounds = policy.rollback
    found = [
        _trigger(key, bound, observation.lately[key], policy)
        for key, bound in (
            ("accuracy", bounds.accuracy_drop),
            ("error_rate", bounds.error_rate),
            ("latency", bounds.latency_ms),
        )
        if bound is not None and key in observation.lately
    ]
    if _DROP not in observation.lately:
        return found
    # Not those of the whole stretch that alerts are about: in its last hours other rows may have a label.
    lately = observation.lately[_DROP]
    # To a hundredth: these windows end where labels just reach the share that is needed.
    covered = None if lately.coverage is None else round(lately.coverage, 2)
    unsure = rollback_problem(replace(observation, coverage=covered, label_bias=lately.label_bias), policy)
    return [
        replace(it, problem=it.problem or unsure, coverage=lately.coverage) if it.key == _DROP else it for it in found
    ]


def _trigger(key: str, bound: float, lately: Lately, policy: Monitoring) -> Trigger:
    together = lately.together
    reference = together.reference if together else None
    bad = [_is_bad(it, key, bound, reference, policy.confidence) for it in lately.stretches]
    fault = next((it.fault for it, is_bad in zip(lately.stretches, bad, strict=True) if is_bad and it.fault), "")
    return Trigger(
        key,
        bound,
        reference,
        lately.stretches,
        bad,
        policy.sustained.needed,
        problem=_problem(lately, needs_reference=key == _DROP and reference is None),
        doubt=_doubt(together, policy) if together is not None and any(bad) else fault,
    )


def _is_bad(stretch: Stretch, key: str, bound: float, reference: float | None, confidence: float) -> bool:
    """Whether a window is beyond the bound: failures for certain, at any traffic; other figures on rows enough."""
    if stretch.failed is not None:
        return is_beyond_bound(stretch.failed, stretch.rows, bound, confidence) is True
    return stretch.enough and stretch.value is not None and _loss(stretch.value, reference, key) > bound + _CLOSE


def _loss(value: float, reference: float | None, key: str) -> float:
    if key != _DROP:
        return value
    return 0.0 if reference is None else reference - value


def _doubt(together: Reading, policy: Monitoring) -> str:
    """Why chance may explain the drop, both values being measured on so many rows and no more; empty if it cannot."""
    if together.value is None or together.reference is None:
        return "nothing to compare with"
    certain = 1 - (1 - policy.confidence) / _STRICTER
    live = math.inf if together.high is None else share_reach(together.value, together.high, certain)
    low = together.reference if together.reference_low is None else together.reference_low
    reach = math.hypot(live, share_reach(together.reference, low, certain))
    return "" if together.reference - together.value > reach else doubt(together, rising=False)


def _problem(lately: Lately, *, needs_reference: bool) -> str:
    if lately.problem:
        return lately.problem
    if needs_reference:
        return "no value at promotion is known"
    if not any(it.enough or it.failed for it in lately.stretches):
        rows = ", ".join(f"{it.rows:,}" for it in lately.stretches)
        return f"not enough data in any window ({rows} rows)"
    return ""
