"""One transaction on a family: lock it, read its versions as they stand now, write, and append to the chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Insert, Table, func, select, text

from promotion.journal import clock
from promotion.journal.chain import FIELDS, GENESIS, canonical, link_event, moment
from promotion.journal.records import Authority, Entry, Known, RuleSet
from promotion.journal.rows import ENTRIES, MOVES, RECORDED, entry, insert, recorded_stage
from promotion.journal.schema import (
    checkpoint,
    gate_report,
    model_registry,
    model_version_detail,
    outbox,
    promotion_event,
    rule_set,
)
from promotion.journal.schema import family as families
from promotion.registry.stages import Stage

SERVICE_TIMES = ("promoted_at", "deprecated_at")
"""Columns that say when a version served."""
REPLACING = ("promote", "rollback")
"""Acts in which a version leaves Production because another one enters."""

Receivers = Callable[[str, str], Sequence[str]]
"""Names who outside is told of a family's event, by its action."""


class FamilyTransaction:
    """What is read and written about one family, all of it or nothing; others wait for its end.

    The family is locked first, whatever follows: two transactions that took family and chain in different orders
    would wait for each other.

    Args:
        connection: The database's transaction, which ends this one.
        family: Whose versions; its row is created the first time.
        rules: What its events stand under; None where nobody knows.
        receivers: Who outside is told of its events; nobody where None.

    Attributes:
        clock: What time it is, asked once, after others were waited for.
        operation: Groups the events of this transaction.
        is_queued: Whether somebody outside has to be told of what it wrote.
    """

    def __init__(
        self, connection: Connection, family: str, rules: RuleSet | None = None, receivers: Receivers | None = None
    ) -> None:
        self.connection = connection
        self.family = family
        self._rules = rules
        self._receivers = receivers
        self.is_queued = False
        self.operation = uuid4().hex
        locked = select(families.c.name).where(families.c.name == family).with_for_update()
        if connection.execute(locked).first() is None:
            connection.execute(families.insert().values(name=family, created_at=clock.read_time(connection).now))
        self.clock = clock.read_time(connection)

    @property
    def now(self) -> datetime:
        """The time of all that this transaction records, UTC."""
        return self.clock.now

    def entry(self, version_id: int) -> Entry:
        """A known version as it stands now."""
        return entry(self.connection.execute(ENTRIES.where(model_version_detail.c.id == version_id)).one())

    def find(self, version: Known) -> Entry | None:
        """A version as it stands now; None when it was never heard of."""
        return self._first(
            model_registry.c.name == version.model, model_version_detail.c.mlflow_version == version.number
        )

    def version(self, version: Known) -> Entry:
        """A version as it stands now; its row is written the first time it is heard of."""
        return self.find(version) or self._add(version)

    def production(self) -> Entry | None:
        """The family's version in Production now."""
        return self._first(
            model_version_detail.c.family == self.family, model_version_detail.c.status == Stage.PRODUCTION.status
        )

    def service_times(self, version_id: int) -> dict[str, datetime | None]:
        """When a version entered Production last, and when it left since, by the events; the columns' values."""
        entered, left = (
            self.connection.execute(
                select(promotion_event.c.sequence, promotion_event.c.at)
                .where(promotion_event.c.version_id == version_id, MOVES, column == Stage.PRODUCTION.status)
                .order_by(promotion_event.c.sequence.desc())
                .limit(1)
            ).first()
            for column in (promotion_event.c.to_status, promotion_event.c.from_status)
        )
        is_gone = left is not None and (entered is None or left.sequence > entered.sequence)
        times = (entered.at if entered else None, left.at if left and is_gone else None)
        return dict(zip(SERVICE_TIMES, times, strict=True))

    def insert(self, table: Table, **values: Any) -> int:
        """Add a row; returns its id."""
        return insert(self.connection, table, values)

    def update(self, table: Table, row_id: int, **values: Any) -> None:
        """Change a row."""
        self.connection.execute(table.update().where(table.c.id == row_id).values(values))

    def append(
        self,
        version: Entry,
        authority: Authority,
        details: Mapping[str, Any] | None = None,
        *,
        move: tuple[Stage, Stage] | None = None,
        operation: str | None = None,
    ) -> None:
        """Add an event to the end of the chain.

        The chain names the version by more than its row number, so that renaming a row does not rename the past, and
        the newest checkpoint, so that none goes missing unnoticed.

        Args:
            version: As it stood before.
            authority: By whom and why.
            details: What else belongs to the record.
            move: From which stage to which; None for an act that moves nothing.
            operation: Another one than this transaction's.
        """
        if self.connection.dialect.name == "postgresql":
            # Two families may commit at once, but the chain has one end.
            self.connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('promotion:chain', 0))"))
        chain = select(promotion_event.c.sequence, promotion_event.c.hash)
        last = self.connection.execute(chain.order_by(promotion_event.c.sequence.desc()).limit(1)).first()
        sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
        evidence = {}
        if authority.gate_report_id is not None:
            kept = select(gate_report.c.digest).where(gate_report.c.id == authority.gate_report_id)
            evidence = {"report_digest": self.connection.execute(kept).scalar_one()}
        identity = {name: getattr(version, name) for name in ("model", "number", "version", "digest")}
        approver = {"approver": authority.approver} if authority.approver else {}
        rules = {"rules": self._rules.as_json()} if self._rules else {}
        if self._rules:
            keep_rules(self.connection, self._rules, self.now)
        rehearsal = clock.MARK if clock.is_set() else {}
        written = self.connection.execute(select(func.max(checkpoint.c.sequence))).scalar()
        marks = rehearsal if written is None else {**rehearsal, "checkpoint": written}
        begin, end = move or (self._recorded(version.id),) * 2
        values: dict[str, Any] = {
            "sequence": sequence,
            "operation": operation or self.operation,
            "family": self.family,
            "version_id": version.id,
            "action": authority.action,
            "from_status": begin.status,
            "to_status": end.status,
            "actor": authority.actor,
            "reason": authority.reason,
            "gate_report_id": authority.gate_report_id,
            "at": moment(self.now),
            "details": canonical(
                {**approver, **evidence, **authority.details, **identity, **(details or {}), **rules, **marks}
            ),
        }
        linked = link_event(previous, (values[name] for name in FIELDS))
        self.insert(promotion_event, **values | {"at": self.now, "previous_hash": previous, "hash": linked})
        self._queue(values["operation"], sequence, authority.action, move)

    def _queue(self, operation: str, sequence: int, action: str, move: tuple[Stage, Stage] | None) -> None:
        """Note who outside has to be told of an event; the one that a successor replaced is told of with it."""
        is_replaced = move is not None and move[1] is Stage.ARCHIVED and action in REPLACING
        if self._receivers is None or is_replaced:
            return
        for receiver in self._receivers(self.family, action):
            entry = {"operation": operation, "created_at": self.now, "receiver": receiver, "sequence": sequence}
            self.insert(outbox, family=self.family, **entry)
            self.is_queued = True

    def _recorded(self, version_id: int) -> Stage:
        """Where the events say that a version is, whatever somebody wrote into its row."""
        query = select(RECORDED).select_from(model_version_detail).where(model_version_detail.c.id == version_id)
        return recorded_stage(self.connection.execute(query).scalar() or Stage.NONE.status, "a version's newest event")

    def _first(self, *conditions: ColumnElement[bool]) -> Entry | None:
        row = self.connection.execute(ENTRIES.where(*conditions)).first()
        return entry(row) if row else None

    def _add(self, version: Known) -> Entry:
        model = select(model_registry.c.id).where(model_registry.c.name == version.model)
        model_id = self.connection.execute(model).scalar()
        if model_id is None:
            model_id = self.insert(model_registry, name=version.model, family=self.family)
        self.insert(
            model_version_detail,
            model_id=model_id,
            family=self.family,
            mlflow_version=version.number,
            version=str(version.number),
            status=Stage.NONE.status,
            run_id=version.run_id,
        )
        added = self.find(version)
        assert added  # noqa: S101  # written a moment ago
        return added


def keep_rules(connection: Connection, rules: RuleSet, at: datetime) -> None:
    """Write a set of rules, the first time it is heard of."""
    known = select(rule_set.c.digest).where(rule_set.c.digest == rules.digest)
    if connection.execute(known).first() is not None:
        return
    creation: Insert = rule_set.insert()
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        # There two families' transactions may both have found none; SQLite has one writer.
        creation = postgresql.insert(rule_set).on_conflict_do_nothing()
    values = {"digest": rules.digest, "family": rules.family, "content": canonical(rules.sections), "created_at": at}
    connection.execute(creation.values(values))
