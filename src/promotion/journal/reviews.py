"""What people say of a version: approvals, rejections and incidents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select

from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Approval, Authority, Entry, Incident
from promotion.journal.rows import of_versions, record
from promotion.journal.schema import approval, incident, model_version_detail, promotion_event

SEVERITIES = ("critical", "warning", "info")

_INCIDENTS = of_versions(incident)


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
        authority = Authority(
            "approve" if values["approved"] else "reject",
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
        with self._journal.transaction(family) as transaction:
            transaction.insert(approval, **values, version_id=entry.id, created_at=transaction.now)
            transaction.append(transaction.entry(entry.id), authority)

    def approved_versions(self, family: str) -> set[int]:
        """The family's versions with an approval that has not expired, by `Entry.id`."""
        query = (
            select(approval.c.version_id)
            .join(model_version_detail, approval.c.version_id == model_version_detail.c.id)
            .where(model_version_detail.c.family == family, approval.c.approved, approval.c.expires_at > clock.now())
        )
        return {row.version_id for row in self._journal.rows(query)}

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
        return [record(Incident, row) for row in self._journal.rows(query.order_by(incident.c.id.desc()))]

    def open_incident(self, family: str, entry: Entry, *, severity: str, summary: str, actor: str) -> int:
        """Record that something is wrong with a version; returns the incident's id.

        Raises:
            UsageError: There is no such severity.
        """
        if severity not in SEVERITIES:
            raise UsageError(f"unknown severity {severity!r}: expected one of {', '.join(SEVERITIES)}")
        with self._journal.transaction(family) as transaction:
            incident_id = transaction.insert(
                incident,
                version_id=entry.id,
                severity=severity,
                summary=summary,
                opened_by=actor,
                opened_at=transaction.now,
            )
            details = {"incident": incident_id, "severity": severity}
            transaction.append(transaction.entry(entry.id), Authority("incident", actor, summary, details=details))
        return incident_id

    def close_incident(self, incident_id: int, *, resolution: str, actor: str) -> None:
        """Record how an incident ended.

        Raises:
            UsageError: There is no such incident, or it is closed already.
        """
        rows = self._journal.rows(
            _INCIDENTS.add_columns(model_version_detail.c.family).where(incident.c.id == incident_id)
        )
        if not rows:
            raise UsageError(f"there is no incident {incident_id}")
        known = rows[0]
        if known.closed_at is not None:
            raise UsageError(f"incident {incident_id} was closed by {known.closed_by} already")
        with self._journal.transaction(known.family) as transaction:
            transaction.update(incident, incident_id, closed_by=actor, closed_at=transaction.now, resolution=resolution)
            authority = Authority("incident closed", actor, resolution, details={"incident": incident_id})
            transaction.append(transaction.entry(known.version_id), authority)


def _approval(row: Row[Any], recorded: list[str]) -> Approval:
    mark = f'"statement":"{digest(row.statement)}"'
    return record(Approval, row, recorded=any(mark in details for details in recorded))
