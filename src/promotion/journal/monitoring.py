"""The journal's pages of the monitor: alerts, who was told, whose answer is outstanding, and what each run saw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Row, func, select

from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import (
    Alert,
    AlertState,
    Authority,
    DeliveryState,
    DueNotice,
    Entry,
    Known,
    version_name,
)
from promotion.journal.rows import insert, of_versions, record
from promotion.journal.schema import alert, alert_delivery, monitoring_run
from promotion.journal.transaction import FamilyTransaction

ACTION = "notify"
"""What the record calls it when somebody is told."""
ACTOR = "monitor"
"""Who tells, when no person does."""

CLUSTER = "cluster"
"""Key of the finding that the cluster does not run what came back: nothing against the version."""
_CRITICAL = "critical"
# Longer than any run waits for its channels: then the run that claimed a delivery has died.
_CLAIM = timedelta(minutes=5)
_STALE = timedelta(days=7)
KEPT = timedelta(days=90)
"""How long what runs leave stays, where nobody says otherwise."""

_ALERTS = of_versions(alert)
_PENDING = alert_delivery.c.state == DeliveryState.PENDING


class AlertBook(FamilyTransaction):
    """Reads and writes alerts of one family in one transaction; other runs wait for its end."""

    def version_id(self, version: Known) -> int:
        """The version's row; one that answers and that the journal never heard of is recorded as such."""
        known = self.find(version)
        if known is None:
            known = self.version(version)
            heard = Authority("observe", ACTOR, "answers requests; the journal had not heard of it")
            self.append(known, heard)
        return known.id

    def open_alerts(self) -> list[Alert]:
        """Those that last, oldest first."""
        return self._alerts(alert.c.state == AlertState.OPEN)

    def recent(self, version_id: int, key: str, since: datetime) -> Alert | None:
        """The alert of this key that was over not longer ago than `since`."""
        found = self._alerts(
            alert.c.state == AlertState.RECOVERED,
            alert.c.version_id == version_id,
            alert.c.key == key,
            alert.c.closed_at > since,
        )
        return found[-1] if found else None

    def is_announced(self, key: str) -> bool:
        """Whether this was announced already."""
        return bool(self._alerts(alert.c.state == AlertState.ANNOUNCED, alert.c.key == key))

    def add(
        self, version_id: int, key: str, level: str, finding: Mapping[str, Any], state: AlertState = AlertState.OPEN
    ) -> int:
        """A new alert; returns its row."""
        return self.insert(
            alert,
            family=self.family,
            version_id=version_id,
            key=key,
            level=level,
            state=state,
            flapping=False,
            finding=finding,
            opened_at=self.now,
            seen_at=self.now,
            told_at=self.now,
            closed_at=self.now if state is AlertState.ANNOUNCED else None,
        )

    def change(self, known: Alert, **values: Any) -> None:
        """Write down what is different now."""
        self.update(alert, known.id, **values)

    def told(self, known: Alert) -> dict[str, str]:
        """The kind of message that each channel heard last of an alert, or is about to hear."""
        query = select(alert_delivery.c.channel, alert_delivery.c.kind).where(alert_delivery.c.alert_id == known.id)
        rows = self.connection.execute(query.order_by(alert_delivery.c.id))
        return {row.channel: row.kind for row in rows}

    def queue(self, alert_id: int, channels: Iterable[str], kind: str) -> None:
        """Tell channels; what they were still to be told about this alert is out of date then."""
        for channel in channels:
            self._supersede(alert_delivery.c.alert_id == alert_id, alert_delivery.c.channel == channel)
            self.insert(
                alert_delivery,
                alert_id=alert_id,
                channel=channel,
                kind=kind,
                state=DeliveryState.PENDING,
                attempts=0,
                created_at=self.now,
            )

    def claim(self, channels: Collection[str]) -> list[DueNotice]:
        """Everything that has to be delivered; no other run takes it until this one has answers, or died.

        Args:
            channels: Those that the family's file names; what is due to others is out of date, as is what nobody took
                in the week after it was over.
        """
        ours = alert_delivery.c.alert_id.in_(select(alert.c.id).where(alert.c.family == self.family))
        long_over = alert_delivery.c.alert_id.in_(select(alert.c.id).where(alert.c.closed_at < self.now - _STALE))
        self._supersede(ours, alert_delivery.c.channel.not_in(channels) | long_over)
        query = (
            _ALERTS.join(alert_delivery, alert_delivery.c.alert_id == alert.c.id)
            .add_columns(alert_delivery.c.id.label("delivery_id"))
            .add_columns(*(alert_delivery.c[name] for name in ("channel", "kind", "error")))
            .where(
                alert.c.family == self.family,
                _PENDING,
                alert_delivery.c.claimed_until.is_(None) | (alert_delivery.c.claimed_until <= self.now),
            )
            .order_by(alert_delivery.c.id)
        )
        rows = self.connection.execute(query).all()
        claimed = alert_delivery.update().where(alert_delivery.c.id.in_([row.delivery_id for row in rows]))
        self.connection.execute(claimed.values(claimed_until=self.now + _CLAIM))
        return [
            DueNotice(row.delivery_id, _alert(row), row.channel, row.kind, tried=row.error is not None) for row in rows
        ]

    def answered(self, due: DueNotice, told: Mapping[str, Any], *, gives_up: bool = False) -> None:
        """Write down a channel's answer, as `record` takes it; what it did not take may be claimed again."""
        self.update(
            alert_delivery,
            due.id,
            attempts=alert_delivery.c.attempts + told["attempts"],
            title=told["title"],
            recipient=told["recipient"] or None,
            error=told["problem"] or None,
            claimed_until=None,
            answered_at=clock.read_time(self.connection).now,
            **({"state": DeliveryState.ACCEPTED} if told["accepted"] else {}),
            **({"state": DeliveryState.SUPERSEDED} if gives_up else {}),
        )

    def record(self, version_id: int, title: str, told: Sequence[Mapping[str, Any]], actor: str) -> None:
        """Append to the chain who was told what about a version; of several versions it is one act for each."""
        authority = Authority(ACTION, actor, title, details={"told": list(told)})
        self.append(self.entry(version_id), authority, operation=uuid4().hex)

    def _supersede(self, *conditions: ColumnElement[bool]) -> None:
        outdated = alert_delivery.update().where(_PENDING, *conditions)
        self.connection.execute(outdated.values(state=DeliveryState.SUPERSEDED))

    def _alerts(self, *conditions: ColumnElement[bool]) -> list[Alert]:
        query = _ALERTS.where(alert.c.family == self.family, *conditions).order_by(alert.c.id)
        return [_alert(row) for row in self.connection.execute(query)]


