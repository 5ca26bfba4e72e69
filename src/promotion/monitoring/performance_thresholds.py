"""Say of a version's labelled rows whether it is worse than at promotion, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

from promotion.config.policy import Monitoring
from promotion.monitoring.finding import (
    UNJUDGED,
    Finding,
    LevelName,
    alert_bounds,
    bounds_of,
    crossed_bound,
    is_beyond,
    is_figure,
)
from promotion.monitoring.label_evidence import label_problem, labelled_rows
from promotion.monitoring.observe.observation import Observation, Reading

RISING = frozenset({"rmspe", "rmse", "mae"})
"""Metrics that measure an error: more is worse."""
_LEADING = frozenset({"accuracy", "rmspe"})

# A reading's interval is a 95 % one.
_HALF_WIDTH = NormalDist().inv_cdf(0.975)


def performance_findings(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    """Of every metric, and of what each predicted class still means."""
    for name, reading in observation.metrics.items():
        bounds = _metric_bounds(monitoring, name)
        if bounds is None:
            continue
        finding = _loss(observation, monitoring, name, reading, bounds)
        if finding is not None:
            yield finding
    yield from _concept(observation, monitoring)


def unjudged_findings(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    """Somebody has to hear that nobody knows how good the version is, although labels should tell by now."""
    if observation.serves and (text := observation.stray_labels):
        yield Finding(UNJUDGED, "warning", UNJUDGED, None, None, None, observation.since, observation.rows, text)
        return
    leading = next((it for name, it in observation.metrics.items() if name in {"accuracy", "rmse"}), None)
    if leading is None or not observation.labels_due:
        return
    is_told = leading.enough and is_figure(leading.value) and is_figure(leading.reference)
    why = label_problem(observation, monitoring) if is_told else _unsaid(leading, monitoring)
    if why:
        newest = observation.labelled_until
        days = (observation.until - (newest or observation.since - monitoring.label_delay)).days
        seen = f"the newest label is {days} days old" if days else "the newest label is less than a day old"
        seen = seen if newest else f"no label in {days} days"
        text = f"the performance of {observation} is not judged: {why}; {seen}"
        yield Finding(UNJUDGED, "warning", UNJUDGED, None, None, None, observation.since, leading.rows, text)


def _metric_bounds(monitoring: Monitoring, name: str) -> list[tuple[LevelName, float]] | None:
    """Of a metric, worst first; None of an error in the target's unit, for which no bound suits every family."""
    if name in monitoring.metrics:
        return bounds_of(monitoring.metrics[name])
    if name in RISING:
        return bounds_of(monitoring.rmspe_rise) if name in _LEADING else None
    bounds = alert_bounds(monitoring, "accuracy_drop")
    # A metric that nobody chose is worth a word, not an alarm.
    return bounds if name in _LEADING else [("info", bound) for _, bound in bounds[-1:]]


def _loss(
    observation: Observation, monitoring: Monitoring, name: str, reading: Reading, bounds: list[tuple[LevelName, float]]
) -> Finding | None:
    """What a metric's distance from its value at promotion comes to; None when it is healthy."""

    def say(level: LevelName | None, bound: float | None, text: str) -> Finding:
        since = observation.labelled_since or observation.since
        return Finding(name, level, name, reading.value, reading.reference, bound, since, reading.rows, text)

    first = bounds[-1][1] if bounds else None
    if not reading.enough or not is_figure(reading.value) or not is_figure(reading.reference):
        return say(None, first, f"{name}: {_unsaid(reading, monitoring)}")
    if problem := label_problem(observation, monitoring):
        return say(None, first, f"{name}: cannot tell, {problem}")
    rising = name in RISING
    loss = (reading.value - reading.reference) * (1 if rising else -1)
    crossed = crossed_bound(loss, bounds)
    text = (
        f"{name} {reading.value:.3f} on {labelled_rows(observation, reading.rows)}, {loss:.3f} "
        f"{'above' if rising else 'below'} {reading.reference:.3f} at promotion"
    )
    if not is_sure(reading, loss, monitoring.confidence, rising=rising):
        return say(None, crossed[1], f"{text}; {doubt(reading, rising=rising)}") if crossed else None
    if crossed and crossed[0] == "critical" and _may_be_choice(reading, crossed[1], monitoring, rising=rising):
        return say(
            "warning",
            crossed[1],
            f"{text}; warning, not critical: were all rows without a label answered right, it would be "
            f"{reading.at_best:.3f}, and monitoring.label_coverage does not say that so many labels are enough",
        )
    if crossed:
        return say(*crossed, f"{text}; {crossed[0]} beyond {crossed[1]:g}")
    return say("info", first, f"{text}; a minor fluctuation") if name in _LEADING else None


