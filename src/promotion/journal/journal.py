"""The journal: who is where, who moved it, why, on what evidence, and what MLflow has not been told yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, and_, func, select
from sqlalchemy.exc import IntegrityError

from promotion.errors import ProductionMoved, UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.database import Database
from promotion.journal.records import Authority, Change, Entry, Event, Known, Pending, Registration, StoredReport
from promotion.journal.rows import (
    ENTRIES,
    EVENTS,
    MOVES,
    append_event,
    entry,
    event,
    identity,
    insert,
    lock_family,
    version_row,
)
from promotion.journal.schema import family as families
from promotion.journal.schema import gate_report, model_registry, model_version_detail, outbox, promotion_event
from promotion.registry.semver import next_minor
from promotion.registry.stages import Stage


class Journal:
    """Reads and writes the journal's database; every write is one transaction.

    Every method raises `JournalError` when the database cannot be used and `JournalLocked` when another process
    keeps it too long.

    Args:
        database: Holds it.

    Raises:
        UsageError: The clock is set for a rehearsal, but the database is one that a team shares.
    """

    def __init__(self, database: Database) -> None:
        if clock.is_set() and database.backend != "sqlite":
            raise UsageError(f"{clock.VARIABLE} is for rehearsals on a journal of their own, not for {database.name}")
        self.database = database

    @property
    def name(self) -> str:
        """The database's URL without its password."""
        return self.database.name

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded; asking creates nothing."""
        return self.database.exists

    def family_lock(self, family: str) -> AbstractContextManager[None]:
        """Keep other processes from moving this family's versions."""
        return self.database.family_lock(family)

    # Reading

    def knows(self, family: str) -> bool:
        """Whether any version of the family was ever moved."""
        query = select(promotion_event.c.id).where(promotion_event.c.family == family, MOVES).limit(1)
        return bool(self.rows(query))

    def entries(self, family: str | None = None) -> list[Entry]:
        """All known versions of a family, or of all families."""
        query = ENTRIES if family is None else ENTRIES.where(model_version_detail.c.family == family)
        return [entry(row) for row in self.rows(query.order_by(model_version_detail.c.id))]

    def entry(self, model: str, version: int | str) -> Entry | None:
        """One version of a registered model, by MLflow's number or by its semantic version."""
        column = model_version_detail.c.mlflow_version if isinstance(version, int) else model_version_detail.c.version
        rows = self.rows(ENTRIES.where(model_registry.c.name == model, column == version))
        return entry(rows[0]) if rows else None

    def family_of(self, entry: Entry) -> str:
        """The family a known version belongs to."""
        query = select(model_version_detail.c.family).where(model_version_detail.c.id == entry.id)
        return str(self.rows(query)[0].family)

    def registration(self, entry_id: int) -> Registration | None:
        """What was recorded when the version was registered; None when our training did not register it."""
        row = self.rows(select(model_version_detail).where(model_version_detail.c.id == entry_id))[0]
        if row.registered_at is None:
            return None
        return Registration(row.digest, row.signature, row.trainer, row.feature_hash, row.metrics, row.lineage)

    def families(self) -> set[str]:
        """Names of all families in which anything was ever recorded."""
        return {row.name for row in self.rows(select(families.c.name))}

    def productions(self) -> dict[str, Entry]:
        """The version in Production of each family that has one."""
        query = ENTRIES.where(model_version_detail.c.status == Stage.PRODUCTION.status)
        return {row.family: entry(row) for row in self.rows(query)}

    def production(self, family: str) -> Entry | None:
        """The family's version in Production."""
        condition = and_(
            model_version_detail.c.family == family, model_version_detail.c.status == Stage.PRODUCTION.status
        )
        rows = self.rows(ENTRIES.where(condition))
        return entry(rows[0]) if rows else None

    def previous(self, family: str) -> Entry | None:
        """The version that served in Production before the present one did."""
        current = self.production(family)
        left = select(promotion_event.c.version_id).where(
            promotion_event.c.family == family,
            promotion_event.c.from_status == Stage.PRODUCTION.status,
            promotion_event.c.version_id != (current.id if current else -1),
            MOVES,
        )
        rows = self.rows(left.order_by(promotion_event.c.sequence.desc()).limit(1))
        if not rows:
            return None
        return entry(self.rows(ENTRIES.where(model_version_detail.c.id == rows[0].version_id))[0])

    def history(
        self,
        family: str | None = None,
        *,
        version_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """Recorded acts, newest first.

        Args:
            family: Only of this family.
            version_id: Only of the version with this `Entry.id`.
            since: Not before.
            until: Before.
            limit: At most so many.
        """
        query = EVENTS
        for condition in (
            promotion_event.c.family == family if family is not None else None,
            promotion_event.c.version_id == version_id if version_id is not None else None,
            promotion_event.c.at >= since if since else None,
            promotion_event.c.at < until if until else None,
        ):
            query = query if condition is None else query.where(condition)
        return [event(row) for row in self.rows(query.order_by(promotion_event.c.sequence.desc()).limit(limit))]

    def arrival(self, family: str, stage: Stage, version_id: int | None = None) -> Event | None:
        """The newest move into `stage` of a version that is still there; of one version when its id is given."""
        query = EVENTS.where(
            promotion_event.c.family == family,
            promotion_event.c.to_status == stage.status,
            model_version_detail.c.status == stage.status,
            MOVES,
        )
        if version_id is not None:
            query = query.where(promotion_event.c.version_id == version_id)
        rows = self.rows(query.order_by(promotion_event.c.sequence.desc()).limit(1))
        return event(rows[0]) if rows else None

    def last_moves(self, family: str) -> list[Event]:
        """The newest move of each of the family's versions, the latest first."""
        newest = (
            select(func.max(promotion_event.c.sequence))
            .where(promotion_event.c.family == family, MOVES)
            .group_by(promotion_event.c.version_id)
        )
        query = EVENTS.where(promotion_event.c.sequence.in_(newest))
        return [event(row) for row in self.rows(query.order_by(promotion_event.c.sequence.desc()))]

    def production_at(self, family: str, at: datetime) -> Event | None:
        """The move that had put the version into Production which served at a time; None when none served."""
        query = EVENTS.where(
            promotion_event.c.family == family,
            promotion_event.c.at <= at,
            (promotion_event.c.to_status == Stage.PRODUCTION.status)
            | (promotion_event.c.from_status == Stage.PRODUCTION.status),
            MOVES,
        ).order_by(promotion_event.c.sequence.desc())
        rows = self.rows(query.limit(1))
        return event(rows[0]) if rows and rows[0].to_status == Stage.PRODUCTION.status else None

    def pending(self, family: str | None = None) -> list[Pending]:
        """Operations MLflow does not show completely yet, oldest first."""
        query = select(outbox).where(outbox.c.done_at.is_(None)).order_by(outbox.c.id)
        query = query if family is None else query.where(outbox.c.family == family)
        return [
            Pending(row.id, row.family, row.operation, row.created_at, row.attempts, row.error)
            for row in self.rows(query)
        ]

    def changed_by_hand(self, family: str) -> list[tuple[Entry, Stage]]:
        """Versions whose row says another stage than their newest event: somebody wrote SQL.

        Returns:
            Each with the stage that was recorded for it.
        """
        last = (
            select(promotion_event.c.to_status)
            .where(promotion_event.c.version_id == model_version_detail.c.id, MOVES)
            .order_by(promotion_event.c.sequence.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = ENTRIES.add_columns(last.label("recorded")).where(model_version_detail.c.family == family)
        found = [(entry(row), Stage.parse(row.recorded or Stage.NONE.status)) for row in self.rows(query)]
        return [(version, recorded) for version, recorded in found if version.stage is not recorded]

    def report(self, report_id: int) -> StoredReport:
        """A kept gate report."""
        return _stored(self.rows(select(gate_report).where(gate_report.c.id == report_id))[0])

    def reports(self, version: Known, *, limit: int | None = None) -> list[StoredReport]:
        """Kept gate reports of a version, newest first."""
        query = select(gate_report).where(
            gate_report.c.model == version.model, gate_report.c.mlflow_version == version.number
        )
        return [_stored(row) for row in self.rows(query.order_by(gate_report.c.id.desc()).limit(limit))]

    # Writing

    def prepare(self) -> None:
        """Create or migrate the schema: a journal that cannot be written is better known before a long training."""
        with self.database.write():
            pass

    def register(
        self, family: str, versions: Sequence[tuple[Known, Registration]], *, actor: str, semver: str | None
    ) -> str:
        """Record what was trained together: every version under the same semantic version.

        Args:
            family: Whose versions.
            versions: Each with what is known of it.
            actor: Who trained.
            semver: The semantic version; None for the next minor one of the family.

        Returns:
            The semantic version.

        Raises:
            UsageError: `semver` is taken.
        """
        now, operation = clock.now(), uuid4().hex
        try:
            with self.database.write() as connection:
                lock_family(connection, family, now)
                taken = connection.execute(
                    select(model_version_detail.c.version).where(model_version_detail.c.family == family)
                )
                given = semver or next_minor(taken.scalars())
                for version, registration in versions:
                    row = version_row(connection, family, version)
                    values = {
                        "version": given,
                        "run_id": version.run_id,
                        "registered_at": now,
                        **{name: getattr(registration, name) for name in Registration.__slots__},
                    }
                    _update(connection, row.id, values)
                    append_event(
                        connection,
                        family=family,
                        operation=operation,
                        version_id=row.id,
                        statuses=(row.status, row.status),
                        authority=Authority("register", actor, f"trained as {given}"),
                        at=now,
                        details={
                            "model": version.model,
                            "number": version.number,
                            "version": given,
                            "digest": registration.digest,
                            "registration": digest({n: getattr(registration, n) for n in Registration.__slots__}),
                            "trainer": registration.trainer,
                        },
                    )
        except IntegrityError as error:
            raise UsageError(f"{family!r} has a version {semver} already: choose another --semver") from error
        return given

    def require_free(self, family: str, semver: str) -> None:
        """Look before a long training.

        Raises:
            UsageError: The family has this semantic version already.
        """
        query = select(model_version_detail.c.id).where(
            model_version_detail.c.family == family, model_version_detail.c.version == semver
        )
        if self.rows(query):
            raise UsageError(f"{family!r} has a version {semver} already: choose another --semver")

    def save_report(
        self,
        *,
        family: str,
        version: Known,
        target: Stage,
        passed: bool,
        report: Mapping[str, Any],
        evidence: str,
        actor: str,
    ) -> int:
        """Keep a gate report, refused ones included.

        Returns:
            The report's id.
        """
        values = {
            "family": family,
            "model": version.model,
            "mlflow_version": version.number,
            "target": target.status,
            "passed": passed,
            "report": report,
            "digest": digest(report),
            "evidence": evidence,
            "actor": actor,
            "created_at": clock.now(),
        }
        with self.database.write() as connection:
            return insert(connection, gate_report, values)

    def record(self, family: str, version: Known, authority: Authority) -> str:
        """Record an act that moves nothing: a refusal, a quarantine, a task; returns the operation's id."""
        now, operation = clock.now(), uuid4().hex
        with self.database.write() as connection:
            lock_family(connection, family, now)
            row = version_row(connection, family, version)
            append_event(
                connection,
                family=family,
                operation=operation,
                version_id=row.id,
                statuses=(row.status, row.status),
                authority=authority,
                at=now,
                details=identity(row, version.model),
            )
        return operation

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
        now, operation = clock.now(), uuid4().hex
        try:
            with self.database.write() as connection:
                lock_family(connection, family, now)
                self._compare(connection, family, expected_production)
                for change in changes:
                    _apply(connection, change, family=family, authority=authority, operation=operation, now=now)
                connection.execute(outbox.insert().values(family=family, operation=operation, created_at=now))
        except IntegrityError as error:
            raise ProductionMoved(_MOVED.format(family=family, now="another version")) from error
        return operation

    def settle(self, family: str, found: Sequence[tuple[Entry, Stage]], authority: Authority, *, keep: bool) -> str:
        """Make rows that somebody changed by SQL and the events agree again.

        Args:
            family: Whose versions.
            found: What `changed_by_hand` returned.
            authority: By whom and why.
            keep: Whether the rows are right, and events follow them; otherwise the rows go back.

        Returns:
            The operation's id.
        """
        now, operation = clock.now(), uuid4().hex
        with self.database.write() as connection:
            lock_family(connection, family, now)
            settled = [(version, recorded, version.stage if keep else recorded) for version, recorded in found]
            # The version that ends in Production comes last: a row needs the place empty, and of an operation's events
            # the newest says who serves.
            for version, recorded, stage in sorted(settled, key=lambda item: item[2] is Stage.PRODUCTION):
                row = version_row(connection, family, version)
                if not keep:
                    _update(connection, row.id, {"status": recorded.status})
                append_event(
                    connection,
                    family=family,
                    operation=operation,
                    version_id=row.id,
                    statuses=(recorded.status, stage.status),
                    authority=authority,
                    at=now,
                    details={**identity(row, version.model), "found": version.stage.status},
                )
            connection.execute(outbox.insert().values(family=family, operation=operation, created_at=now))
        return operation

    def mark_done(self, pending: Iterable[Pending]) -> None:
        """MLflow shows these operations now."""
        self._update_outbox(pending, done_at=clock.now(), error=None)

    def mark_failed(self, pending: Iterable[Pending], error: str) -> None:
        """MLflow could not be told; keep why."""
        self._update_outbox(pending, error=error)

    def _update_outbox(self, pending: Iterable[Pending], **values: Any) -> None:
        ids = [item.id for item in pending]
        if not ids:
            return
        with self.database.write() as connection:
            connection.execute(
                outbox.update().where(outbox.c.id.in_(ids)).values(attempts=outbox.c.attempts + 1, **values)
            )

    @staticmethod
    def _compare(connection: Connection, family: str, expected: int | None) -> None:
        condition = and_(
            model_version_detail.c.family == family, model_version_detail.c.status == Stage.PRODUCTION.status
        )
        row = connection.execute(ENTRIES.where(condition)).first()
        if (row.id if row else None) != expected:
            raise ProductionMoved(_MOVED.format(family=family, now=entry(row) if row else "no version"))

    def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """What a query finds; nothing when there is no journal yet."""
        if not self.database.exists:
            return []
        with self.database.read() as connection:
            return connection.execute(query).all()


_MOVED = (
    "{now} is in Production of {family!r} now, not the version this check compared with; nothing moved, check again"
)


def _stored(row: Row[Any]) -> StoredReport:
    return StoredReport(
        id=row.id,
        family=row.family,
        model=row.model,
        number=row.mlflow_version,
        target=Stage.parse(row.target),
        passed=row.passed,
        report=row.report,
        digest=row.digest,
        evidence=row.evidence,
        actor=row.actor,
        created_at=row.created_at,
    )


def _update(connection: Connection, version_id: int, values: Mapping[str, Any]) -> None:
    connection.execute(model_version_detail.update().where(model_version_detail.c.id == version_id).values(values))


def _apply(
    connection: Connection, change: Change, *, family: str, authority: Authority, operation: str, now: datetime
) -> None:
    version = change.version
    row = version_row(connection, family, version)
    values: dict[str, Any] = {
        "status": change.to.status,
        "approver": authority.approver or authority.actor,
        "reason": authority.reason,
    }
    if change.digest and row.digest is None:
        values["digest"] = change.digest
    if change.known_bad:
        values["known_bad"] = change.known_bad
    if change.to is Stage.PRODUCTION:
        values |= {"promoted_at": now, "deprecated_at": None}
    elif row.status == Stage.PRODUCTION.status:
        values["deprecated_at"] = now
    _update(connection, row.id, values)
    marks = {"known_bad": change.known_bad} if change.known_bad else {}
    append_event(
        connection,
        family=family,
        operation=operation,
        version_id=row.id,
        statuses=(row.status, change.to.status),
        authority=authority,
        at=now,
        details={**identity(row, version.model), "digest": change.digest or row.digest, **marks},
    )