@contextmanager
def open_book(journal: Journal, family: str) -> Iterator[AlertBook]:
    """One transaction on a family's alerts."""
    with journal.database.write() as connection:
        yield AlertBook(connection, family)


def alert_history(journal: Journal, family: str, since: datetime) -> list[Alert]:
    """A family's alerts that were not over by a time, and its announcements since then; newest first."""
    query = _ALERTS.where(alert.c.family == family, alert.c.closed_at.is_(None) | (alert.c.closed_at >= since))
    return [_alert(row) for row in journal.rows(query.order_by(alert.c.id.desc()))]


def lasting_alerts(journal: Journal) -> list[Alert]:
    """The alerts of all families that last, oldest first."""
    return [_alert(row) for row in journal.rows(_ALERTS.where(alert.c.state == AlertState.OPEN).order_by(alert.c.id))]


def _alert(row: Row[Any]) -> Alert:
    name = version_name(row.model, row.number, row.version)
    return record(Alert, row, version=name, state=AlertState(row.state))


@dataclass(frozen=True, slots=True)
class MonitoringRun:
    """What one run of the monitor saw of one version.

    Attributes:
        family: Whose version.
        model: Registered model that answered.
        version: MLflow's number.
        since: Begin of its window, UTC.
        at: End of its window, UTC.
        rows: Predicted rows in the window.
        level: Worst of its findings; None when there was none.
        observation: What was seen, without the trend and without the classes of values.
        findings: What was said of it.
    """

    family: str
    model: str
    version: int
    since: datetime
    at: datetime
    rows: int
    level: str | None
    observation: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]


