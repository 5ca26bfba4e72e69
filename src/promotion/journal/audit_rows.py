"""Everything an audit reads, as one stream of rows, as they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, func, select, tuple_, type_coerce

from promotion.journal.chain import FIELDS, moment
from promotion.journal.reader import JournalReader
from promotion.journal.schema import (
    approval,
    gate_report,
    incident,
    model_registry,
    model_version_detail,
    promotion_event,
    rule_set,
)

Row = Sequence[Any]
Batch = tuple[str, Sequence[Row]]
"""What kind of rows, and the rows; `COLUMNS` names their values."""

EVENT, REPORT, APPROVAL, INCIDENT, VERSION = "event", "report", "approval", "incident", "version"
RULES = "rules"

COLUMNS: dict[str, tuple[str, ...]] = {
    REPORT: tuple(gate_report.c.keys()),
    APPROVAL: tuple(approval.c.keys()),
    EVENT: ("id", *FIELDS, "previous_hash", "hash"),
    VERSION: ("model", *model_version_detail.c.keys()),
    INCIDENT: tuple(incident.c.keys()),
    RULES: tuple(rule_set.c.keys()),
}
"""Of each kind of row; times are text as `promotion.journal.chain.moment` spells it."""
ADDED_LATER = frozenset({"provenance"})
"""Columns that an export from before they were added does not have."""

# Gate reports are some kilobytes each.
_PAGES = {REPORT: 500, APPROVAL: 2000, EVENT: 10_000}


class AuditRows:
    """Reads the rows of a journal's database.

    What only ever grows is read in pages, each in a transaction of its own, so that an audit of any length keeps
    nobody from promoting; what grew meanwhile, and what changes, comes last, from one single state of the database.

    Args:
        journal: Which.
        family: Only this family's rows; their chain has gaps then.
    """

    def __init__(self, journal: JournalReader, family: str | None = None) -> None:
        self.name = journal.name
        self._database = journal.database
        self._queries = _queries(journal.database.backend, family)

    def records(self) -> Iterator[Batch]:
        """The rows of all kinds; events in the order of their sequence."""
        if not self._database.exists:
            return
        ends: dict[str, Row] = {}
        for kind, size in _PAGES.items():
            yield from self._pages(kind, ends, size)
        yield from self._rest(ends)

    def state(self) -> Iterator[Batch]:
        """The rows of all kinds as they are now, in one transaction: for one family, whose rows are few."""
        if self._database.exists:
            yield from self._rest({})

    def newest_events(self, count: int) -> list[Row]:
        """The last events, in the order of their sequence."""
        if not self._database.exists:
            return []
        query = self._queries[EVENT].order_by(promotion_event.c.sequence.desc()).limit(count)
        with self._database.read() as connection:
            return [_plain(row) for row in reversed(connection.execute(query).all())]

    def _rest(self, ends: dict[str, Row]) -> Iterator[Batch]:
        with self._database.read() as connection:
            if self._database.backend == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            for kind in _PAGES:
                if rows := self._after(connection, kind, ends, None):
                    yield kind, rows
            for kind in (VERSION, INCIDENT, RULES):
                result = connection.execute(self._queries[kind].execution_options(yield_per=_PAGES[APPROVAL]))
                for partition in result.partitions():
                    yield kind, [_plain(row) for row in partition]

    def _pages(self, kind: str, ends: dict[str, Row], size: int) -> Iterator[Batch]:
        rows: Sequence[Row] = ()
        while not rows or len(rows) == size:
            with self._database.read() as connection:
                rows = self._after(connection, kind, ends, size)
            if not rows:
                return
            yield kind, rows

    def _after(self, connection: Connection, kind: str, ends: dict[str, Row], size: int | None) -> Sequence[Row]:
        query = self._queries[kind].limit(size)
        names = ("sequence", "id") if kind == EVENT else ("id",)
        keys = [query.selected_columns[name] for name in names]
        if end := ends.get(kind):
            query = query.where(tuple_(*keys) > tuple(end[COLUMNS[kind].index(name)] for name in names))
        result = connection.execute(query.order_by(*keys))
        rows: Sequence[Row]
        if kind == EVENT and result.cursor is not None:
            # Nothing of an event is a time or JSON here, and there are millions: the driver's own rows will do.
            rows = result.cursor.fetchall()
            result.close()
        else:
            rows = [_plain(row) for row in result]
        if rows:
            ends[kind] = rows[-1]
        return rows


def _queries(backend: str, family: str | None) -> dict[str, Select[Any]]:
    versions = select(model_registry.c.name, model_version_detail).join_from(model_version_detail, model_registry)
    queries: dict[str, Select[Any]] = {
        REPORT: select(gate_report),
        APPROVAL: select(approval),
        EVENT: _events(backend),
        VERSION: versions.order_by(model_version_detail.c.id),
        INCIDENT: select(incident).order_by(incident.c.id),
        RULES: select(rule_set).order_by(rule_set.c.digest),
    }
    if family is None:
        return queries
    ours = select(model_version_detail.c.id).where(model_version_detail.c.family == family)
    conditions = {
        REPORT: gate_report.c.family == family,
        APPROVAL: approval.c.version_id.in_(ours),
        EVENT: promotion_event.c.family == family,
        VERSION: model_version_detail.c.family == family,
        INCIDENT: incident.c.version_id.in_(ours),
        RULES: rule_set.c.family == family,
    }
    return {kind: query.where(conditions[kind]) for kind, query in queries.items()}


def _events(backend: str) -> Select[Any]:
    """The chain's own columns as they enter a hash: the database spells the time, which is faster than Python."""
    columns: list[ColumnElement[Any]] = [promotion_event.c[name] for name in COLUMNS[EVENT] if name != "at"]
    columns.insert(COLUMNS[EVENT].index("at"), _moment_column(backend).label("at"))
    return select(*columns)


def _moment_column(backend: str) -> ColumnElement[Any]:
    at = promotion_event.c.at
    if backend == "postgresql":
        return func.to_char(func.timezone("UTC", at), 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
    text = type_coerce(at, Text)
    return func.substr(text, 1, 10, type_=Text) + "T" + func.substr(text, 12, type_=Text) + "+00:00"


def _plain(row: Row) -> Row:
    return [moment(value) if isinstance(value, datetime) else value for value in row]
