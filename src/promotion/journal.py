"""The journal: who is where, who moved it, why, on what evidence, and what MLflow has not been told yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, Table, and_, select
from sqlalchemy.exc import IntegrityError

from promotion.database import Database
from promotion.errors import ProductionMoved
from promotion.registry import ModelVersion
from promotion.schema import family as families
from promotion.schema import gate_report, model_registry, model_version_detail, outbox, promotion_event
from promotion.stages import Stage


@dataclass(frozen=True, slots=True)
class Entry:
    """One version as the journal knows it."""

    id: int
    model: str
    number: int
    stage: Stage
    run_id: str | None
    digest: str | None
    approver: str | None
    reason: str | None
    promoted_at: datetime | None

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded move of one version; an operation (a promotion, say) has one event per version it moved."""

    id: int
    operation: str
    family: str
    model: str
    number: int
    action: str
    from_stage: Stage
    to_stage: Stage
    actor: str
    reason: str
    gate_report_id: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """A recorded operation that MLflow does not show completely yet."""

    id: int
    family: str
    operation: str
    created_at: datetime
    attempts: int
    error: str | None


class Known(Protocol):
    """What identifies a version: a `ModelVersion` of the registry, or an `Entry`."""

    @property
    def model(self) -> str:
        """Name of the registered model."""

    @property
    def number(self) -> int:
        """MLflow's integer version."""

    @property
    def run_id(self) -> str | None:
        """Run that made it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One version and the stage it goes to."""

    version: Known
    to: Stage
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Authority:
    """Who moves a version, by which kind of operation, why, and on which gate report."""

    action: str
    actor: str
    reason: str
    gate_report_id: int | None = None


