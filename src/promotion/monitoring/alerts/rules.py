"""When people are told: once, sooner when it gets worse, later when it lasts, and again when it is over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from promotion.config.policy import Monitoring
from promotion.journal.records import Alert, AlertState
from promotion.monitoring.alerts.messages import Kind, Level, measure_text
from promotion.monitoring.finding import DATA, FAIRNESS, UNJUDGED
from promotion.monitoring.rollback_trigger import PREFIX, WARNED

if TYPE_CHECKING:
    from promotion.monitoring.finding import Finding
    from promotion.monitoring.observe.observation import Observation


class Book(Protocol):
    """A family's alerts: the journal's `AlertBook`, or what a rehearsal remembers."""

    @property
    def now(self) -> datetime:
        """When it is, UTC."""

    def open_alerts(self) -> list[Alert]:
        """Those that last, oldest first."""

    def recent(self, version_id: int, key: str, since: datetime) -> Alert | None:
        """The alert of this key that was over not longer ago than `since`."""

    def add(self, version_id: int, key: str, level: str, finding: Mapping[str, Any]) -> int:
        """A new alert; returns its number."""

    def change(self, known: Alert, **values: Any) -> None:
        """Write down what is different now."""

    def told(self, known: Alert) -> Mapping[str, str]:
        """The kind of message that each channel heard last of an alert."""

    def queue(self, alert_id: int, channels: Iterable[str], kind: Kind) -> None:
        """Tell channels."""


class Rules:
    """What has to be told, and to which channels, by a family's policy.

    Args:
        book: The family's alerts, in one transaction.
        policy: The family's.
        elsewhere: Keys of what Alertmanager tells of: it is written down, and nobody hears of it from here.
    """

    def __init__(self, book: Book, policy: Monitoring, elsewhere: Collection[str] = ()) -> None:
        self._elsewhere = elsewhere
        self._book = book
        self._policy = policy

    def note(self, version_id: int, findings: Sequence[Finding], observation: Observation) -> None:
        """Take over what was found of the version that serves.

        Args:
            version_id: Row of the version.
            findings: What was found.
            observation: What was measured; a check that was not measured changes nothing.
        """
        lasting = [alert for alert in self._book.open_alerts() if alert.version_id == version_id]
        bad = {finding.key: finding for finding in findings if finding.level is not None}
        unsaid = {finding.key for finding in findings if finding.level is None}
        measured = _measured(observation) - unsaid
        for alert in lasting:
            if alert.key in bad:
                self._goes_on(alert, bad[alert.key])
            elif alert.key in measured:
                self._is_better(alert, None)
        for key in sorted(bad.keys() - {alert.key for alert in lasting}):
            self._begins(version_id, bad[key])

    def end_others(self, version_id: int) -> None:
        """Alerts of versions that serve no more are over, whether these got well or not."""
        for alert in self._book.open_alerts():
            if alert.version_id != version_id:
                self._book.change(alert, state=AlertState.ENDED, told_at=self._book.now, closed_at=self._book.now)
                self._book.queue(alert.id, self._hearers(alert), Kind.ENDED)

    def _begins(self, version_id: int, finding: Finding) -> None:
        level, document = Level(finding.level or Level.INFO), _document(finding)
        known = self._book.recent(version_id, finding.key, self._book.now - self._policy.cool_down)
        if known is None:
            self._book.queue(
                self._book.add(version_id, finding.key, level, document),
                self._channels(level, finding.key),
                Kind.ALERT,
            )
            return
        self._book.change(
            known,
            state=AlertState.OPEN,
            level=level,
            flapping=True,
            finding=document,
            seen_at=self._book.now,
            told_at=self._book.now,
            better_since=None,
            closed_at=None,
        )
        self._book.queue(known.id, self._channels(level, finding.key), Kind.ALERT)

    def _goes_on(self, alert: Alert, finding: Finding) -> None:
        level, cool_down = Level(finding.level or Level.INFO), self._policy.cool_down
        if level.rank > Level(alert.level).rank:
            self._is_better(alert, finding)
            return
        values: dict[str, Any] = {"finding": _document(finding), "seen_at": self._book.now, "better_since": None}
        if level.rank < Level(alert.level).rank:
            came_back = alert.eased_at is not None and alert.eased_at > self._book.now - cool_down
            values |= {"level": level, "flapping": alert.flapping or came_back, "told_at": self._book.now}
            self._book.queue(alert.id, self._channels(level, alert.key), Kind.ALERT)
        elif added := [it for it in self._channels(level, alert.key) if it not in self._book.told(alert)]:
            # A channel that was added hears of what lasts.
            self._book.queue(alert.id, added, Kind.ALERT)
        elif level is not Level.INFO and alert.told_at <= self._book.now - cool_down:
            values["told_at"] = self._book.now
            self._book.queue(alert.id, self._channels(level, alert.key), Kind.REMINDER)
        self._book.change(alert, **values)

    def _is_better(self, alert: Alert, finding: Finding | None) -> None:
        """It is over, or less bad; one that comes and goes has to stay so for the cool-down before anybody is told."""
        since = alert.better_since or self._book.now
        values: dict[str, Any] = {"seen_at": self._book.now, "better_since": since}
        if alert.flapping and since > self._book.now - self._policy.cool_down:
            self._book.change(alert, **values)
            return
        values |= {"told_at": self._book.now, "eased_at": self._book.now, "better_since": None, "flapping": False}
        known = self._hearers(alert)
        if finding is None:
            self._book.change(alert, **values, state=AlertState.RECOVERED, closed_at=self._book.now)
            self._book.queue(alert.id, known, Kind.RECOVERY)
            return
        level = Level(finding.level or Level.INFO)
        still = [channel for channel in known if channel in self._channels(level, alert.key)]
        self._book.change(alert, **values, level=level, finding=_document(finding))
        self._book.queue(alert.id, still, Kind.EASED)
        self._book.queue(alert.id, [channel for channel in known if channel not in still], Kind.RECOVERY)

    def _hearers(self, alert: Alert) -> list[str]:
        """The channels that heard of an alert, or are about to, and did not hear yet that it is over."""
        told = self._book.told(alert).items()
        return [channel for channel, kind in told if channel in self._policy.channels and not Kind(kind).is_over]

    def _channels(self, level: Level, key: str) -> list[str]:
        found: list[str] = [] if key in self._elsewhere else getattr(self._policy.routing, level)
        return found


def _measured(observation: Observation) -> set[str]:
    """The keys of `monitoring.finding` that this run could judge, unless a finding without level says otherwise."""
    service = observation.service
    return {
        *_of_rows(observation),
        # A group of which nothing can be said has no finding either: what has rows enough counts.
        *(f"{name}:{key}" for name, group in observation.groups.items() for key in _of_rows(group, enough=True)),
        *(f"{FAIRNESS}{key}" for key in _comparable(observation)),
        *(["latency"] if service.latency_p95_ms is not None else []),
        *(["error_rate"] if service.error_rate is not None else []),
        *(["metrics"] if service.source == "prometheus" else []),
        *(
            f"{prefix}{name}"
            for name, it in observation.lately.items()
            if any(one.enough for one in it.stretches)
            for prefix in (PREFIX, WARNED)
        ),
        *(f"{DATA}{name}" for name in (*(it.name for it in observation.flaws if it.whole), "silence")),
        *([UNJUDGED] if observation.labels_due else []),
        *(["stage"] if observation.is_production is not None else []),
    }


def _of_rows(observation: Observation, *, enough: bool = False) -> set[str]:
    """Keys of what rows, labels and values say."""
    return {
        *(name for name, it in observation.metrics.items() if it.enough or not enough),
        *(f"concept:{predicted}" for predicted, it in observation.concept.items() if it.enough or not enough),
        *(f"drift:{drift.name}" for drift in observation.drift if drift.enough or not enough),
        *(
            f"{what}:{quality.feature}"
            for quality in observation.quality
            if quality.enough or not enough
            for what in ("missing", "out_of_range")
        ),
    }


def _comparable(observation: Observation) -> set[str]:
    """Segment and metric where two groups have labels enough."""
    found = Counter(
        f"{name.partition('=')[0]}:{metric}"
        for name, group in observation.groups.items()
        for metric, it in group.metrics.items()
        if it.enough
    )
    return {key for key, count in found.items() if count > 1}


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "text": finding.text,
        "measure": measure_text(finding.value, finding.reference, finding.bound, finding.rows),
        "level": finding.level,
    }
