"""Ask the journal about one month: each question is one statement, however much happened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from promotion.approvals.reviews import Reviews
from promotion.compliance.facts import Act, ComplianceReport, Kept, Month, Snapshot, Tenure, tenures
from promotion.config.family import FamilyConfig
from promotion.config.policy import Retention
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Incident, Registration
from promotion.journal.rows import EVENTS, MOVES, event
from promotion.journal.schema import approval, gate_report, model_registry, model_version_detail, promotion_event
from promotion.registry.stages import Stage

_PRODUCTION = Stage.PRODUCTION.status
_TOUCHES_PRODUCTION = and_(
    MOVES, or_(promotion_event.c.to_status == _PRODUCTION, promotion_event.c.from_status == _PRODUCTION)
)
_REGISTRATION = Registration.__slots__


class Queries:
    """What the journal knows of a month.

    Args:
        journal: Is asked.
        month: The time asked about.
        family: The only family asked about; None for all.
    """

    def __init__(self, journal: Journal, month: Month, family: str | None) -> None:
        self._journal = journal
        self._month = month
        self._family = family

    def acts(self) -> list[Act]:
        """Every event of the month, in order."""
        query = EVENTS.where(*self._during(promotion_event.c.at), *self._mine(promotion_event.c.family))
        rows = self._journal.rows(query.order_by(promotion_event.c.sequence))
        reports = self._reports()
        return [Act(event(row), reports.get(row.gate_report_id)) for row in rows]

    def tenures(self, acts: Sequence[Act]) -> list[Tenure]:
        """Who was in Production of each family, during the month and when it began."""
        newest = (
            select(func.max(promotion_event.c.sequence))
            .where(_TOUCHES_PRODUCTION, promotion_event.c.at < self._month.start, *self._mine(promotion_event.c.family))
            .group_by(promotion_event.c.family)
        )
        rows = self._journal.rows(EVENTS.where(promotion_event.c.sequence.in_(newest)))
        before = {row.family: Act(event(row), None) for row in rows}
        during: dict[str, list[Act]] = {}
        for act in acts:
            if act.is_entry or act.is_exit:
                during.setdefault(act.event.family, []).append(act)
        return [
            tenure
            for name in sorted(before.keys() | during.keys())
            for tenure in tenures(name, before.get(name), during.get(name, []), self._month.start, self._month.end)
        ]

    def snapshots(self, acts: Sequence[Act]) -> list[Snapshot]:
        """The versions that entered Production in the month, as they were then, in the order of their last entry."""
        entered = {(act.model, act.number): act for act in acts if act.is_entry}
        versions = select(promotion_event.c.version_id).where(
            MOVES,
            promotion_event.c.to_status == _PRODUCTION,
            *self._during(promotion_event.c.at),
            *self._mine(promotion_event.c.family),
        )
        columns = (model_version_detail.c[name] for name in ("id", "registered_at", *_REGISTRATION))
        details = {
            row.id: row for row in self._journal.rows(select(*columns).where(model_version_detail.c.id.in_(versions)))
        }
        registered = {
            row.version_id: json.loads(row.details).get("registration")
            for row in self._journal.rows(
                select(promotion_event.c.version_id, promotion_event.c.details)
                .where(promotion_event.c.version_id.in_(versions), promotion_event.c.action == "register")
                .order_by(promotion_event.c.sequence)
            )
        }
        places = self._journal.rows(
            select(model_version_detail.c.id, model_version_detail.c.mlflow_version, model_registry.c.name)
            .join_from(model_version_detail, model_registry)
            .where(model_version_detail.c.id.in_(versions))
        )
        kept = self._kept_reports([act.event.gate_report_id for act in entered.values()])
        return [
            _snapshot(act, details[place.id], registered.get(place.id), kept.get(act.event.gate_report_id or 0))
            for place in places
            if (act := entered.get((place.name, place.mlflow_version)))
        ]

    def kept(self, configs: Mapping[str, FamilyConfig]) -> list[Kept]:
        """Versions that were archived at the month's end, and whose retention had not ended when it began.

        Events are asked, not the rows' timestamps: events cannot be edited.
        """
        newest = (
            select(func.max(promotion_event.c.sequence))
            .where(MOVES, promotion_event.c.at < self._month.end, *self._mine(promotion_event.c.family))
            .group_by(promotion_event.c.version_id)
        )
        archived = EVENTS.where(
            promotion_event.c.sequence.in_(newest), promotion_event.c.to_status == Stage.ARCHIVED.status
        )
        found = []
        for row in self._journal.rows(archived.order_by(promotion_event.c.sequence)):
            retention = configs[row.family].retention if row.family in configs else Retention()
            until = row.at + timedelta(days=retention.days)
            if until >= self._month.start:
                found.append(Kept(Act(event(row), None), until))
        return found

    def incidents(self) -> list[Incident]:
        """Those open at some time of the month, newest first."""
        found = Reviews(self._journal).incidents(only_open=False) if self._journal.exists else []
        if self._family is not None:
            query = select(model_registry.c.name).where(model_registry.c.family == self._family)
            models = {row.name for row in self._journal.rows(query)}
            found = [incident for incident in found if incident.model in models]
        return [
            incident
            for incident in found
            if incident.opened_at < self._month.end
            and (incident.closed_at is None or incident.closed_at >= self._month.start)
        ]

    def stray_approvals(self, acts: Sequence[Act]) -> list[str]:
        """Approvals of the month that were written past the journal, one line each."""
        vouched = {act.event.details.get("statement") for act in acts}
        query = (
            select(approval.c.role, approval.c.approver, approval.c.statement, model_registry.c.name)
            .add_columns(model_version_detail.c.version)
            .join_from(approval, model_version_detail)
            .join(model_registry)
            .where(*self._during(approval.c.created_at), *self._mine(model_version_detail.c.family))
        )
        return [
            f"{row.role}: {row.approver} for {row.name} {row.version}"
            for row in self._journal.rows(query.order_by(approval.c.id))
            if digest(row.statement) not in vouched
        ]

    def _reports(self) -> dict[int, ComplianceReport]:
        columns = (gate_report.c[name] for name in ComplianceReport.__slots__)
        wanted = select(promotion_event.c.gate_report_id).where(*self._during(promotion_event.c.at))
        query = select(*columns).where(gate_report.c.id.in_(wanted), *self._mine(gate_report.c.family))
        return {
            row.id: ComplianceReport(row.id, row.digest, row.evidence, row.passed) for row in self._journal.rows(query)
        }

    def _kept_reports(self, ids: Sequence[int | None]) -> dict[int, Row[Any]]:
        columns = select(gate_report.c.id, gate_report.c.report, gate_report.c.digest)
        return {
            row.id: row
            for chunk in _chunks([number for number in ids if number is not None])
            for row in self._journal.rows(columns.where(gate_report.c.id.in_(chunk)))
        }

    def _during(self, column: ColumnElement[Any]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return column >= self._month.start, column < self._month.end

    def _mine(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [] if self._family is None else [column == self._family]


def _chunks(ids: Sequence[int], size: int = 500) -> Iterator[Sequence[int]]:
    """Parts that fit into one statement: databases bound the number of its parameters."""
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _snapshot(act: Act, detail: Row[Any], registered: str | None, kept: Row[Any] | None) -> Snapshot:
    attested = None
    if registered and detail.registered_at is not None:
        attested = digest({name: getattr(detail, name) for name in _REGISTRATION}) == registered
    return Snapshot(
        act=act,
        metrics=(kept.report.get("metrics") or {}) if kept else {},
        registered_metrics=detail.metrics or {},
        feature_hash=detail.feature_hash,
        lineage=detail.lineage or {},
        signature=detail.signature,
        trainer=detail.trainer,
        is_report_intact=digest(kept.report) == kept.digest if kept else None,
        is_registration_intact=attested,
    )