class Journal:
    """Reads and writes the journal's database; every write is one transaction.

    Every method raises `JournalError` when the database cannot be used and `JournalLocked` when another process
    keeps it too long.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def name(self) -> str:
        """The database's URL without its password."""
        return self._database.name

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded; asking creates nothing."""
        return self._database.exists

    def family_lock(self, family: str) -> AbstractContextManager[None]:
        """Keep other processes from moving this family's versions."""
        return self._database.family_lock(family)

    # Reading

    def knows(self, family: str) -> bool:
        """Whether any version of the family was ever moved."""
        query = select(promotion_event.c.id).where(promotion_event.c.family == family).limit(1)
        return bool(self._rows(query))

    def entries(self, family: str | None = None) -> list[Entry]:
        """All known versions of a family, or of all families."""
        query = _ENTRIES if family is None else _ENTRIES.where(model_version_detail.c.family == family)
        return [_entry(row) for row in self._rows(query.order_by(model_version_detail.c.id))]

    def families(self) -> set[str]:
        """Names of all families in which a version was ever moved."""
        return {row.name for row in self._rows(select(families.c.name))}

    def productions(self) -> dict[str, Entry]:
        """The version in Production of each family that has one."""
        query = _ENTRIES.where(model_version_detail.c.status == Stage.PRODUCTION.status)
        return {row.family: _entry(row) for row in self._rows(query)}

    def production(self, family: str) -> Entry | None:
        """The family's version in Production."""
        condition = and_(
            model_version_detail.c.family == family, model_version_detail.c.status == Stage.PRODUCTION.status
        )
        rows = self._rows(_ENTRIES.where(condition))
        return _entry(rows[0]) if rows else None

    def previous(self, family: str) -> Entry | None:
        """The version that served in Production before the present one did."""
        current = self.production(family)
        left = select(promotion_event.c.version_id).where(
            promotion_event.c.family == family,
            promotion_event.c.from_status == Stage.PRODUCTION.status,
            promotion_event.c.version_id != (current.id if current else -1),
        )
        rows = self._rows(left.order_by(promotion_event.c.id.desc()).limit(1))
        if not rows:
            return None
        return _entry(self._rows(_ENTRIES.where(model_version_detail.c.id == rows[0].version_id))[0])

    def history(self, family: str | None = None, *, limit: int | None = None) -> list[Event]:
        """Recorded moves, newest first."""
        query = _EVENTS if family is None else _EVENTS.where(promotion_event.c.family == family)
        return [_event(row) for row in self._rows(query.order_by(promotion_event.c.id.desc()).limit(limit))]

    def arrival(self, family: str, stage: Stage) -> Event | None:
        """The newest move into `stage` of a version that is still there."""
        query = _EVENTS.where(
            promotion_event.c.family == family,
            promotion_event.c.to_status == stage.status,
            model_version_detail.c.status == stage.status,
        )
        rows = self._rows(query.order_by(promotion_event.c.id.desc()).limit(1))
        return _event(rows[0]) if rows else None

    def production_at(self, family: str, moment: datetime) -> Event | None:
        """The move that had put the version into Production which served at `moment`; None when none served."""
        query = _EVENTS.where(
            promotion_event.c.family == family,
            promotion_event.c.at <= moment,
            (promotion_event.c.to_status == Stage.PRODUCTION.status)
            | (promotion_event.c.from_status == Stage.PRODUCTION.status),
        ).order_by(promotion_event.c.id.desc())
        rows = self._rows(query.limit(1))
        return _event(rows[0]) if rows and rows[0].to_status == Stage.PRODUCTION.status else None

    def pending(self, family: str | None = None) -> list[Pending]:
        """Operations MLflow does not show completely yet, oldest first."""
        query = select(outbox).where(outbox.c.done_at.is_(None)).order_by(outbox.c.id)
        query = query if family is None else query.where(outbox.c.family == family)
        return [
            Pending(row.id, row.family, row.operation, row.created_at, row.attempts, row.error)
            for row in self._rows(query)
        ]

    # Writing

    def save_report(
        self, *, family: str, version: ModelVersion, target: Stage, passed: bool, report: Mapping[str, Any], actor: str
    ) -> int:
        """Keep a gate report, refused ones included.

        Returns:
            The report's id.
        """
        canonical = json.dumps(report, sort_keys=True, separators=(",", ":"))
        values = {
            "family": family,
            "model": version.model,
            "mlflow_version": version.number,
            "target": target.status,
            "passed": passed,
            "report": report,
            "digest": hashlib.sha256(canonical.encode()).hexdigest(),
            "actor": actor,
            "created_at": datetime.now(UTC),
        }
        with self._database.write() as connection:
            return _insert(connection, gate_report, values)

    def move(
        self, family: str, changes: Sequence[Change], authority: Authority, *, expected_production: int | None
    ) -> str:
        """Record where versions go: all of them, and the events and the outbox entry that belong to it, or nothing.

        A version that leaves Production because another one enters is listed among the changes, before it.

        Args:
            family: Whose versions they are.
            changes: The moves, in order.
            authority: By whom and why.
            expected_production: `Entry.id` of the version that must still be in Production; None when none must be.

        Returns:
            The operation's id.

        Raises:
            ProductionMoved: Another version is in Production than expected, so the evidence is out of date.
        """
        now = datetime.now(UTC)
        operation = uuid4().hex
        try:
            with self._database.write() as connection:
                _lock_family(connection, family, now)
                self._compare(connection, family, expected_production)
                for change in changes:
                    _apply(connection, change, family=family, authority=authority, operation=operation, now=now)
                connection.execute(outbox.insert().values(family=family, operation=operation, created_at=now))
        except IntegrityError as error:
            raise ProductionMoved(_MOVED.format(family=family, now="another version")) from error
        return operation

    def mark_done(self, pending: Iterable[Pending]) -> None:
        """MLflow shows these operations now."""
        self._update_outbox(pending, done_at=datetime.now(UTC), error=None)

    def mark_failed(self, pending: Iterable[Pending], error: str) -> None:
        """MLflow could not be told; keep why."""
        self._update_outbox(pending, error=error)

    def _update_outbox(self, pending: Iterable[Pending], **values: Any) -> None:
        ids = [item.id for item in pending]
        if not ids:
            return
        with self._database.write() as connection:
            connection.execute(
                outbox.update().where(outbox.c.id.in_(ids)).values(attempts=outbox.c.attempts + 1, **values)
            )

    @staticmethod
    def _compare(connection: Connection, family: str, expected: int | None) -> None:
        condition = and_(
            model_version_detail.c.family == family, model_version_detail.c.status == Stage.PRODUCTION.status
        )
        row = connection.execute(_ENTRIES.where(condition)).first()
        if (row.id if row else None) != expected:
            raise ProductionMoved(_MOVED.format(family=family, now=_entry(row) if row else "no version"))

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        if not self._database.exists:
            return []
        with self._database.read() as connection:
            return connection.execute(query).all()


