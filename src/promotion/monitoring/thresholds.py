"""Say of an observation what is bad, how bad, and what cannot be said: the alert thresholds and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, TypeGuard

from promotion.config.policy import AlertBounds, Levels, Monitoring
from promotion.evaluation.intervals import is_beyond_bound
from promotion.monitoring.data_warnings import data_warnings
from promotion.monitoring.instances import instances_fault
from promotion.monitoring.label_evidence import label_problem, labelled_rows
from promotion.monitoring.observe.observation import Drift, Observation, Reading, Service

LevelName = Literal["critical", "warning", "info"]
_INDEX = "population stability index"
LEVELS: tuple[LevelName, ...] = ("critical", "warning", "info")
"""Worst first."""
RISING = frozenset({"rmspe", "rmse", "mae"})
"""Metrics that measure an error: more is worse."""
_FAIR = ("accuracy", "recall")
_ENDS = (min, max)
_LEADING = frozenset({"accuracy", "rmspe"})
DATA = "data:"
"""Beginning of the keys of what is wrong with log and labels themselves."""
FAIRNESS = "fairness:"
"""Beginning of the keys of what sets groups of rows apart."""
UNJUDGED = "labels"
"""Key of the finding that labels do not tell how good the version is."""

# A reading's interval is a 95 % one.
_HALF_WIDTH = NormalDist().inv_cdf(0.975)
# A feature is one of many that are looked at in every run: how unlikely chance must be as the reason.
_DRIFT_P_VALUE = 0.001
_UNSEEN_P_VALUE = 0.003
_WORTH_SAYING = 0.01
_LATENCY = "latency p95, ms"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell, or one thing that cannot be told.

    A check that has no finding is healthy, on rows enough.

    Attributes:
        key: Of the check, the same whatever the level: `accuracy`, `drift:age`, `error_rate`, …
        level: How bad; None when there is not enough data, or not enough certainty: neither an alarm nor an all-clear.
        metric: What was measured, in words.
        value: Measured; None when unknown.
        reference: Value at promotion, where there is one.
        bound: The bound that was crossed; for a finding without level, the first one.
        since: Start of the rows it was measured on, UTC.
        rows: How many rows or requests.
        text: One line for a person.
    """

    key: str
    level: LevelName | None
    metric: str
    value: float | None
    reference: float | None
    bound: float | None
    since: datetime
    rows: int
    text: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"since": self.since.isoformat()}


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
        *_unjudged(observation, monitoring),
        *_rows(observation, monitoring, tests=tests),
        *_service(observation, monitoring),
        *_data(observation, monitoring),
        *_groups(observation, monitoring, tests=tests),
    ]
    rank: dict[LevelName | None, int] = {level: place for place, level in enumerate(LEVELS)}
    return sorted(found, key=lambda finding: rank.get(finding.level, len(LEVELS)))


def _rows(observation: Observation, monitoring: Monitoring, *, tests: int) -> Iterator[Finding]:
    """What rows, labels and values say, whether all of a version's or one group's."""
    yield from _performance(observation, monitoring)
    yield from _concept(observation, monitoring)
    if monitoring.drift:
        yield from _drifts(observation, monitoring, tests=tests)
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
        if it.enough and _is_known(it.value) and not label_problem(groups[name], monitoring)
    }
    if len(known) < len(_ENDS):
        return
    low, high = (end(known, key=lambda name: known[name].value or 0.0) for end in _ENDS)
    ours, theirs = known[low], known[high]
    gap = (theirs.value or 0.0) - (ours.value or 0.0)
    crossed = _crossed(gap, _levels(monitoring.fairness))
    beside = replace(ours, reference=theirs.value, reference_low=theirs.low, reference_high=theirs.high)
    if crossed is None or not is_sure(beside, gap, monitoring.confidence, rising=False):
        return
    text = f"{metric} of {low} is {ours.value:.3f} on {ours.rows:,} labelled rows, of {high} {theirs.value:.3f} on "
    text += f"{theirs.rows:,}; {crossed[0]} beyond a difference of {crossed[1]:g}"
    since = groups[low].labelled_since or observation.since
    name = f"difference of {metric} by {segment}"
    yield Finding(f"{FAIRNESS}{segment}:{metric}", crossed[0], name, gap, 0.0, crossed[1], since, ours.rows, text)


