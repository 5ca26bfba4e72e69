"""Observe every version that answered for a family in a window: count its log, ask its service, know its past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from promotion.errors import UsageError
from promotion.monitoring.data_flaws import data_flaws, silence
from promotion.monitoring.label_bias import NEARLY_ALL, group_bias
from promotion.monitoring.labels.labels import Labels
from promotion.monitoring.observe.counting import Answerer, Count, CountingPlan, Tally, microseconds, parse_moment
from promotion.monitoring.observe.engines import COUNTERS
from promotion.monitoring.observe.figures import (
    Labelled,
    drifts,
    labelled_between,
    labelled_period,
    performance,
    qualities,
    service_from_log,
    trend,
)
from promotion.monitoring.observe.observation import (
    Arrival,
    DataFlaw,
    Lately,
    LeftOut,
    Observation,
    Reading,
    ServedRole,
    Service,
)
from promotion.monitoring.observe.prometheus import Prometheus, Trend
from promotion.monitoring.observe.prometheus import ServedVersion as Served
from promotion.monitoring.observe.recent_windows import accuracy_lately, service_lately
from promotion.monitoring.observe.reference import Reference
from promotion.monitoring.observe.watch import SLICES, KnownVersion, Past, Watch

_STAYS = 0.4
"""Share of the newest rows from which on the version that served at the last run still does."""
_RETURNED = frozenset({"champion", "challenger"})


@dataclass(frozen=True)
class _Seen:
    """What all versions of a window share."""

    watch: Watch
    known: KnownVersion
    plan: CountingPlan
    count: Count
    serving: Answerer | None
    shares: Mapping[Answerer, float]
    service: Service
    asked: Trend | None
    left_out: LeftOut
    flaws: Sequence[DataFlaw]
    silence: str
    is_trend_drawn: bool


def observe(watch: Watch, known: KnownVersion, past: Past | None = None) -> list[Observation]:
    """What every version did in the window; the one that serves comes first.

    Args:
        watch: What to look at.
        known: What is known beside the log.
        past: What was read before; None to read labels and log now.

    Raises:
        UsageError: There is no log, or no file of labels.
        DataError: One of them cannot be read.
    """
    is_trend_drawn = past is None
    past = past or Past(watch.read_labels(), COUNTERS[watch.engine])
    labels = past.labels
    plan = _plan(watch, known, labels)
    count = past.count(watch.source, plan.earliest, plan)
    shares = _shares(count, watch.policy.minimum_rows)
    serving = _serving(shares, known)
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
        before_the_window=count.before_the_window,
        other_families=count.other_families,
        conflicting_labels=labels.conflicting if labels else 0,
        unknown_labels=labels.unknown if labels else 0,
        repeated_rows=count.repeated,
    )
    flaws = data_flaws(count, labels, known.labels)
    ended = silence(count, plan, asked, tolerated=watch.policy.data.silence, due_since=known.live_since)
    seen = _Seen(watch, known, plan, count, serving, shares, service, asked, left_out, flaws, ended, is_trend_drawn)
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
        segments=_segments(watch),
    )


def _segments(watch: Watch) -> list[str]:
    found, columns = watch.policy.segments, watch.contract.columns
    if odd := [name for name in found if name not in columns]:
        known = ", ".join(columns)
        raise UsageError(f"monitoring.segments: {odd[0]!r} is no feature of {watch.config.family}; features: {known}")
    return found


def _shares(count: Count, least: int) -> dict[Answerer, float]:
    """Which share of the newest champion rows each version answered: over as many steps as hold rows enough.

    Args:
        count: Of the window.
        least: How many rows are enough to say.
    """
    champions = {answerer: tally.rows for answerer, tally in count.answerers.items() if answerer.role == "champion"}
    if not champions:
        return {}
    newest_first = np.sum(list(champions.values()), axis=0)[::-1].cumsum()
    steps = min(int(np.searchsorted(newest_first, least)) + 1, len(newest_first))
    total = newest_first[steps - 1]
    return {answerer: float(rows[-steps:].sum() / total) for answerer, rows in champions.items()} if total else {}


def _serving(shares: Mapping[Answerer, float], known: KnownVersion) -> Answerer | None:
    """The champion of most of the newest rows; the one of the run before stays until others clearly answer more.

    Neither a canary, nor an instance whose clock is fast, nor a rolling update that is under way changes it back and
    forth. Without any row it is the version in Production.
    """
    production = Answerer("champion", *known.production) if known.production else None
    before = Answerer("champion", *known.last_served) if known.last_served else None
    if before is not None and shares.get(before, 0.0) >= _STAYS:
        return before
    return max(shares, key=lambda it: (shares[it], it == production), default=production)


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
    is_seen = known.production is not None and seen.shares.get(Answerer("champion", *known.production), 0.0) > 0
    reference = known.references.get(version)
    promoted = known.metrics.get(version) or (reference.metrics if reference else {})
    labelled = labelled_period(tally, seen.watch.window, names, policy.minimum_labels, policy.label_coverage)
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
        answers=_answers(seen),
        is_rolling_out=known.is_deployed and answerer == seen.serving and is_seen,
        since=plan.since,
        until=plan.until,
        rows=int(tally.rows.sum()),
        labelled=len(labelled.label) if labelled else 0,
        labelled_since=labelled.since if labelled else None,
        labelled_until=labelled.until if labelled else None,
        stray_labels=_stray_labels(plan, seen.count),
        coverage=labelled.coverage if labelled else None,
        label_bias=labelled.bias or _group_bias(seen, answerer, labelled) if labelled else "",
        metrics=metrics,
        concept=concept,
        drift=drifts(tally, plan, names, reference, policy.minimum_rows),
        quality=qualities(tally, plan, reference, policy.minimum_rows),
        service=seen.service,
        slices=trend(tally, plan, labelled, names, seen.asked) if seen.is_trend_drawn else (),
        lately=_lately(seen, answerer, tally, metrics),
        labels_due=_labels_due(seen),
        arrivals=_arrivals(seen.count, answerer.role),
        left_out=seen.left_out,
        flaws=seen.flaws,
        silence=seen.silence,
        reference=str(reference.source) if reference else None,
        groups={
            name: _group(seen, answerer, reference, name, part)
            for (who, name), part in sorted(seen.count.groups.items(), key=lambda item: item[0][1])
            if who == answerer == seen.serving
        },
    )


def _group(seen: _Seen, answerer: Answerer, reference: Reference | None, name: str, tally: Tally) -> Observation:
    """What rows, labels and values of one group say; the service does not know whose requests they are."""
    plan, policy, names = seen.plan, seen.watch.policy, seen.watch.contract.classes
    apart = reference.groups.get(name) if reference else None
    labelled = labelled_period(tally, seen.watch.window, names, policy.minimum_labels, policy.label_coverage)
    metrics, concept = performance(
        labelled, names, apart.metrics if apart else {}, apart.labels if apart else {}, policy.minimum_labels
    )
    return Observation(
        family=plan.family,
        model=answerer.model,
        version=answerer.version,
        semver=None,
        role=cast("ServedRole", answerer.role),
        is_production=None,
        serves=True,
        flaws=seen.flaws,
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
        drift=drifts(tally, plan, names, apart, policy.minimum_rows) if apart else (),
        quality=qualities(tally, plan, apart or reference, policy.minimum_rows),
        slices=[step for step in trend(tally, plan, labelled, names, None) if step.labelled]
        if seen.is_trend_drawn
        else (),
    )


def _group_bias(seen: _Seen, answerer: Answerer, found: Labelled) -> str:
    """Which group of the family's segments the labelled rows hold too many of; empty where they are nearly all."""
    if found.coverage >= NEARLY_ALL:
        return ""
    for segment in seen.watch.policy.segments:
        tallies = {
            name: tally
            for (who, name), tally in seen.count.groups.items()
            if who == answerer and name.startswith(f"{segment}=")
        }
        labelled = np.array([_rows_within(tally.labelled, found) for tally in tallies.values()])
        everything = np.array([_rows_within(tally.answers, found) for tally in tallies.values()])
        if bias := group_bias(list(tallies), labelled, everything):
            return bias
    return ""


