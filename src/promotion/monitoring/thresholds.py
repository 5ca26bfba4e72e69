"""Say of an observation what is bad, how bad, and what cannot be said: the alert thresholds and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from promotion.config.policy import Monitoring
from promotion.evaluation.intervals import is_beyond_bound
from promotion.monitoring.data_warnings import data_warnings
from promotion.monitoring.drift.thresholds import drift_findings
from promotion.monitoring.finding import (
    DATA,
    FAIRNESS,
    LEVELS,
    Finding,
    LevelName,
    alert_bounds,
    bounds_of,
    crossed_bound,
    is_beyond,
    is_figure,
)
from promotion.monitoring.instances import instances_fault
from promotion.monitoring.label_evidence import label_problem
from promotion.monitoring.observe.observation import Observation, Service
from promotion.monitoring.performance_thresholds import (
    is_sure,
    performance_findings,
    unjudged_findings,
)

_FAIR = ("accuracy", "recall")
_ENDS = (min, max)
_SERVED = {"error_rate": ("error rate", "{:.2%}"), "latency": ("latency p95", "{:,.0f} ms")}
"""How the figures of the service are called and written."""


def judge(observation: Observation, monitoring: Monitoring) -> list[Finding]:
    """Every check's finding, worst first.

    Drops and rises are absolute differences from the value at promotion. Beyond a bound they count only when the
    metric differs from that value with the family's confidence: a large drop on few labels is not yet one, and neither
    is one from a value that was measured on few held-out rows.

    Args:
        observation: What was seen.
        monitoring: The family's bounds.
    """
    # Of one run: with many features, and many groups, some look odd by chance alone.
    tests = sum(len(it.drift) for it in (observation, *observation.groups.values()))
    found = [
        *_stage(observation),
        *unjudged_findings(observation, monitoring),
        *_rows(observation, monitoring, tests=tests),
        *_service(observation, monitoring),
        *_data(observation, monitoring),
        *_groups(observation, monitoring, tests=tests),
    ]
    rank: dict[LevelName | None, int] = {level: place for place, level in enumerate(LEVELS)}
    return sorted(found, key=lambda finding: rank.get(finding.level, len(LEVELS)))


def _rows(observation: Observation, monitoring: Monitoring, *, tests: int) -> Iterator[Finding]:
    """What rows, labels and values say, whether all of a version's or one group's."""
    yield from performance_findings(observation, monitoring)
    if monitoring.drift:
        yield from drift_findings(observation, monitoring, tests=tests)
    yield from _values(observation, monitoring)


def _groups(observation: Observation, monitoring: Monitoring, *, tests: int) -> Iterator[Finding]:
    """Each group of the segments as if it were all, and what sets groups of one segment apart."""
    for name, group in observation.groups.items():
        for finding in _rows(group, monitoring, tests=tests):
            # Of a group without evidence nothing is said: there are many of them.
            if finding.level:
                yield replace(finding, key=f"{name}:{finding.key}", text=f"{name}: {finding.text}")
    for segment in monitoring.segments:
        groups = {name: it for name, it in observation.groups.items() if name.startswith(f"{segment}=")}
        for metric in _FAIR:
            yield from _fairness(observation, monitoring, segment, metric, groups)


def _fairness(
    observation: Observation, monitoring: Monitoring, segment: str, metric: str, groups: Mapping[str, Observation]
) -> Iterator[Finding]:
    """How far apart the best and the worst group are, whoever was so at promotion."""
    read = {name: it.metrics[metric] for name, it in groups.items() if metric in it.metrics}
    known = {
        name: it
        for name, it in read.items()
        if it.enough and is_figure(it.value) and not label_problem(groups[name], monitoring)
    }
    if not known:
        return
    low, high = (end(known, key=lambda name: known[name].value or 0.0) for end in _ENDS)
    ours, theirs = known[low], known[high]
    gap = (theirs.value or 0.0) - (ours.value or 0.0)
    crossed = crossed_bound(gap, bounds_of(monitoring.fairness))
    beside = replace(ours, reference=theirs.value, reference_low=theirs.low, reference_high=theirs.high)
    if crossed is None or not is_sure(beside, gap, monitoring.confidence, rising=False):
        return
    text = f"{metric} of {low} is {ours.value:.3f} on {ours.rows:,} labelled rows, of {high} {theirs.value:.3f} on "
    text += f"{theirs.rows:,}; {crossed[0]} beyond a difference of {crossed[1]:g}"
    since = groups[low].labelled_since or observation.since
    name = f"difference of {metric} by {segment}"
    yield Finding(f"{FAIRNESS}{segment}:{metric}", crossed[0], name, gap, 0.0, crossed[1], since, ours.rows, text)


def _stage(observation: Observation) -> Iterator[Finding]:
    if observation.serves and observation.is_production is False and not observation.is_rolling_out:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in observation.answers.items())
        answers = f"answers (of the newest rows {shares})" if len(observation.answers) > 1 else "answers"
        text = f"{observation} {answers}, and is not in Production: deploy what is, or find out who deployed this"
        yield Finding("stage", "warning", "stage", None, None, None, observation.since, observation.rows, text)


def _service(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    service = observation.service
    if service.is_blind:
        text = f"the service cannot be watched: {service.problem}"
        yield Finding("metrics", "warning", "metrics", None, None, None, observation.since, 0, text)
    if bounds := alert_bounds(monitoring, "error_rate"):
        # Failures are counted: the test is exact however few requests there were. A quantile needs many.
        crossed = _failed(service, bounds, monitoring.confidence)
        fault = instances_fault(service, crossed[1], monitoring.confidence) if crossed else ""
        yield from _served(observation, monitoring, "error_rate", crossed, bounds, fault)
    if bounds := alert_bounds(monitoring, "latency_ms"):
        value = service.latency_p95_ms
        crossed = crossed_bound(value, bounds) if is_figure(value) and service.enough else None
        yield from _served(observation, monitoring, "latency", crossed, bounds)


def _served(
    observation: Observation,
    monitoring: Monitoring,
    key: Literal["error_rate", "latency"],
    crossed: tuple[LevelName, float] | None,
    bounds: list[tuple[LevelName, float]],
    fault: str = "",
) -> Iterator[Finding]:
    """What one figure of the service comes to; nothing when it is healthy."""
    service, requests = observation.service, observation.service.requests or 0
    name, written = _SERVED[key]
    value = service.error_rate if key == "error_rate" else service.latency_p95_ms
    text = f"{name}: unknown, {service.problem or 'nothing was measured'}"
    if crossed:
        text = f"{name} {written.format(value)} over {requests:,} requests; "
        text += f"{crossed[0]} beyond {written.format(crossed[1])}"
        text += f"; {fault}" if fault else ""
    elif is_figure(value) and not service.enough:
        text = f"{name}: not enough data, {requests:,} requests, {monitoring.minimum_rows:,} needed"
    elif is_figure(value):
        if not crossed_bound(value, bounds):
            return
        text = f"{name} {written.format(value)} over {requests:,} requests; it may be chance"
    level, bound = crossed or (None, bounds[-1][1])
    yield Finding(key, level, name, value, None, bound, observation.since, requests, text)


def _failed(
    service: Service, bounds: list[tuple[LevelName, float]], confidence: float
) -> tuple[LevelName, float] | None:
    """The worst bound that the failed requests are beyond for certain."""
    failed, requests = service.failed or 0, service.requests or 0
    return next((it for it in bounds if is_beyond_bound(failed, requests, it[1], confidence)), None)


def _data(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    for name, share, bound, rows, text in data_warnings(observation, monitoring):
        yield Finding(f"{DATA}{name}", "warning", name, share, None, bound, observation.since, rows, text)


def _values(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    for quality in observation.quality:
        checks = (
            ("missing", quality.missing, quality.reference_missing, monitoring.missing_rise, "missing"),
            ("out_of_range", quality.out_of_range, 0.0, monitoring.out_of_range, "outside the allowed range"),
        )
        for name, value, reference, bound, words in checks:
            key, metric = f"{name}:{quality.feature}", f"share of {quality.feature} {words}"
            facts = (metric, value, reference, bound, observation.since, quality.rows)
            if not quality.enough:
                text = f"{metric}: not enough data, {quality.rows:,} rows, {monitoring.minimum_rows:,} needed"
                yield Finding(key, None, *facts, text)
            elif is_beyond(value - (reference or 0.0), bound):
                before = "" if reference is None or name != "missing" else f", at training {reference:.1%}"
                yield Finding(key, "warning", *facts, f"{metric}: {value:.1%} of {quality.rows:,} rows{before}")
