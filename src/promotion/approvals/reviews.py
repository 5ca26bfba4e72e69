"""What people say of a version: approvals, rejections and incidents, as the journal keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, select

from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Approval, Authority, Entry, Incident
from promotion.journal.rows import append_event, identity, insert, version_row
from promotion.journal.schema import approval, incident, model_registry, model_version_detail, promotion_event

SEVERITIES = ("critical", "warning", "info")

_INCIDENTS = (
    select(incident, model_registry.c.name, model_version_detail.c.mlflow_version)
    .join(model_version_detail, incident.c.version_id == model_version_detail.c.id)
    .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
)


class Reviews:
    """Reads and writes approvals and incidents; each write is one transaction with its event.

    Args:
        journal: Whose database holds them.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    # Approvals

    def approvals(self, entry: Entry | None) -> list[Approval]:
        """All recorded ones of a version, oldest first."""
        if entry is None:
            return []
        rows = self._journal.rows(select(approval).where(approval.c.version_id == entry.id).order_by(approval.c.id))
        said = select(promotion_event.c.details).where(
            promotion_event.c.version_id == entry.id, promotion_event.c.action.in_(("approve", "reject"))
        )
        recorded = [row.details for row in self._journal.rows(said)] if rows else []
        return [_approval(row, recorded) for row in rows]

    def add_approval(self, family: str, entry: Entry, values: Mapping[str, Any], actor: str) -> None:
        """Record one person's word.

        Args:
            family: Whose version.
            entry: The version.
            values: The fields of `Approval` but `id`, `recorded` and `created_at`.
            actor: The account behind the process.
        """
        now = clock.now()
        action = "approve" if values["approved"] else "reject"
        authority = Authority(
            action,
            actor,
            f"{values['role']}: {values['comment']}",
            values["gate_report_id"],
            approver=values["approver"],
            details={
                "role": values["role"],
                "statement": digest(values["statement"]),
                "signed": bool(values["signature"]),
            },
        )
        with self._journal.database.write() as connection:
            insert(connection, approval, {**values, "version_id": entry.id, "created_at": now})
            self._event(connection, family, entry, authority)

    # Incidents

    def incidents(self, *, entry: Entry | None = None, only_open: bool = True) -> list[Incident]:
        """Incidents, newest first.

        Args:
            entry: Only of this version.
            only_open: Only those that are not closed.
        """
        query = _INCIDENTS if entry is None else _INCIDENTS.where(incident.c.version_id == entry.id)
        if only_open:
            query = query.where(incident.c.closed_at.is_(None))
        return [_incident(row) for row in self._journal.rows(query.order_by(incident.c.id.desc()))]

    def open_incident(self, family: str, entry: Entry, *, severity: str, summary: str, actor: str) -> int:
        """Record that something is wrong with a version; returns the incident's id.

        Raises:
            UsageError: There is no such severity.
        """
        if severity not in SEVERITIES:
            raise UsageError(f"unknown severity {severity!r}: expected one of {', '.join(SEVERITIES)}")
        values = {
            "version_id": entry.id,
            "severity": severity,
            "summary": summary,
            "opened_by": actor,
            "opened_at": clock.now(),
        }
        with self._journal.database.write() as connection:
            incident_id = insert(connection, incident, values)
            details = {"incident": incident_id, "severity": severity}
            self._event(connection, family, entry, Authority("incident", actor, summary, details=details))
        return incident_id

    def close_incident(self, incident_id: int, *, resolution: str, actor: str) -> None:
        """Record how an incident ended.

        Raises:
            UsageError: There is no such incident, or it is closed already.
        """
        rows = self._journal.rows(_INCIDENTS.where(incident.c.id == incident_id))
        if not rows:
            raise UsageError(f"there is no incident {incident_id}")
        if rows[0].closed_at is not None:
            raise UsageError(f"incident {incident_id} was closed by {rows[0].closed_by} already")
        entry = self._journal.entry(rows[0].name, rows[0].mlflow_version)
        if entry is None:
            raise UsageError(f"incident {incident_id} belongs to a version that is gone")
        family = self._journal.family_of(entry)
        with self._journal.database.write() as connection:
            connection.execute(
                incident.update()
                .where(incident.c.id == incident_id)
                .values(closed_by=actor, closed_at=clock.now(), resolution=resolution)
            )
            authority = Authority("incident closed", actor, resolution, details={"incident": incident_id})
            self._event(connection, family, entry, authority)

    @staticmethod
    def _event(connection: Connection, family: str, entry: Entry, authority: Authority) -> None:
        row = version_row(connection, family, entry)
        append_event(
            connection,
            family=family,
            operation=uuid4().hex,
            version_id=row.id,
            statuses=(row.status, row.status),
            authority=authority,
            at=clock.now(),
            details=identity(row, entry.model),
        )


def _approval(row: Row[Any], recorded: list[str]) -> Approval:
    mark = f'"statement":"{digest(row.statement)}"'
    return Approval(
        recorded=any(mark in details for details in recorded),
        **{name: getattr(row, name) for name in Approval.__slots__ if name != "recorded"},
    )


def _incident(row: Row[Any]) -> Incident:
    plain = {name: getattr(row, name) for name in Incident.__slots__ if name not in {"model", "number"}}
    return Incident(model=row.name, number=row.mlflow_version, **plain)
