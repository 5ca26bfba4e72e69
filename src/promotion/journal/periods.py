"""Ask what happened in a time: each question is one statement, however much happened.

Events are asked, not the rows' timestamps: events cannot be edited.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from promotion.journal import clock
from promotion.journal.chain import digest
from promotion.journal.journal import Journal
from promotion.journal.records import Event, Incident, Registration, StoredReport
from promotion.journal.reviews import Reviews
from promotion.journal.rows import (
    EVENTS,
    MODEL,
    MOVES,
    NUMBER,
    REHEARSED,
    REPORTS,
    TOUCHES_PRODUCTION,
    event,
    of_versions,
    record,
    stored,
)
from promotion.journal.schema import (
    approval,
    gate_report,
    model_registry,
    model_version_detail,
    promotion_event,
)
from promotion.registry.stages import Stage

_NAMES_RULES = '"rules":{'
"""How the details of an event go on that names its rules; a quote inside a text is escaped."""

_BESIDE = 200
"""How many events before and after those of a period are looked at: a wrong clock dates a few, not hundreds."""

_PRODUCTION, _ARCHIVED = Stage.PRODUCTION.status, Stage.ARCHIVED.status


@dataclass(frozen=True, slots=True)
class DatedEvent:
    """When an event says that it was recorded.

    Attributes:
        sequence: Its place in the chain.
        at: Its date, UTC.
        is_rehearsed: Whether that was set by hand.
    """

    sequence: int
    at: datetime
    is_rehearsed: bool


@dataclass(frozen=True, slots=True)
class ReportDigest:
    """What is known of a gate report beside the answers themselves."""

    id: int
    digest: str
    evidence: str | None
    passed: bool


@dataclass(frozen=True, slots=True)
class ProductionEntrant:
    """A version that entered Production, and what its row says of it now.

    Attributes:
        model: Registered model.
        number: MLflow's integer.
        registration: What its row says.
        is_intact: Whether that is what training recorded; None when the chain does not say.
    """

    model: str
    number: int
    registration: Registration
    is_intact: bool | None


@dataclass(frozen=True, slots=True)
class VersionActs:
    """The newest acts on a version, by sequence of the event.

    Attributes:
        version_id: `Entry.id`.
        newest: Any act.
        cleaned: That its deletion began.
        ended: When it entered or left Production or Archived, UTC.
        served: That it left Production.
        is_rehearsed: Whether it entered or left Production or Archived in a rehearsal, while this is none.
    """

    version_id: int
    newest: int
    cleaned: int | None
    ended: datetime | None
    served: int | None
    is_rehearsed: bool


@dataclass(frozen=True, slots=True)
class Period:
    """What the journal knows of a time, from `start` until before `end`, UTC; of one family, or of all."""

    journal: Journal
    start: datetime
    end: datetime
    family: str | None

    def events(self) -> list[Event]:
        """Every event, in order."""
        return self._events(EVENTS.where(*self._during(promotion_event.c.at), *self._mine(promotion_event.c.family)))

    def dates(self) -> list[DatedEvent]:
        """When the events that may belong to the period say they were recorded, all families', in the chain's order.

        They are those dated in it and those that lie between them or beside them in the chain, whatever they are dated.
        """
        act = promotion_event.c
        found = [
            self.journal.rows(select(act.sequence).where(*conditions).order_by(order).limit(1))
            for conditions, order in (
                (self._during(act.at), act.sequence),
                (self._during(act.at), act.sequence.desc()),
                ((act.at < self.start,), act.sequence.desc()),
                ((act.at >= self.end,), act.sequence),
            )
        ]
        ends = [rows[0].sequence for rows in found if rows]
        if not ends:
            return []
        span = act.sequence.between(min(ends) - _BESIDE, max(ends) + _BESIDE)
        query = select(act.sequence, act.at, REHEARSED.label("is_rehearsed")).where(span).order_by(act.sequence)
        return [DatedEvent(row.sequence, row.at, bool(row.is_rehearsed)) for row in self.journal.rows(query)]

    def events_at(self, sequences: Collection[int]) -> list[Event]:
        """The events at these places of the chain, of the families asked about, in order."""
        chosen = promotion_event.c.sequence.in_(sequences)
        return self._events(EVENTS.where(chosen, *self._mine(promotion_event.c.family)))

    def reports(self) -> dict[int, ReportDigest]:
        """The gate reports that events rest on, by id."""
        columns = (gate_report.c[name] for name in ReportDigest.__slots__)
        wanted = select(promotion_event.c.gate_report_id).where(*self._during(promotion_event.c.at))
        query = select(*columns).where(gate_report.c.id.in_(wanted), *self._mine(gate_report.c.family))
        return {row.id: record(ReportDigest, row) for row in self.journal.rows(query)}

    def production_before(self) -> list[Event]:
        """Each family's newest move into or out of Production before the start."""
        return self._newest(promotion_event.c.family, TOUCHES_PRODUCTION, promotion_event.c.at < self.start)

    def ruled_before(self) -> list[Event]:
        """Each registered model's newest act before the start that names its rules."""
        return self._ruled(func.max, promotion_event.c.at < self.start)

    def ruled_after(self) -> list[Event]:
        """Each registered model's first act after the end that names its rules."""
        return self._ruled(func.min, promotion_event.c.at >= self.end)

    def archived(self) -> list[Event]:
        """How each version that was archived at the end had got there, in order."""
        archived = promotion_event.c.to_status == _ARCHIVED
        return self._newest(promotion_event.c.version_id, MOVES, promotion_event.c.at < self.end, then=archived)

    def entrants(self) -> list[ProductionEntrant]:
        """The versions that entered Production."""
        versions = self._entries(promotion_event.c.version_id)
        registered = (
            select(promotion_event.c.version_id, promotion_event.c.details)
            .where(promotion_event.c.version_id.in_(versions), promotion_event.c.action == "register")
            .order_by(promotion_event.c.sequence)
        )
        vouched = {row.version_id: json.loads(row.details).get("registration") for row in self.journal.rows(registered)}
        details = (model_version_detail.c[name] for name in ("id", "registered_at", *Registration.__slots__))
        query = select(MODEL, NUMBER, *details).join_from(model_version_detail, model_registry)
        found = []
        for row in self.journal.rows(query.where(model_version_detail.c.id.in_(versions))):
            registration, said = record(Registration, row), vouched.get(row.id)
            is_intact = digest(registration.as_json()) == said if said and row.registered_at is not None else None
            found.append(ProductionEntrant(row.model, row.number, registration, is_intact))
        return found

    def entrants_reports(self) -> dict[int, StoredReport]:
        """The gate reports on which versions entered Production, by id."""
        query = REPORTS.where(gate_report.c.id.in_(self._entries(promotion_event.c.gate_report_id)))
        return {row.id: stored(row) for row in self.journal.rows(query)}

    def incidents(self) -> list[Incident]:
        """Those open at some time of it, newest first."""
        reviews = Reviews(self.journal)
        return [
            found
            for found in reviews.incidents(family=self.family, only_open=False)
            if found.opened_at < self.end and (found.closed_at is None or found.closed_at >= self.start)
        ]

    def stray_approvals(self, vouched: Collection[str]) -> list[str]:
        """Approvals that were written past the journal, whose statements the chain does not hold, one line each."""
        query = of_versions(approval).where(
            *self._during(approval.c.created_at), *self._mine(model_version_detail.c.family)
        )
        return [
            f"{row.role}: {row.approver} for {row.model} {row.version}"
            for row in self.journal.rows(query.order_by(approval.c.id))
            if digest(row.statement) not in vouched
        ]

    def _entries(self, column: ColumnElement[Any]) -> Select[Any]:
        return select(column).where(
            MOVES,
            promotion_event.c.to_status == _PRODUCTION,
            *self._during(promotion_event.c.at),
            *self._mine(promotion_event.c.family),
        )

    def _ruled(self, which: Callable[..., Any], *conditions: ColumnElement[bool]) -> list[Event]:
        chosen = (
            select(which(promotion_event.c.sequence))
            .join(model_version_detail, promotion_event.c.version_id == model_version_detail.c.id)
            .join(model_registry, model_version_detail.c.model_id == model_registry.c.id)
            .where(promotion_event.c.details.contains(_NAMES_RULES), *conditions)
            .group_by(model_registry.c.id)
        )
        if self.family is not None:
            ours = [model for model, home in self.journal.homes().items() if home == self.family]
            chosen = chosen.where(model_registry.c.name.in_(ours))
        return self._events(EVENTS.where(promotion_event.c.sequence.in_(chosen)))

    def _newest(
        self, column: ColumnElement[Any], *conditions: ColumnElement[bool], then: ColumnElement[bool] | None = None
    ) -> list[Event]:
        newest = (
            select(func.max(promotion_event.c.sequence))
            .where(*conditions, *self._mine(promotion_event.c.family))
            .group_by(column)
        )
        query = EVENTS.where(promotion_event.c.sequence.in_(newest))
        return self._events(query if then is None else query.where(then))

    def _events(self, query: Select[Any]) -> list[Event]:
        return [event(row) for row in self.journal.rows(query.order_by(promotion_event.c.sequence))]

    def _during(self, column: ColumnElement[Any]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return column >= self.start, column < self.end

    def _mine(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        return [] if self.family is None else [column == self.family]


def version_acts(journal: Journal, family: str, cleanup: str) -> list[VersionActs]:
    """The newest acts on each version of a family; `cleanup` is the action by which a deletion begins."""
    act = promotion_event.c
    ends = (_PRODUCTION, _ARCHIVED)
    touched = MOVES & or_(act.from_status.in_(ends), act.to_status.in_(ends))
    query = (
        select(
            act.version_id,
            func.max(act.sequence).label("newest"),
            func.max(case((act.action == cleanup, act.sequence))).label("cleaned"),
            func.max(case((touched, act.at))).label("ended"),
            func.max(case((MOVES & (act.from_status == _PRODUCTION), act.sequence))).label("served"),
            func.max(case((touched & REHEARSED, act.sequence))).label("rehearsed"),
        )
        .where(act.family == family)
        .group_by(act.version_id)
    )
    return [
        record(VersionActs, row, is_rehearsed=row.rehearsed is not None and not clock.is_set())
        for row in journal.rows(query)
    ]
