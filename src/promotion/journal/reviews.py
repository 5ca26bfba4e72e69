"""What people say of a version: approvals, rejections and incidents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select

from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Approval, Authority, Entry, Event, Incident
from promotion.journal.rows import ENTRIES, EVENTS, entry, event, of_versions, record
from promotion.journal.schema import approval, incident, model_version_detail, promotion_event

_OPENED, _CLOSED = "incident", "incident closed"
SEVERITIES = ("critical", "warning", "info")

_INCIDENTS = of_versions(incident)


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reads and writes approvals and incidents; each write is one transaction with its event."""

    journal: Journal

    # Approvals

    def approvals(self, entry: Entry | None) -> list[Approval]:
        """All recorded ones of a version in the order of the chain, whatever they are dated; then those in no event."""
        if entry is None:
            return []
        rows = self.journal.rows(select(approval).where(approval.c.version_id == entry.id).order_by(approval.c.id))
        places: dict[str, tuple[int, bool, str]] = {}
        for said in self._said(("approve", "reject"), promotion_event.c.version_id == entry.id) if rows else []:
            # Said again, it is no newer than the first time; but what was rehearsed first can be said in earnest.
            if places.get(said.details["statement"], (0, True, ""))[1]:
                places[said.details["statement"]] = said.sequence, not clock.counts(said.details), said.actor
        found = [(places.get(digest(row.statement)), row) for row in rows]
        found.sort(key=lambda item: item[0] or (math.inf, False, ""))
        return [
            record(
                Approval,
                row,
                recorded=place is not None,
                is_void=place is not None and place[1],
                recorder=place[2] if place else None,
            )
            for place, row in found
        ]

    def add_approval(self, family: str, entry: Entry, values: Mapping[str, Any], actor: str) -> None:
        """Record one person's word: the fields of `Approval` but `id`, `recorded` and `created_at`."""
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
        with self.journal.transaction(family) as transaction:
            transaction.insert(approval, **values, version_id=entry.id, created_at=transaction.now)
            transaction.append(transaction.entry(entry.id), authority)

    def approved_versions(self, family: str) -> set[int]:
        """The family's versions with an approval that has not expired, by `Entry.id`."""
        query = (
            select(approval.c.version_id)
            .join(model_version_detail, approval.c.version_id == model_version_detail.c.id)
            .where(
                model_version_detail.c.family == family,
                approval.c.approved,
                approval.c.expires_at > self.journal.now(),
            )
        )
        return {row.version_id for row in self.journal.rows(query)}

    # Incidents

    def incidents(
        self, *, entry: Entry | None = None, family: str | None = None, only_open: bool = True
    ) -> list[Incident]:
        """Incidents, newest first; outside a rehearsal, one that was closed in a rehearsal is open."""
        mine = [incident.c.version_id == entry.id] if entry else []
        mine += [model_version_detail.c.family == family] if family is not None else []
        rows = self.journal.rows(_INCIDENTS.where(*mine).order_by(incident.c.id.desc()))
        versions = select(incident.c.version_id) if entry is None else [entry.id]
        said = self._said((_OPENED, _CLOSED), promotion_event.c.version_id.in_(versions)) if rows else []
        reopened = {"closed_by": None, "closed_at": None, "resolution": None}
        real = {(act.details["incident"], act.action) for act in said if clock.counts(act.details)}
        rehearsed = {(act.details["incident"], act.action) for act in said} - real
        found = [
            record(
                Incident,
                row,
                is_void=(row.id, _OPENED) in rehearsed,
                **(reopened if (row.id, _CLOSED) in rehearsed else {}),
            )
            for row in rows
        ]
        return [item for item in found if item.closed_at is None or not only_open]

    def open_incident(self, family: str, entry: Entry, *, severity: str, summary: str, actor: str) -> int:
        """Record that something is wrong with a version; returns the incident's id.

        Raises:
            UsageError: There is no such severity.
        """
        if severity not in SEVERITIES:
            raise UsageError(f"unknown severity {severity!r}: expected one of {', '.join(SEVERITIES)}")
        with self.journal.transaction(family) as transaction:
            incident_id = transaction.insert(
                incident,
                version_id=entry.id,
                severity=severity,
                summary=summary,
                opened_by=actor,
                opened_at=transaction.now,
            )
            details = {"incident": incident_id, "severity": severity}
            transaction.append(transaction.entry(entry.id), Authority(_OPENED, actor, summary, details=details))
        return incident_id

    def close_incident(self, incident_id: int, *, resolution: str, actor: str) -> None:
        """Record how an incident ended.

        Raises:
            UsageError: There is no such incident, or it is closed already.
        """
        query = ENTRIES.join(incident, incident.c.version_id == model_version_detail.c.id)
        rows = self.journal.rows(query.where(incident.c.id == incident_id))
        if not rows:
            raise UsageError(f"there is no incident {incident_id}")
        version, family = entry(rows[0]), rows[0].family
        known = next(item for item in self.incidents(entry=version, only_open=False) if item.id == incident_id)
        if known.closed_at is not None:
            raise UsageError(f"incident {incident_id} was closed by {known.closed_by} already")
        with self.journal.transaction(family) as transaction:
            transaction.update(incident, incident_id, closed_by=actor, closed_at=transaction.now, resolution=resolution)
            authority = Authority(_CLOSED, actor, resolution, details={"incident": incident_id})
            transaction.append(transaction.entry(version.id), authority)

    def _said(self, actions: Sequence[str], *conditions: ColumnElement[bool]) -> list[Event]:
        query = EVENTS.where(promotion_event.c.action.in_(actions), *conditions)
        return [event(row) for row in self.journal.rows(query.order_by(promotion_event.c.sequence))]
