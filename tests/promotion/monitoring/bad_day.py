"""A day on which everything goes wrong, as a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from tests.promotion.factories import a_journal, a_version, promote
from tests.promotion.monitoring.logs import (
    MODEL,
    NOON,
    Traffic,
    a_watch,
    churn,
    known,
    write_export,
    write_labels,
    write_log,
)

from promotion.config.policy import Monitoring
from promotion.journal.monitoring import newest_runs
from promotion.journal.records import Alert, AlertState
from promotion.monitoring.alerts.messages import Level
from promotion.monitoring.observe.observation import Observation, Service
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.report.history import record_run
from promotion.monitoring.report.page import write_monitoring_page
from promotion.monitoring.thresholds import judge

HOUR = timedelta(hours=1)


def a_bad_day(folder: Path) -> Path:
    """A new version at midnight that is less accurate, under drifting inputs, on a slow and failing server."""
    folder = folder / "bad-day"
    folder.mkdir()
    midnight = NOON - 12 * HOUR
    traffic = [
        Traffic(3000, version=1, until=midnight, seed=1),
        Traffic(1500, since=midnight, until=NOON - 6 * HOUR, seed=2),
        Traffic(1500, since=NOON - 6 * HOUR, accuracy=0.7, shift=1.0, missing=0.1, seed=3),
        Traffic(300, version=3, role="shadow", seed=4),
        Traffic(40, since=NOON + 2 * HOUR, until=NOON + 3 * HOUR, seed=5),
    ]
    log = write_log(folder / "log.jsonl", traffic, "damage")
    labels = write_labels(folder / "labels.csv", traffic)
    exports = [write_export(folder / f"export-{version}", version=version) for version in (1, 2)]
    config = churn(contacts={"runbooks": {"rollback": "docs/runbooks/rollback.md"}})
    seen = [_served(it) for it in observe(a_watch(log, labels, config=config), known(*exports))]
    journal = a_journal(folder)
    promote(journal, "churn", a_version(MODEL, 2))
    policy = Monitoring()
    for hours in (3, 2, 1, 0):
        it = replace(seen[0], until=seen[0].until - hours * HOUR)
        record_run(journal, it, judge(it, policy) if hours < 2 else [])
    page = folder / "reports" / "monitoring" / "churn.html"
    judged = [(it, judge(it, policy)) for it in seen]
    alerts = [
        _alert(2, "accuracy", Level.CRITICAL, closed=None),
        _alert(1, "drift:age", Level.WARNING, closed=NOON - HOUR),
    ]
    write_monitoring_page(page, config, judged, newest_runs(journal, "churn", limit=50), alerts, at=NOON)
    return page


def _alert(number: int, key: str, level: Level, *, closed: datetime | None) -> Alert:
    """As the journal keeps one that people were told of."""
    opened = NOON - 5 * HOUR
    return Alert(
        id=number,
        family="churn",
        version_id=2,
        version=f"{MODEL} v2",
        key=key,
        level=level,
        state=AlertState.RECOVERED if closed else AlertState.OPEN,
        flapping=False,
        finding={"text": f"{key} is beyond its bound"},
        opened_at=opened,
        told_at=closed or opened,
        better_since=None,
        eased_at=None,
        closed_at=closed,
    )


def _served(observation: Observation) -> Observation:
    """As Prometheus would have told: slower by the hour, and failing at the end."""
    service = Service(412.0, 0.031, 3.2, 276_000, "prometheus", enough=True)
    slices = [
        replace(
            step,
            values={
                "latency_p95_ms": None if place == 5 else 60.0 + 3 * place + (350.0 if place > 18 else 0.0),
                "error_rate": 0.001 * (place % 3) + (0.06 if place > 20 else 0.0),
                "throughput": 3.0 + (place % 5) / 10,
            },
        )
        if place < 24
        else step
        for place, step in enumerate(observation.slices)
    ]
    return replace(observation, service=service, slices=slices)
