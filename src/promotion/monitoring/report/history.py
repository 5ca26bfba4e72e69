"""What earlier runs saw, and what is known of a family's versions: the monitor's side of the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from promotion.delivery.deployments import Deployments
from promotion.delivery.records import Environment
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.journal.monitoring import KEPT, MonitoringRun, add_run, newest_runs
from promotion.monitoring.data_flaws import labels_in_runs
from promotion.monitoring.finding import Finding, worst
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.reference import Reference
from promotion.monitoring.observe.watch import KnownVersion, VersionKey
from promotion.registry.semver import is_semantic

_HEAVY = ("slices", "drift", "groups")
_LABELS_LOOKED_BACK = 30
"""Runs whose file of labels the present one is held against."""


def known_versions(journal: Journal, family: str, references: Iterable[Reference]) -> KnownVersion:
    """What the journal and the exports know of a family's versions.

    Args:
        journal: May be one in which nothing was ever recorded.
        family: Whose versions.
        references: Of the exports at hand.
    """
    entries = journal.entries(family) if journal.exists else []
    metrics: dict[VersionKey, Mapping[str, Interval]] = {}
    semver: dict[VersionKey, str] = {}
    for entry in entries:
        registration = journal.registration(entry.id)
        if registration is not None:
            metrics[entry.model, entry.number] = promoted(registration.metrics)
        if is_semantic(entry.version):
            semver[entry.model, entry.number] = entry.version
    production = journal.production(family) if journal.exists else None
    runs = newest_runs(journal, family, _LABELS_LOOKED_BACK)
    return KnownVersion(
        production=(production.model, production.number) if production else None,
        is_recorded=journal.knows(family),
        metrics=metrics,
        semver=semver,
        references={(it.model, it.version): it for it in references},
        live_since=production.promoted_at if production else None,
        last_served=next(((run.model, run.version) for run in runs), None),
        labels=labels_in_runs([run.observation for run in runs]),
        is_deployed=production is not None
        and Deployments(journal).deployed(family, Environment.PRODUCTION, production) is not None,
    )


def promoted(recorded: Mapping[str, float]) -> dict[str, Interval]:
    """Values on the rows held out, by the metric's own name, from the metrics recorded at registration.

    A value without ends of an interval is taken as it stands.
    """
    held_out = {name.removeprefix("test_"): value for name, value in recorded.items() if name.startswith("test_")}
    return {
        name: Interval(value, recorded.get(f"{name}_low", value), recorded.get(f"{name}_high", value))
        for name, value in (held_out or recorded).items()
    }


def record_run(journal: Journal, observation: Observation, findings: Sequence[Finding], keep: timedelta = KEPT) -> None:
    """Keep what a run saw of the version that serves.

    Args:
        journal: Is created where there is none.
        observation: What was seen.
        findings: What was said of it.
        keep: How long what runs leave stays there.

    Raises:
        JournalError: It cannot be written.
    """
    seen = observation.as_json()
    groups = {name: _light(group) for name, group in seen["groups"].items()}
    run = MonitoringRun(
        family=observation.family,
        model=observation.model,
        version=observation.version,
        since=observation.since,
        at=observation.until,
        rows=observation.rows,
        level=worst(findings),
        observation=_light(seen) | {"groups": groups},
        findings=[finding.as_json() for finding in findings],
    )
    add_run(journal, run, keep)


def _light(seen: Mapping[str, Any]) -> dict[str, Any]:
    """What a run saw, without the trend and the classes of values."""
    drifts = [{name: value for name, value in drift.items() if name != "bins"} for drift in seen["drift"]]
    return {name: value for name, value in seen.items() if name not in _HEAVY} | {"drift": drifts}
