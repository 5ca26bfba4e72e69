"""What the overview says of each family, as plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from promotion.journal.monitoring import MonitoringRun
from promotion.journal.records import Alert, Entry, Event, StoredReport, version_name
from promotion.journal.systems.deployments import StoredDeployment
from promotion.registry.stages import Stage


class ServedSpan(NamedTuple):
    """How long a version was in Production without a break; `action` brought it there."""

    name: str
    since: datetime
    until: datetime
    action: str


class Served(NamedTuple):
    """The version in Production, and the move that brought it there where one is recorded."""

    entry: Entry
    arrival: Event | None

    @property
    def name(self) -> str:
        """As people call it."""
        return version_name(self.entry.model, self.entry.number, self.entry.version)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The version that would be next.

    Attributes:
        model: Registered model.
        number: MLflow's integer.
        label: Its semantic version, or the integer where it has none.
        stage: Where it is.
        since: When it came there, or was registered, UTC; None when nobody knows.
        missing: Why the approval of each other role does not count, by role.
    """

    model: str
    number: int
    label: str
    stage: Stage
    since: datetime | None
    missing: Mapping[str, str]

    @property
    def name(self) -> str:
        """As people call it."""
        return version_name(self.model, self.number, self.label)

    def days(self, now: datetime) -> int | None:
        """For how many whole days it has waited."""
        return (now - self.since).days if self.since else None


class Ask(NamedTuple):
    """Something a person has to do.

    Attributes:
        who: In which role.
        what: In a sentence.
        command: The exact command.
        is_review: Whether it is a person's word on a version.
    """

    who: str
    what: str
    command: str
    is_review: bool = False


@dataclass(frozen=True, slots=True)
class FamilyState:
    """One family as it is recorded.

    Attributes:
        family: Its name.
        problem: Why its file cannot be used; empty when it can.
        serving: What is in Production.
        waiting: What would be next.
        report: The gate report that was kept last.
        alerts: Those that last.
        run: What the monitor saw last.
        deployments: The newest attempt for each environment and track.
        drift: Where journal, MLflow and the cluster say different things, one line each.
        spans: Who served when, oldest first.
        asks: What people have to do.
    """

    family: str
    problem: str
    serving: Served | None
    waiting: Waiting | None
    report: StoredReport | None
    alerts: Sequence[Alert]
    run: MonitoringRun | None
    deployments: Sequence[StoredDeployment]
    drift: Sequence[str]
    spans: Sequence[ServedSpan]
    asks: list[Ask] = field(default_factory=list)

    def as_json(self, now: datetime) -> dict[str, Any]:
        """As plain data, each key always there."""
        serving, waiting, report = self.serving, self.waiting, self.report
        arrival = serving.arrival if serving else None
        return {
            "family": self.family,
            "problem": self.problem or None,
            "production": serving
            and {
                "name": serving.name,
                "since": arrival and arrival.at.isoformat(),
                "by": arrival and arrival.actor,
            },
            "waiting": waiting
            and {
                "name": waiting.name,
                "stage": waiting.stage.status,
                "days": waiting.days(now),
                "missing": dict(waiting.missing),
            },
            "report": report
            and {
                "version": f"{report.model} v{report.number}",
                "passed": report.passed,
                "at": report.created_at.isoformat(),
            },
            "alerts": [f"{alert.level}: {alert.finding.get('text', alert.key)}" for alert in self.alerts],
            "deployments": [
                {"environment": it.environment, "track": it.track, "state": it.state, "analysis": it.analysis or None}
                for it in self.deployments
            ],
            "drift": list(self.drift),
            "asks": [ask._asdict() for ask in self.asks],
        }


@dataclass(frozen=True, slots=True)
class Overview:
    """All families at a time.

    Attributes:
        at: When was looked, UTC.
        families: By name.
        unread: What could not be read, one line each.
    """

    at: datetime
    families: Sequence[FamilyState]
    unread: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        families = [state.as_json(self.at) for state in self.families]
        return {"at": self.at.isoformat(), "unread": list(self.unread), "families": families}


def served_spans(moves: Sequence[Event], now: datetime) -> list[ServedSpan]:
    """Who served when.

    Args:
        moves: A family's moves into and out of Production, oldest first.
        now: Until when whoever serves has served.
    """
    spans: list[ServedSpan] = []
    current: Event | None = None
    for move in moves:
        is_entry = move.to_stage is Stage.PRODUCTION
        is_leaving = not is_entry and current is not None and current.version == move.version
        if current is not None and (is_entry or is_leaving):
            spans.append(_span(current, max(move.at, current.at)))
            current = None
        if is_entry:
            current = move
    return [*spans, _span(current, max(now, current.at))] if current else spans


def _span(move: Event, until: datetime) -> ServedSpan:
    return ServedSpan(version_name(move.model, move.number, move.version), move.at, until, move.action)