def _rows_within(parts: Sequence[Any], found: Labelled) -> int:
    after, until = microseconds(found.since), microseconds(found.until)
    return sum(int(((part[0] > after) & (part[0] <= until)).sum()) for part in parts)


def _answers(seen: _Seen) -> dict[str, float]:
    """Shares of the newest rows by version, the largest first."""
    ranked = sorted(seen.shares.items(), key=lambda item: -item[1])
    return {f"{answerer.model} v{answerer.version}": share for answerer, share in ranked if share}


def _lately(seen: _Seen, answerer: Answerer, tally: Tally, metrics: Mapping[str, Reading]) -> dict[str, Lately]:
    """The newest windows of the version in Production; nothing of any other, which nobody can take back."""
    watch, live_since = seen.watch, seen.known.live_since
    version = (answerer.model, answerer.version)
    if answerer.role != "champion" or version != seen.known.production or live_since is None:
        return {}
    accuracy, policy = metrics.get("accuracy"), watch.policy
    found = service_lately(watch.prometheus, Served(watch.config.family, *version), policy, live_since, watch.until)
    if accuracy is None:
        return found
    lately = accuracy_lately(tally, accuracy, policy, live_since)
    if lately.stretches:
        since, until = lately.stretches[0].since, lately.stretches[-1].until
        labelled = labelled_between(tally, microseconds(since) - 1, microseconds(until), watch.contract.classes)
        bias = labelled.bias or _group_bias(seen, answerer, labelled)
        lately = replace(lately, coverage=labelled.coverage, label_bias=bias)
    return {"accuracy": lately} | found


def _labels_due(seen: _Seen) -> bool:
    """Whether labels of the version in Production should have arrived by now: it serves longer than they take."""
    watch, live_since = seen.watch, seen.known.live_since
    if watch.labels is None or live_since is None:
        return False
    return watch.until - live_since > watch.window + watch.policy.label_delay


def _arrivals(count: Count, role: str) -> Sequence[Arrival]:
    """The versions of a role in the order they were first seen in the window."""
    found = [
        Arrival(parse_moment(tally.first), answerer.model, answerer.version)
        for answerer, tally in count.answerers.items()
        if answerer.role == role and tally.first is not None
    ]
    return sorted(found, key=lambda arrival: arrival.at)


def _stray_labels(plan: CountingPlan, count: Count) -> str:
    """What to say where labels have arrived and none belongs to a row: they name the rows in another way."""
    labels = plan.labels
    is_matched = any(tally.labelled for tally in count.answerers.values())
    if labels is None or not len(labels.keys) or not count.example or is_matched:
        return ""
    since = f"{plan.earliest:%Y-%m-%d %H:%M} UTC"
    return (
        f"{len(labels.keys):,} labels, none belongs to a row of the log since {since}: request and row are written "
        f"{labels.keys[0].as_py()!r} there and {count.example!r} in the log (rows count from 0)"
    )