def _unsaid(reading: Reading, monitoring: Monitoring) -> str:
    if not reading.enough:
        return f"not enough data, {reading.rows:,} labelled rows, {monitoring.minimum_labels:,} needed"
    if not is_figure(reading.value):
        return f"the {reading.rows:,} labelled rows cannot tell it"
    return "nothing to compare with, no value at promotion is known"


def _may_be_choice(reading: Reading, bound: float, monitoring: Monitoring, *, rising: bool) -> bool:
    """Whether labels that come for wrong answers alone would explain the loss, and nobody has ruled that out."""
    if monitoring.label_coverage is not None or not is_figure(reading.at_best) or reading.reference is None:
        return False
    loss = (reading.at_best - reading.reference) * (1 if rising else -1)
    return not is_beyond(loss, bound)


def is_sure(reading: Reading, loss: float, confidence: float, *, rising: bool) -> bool:
    """Whether the two values differ with that confidence, both being measured on so many rows and no more.

    The interval of the difference has the square root of the summed squares of both reaches (MOVER; Zou & Donner 2008,
    Statistics in Medicine 27:1693-1702), scaled from 95 % to the confidence.
    """
    reach = math.hypot(*_reaches(reading, rising=rising))
    return loss > reach * NormalDist().inv_cdf((1 + confidence) / 2) / _HALF_WIDTH


def _reaches(reading: Reading, *, rising: bool) -> tuple[float, float]:
    """How far each 95 % interval reaches towards the other value: the live one's, and the one of promotion."""
    ours, theirs = (reading.low, reading.reference_high) if rising else (reading.high, reading.reference_low)
    if ours is None or reading.value is None or reading.reference is None:
        return math.inf, 0.0
    return abs(reading.value - ours), 0.0 if theirs is None else abs(reading.reference - theirs)


def doubt(reading: Reading, *, rising: bool) -> str:
    """Why two values may differ by chance, in words."""
    live, promotion = _reaches(reading, rising=rising)
    if promotion > live:
        return f"it may be chance, the value at promotion is known to ±{promotion:.2f} only"
    return "it may be chance with so few labelled rows"


def _concept(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    bound = monitoring.concept_change
    for predicted, reading in observation.concept.items():
        key, what = f"concept:{predicted}", f"share of positives among rows predicted {predicted!r}"
        since = observation.labelled_since or observation.since
        facts = (what, reading.value, reading.reference, bound, since, reading.rows)
        if not reading.enough or not is_figure(reading.value):
            yield Finding(key, None, *facts, f"{what}: not enough data, {reading.rows:,} labelled rows")
            continue
        if reading.reference is None:
            continue
        if problem := label_problem(observation, monitoring):
            yield Finding(key, None, *facts, f"{what}: cannot tell, {problem}")
            continue
        change = abs(reading.value - reading.reference)
        rising = reading.value > reading.reference
        if is_beyond(change, bound) and is_sure(reading, change, monitoring.confidence, rising=rising):
            measured = f"{reading.value:.3f} on {labelled_rows(observation, reading.rows)}"
            text = f"{what} is {measured}, at promotion {reading.reference:.3f}; warning beyond {bound:g}"
            yield Finding(key, "warning", *facts, text)
