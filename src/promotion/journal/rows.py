"""Between the journal's tables and its records: what is selected, and how a row reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, and_, or_, select

from promotion.errors import RecordsAltered
from promotion.journal import clock
from promotion.journal.chain import detail
from promotion.journal.records import Entry, Event, StoredReport
from promotion.journal.schema import gate_report, model_registry, model_version_detail, promotion_event
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Record = TypeVar("_Record", bound="DataclassInstance")

MODEL = model_registry.c.name.label("model")
NUMBER = model_version_detail.c.mlflow_version.label("number")


def of_versions(table: Table) -> Select[Any]:
    """The rows of a table that speaks of versions, each with the version's names."""
    return (
        select(table, MODEL, NUMBER, model_version_detail.c.version)
        .join(model_version_detail, table.c.version_id == model_version_detail.c.id)
        .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
    )


ENTRIES: Select[Any] = (
    select(MODEL, NUMBER, *(model_version_detail.c[name] for name in Entry.__slots__ if name in model_version_detail.c))
    .add_columns(model_version_detail.c.status, model_version_detail.c.family)
    .join_from(model_version_detail, model_registry)
)
"""Every version, without its signature, metrics and lineage, which are large and seldom wanted."""

EVENTS = of_versions(promotion_event)

MOVES = promotion_event.c.from_status != promotion_event.c.to_status
"""The events that changed a stage."""

RECORDED = (
    select(promotion_event.c.to_status)
    .where(promotion_event.c.version_id == model_version_detail.c.id, MOVES)
    .order_by(promotion_event.c.sequence.desc())
    .limit(1)
    .scalar_subquery()
)
"""Where a version is by its newest event, whatever somebody wrote into its row."""

TOUCHES_PRODUCTION = and_(
    MOVES,
    or_(
        promotion_event.c.to_status == Stage.PRODUCTION.status, promotion_event.c.from_status == Stage.PRODUCTION.status
    ),
)
"""The moves into and out of Production."""

REHEARSED = promotion_event.c.details.contains(detail(clock.MARK))
"""The events that were recorded in a rehearsal."""

REPORTS = select(gate_report, gate_report.c.mlflow_version.label("number"))


def record(kind: type[_Record], row: Row[Any], **given: Any) -> _Record:
    """A row as a record; what is not given is the column of the same name."""
    return kind(**given, **{name: getattr(row, name) for name in _names(kind) if name not in given})


@cache
def _names(kind: type[DataclassInstance]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def entry(row: Row[Any]) -> Entry:
    """A row of `ENTRIES`."""
    return record(Entry, row, stage=recorded_stage(row.status, f"{row.model} v{row.number}"))


def event(row: Row[Any]) -> Event:
    """A row of `EVENTS`."""
    where = f"event {row.sequence}"
    stages = {f"{end}_stage": recorded_stage(getattr(row, f"{end}_status"), where) for end in ("from", "to")}
    try:
        details = json.loads(row.details)
    except ValueError:
        details = None
    if not isinstance(details, dict) or not isinstance(row.sequence, int):
        raise _altered(where, "its details are no JSON object, or its place is no number")
    return record(Event, row, **stages, details=details)


def stored(row: Row[Any]) -> StoredReport:
    """A row of `REPORTS`."""
    return record(StoredReport, row, target=recorded_stage(row.target, f"gate report {row.id}"))


def recorded_stage(text: str, where: str) -> Stage:
    """A stage as the journal holds it.

    Raises:
        RecordsAltered: It is none.
    """
    try:
        return Stage.parse(text)
    except ValueError as error:
        raise _altered(where, str(error)) from error


def _altered(where: str, what: str) -> RecordsAltered:
    found = f"{where}: {what}"
    return RecordsAltered(
        f"{found}: the journal was changed by SQL; nothing moves until the recorded value is back (or the database is "
        "restored); python scripts/audit.py verify lists what differs",
        found=[found],
    )


def insert(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Add a row; returns its id."""
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    return int(key[0]) if key else 0