def worst(findings: Sequence[Finding]) -> LevelName | None:
    """The highest level among findings; None when none has one."""
    found = {finding.level for finding in findings}
    return next((level for level in LEVELS if level in found), None)


def _bounds(monitoring: Monitoring, name: str) -> list[tuple[LevelName, float]]:
    """A bound's levels, worst first."""
    alerts: tuple[tuple[LevelName, AlertBounds], ...] = (
        ("critical", monitoring.critical),
        ("warning", monitoring.warning),
    )
    found = [(level, getattr(alert, name)) for level, alert in alerts]
    return [(level, bound) for level, bound in found if bound is not None]


def _levels(levels: Levels) -> list[tuple[LevelName, float]]:
    return [(level, bound) for level in LEVELS if (bound := getattr(levels, level)) is not None]


def _is_known(value: float | None) -> TypeGuard[float]:
    """Whether a figure says anything: what is no number is beyond no bound, and no all-clear either."""
    return value is not None and not math.isnan(value)


def _is_beyond(value: float, bound: float) -> bool:
    """Whether a bound is crossed: 0.90 - 0.85 is 0.05000000000000004 to a computer, and not beyond 0.05 to people."""
    return value > bound + 1e-9


def _crossed(value: float, bounds: list[tuple[LevelName, float]]) -> tuple[LevelName, float] | None:
    return next(((level, bound) for level, bound in bounds if _is_beyond(value, bound)), None)


def _stage(observation: Observation) -> Iterator[Finding]:
    if observation.serves and observation.is_production is False and not observation.is_rolling_out:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in observation.answers.items())
        answers = f"answers (of the newest rows {shares})" if len(observation.answers) > 1 else "answers"
        text = f"{observation} {answers}, and is not in Production: deploy what is, or find out who deployed this"
        yield Finding("stage", "warning", "stage", None, None, None, observation.since, observation.rows, text)