_MOVED = (
    "{now} is in Production of {family!r} now, not the version this check compared with; nothing moved, check again"
)

_ENTRIES = select(model_version_detail, model_registry.c.name).join_from(model_version_detail, model_registry)

_EVENTS = (
    select(promotion_event, model_registry.c.name, model_version_detail.c.mlflow_version)
    .join(model_version_detail, promotion_event.c.version_id == model_version_detail.c.id)
    .join(model_registry)
)


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        model=row.name,
        number=row.mlflow_version,
        stage=Stage.parse(row.status),
        run_id=row.run_id,
        digest=row.digest,
        approver=row.approver,
        reason=row.reason,
        promoted_at=row.promoted_at,
    )


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        operation=row.operation,
        family=row.family,
        model=row.name,
        number=row.mlflow_version,
        action=row.action,
        from_stage=Stage.parse(row.from_status),
        to_stage=Stage.parse(row.to_status),
        actor=row.actor,
        reason=row.reason,
        gate_report_id=row.gate_report_id,
        at=row.at,
    )


def _lock_family(connection: Connection, family: str, now: datetime) -> None:
    """Take the family's row, creating it the first time; others wait for the end of this transaction."""
    locked = select(families.c.name).where(families.c.name == family).with_for_update()
    if connection.execute(locked).first() is None:
        connection.execute(families.insert().values(name=family, created_at=now))


def _apply(
    connection: Connection, change: Change, *, family: str, authority: Authority, operation: str, now: datetime
) -> None:
    version = change.version
    version_id, old = _detail(connection, family, version)
    values: dict[str, Any] = {"status": change.to.status, "approver": authority.actor, "reason": authority.reason}
    if change.digest:
        values["digest"] = change.digest
    if change.to is Stage.PRODUCTION:
        values |= {"promoted_at": now, "deprecated_at": None}
    elif old is Stage.PRODUCTION:
        values["deprecated_at"] = now
    connection.execute(model_version_detail.update().where(model_version_detail.c.id == version_id).values(values))
    connection.execute(
        promotion_event.insert().values(
            operation=operation,
            family=family,
            version_id=version_id,
            action=authority.action,
            from_status=old.status,
            to_status=change.to.status,
            actor=authority.actor,
            reason=authority.reason,
            gate_report_id=authority.gate_report_id,
            at=now,
        )
    )


def _detail(connection: Connection, family: str, version: Known) -> tuple[int, Stage]:
    """The row of a version and where it is, written the first time the version is heard of."""
    model = connection.execute(select(model_registry.c.id).where(model_registry.c.name == version.model)).first()
    model_id = model.id if model else _insert(connection, model_registry, {"name": version.model, "family": family})
    row = connection.execute(
        select(model_version_detail.c.id, model_version_detail.c.status).where(
            model_version_detail.c.model_id == model_id, model_version_detail.c.mlflow_version == version.number
        )
    ).first()
    if row:
        return int(row.id), Stage.parse(row.status)
    values = {
        "model_id": model_id,
        "family": family,
        "mlflow_version": version.number,
        "version": str(version.number),
        "status": Stage.NONE.status,
        "run_id": version.run_id,
    }
    return _insert(connection, model_version_detail, values), Stage.NONE


def _insert(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    return int(key[0]) if key else 0
