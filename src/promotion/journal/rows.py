"""Between the journal's tables and its records: what is selected, how a row reads, how an event joins the chain."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, select, text

from promotion.journal import clock
from promotion.journal.chain import FIELDS, GENESIS, canonical, link_event, moment
from promotion.journal.records import Authority, Entry, Event, Known
from promotion.journal.schema import family as families
from promotion.journal.schema import gate_report, model_registry, model_version_detail, promotion_event
from promotion.registry.stages import Stage

ENTRIES = (
    select(
        model_registry.c.name,
        *(model_version_detail.c[name] for name in Entry.__slots__ if name in model_version_detail.c),
    )
    .add_columns(model_version_detail.c.mlflow_version, model_version_detail.c.status, model_version_detail.c.family)
    .join_from(model_version_detail, model_registry)
)
"""Every version, without its signature, metrics and lineage, which are large and seldom wanted."""

EVENTS = (
    select(
        promotion_event,
        model_registry.c.name,
        model_version_detail.c.mlflow_version,
        model_version_detail.c.version,
    )
    .join(model_version_detail, promotion_event.c.version_id == model_version_detail.c.id)
    .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
)

MOVES = promotion_event.c.from_status != promotion_event.c.to_status
"""The events that changed a stage."""


def entry(row: Row[Any]) -> Entry:
    """A row of `ENTRIES`."""
    plain = {name: getattr(row, name) for name in Entry.__slots__ if name not in {"model", "number", "stage"}}
    return Entry(model=row.name, number=row.mlflow_version, stage=Stage.parse(row.status), **plain)


def event(row: Row[Any]) -> Event:
    """A row of `EVENTS`."""
    return Event(
        id=row.id,
        sequence=row.sequence,
        operation=row.operation,
        family=row.family,
        model=row.name,
        number=row.mlflow_version,
        version=row.version,
        action=row.action,
        from_stage=Stage.parse(row.from_status),
        to_stage=Stage.parse(row.to_status),
        actor=row.actor,
        reason=row.reason,
        gate_report_id=row.gate_report_id,
        at=row.at,
        details=json.loads(row.details),
        hash=row.hash,
    )


def lock_family(connection: Connection, family: str, now: datetime) -> None:
    """Take the family's row, creating it the first time; others wait for the end of this transaction."""
    locked = select(families.c.name).where(families.c.name == family).with_for_update()
    if connection.execute(locked).first() is None:
        connection.execute(families.insert().values(name=family, created_at=now))


def version_row(connection: Connection, family: str, version: Known) -> Row[Any]:
    """The row of a version, written the first time the version is heard of."""
    model = connection.execute(select(model_registry.c.id).where(model_registry.c.name == version.model)).first()
    model_id = model.id if model else insert(connection, model_registry, {"name": version.model, "family": family})
    found = select(model_version_detail).where(
        model_version_detail.c.model_id == model_id, model_version_detail.c.mlflow_version == version.number
    )
    row = connection.execute(found).first()
    if row is None:
        values = {
            "model_id": model_id,
            "family": family,
            "mlflow_version": version.number,
            "version": str(version.number),
            "status": Stage.NONE.status,
            "run_id": version.run_id,
        }
        insert(connection, model_version_detail, values)
        row = connection.execute(found).one()
    return row


def append_event(
    connection: Connection,
    *,
    family: str,
    operation: str,
    version_id: int,
    statuses: tuple[str, str],
    authority: Authority,
    at: datetime,
    details: Mapping[str, Any],
) -> None:
    """Add an event to the end of the chain, in the caller's transaction."""
    if connection.dialect.name == "postgresql":
        # Two families may commit at once, but the chain has one end.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('promotion:chain', 0))"))
    last = connection.execute(
        select(promotion_event.c.sequence, promotion_event.c.hash).order_by(promotion_event.c.sequence.desc()).limit(1)
    ).first()
    sequence, previous = (last.sequence + 1, last.hash) if last else (1, GENESIS)
    rehearsal = {"clock": "set by hand"} if clock.is_set() else {}
    evidence = {}
    if authority.gate_report_id is not None:
        kept = select(gate_report.c.digest).where(gate_report.c.id == authority.gate_report_id)
        evidence = {"report_digest": connection.execute(kept).scalar_one()}
    approver = {"approver": authority.approver} if authority.approver else {}
    from_status, to_status = statuses
    values: dict[str, Any] = {
        "sequence": sequence,
        "operation": operation,
        "family": family,
        "version_id": version_id,
        "action": authority.action,
        "from_status": from_status,
        "to_status": to_status,
        "actor": authority.actor,
        "reason": authority.reason,
        "gate_report_id": authority.gate_report_id,
        "at": moment(at),
        "details": canonical({**approver, **evidence, **authority.details, **details, **rehearsal}),
    }
    linked = link_event(previous, (values[name] for name in FIELDS))
    connection.execute(promotion_event.insert().values(values | {"at": at, "previous_hash": previous, "hash": linked}))


def identity(row: Row[Any], model: str) -> dict[str, Any]:
    """What the chain says of a version beside its row number, so that renaming a row does not rename the past."""
    return {"model": model, "number": row.mlflow_version, "version": row.version, "digest": row.digest}


def insert(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Add a row; returns its id."""
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    return int(key[0]) if key else 0