def add_run(journal: Journal, run: MonitoringRun, keep: timedelta = KEPT) -> None:
    """Keep what a run saw, and forget what earlier ones of the family left; the journal is created where there is none.

    The newest run of each version stays: a rollback looks at it. So do alerts that last; the chain is not touched.
    """
    values = {name: getattr(run, name) for name in MonitoringRun.__slots__ if name != "version"}
    before, table = run.at - keep, monitoring_run.c
    newest = select(func.max(table.id)).where(table.family == run.family).group_by(table.model, table.mlflow_version)
    old = select(alert.c.id).where(alert.c.family == run.family, alert.c.closed_at < before)
    with journal.database.write() as connection:
        insert(connection, monitoring_run, values | {"mlflow_version": run.version})
        connection.execute(
            monitoring_run.delete().where(table.family == run.family, table.at < before, table.id.not_in(newest))
        )
        connection.execute(alert_delivery.delete().where(alert_delivery.c.alert_id.in_(old)))
        connection.execute(alert.delete().where(alert.c.id.in_(old)))


def newest_runs(journal: Journal, family: str, limit: int) -> Sequence[MonitoringRun]:
    """What the family's last runs saw, newest first."""
    query = select(monitoring_run).where(monitoring_run.c.family == family)
    newest = query.order_by(monitoring_run.c.at.desc(), monitoring_run.c.id.desc()).limit(limit)
    return [record(MonitoringRun, row, version=row.mlflow_version) for row in journal.rows(newest)]


def newest_run_of_each(journal: Journal) -> dict[str, MonitoringRun]:
    """What was seen last of each family."""
    newest = select(func.max(monitoring_run.c.id)).group_by(monitoring_run.c.family)
    rows = journal.rows(select(monitoring_run).where(monitoring_run.c.id.in_(newest)))
    return {row.family: record(MonitoringRun, row, version=row.mlflow_version) for row in rows}


def last_critical(journal: Journal, family: str, entry: Entry) -> str:
    """What of a version is critical, empty where nothing is: by an alert, or by what its newest run found.

    An alert that ended because another version answered goes on until a run finds its figure well: what was not
    measured since, or on too few rows, is named by the findings of each run.
    """
    runs = select(monitoring_run).where(
        monitoring_run.c.family == family,
        monitoring_run.c.model == entry.model,
        monitoring_run.c.mlflow_version == entry.number,
    )
    of_it = (alert.c.version_id == entry.id, alert.c.level == _CRITICAL, alert.c.key != CLUSTER)
    lasting = alert.c.state.in_([AlertState.OPEN, AlertState.ENDED])
    for row in journal.rows(_ALERTS.where(*of_it, lasting).order_by(alert.c.id)):
        said = runs.with_only_columns(monitoring_run.c.findings)
        since = journal.rows(said.where(monitoring_run.c.at > row.closed_at)) if row.closed_at else []
        if all(any(finding["key"] == row.key for finding in run.findings) for run in since):
            return f"critical alert since {row.opened_at:%Y-%m-%d}: {row.finding['text']}"
    newest = runs.order_by(monitoring_run.c.at.desc(), monitoring_run.c.id.desc()).limit(1)
    for run in journal.rows(newest):
        for finding in run.findings:
            if finding["level"] == _CRITICAL and finding["key"] != CLUSTER:
                return f"critical when it was looked at last, {run.at:%Y-%m-%d}: {finding['text']}"
    return ""
