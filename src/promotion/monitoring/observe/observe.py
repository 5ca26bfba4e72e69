"""Observe every version that answered for a family in a window: count its log, ask its service, know its past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import cast

from promotion.config.family import FamilyConfig
from promotion.config.policy import Monitoring
from promotion.export.contract import Contract, contract_of
from promotion.gates.evidence import Interval
from promotion.monitoring.observe.counting import Answerer, Count, CountingPlan, Tally, parse_moment
from promotion.monitoring.observe.engines import COUNTERS, CountingEngine
from promotion.monitoring.observe.figures import (
    Labelled,
    drifts,
    labelled_period,
    performance,
    qualities,
    service_from_log,
    trend,
)
from promotion.monitoring.observe.labels import Labels, read_labels
from promotion.monitoring.observe.observation import Arrival, Lately, LeftOut, Observation, Reading, ServedRole, Service
from promotion.monitoring.observe.prometheus import Prometheus, Trend
from promotion.monitoring.observe.prometheus import ServedVersion as Served
from promotion.monitoring.observe.recent_windows import accuracy_lately, service_lately
from promotion.monitoring.observe.reference import Reference

SLICES = 24
"""Steps of a trend: hours of a day."""
_RETURNED = frozenset({"champion", "challenger"})

VersionKey = tuple[str, int]
"""Registered model and MLflow's number."""


@dataclass(frozen=True)
class KnownVersion:
    """What is known of a family's versions beside the log.

    Attributes:
        production: The version in Production; None when there is none.
        live_since: When it came there, UTC; None likewise.
        is_recorded: Whether the journal has ever moved a version of the family.
        metrics: Values at promotion by name, with their intervals, by version.
        semver: Semantic versions.
        references: Statistics of exports.
    """

    production: VersionKey | None
    is_recorded: bool
    metrics: Mapping[VersionKey, Mapping[str, Interval]]
    semver: Mapping[VersionKey, str]
    references: Mapping[VersionKey, Reference]
    live_since: datetime | None = None


@dataclass(frozen=True)
class Watch:
    """What to look at.

    Attributes:
        config: The family.
        source: Its prediction log.
        until: End of the window, UTC.
        window: Its length.
        labels: File of labels.
        engine: Who counts.
        prometheus: Address of Prometheus; None for none.
        received: Columns and classes of a family whose file does not state them.
    """

    config: FamilyConfig
    source: str
    until: datetime
    window: timedelta
    labels: Path | None = None
    engine: CountingEngine = "pandas"
    prometheus: str | None = None
    received: Contract | None = None

    @cached_property
    def contract(self) -> Contract:
        """Columns and classes of the rows."""
        return self.received or contract_of(self.config)

    @property
    def policy(self) -> Monitoring:
        """The family's bounds; the documented ones where its file has none."""
        return self.config.monitoring_policy


@dataclass(frozen=True)
class _Seen:
    """What all versions of a window share."""

    watch: Watch
    known: KnownVersion
    plan: CountingPlan
    count: Count
    serving: Answerer | None
    service: Service
    asked: Trend | None
    left_out: LeftOut


def observe(watch: Watch, known: KnownVersion) -> list[Observation]:
    """What every version did in the window; the one that serves comes first.

    Args:
        watch: What to look at.
        known: What is known beside the log.

    Raises:
        UsageError: There is no log, or no file of labels.
        DataError: One of them cannot be read.
    """
    labels = read_labels(watch.labels, watch.config, watch.received) if watch.labels else None
    plan = _plan(watch, known, labels)
    count = COUNTERS[watch.engine](watch.source, plan.earliest, plan)
    serving = _serving(count, known)
    # A version in Production that fails every request writes no row, and has to be seen all the same.
    production = Answerer("champion", *known.production) if known.production else None
    for answerer in {serving, production} - {None, *count.answerers}:
        if answerer is not None:
            reference = known.references.get((answerer.model, answerer.version))
            count.answerers[answerer] = Tally.empty(plan, reference)
    service, asked = _service(watch, plan, count)
    left_out = LeftOut(
        bad_lines=count.bad_lines,
        from_the_future=count.from_the_future,
        other_families=count.other_families,
        conflicting_labels=labels.conflicting if labels else 0,
        unknown_labels=labels.unknown if labels else 0,
    )
    seen = _Seen(watch, known, plan, count, serving, service, asked, left_out)
    found = [
        _observation(seen, answerer, tally)
        for answerer, tally in count.answerers.items()
        if tally.last is not None or tally.labelled or answerer in {serving, production}
    ]
    return sorted(found, key=lambda it: (not it.serves, it.role, it.model, -it.version))


