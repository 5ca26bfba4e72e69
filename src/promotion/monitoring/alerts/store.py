"""The journal's pages on alerts: what is wrong with which version, who was told, and whose answer is outstanding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, select

from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Known
from promotion.journal.rows import append_event, identity, insert, lock_family, version_row
from promotion.journal.schema import alert, alert_delivery, model_registry, model_version_detail
from promotion.monitoring.alerts.messages import Kind, Level
from promotion.monitoring.alerts.records import Alert, AlertState, Delivery, DueNotice

ACTION = "notify"
"""What the record calls it when somebody is told."""
ACTOR = "monitor"
"""Who tells, when no person does."""

# Longer than any run waits for its channels: then the run that claimed a delivery has died.
_CLAIM = timedelta(minutes=5)
_STALE = timedelta(days=7)


class AlertBook:
    """Reads and writes alerts of one family in one transaction; other runs wait for its end.

    Args:
        connection: The transaction.
        family: Whose alerts.
        now: UTC.
    """

    def __init__(self, connection: Connection, family: str, now: datetime) -> None:
        self._connection = connection
        self._family = family
        self.now = now

    def version_id(self, version: Known) -> int:
        """The version's row; one that answers and that the journal never heard of is recorded as such."""
        known = (
            select(model_version_detail.c.id)
            .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
            .where(model_registry.c.name == version.model, model_version_detail.c.mlflow_version == version.number)
        )
        row_id = self._connection.execute(known).scalar()
        if row_id is None:
            row_id = version_row(self._connection, self._family, version).id
            self._append(row_id, Authority("observe", ACTOR, "answers requests; the journal had not heard of it"))
        return int(row_id)

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
        self, version_id: int, key: str, level: Level, finding: Mapping[str, Any], state: AlertState = AlertState.OPEN
    ) -> int:
        """A new alert; returns its row."""
        values = {
            "family": self._family,
            "version_id": version_id,
            "key": key,
            "level": level,
            "state": state,
            "flapping": False,
            "finding": finding,
            "opened_at": self.now,
            "seen_at": self.now,
            "told_at": self.now,
            "closed_at": self.now if state is AlertState.ANNOUNCED else None,
        }
        return insert(self._connection, alert, values)

    def change(self, known: Alert, **values: Any) -> None:
        """Write down what is different now."""
        self._connection.execute(alert.update().where(alert.c.id == known.id).values(values))

    def told(self, known: Alert) -> list[str]:
        """The channels that heard of an alert, or are about to, and did not hear yet that it is over."""
        query = select(alert_delivery.c.channel, alert_delivery.c.kind).where(alert_delivery.c.alert_id == known.id)
        newest = {row.channel: Kind(row.kind) for row in self._connection.execute(query.order_by(alert_delivery.c.id))}
        return [channel for channel, kind in newest.items() if not kind.is_over]

    def queue(self, alert_id: int, channels: Iterable[str], kind: Kind) -> None:
        """Tell channels; what they were still to be told about this alert is out of date then."""
        for channel in channels:
            same = (alert_delivery.c.alert_id == alert_id) & (alert_delivery.c.channel == channel)
            self._connection.execute(
                alert_delivery.update().where(same, alert_delivery.c.state == "pending").values(state="superseded")
            )
            values = {
                "alert_id": alert_id,
                "channel": channel,
                "kind": kind,
                "state": "pending",
                "attempts": 0,
                "created_at": self.now,
            }
            insert(self._connection, alert_delivery, values)

    def claim(self, channels: Iterable[str]) -> list[DueNotice]:
        """Everything that has to be delivered; no other run takes it until this one has answers, or died.

        Args:
            channels: Those that the family's file names; what is due to others is out of date, as is what nobody took
                in the week after it was over.
        """
        pending = alert_delivery.c.state == "pending"
        ours = alert_delivery.c.alert_id.in_(select(alert.c.id).where(alert.c.family == self._family))
        long_over = alert_delivery.c.alert_id.in_(select(alert.c.id).where(alert.c.closed_at < self.now - _STALE))
        unknown = alert_delivery.c.channel.not_in(list(channels))
        self._connection.execute(
            alert_delivery.update().where(pending, ours, unknown | long_over).values(state="superseded")
        )
        unclaimed = alert_delivery.c.claimed_until.is_(None) | (alert_delivery.c.claimed_until <= self.now)
        query = (
            _ALERTS.join(alert_delivery, alert_delivery.c.alert_id == alert.c.id)
            .add_columns(
                alert_delivery.c.id.label("delivery_id"),
                alert_delivery.c.channel,
                alert_delivery.c.kind,
                alert_delivery.c.attempts,
                alert_delivery.c.error,
            )
            .where(alert.c.family == self._family, pending, unclaimed)
            .order_by(alert_delivery.c.id)
        )
        rows = self._connection.execute(query).all()
        claimed = alert_delivery.update().where(alert_delivery.c.id.in_([row.delivery_id for row in rows]))
        self._connection.execute(claimed.values(claimed_until=self.now + _CLAIM))
        return [
            DueNotice(row.delivery_id, _alert(row), row.channel, Kind(row.kind), tried=row.error is not None)
            for row in rows
        ]

    def settle(self, deliveries: Sequence[Delivery], actor: str) -> None:
        """Write down the answers, and in the chain what is new in them."""
        for delivery in deliveries:
            answer = delivery.answer
            values: dict[str, Any] = {
                "attempts": alert_delivery.c.attempts + answer.attempts,
                "title": delivery.title,
                "recipient": answer.recipient or None,
                "error": answer.problem or None,
                "claimed_until": None,
                "answered_at": clock.now(),
            }
            if answer.accepted:
                values["state"] = "accepted"
            self._connection.execute(
                alert_delivery.update().where(alert_delivery.c.id == delivery.due.id).values(values)
            )
        for version_id in sorted({delivery.due.alert.version_id for delivery in deliveries if delivery.is_news}):
            news = [item for item in deliveries if item.is_news and item.due.alert.version_id == version_id]
            self.record(version_id, news[0].title, [_document(item) for item in news], actor)

    def record(self, version_id: int, title: str, told: Sequence[Mapping[str, Any]], actor: str) -> None:
        """Append to the chain who was told what about a version."""
        self._append(version_id, Authority(ACTION, actor, title, details={"told": list(told)}))

    def _append(self, version_id: int, authority: Authority) -> None:
        row = self._connection.execute(
            select(model_version_detail, model_registry.c.name)
            .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
            .where(model_version_detail.c.id == version_id)
        ).one()
        append_event(
            self._connection,
            family=self._family,
            operation=uuid4().hex,
            version_id=version_id,
            statuses=(row.status, row.status),
            authority=authority,
            at=self.now,
            details=identity(row, row.name),
        )

    def _alerts(self, *conditions: Any) -> list[Alert]:
        query = _ALERTS.where(alert.c.family == self._family, *conditions).order_by(alert.c.id)
        return [_alert(row) for row in self._connection.execute(query)]