def _performance(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    for name, reading in observation.metrics.items():
        bounds = _metric_bounds(monitoring, name)
        if bounds is None:
            continue
        finding = _loss(observation, monitoring, name, reading, bounds)
        if finding is not None:
            yield finding


def _unjudged(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    """Somebody has to hear that nobody knows how good the version is, although labels should tell by now."""
    if observation.serves and (text := observation.stray_labels):
        yield Finding(UNJUDGED, "warning", UNJUDGED, None, None, None, observation.since, observation.rows, text)
        return
    leading = next((it for name, it in observation.metrics.items() if name in {"accuracy", "rmse"}), None)
    if leading is None or not observation.labels_due:
        return
    is_told = leading.enough and _is_known(leading.value) and _is_known(leading.reference)
    why = label_problem(observation, monitoring) if is_told else _unsaid(leading, monitoring)
    if why:
        newest = observation.labelled_until
        days = (observation.until - (newest or observation.since - monitoring.label_delay)).days
        seen = f"the newest label is {days} days old" if newest else f"no label in {days} days"
        text = f"the performance of {observation} is not judged: {why}; {seen}"
        yield Finding(UNJUDGED, "warning", UNJUDGED, None, None, None, observation.since, leading.rows, text)


def _metric_bounds(monitoring: Monitoring, name: str) -> list[tuple[LevelName, float]] | None:
    """Of a metric, worst first; None of an error in the target's unit, for which no bound suits every family."""
    if name in monitoring.metrics:
        return _levels(monitoring.metrics[name])
    if name in RISING:
        return _levels(monitoring.rmspe_rise) if name in _LEADING else None
    bounds = _bounds(monitoring, "accuracy_drop")
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
    if not reading.enough or not _is_known(reading.value) or not _is_known(reading.reference):
        return say(None, first, f"{name}: {_unsaid(reading, monitoring)}")
    if problem := label_problem(observation, monitoring):
        return say(None, first, f"{name}: cannot tell, {problem}")
    rising = name in RISING
    loss = (reading.value - reading.reference) * (1 if rising else -1)
    crossed = _crossed(loss, bounds)
    text = (
        f"{name} {reading.value:.3f} on {labelled_rows(observation, reading.rows)}, {loss:.3f} "
        f"{'above' if rising else 'below'} {reading.reference:.3f} at promotion"
    )
    if not is_sure(reading, loss, monitoring.confidence, rising=rising):
        return say(None, crossed[1], f"{text}; {doubt(reading, rising=rising)}") if crossed else None
    if crossed:
        return say(*crossed, f"{text}; {crossed[0]} beyond {crossed[1]:g}")
    return say("info", first, f"{text}; a minor fluctuation") if name in _LEADING else None


def _unsaid(reading: Reading, monitoring: Monitoring) -> str:
    if not reading.enough:
        return f"not enough data, {reading.rows:,} labelled rows, {monitoring.minimum_labels:,} needed"
    if not _is_known(reading.value):
        return f"the {reading.rows:,} labelled rows cannot tell it"
    return "nothing to compare with, no value at promotion is known"


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
        if not reading.enough or not _is_known(reading.value):
            yield Finding(key, None, *facts, f"{what}: not enough data, {reading.rows:,} labelled rows")
            continue
        if reading.reference is None:
            continue
        if problem := label_problem(observation, monitoring):
            yield Finding(key, None, *facts, f"{what}: cannot tell, {problem}")
            continue
        change = abs(reading.value - reading.reference)
        rising = reading.value > reading.reference
        if _is_beyond(change, bound) and is_sure(reading, change, monitoring.confidence, rising=rising):
            measured = f"{reading.value:.3f} on {labelled_rows(observation, reading.rows)}"
            text = f"{what} is {measured}, at promotion {reading.reference:.3f}; warning beyond {bound:g}"
            yield Finding(key, "warning", *facts, text)


def _service(observation: Observation, monitoring: Monitoring) -> Iterator[Finding]:
    service = observation.service
    if service.is_blind:
        text = f"the service cannot be watched: {service.problem}"
        yield Finding("metrics", "warning", "metrics", None, None, None, observation.since, 0, text)
    if bounds := _bounds(monitoring, "error_rate"):
        # Failures are counted: the test is exact however few requests there were. A quantile needs many.
        crossed = _failed(service, bounds, monitoring.confidence)
        fault = instances_fault(service, crossed[1], monitoring.confidence) if crossed else ""
        yield from _served(observation, monitoring, "error_rate", crossed, bounds, fault)
    if bounds := _bounds(monitoring, "latency_ms"):
        value = service.latency_p95_ms
        crossed = _crossed(value, bounds) if _is_known(value) and service.enough else None
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
    name, value = ("error rate", service.error_rate) if key == "error_rate" else (_LATENCY, service.latency_p95_ms)
    text = f"{name}: unknown, {service.problem or 'nothing was measured'}"
    if crossed:
        text = f"{name} {value:.3g} over {requests:,} requests; {crossed[0]} beyond {crossed[1]:g}"
        text += f"; {fault}" if fault else ""
    elif _is_known(value) and not service.enough:
        text = f"{name}: not enough data, {requests:,} requests, {monitoring.minimum_rows:,} needed"
    elif _is_known(value):
        if not _crossed(value, bounds):
            return
        text = f"{name} {value:.3g} over {requests:,} requests; it may be chance"
    level, bound = crossed or (None, bounds[-1][1])
    yield Finding(key, level, name, value, None, bound, observation.since, requests, text)


def _failed(
    service: Service, bounds: list[tuple[LevelName, float]], confidence: float
) -> tuple[LevelName, float] | None:
    """The worst bound that the failed requests are beyond for certain."""
    failed, requests = service.failed or 0, service.requests or 0
    return next((it for it in bounds if is_beyond_bound(failed, requests, it[1], confidence)), None)


def _drifts(observation: Observation, monitoring: Monitoring, *, tests: int) -> Iterator[Finding]:
    for drift in observation.drift:
        yield from _drift(observation, monitoring, drift, _levels(monitoring.psi), tests=tests)


def _drift(
    observation: Observation, monitoring: Monitoring, drift: Drift, levels: list[tuple[LevelName, float]], *, tests: int
) -> Iterator[Finding]:
    key, metric = f"drift:{drift.name}", f"{_INDEX} of {drift.name}"
    facts = (metric, drift.psi, 0.0, levels[-1][1] if levels else None, observation.since, drift.rows)
    if not drift.rows:
        yield Finding(key, None, *facts, f"drift of {drift.name}: not enough data, no rows")
        return
    if not _is_known(drift.psi) or not _is_known(drift.p_value):
        yield Finding(key, None, *facts, f"drift of {drift.name}: unknown, there is no reference of this version")
        return
    if not drift.enough:
        needed = f"{drift.rows:,} rows, {monitoring.minimum_rows:,} needed"
        yield Finding(key, None, *facts, f"drift of {drift.name}: not enough data, {needed}")
        return
    found = [
        _index(drift, levels, tests=tests),
        _unseen(drift, _levels(monitoring.unseen), tests=tests),
    ]
    crossed = [it for it in found if it is not None]
    if not crossed:
        return
    # Both are about one feature, and one alert: the worse leads.
    crossed.sort(key=lambda it: LEVELS.index(it.level) if it.level else len(LEVELS))
    first, metric = crossed[0], f"{crossed[0].metric} of {drift.name}"
    text = f"{drift.name} drifted: {'; '.join(it.text for it in crossed)}"
    yield Finding(key, first.level, metric, first.value, 0.0, first.bound, observation.since, drift.rows, text)


class _Crossed(NamedTuple):
    level: LevelName | None
    metric: str
    value: float
    bound: float
    text: str


def _index(drift: Drift, levels: list[tuple[LevelName, float]], *, tests: int) -> _Crossed | None:
    if not _is_known(drift.psi) or not _is_known(drift.p_value):
        return None
    # What chance alone adds is taken off, or a small reference would be a drift for ever.
    crossed = _crossed(drift.psi - drift.by_chance, levels)
    if crossed is None:
        return None
    chance = f", {drift.by_chance:.2f} of it by chance" if drift.by_chance >= _WORTH_SAYING else ""
    text = f"{_INDEX} {drift.psi:.2f}{chance} over {drift.rows:,} rows"
    # Bonferroni.
    if drift.p_value * tests > _DRIFT_P_VALUE:
        text = f"{text}; too few to be sure (p = {drift.p_value:.2g})"
        return _Crossed(None, _INDEX, drift.psi, levels[-1][1], text)
    return _Crossed(crossed[0], _INDEX, drift.psi, crossed[1], f"{text}; {crossed[0]} beyond {crossed[1]:g}")


def _unseen(drift: Drift, levels: list[tuple[LevelName, float]], *, tests: int) -> _Crossed | None:
    """Values such as training never had: in the tails, or new codes."""
    crossed = _crossed(drift.unseen, levels) if _is_known(drift.unseen) else None
    if crossed is None or drift.unseen is None or drift.unseen_p_value * tests > _UNSEEN_P_VALUE:
        return None
    text = f"{drift.unseen:.1%} of {drift.rows:,} rows hold values such as none of {drift.reference_rows:,} at training"
    text = f"{text}; {crossed[0]} beyond {crossed[1]:g}"
    return _Crossed(crossed[0], "unseen values", drift.unseen, crossed[1], text)


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
            elif _is_beyond(value - (reference or 0.0), bound):
                before = "" if reference is None or name != "missing" else f", at training {reference:.1%}"
                yield Finding(key, "warning", *facts, f"{metric}: {value:.1%} of {quality.rows:,} rows{before}")