def _plan(watch: Watch, known: KnownVersion, labels: Labels | None) -> CountingPlan:
    since = watch.until - watch.window
    return CountingPlan(
        family=watch.config.family,
        features=watch.contract.columns,
        references=known.references,
        classes=len(watch.contract.classes),
        since=since,
        until=watch.until,
        earliest=since - watch.policy.label_delay if labels else since,
        slices=SLICES,
        labels=labels,
    )


def _serving(count: Count, known: KnownVersion) -> Answerer | None:
    """The champion with the newest row; without any row, the version in Production."""
    newest = max(
        (
            (tally.last, answerer)
            for answerer, tally in count.answerers.items()
            if answerer.role == "champion" and tally.last
        ),
        default=None,
    )
    if newest is not None:
        return newest[1]
    return Answerer("champion", *known.production) if known.production else None


def _service(watch: Watch, plan: CountingPlan, count: Count) -> tuple[Service, Trend | None]:
    minimum = watch.policy.minimum_rows
    if watch.prometheus is None:
        returned = [tally for answerer, tally in count.answerers.items() if answerer.role in _RETURNED]
        return service_from_log(returned, minimum), None
    prometheus = Prometheus(watch.prometheus)
    return prometheus.observe(plan.family, plan.since, plan.until, steps=SLICES, minimum_requests=minimum)


def _observation(seen: _Seen, answerer: Answerer, tally: Tally) -> Observation:
    known, plan, policy, names = seen.known, seen.plan, seen.watch.policy, seen.watch.contract.classes
    version = (answerer.model, answerer.version)
    reference = known.references.get(version)
    promoted = known.metrics.get(version) or (reference.metrics if reference else {})
    labelled = labelled_period(tally, seen.watch.window, names)
    held_out = reference.labels if reference else {}
    metrics, concept = performance(labelled, names, promoted, held_out, policy.minimum_labels)
    return Observation(
        family=plan.family,
        model=answerer.model,
        version=answerer.version,
        semver=known.semver.get(version) or (reference.semver if reference else None),
        role=cast("ServedRole", answerer.role),
        is_production=known.production == version if known.is_recorded else None,
        serves=answerer == seen.serving,
        since=plan.since,
        until=plan.until,
        rows=int(tally.rows.sum()),
        labelled=len(labelled.label) if labelled else 0,
        labelled_since=labelled.since if labelled else None,
        labelled_until=labelled.until if labelled else None,
        coverage=labelled.coverage if labelled else None,
        label_bias=labelled.bias if labelled else "",
        metrics=metrics,
        concept=concept,
        drift=drifts(tally, plan, names, reference, policy.minimum_rows),
        quality=qualities(tally, plan, reference, policy.minimum_rows),
        service=seen.service,
        slices=trend(tally, plan, labelled, names, seen.asked),
        lately=_lately(seen, answerer, labelled, metrics),
        arrivals=_arrivals(seen.count, answerer.role),
        left_out=seen.left_out,
        reference=str(reference.source) if reference else None,
    )


def _lately(
    seen: _Seen, answerer: Answerer, labelled: Labelled | None, metrics: Mapping[str, Reading]
) -> dict[str, Lately]:
    """The newest windows of the version in Production; nothing of any other, which nobody can take back."""
    watch, live_since = seen.watch, seen.known.live_since
    version = (answerer.model, answerer.version)
    if answerer.role != "champion" or version != seen.known.production or live_since is None:
        return {}
    accuracy = metrics.get("accuracy")
    return {
        **({"accuracy": accuracy_lately(labelled, accuracy, watch.policy, live_since)} if accuracy else {}),
        **service_lately(
            watch.prometheus, Served(watch.config.family, *version), watch.policy, live_since, watch.until
        ),
    }


def _arrivals(count: Count, role: str) -> Sequence[Arrival]:
    """The versions of a role in the order they were first seen in the window."""
    found = [
        Arrival(parse_moment(tally.first), answerer.model, answerer.version)
        for answerer, tally in count.answerers.items()
        if answerer.role == role and tally.first is not None
    ]
    return sorted(found, key=lambda arrival: arrival.at)