@contextmanager
def open_book(journal: Journal, family: str) -> Iterator[AlertBook]:
    """One transaction on a family's alerts."""
    now = clock.now()
    with journal.database.write() as connection:
        lock_family(connection, family, now)
        yield AlertBook(connection, family, now)


def alert_history(journal: Journal, family: str, since: datetime) -> list[Alert]:
    """A family's alerts that were not over by a time, and its announcements since then; newest first."""
    lasting = alert.c.closed_at.is_(None) | (alert.c.closed_at >= since)
    return [
        _alert(row)
        for row in journal.rows(_ALERTS.where(alert.c.family == family, lasting).order_by(alert.c.id.desc()))
    ]


_ALERTS: Select[Any] = (
    select(
        alert,
        model_registry.c.name.label("model"),
        model_version_detail.c.mlflow_version,
        model_version_detail.c.version,
    )
    .join(model_version_detail, alert.c.version_id == model_version_detail.c.id)
    .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
)


def version_name(model: str, number: int, semver: str) -> str:
    """A version as people call it: `heart-disease-random_forest 1.2.0 (v3)`, `churn v3` without a semantic version."""
    return f"{model} v{number}" if semver == str(number) else f"{model} {semver} (v{number})"


def _alert(row: Row[Any]) -> Alert:
    return Alert(
        id=row.id,
        family=row.family,
        version_id=row.version_id,
        version=version_name(row.model, row.mlflow_version, row.version),
        key=row.key,
        level=Level(row.level),
        state=AlertState(row.state),
        flapping=row.flapping,
        finding=row.finding,
        opened_at=row.opened_at,
        told_at=row.told_at,
        better_since=row.better_since,
        eased_at=row.eased_at,
        closed_at=row.closed_at,
    )


def _document(delivery: Delivery) -> dict[str, Any]:
    answer = delivery.answer
    return {
        "channel": delivery.due.channel,
        "recipient": answer.recipient,
        "kind": delivery.due.kind,
        "level": delivery.due.alert.level,
        "key": delivery.due.alert.key,
        "title": delivery.title,
        "accepted": answer.accepted,
        "attempts": answer.attempts,
        "problem": answer.problem,
    }
