"""Read the journal: who is where, who moved it when, on what evidence, and what MLflow has not been told yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, String, cast, func, or_, select, true, tuple_

from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.records import Entry, Event, Known, Pending, Place, Registration, StoredReport
from promotion.journal.rows import (
    ENTRIES,
    EVENTS,
    MODEL,
    MOVES,
    NUMBER,
    RECORDED,
    REPORTS,
    TOUCHES_PRODUCTION,
    entry,
    event,
    record,
    recorded_stage,
    stored,
)
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

_AT_ONCE = 4000
"""Pairs of a query; SQLite takes 32,766 parameters."""

_PRODUCTION = Stage.PRODUCTION.status


class JournalReader:
    """Answers from the journal's database; where there is none yet the answer is "nothing".

    Every method raises `JournalError` when the database cannot be used and `JournalLocked` when another process
    keeps it too long.

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

    def now(self) -> datetime:
        """What time it is for whatever is recorded here, UTC: the database's where machines share one."""
        return self.read_clock().now

    def real_time(self) -> datetime:
        """What time it is, rehearsal or not, UTC."""
        return clock.local() if clock.is_set() else self.now()

    def read_clock(self) -> clock.ClockReading:
        """The time, and what this machine's clock says."""
        if self.database.file:
            moment = clock.now()
            return clock.ClockReading(moment, moment)
        with self.database.read() as connection:
            return clock.read_time(connection)

    def family_lock(self, family: str) -> AbstractContextManager[None]:
        """Keep other processes from moving this family's versions."""
        return self.database.family_lock(family)

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
        return self._entry(ENTRIES.where(model_registry.c.name == model, column == version))

    def family_of(self, entry: Entry) -> str:
        """The family a known version belongs to."""
        query = select(model_version_detail.c.family).where(model_version_detail.c.id == entry.id)
        return str(self.rows(query)[0].family)

    def registration(self, entry_id: int) -> Registration | None:
        """What was recorded when the version was registered; None when our training did not register it."""
        (row,) = self.rows(select(model_version_detail).where(model_version_detail.c.id == entry_id))
        return None if row.registered_at is None else record(Registration, row)

    def families(self) -> set[str]:
        """Names of all families in which anything was ever recorded."""
        return {row.name for row in self.rows(select(families.c.name))}

    def productions(self) -> dict[str, Entry]:
        """The version in Production of each family that has one."""
        query = ENTRIES.where(model_version_detail.c.status == _PRODUCTION)
        return {row.family: entry(row) for row in self.rows(query)}

    def standing(self) -> dict[str, dict[Stage, set[Place]]]:
        """Who is in Production and in Staging, by family and stage, as registered model and MLflow's number."""
        found: dict[str, dict[Stage, set[Place]]] = {}
        for row in self.rows(ENTRIES.where(model_version_detail.c.status.in_((_PRODUCTION, Stage.STAGING.status)))):
            stages = found.setdefault(row.family, {})
            stages.setdefault(entry(row).stage, set()).add((row.model, row.number))
        return found

    def production_moves(self) -> list[Event]:
        """Every move into and out of Production, all families', oldest first."""
        return self._events(EVENTS.where(TOUCHES_PRODUCTION))[::-1]

    def production(self, family: str) -> Entry | None:
        """The family's version in Production."""
        return self._entry(
            ENTRIES.where(model_version_detail.c.family == family, model_version_detail.c.status == _PRODUCTION)
        )

    def previous(self, family: str, *, may_be_bad: bool = True) -> Entry | None:
        """The version that served in Production before the present one did; known-bad ones passed over, if asked."""
        current = self.recorded_production(family)
        last = (
            select(promotion_event.c.version_id)
            .join(model_version_detail, model_version_detail.c.id == promotion_event.c.version_id)
            .where(
                promotion_event.c.family == family,
                promotion_event.c.from_status == _PRODUCTION,
                promotion_event.c.version_id != (current.id if current else -1),
                true() if may_be_bad else model_version_detail.c.known_bad.is_(None),
                MOVES,
            )
            .order_by(promotion_event.c.sequence.desc())
            .limit(1)
        )
        return self._entry(ENTRIES.where(model_version_detail.c.id == last.scalar_subquery()))

    def rollback_targets(self) -> dict[str, Place]:
        """Of each family the version that served before the present one and is not known bad, as in `standing`."""
        row, act = model_version_detail.c, promotion_event.c
        newest = (
            select(func.max(act.sequence))
            .join(model_version_detail, row.id == act.version_id)
            .where(act.from_status == _PRODUCTION, MOVES, row.known_bad.is_(None), row.status != _PRODUCTION)
            .group_by(act.family)
        )
        return {it.family: (it.model, it.number) for it in self._events(EVENTS.where(act.sequence.in_(newest)))}

    def history(
        self,
        family: str | None = None,
        *,
        version_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Event]:
        """Recorded acts, newest first, not before `since` and before `until`; of one family or version where named."""
        since_then = promotion_event.c.at >= since if since else true()
        before = promotion_event.c.at < until if until else true()
        return self._events(self._acts_on(family, version_id).where(since_then, before).limit(limit))

    def acts(self, action: str, *, family: str | None = None, version_id: int | None = None) -> list[Event]:
        """Every recorded act of one kind, newest first; of one family or version, where it is named."""
        return self._events(self._acts_on(family, version_id).where(promotion_event.c.action == action))

    def arrival(self, family: str, stage: Stage, version_id: int | None = None) -> Event | None:
        """The newest move into `stage` of a version that is still there; of one version when its id is given."""
        return next(iter(self._arrivals(self._acts_on(family, version_id), stage, limit=1)), None)

    def arrivals(self, stage: Stage) -> list[Event]:
        """The newest move into `stage` of each version that is still there, all families', newest first."""
        return self._arrivals(EVENTS, stage)

    def _arrivals(self, acts: Select[Any], stage: Stage, *, limit: int | None = None) -> list[Event]:
        later = promotion_event.alias()
        left = select(later.c.id).where(
            later.c.version_id == promotion_event.c.version_id,
            later.c.sequence > promotion_event.c.sequence,
            later.c.from_status != later.c.to_status,
        )
        query = acts.where(promotion_event.c.to_status == stage.status, MOVES, ~left.exists())
        return self._events(query.limit(limit))

    def rules_of_arrivals(self, family: str, *, limit: int) -> list[str]:
        """Digests of the rules by which versions last came into Production, newest first; "" where none were kept."""
        query = EVENTS.where(promotion_event.c.family == family, promotion_event.c.to_status == _PRODUCTION, MOVES)
        return [str((it.details.get("rules") or {}).get("digest", "")) for it in self._events(query.limit(limit))]

    def promotions(self, names: Collection[str], *, limit: int | None = None) -> list[Event]:
        """Promotions into Production of versions of families, or registered under such a name, newest first.

        A family whose file was taken away for a while is found again by its registered model.
        """
        query = EVENTS.where(
            or_(model_version_detail.c.family.in_(names), model_registry.c.name.in_(names)),
            promotion_event.c.action == "promote",
            promotion_event.c.to_status == _PRODUCTION,
            MOVES,
        )
        return self._events(query.limit(limit))

    def homes(self) -> dict[str, str]:
        """By registered model, the family that it was first heard of in, by the chain."""
        version = model_version_detail.c
        first = (
            select(func.min(promotion_event.c.sequence))
            .join(model_version_detail, promotion_event.c.version_id == version.id)
            .group_by(version.model_id)
        )
        query = (
            select(MODEL, promotion_event.c.family)
            .join(model_version_detail, version.model_id == model_registry.c.id)
            .join(promotion_event, promotion_event.c.version_id == version.id)
            .where(promotion_event.c.sequence.in_(first))
        )
        return {row.model: row.family for row in self.rows(query)}

    def last_moves(self, family: str) -> list[Event]:
        """The newest move of each of the family's versions, the latest first."""
        newest = (
            select(func.max(promotion_event.c.sequence))
            .where(promotion_event.c.family == family, MOVES)
            .group_by(promotion_event.c.version_id)
        )
        return self._events(EVENTS.where(promotion_event.c.sequence.in_(newest)))

    def production_at(self, family: str, at: datetime) -> Event | None:
        """The move that had put the version into Production which served at a time; None when none served."""
        query = EVENTS.where(promotion_event.c.family == family, promotion_event.c.at <= at, TOUCHES_PRODUCTION)
        last = next(iter(self._events(query.limit(1))), None)
        return last if last and last.to_stage is Stage.PRODUCTION else None

    def last_sequence(self) -> int:
        """How far the chain goes; 0 when nothing was recorded."""
        return next((row.last or 0 for row in self.rows(select(func.max(promotion_event.c.sequence).label("last")))), 0)

    def pending(self, family: str | None = None) -> list[Pending]:
        """Operations MLflow does not show completely yet, oldest first."""
        query = select(outbox).where(outbox.c.done_at.is_(None), outbox.c.receiver.is_(None)).order_by(outbox.c.id)
        query = query if family is None else query.where(outbox.c.family == family)
        return [record(Pending, row) for row in self.rows(query)]

    def written_checkpoints(self, *, since: int = 0) -> set[int]:
        """The events, from the one named on, for which a signed checkpoint was written."""
        query = select(checkpoint.c.sequence).where(checkpoint.c.sequence >= since)
        return {row.sequence for row in self.rows(query)}

    def changed_by_hand(self, family: str) -> list[tuple[Entry, Stage]]:
        """Versions whose row says another stage than their newest event, each with that one: somebody wrote SQL."""
        return [item for item in self._with_recorded(family) if item[0].stage is not item[1]]

    def recorded_entries(self, family: str) -> list[Entry]:
        """A family's versions where the events say that they are, whatever somebody wrote into their rows."""
        return [replace(version, stage=recorded) for version, recorded in self._with_recorded(family)]

    def recorded_production(self, family: str) -> Entry | None:
        """The family's version in Production as the events have it."""
        return next((it for it in self.recorded_entries(family) if it.stage is Stage.PRODUCTION), None)

    def _with_recorded(self, family: str) -> list[tuple[Entry, Stage]]:
        query = ENTRIES.add_columns(RECORDED.label("recorded")).where(model_version_detail.c.family == family)
        return self._recorded(query.order_by(model_version_detail.c.id)).get(family, [])

    def changed_rows(self) -> dict[str, list[tuple[Entry, Stage]]]:
        """Rows that SQL put into Staging or Production, and versions that SQL took out of a now empty Production.

        It is `changed_by_hand` for all families at once, without changes between the other stages.

        Returns:
            By family, each version with the stage that was recorded for it.
        """
        row, act = model_version_detail.c, promotion_event.c
        intruders = ENTRIES.add_columns(RECORDED.label("recorded")).where(
            row.status.in_((_PRODUCTION, Stage.STAGING.status)), or_(RECORDED.is_(None), row.status != RECORDED)
        )
        last = (
            select(act.sequence)
            .where(act.family == families.c.name, TOUCHES_PRODUCTION)
            .order_by(act.sequence.desc())
            .limit(1)
            .scalar_subquery()
        )
        serving = select(row.id).where(row.family == families.c.name, row.status == _PRODUCTION)
        # Where nothing serves, whoever entered Production last and did not leave by an event was taken out by hand.
        missing = (
            ENTRIES.add_columns(act.to_status.label("recorded"))
            .join(promotion_event, act.version_id == row.id)
            .where(
                act.sequence.in_(select(last).select_from(families).where(~serving.exists())),
                act.to_status == _PRODUCTION,
                row.status != Stage.STAGING.status,
            )
        )
        return self._recorded(intruders, missing)

    def torn_links(self, family: str) -> list[int]:
        """Sequences of a family's events whose successor was chained to another hash: somebody wrote SQL."""
        act, following = promotion_event, promotion_event.alias()
        query = (
            select(act.c.sequence)
            .join(following, following.c.sequence == act.c.sequence + 1)
            .where(act.c.family == family, following.c.previous_hash != act.c.hash)
        )
        return [row.sequence for row in self.rows(query.order_by(act.c.sequence))]

    def semantic_versions(self, shown: Sequence[Place]) -> dict[Place, str]:
        """Semantic versions of the versions shown that have one."""
        row = model_version_detail.c
        query = (
            select(MODEL, NUMBER, row.version)
            .join(model_version_detail, model_registry.c.id == row.model_id)
            .where(row.version != cast(row.mlflow_version, String))
        )
        pair = tuple_(model_registry.c.name, row.mlflow_version)
        return {
            (found.model, found.number): found.version
            for start in range(0, len(shown), _AT_ONCE)
            for found in self.rows(query.where(pair.in_(shown[start : start + _AT_ONCE])))
        }

    def rules(self, digest: str) -> Mapping[str, Any] | None:
        """The rules that an event or an approval names by their digest; None where they were not kept as they were."""
        rows = self.rows(select(rule_set.c.content).where(rule_set.c.digest == digest))
        is_intact = bool(rows) and hashlib.sha256(rows[0].content.encode()).hexdigest() == digest
        return json.loads(rows[0].content) if is_intact else None

    def report(self, report_id: int) -> StoredReport:
        """A kept gate report."""
        return stored(self.rows(REPORTS.where(gate_report.c.id == report_id))[0])

    def reports(self, version: Known) -> list[StoredReport]:
        """Kept gate reports of a version, newest first."""
        query = REPORTS.where(gate_report.c.model == version.model, gate_report.c.mlflow_version == version.number)
        return [stored(row) for row in self.rows(query.order_by(gate_report.c.id.desc()))]

    def newest_reports(self) -> dict[str, StoredReport]:
        """The gate report that was kept last of each family."""
        newest = select(func.max(gate_report.c.id)).group_by(gate_report.c.family)
        return {row.family: stored(row) for row in self.rows(REPORTS.where(gate_report.c.id.in_(newest)))}

    def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """What a query finds; nothing when there is no journal yet."""
        if not self.database.exists:
            return []
        with self.database.read() as connection:
            return connection.execute(query).all()

    def _entry(self, query: Select[Any]) -> Entry | None:
        rows = self.rows(query)
        return entry(rows[0]) if rows else None

    @staticmethod
    def _acts_on(family: str | None, version_id: int | None) -> Select[Any]:
        """The events of one family, of one version, or of all."""
        query = EVENTS if family is None else EVENTS.where(promotion_event.c.family == family)
        return query if version_id is None else query.where(promotion_event.c.version_id == version_id)

    def _events(self, query: Select[Any]) -> list[Event]:
        return [event(row) for row in self.rows(query.order_by(promotion_event.c.sequence.desc()))]

    def _recorded(self, *queries: Select[Any]) -> dict[str, list[tuple[Entry, Stage]]]:
        found: dict[str, list[tuple[Entry, Stage]]] = {}
        for query in queries:
            for row in self.rows(query):
                stage = recorded_stage(
                    row.recorded or Stage.NONE.status, f"{row.model} v{row.number}: its newest event"
                )
                found.setdefault(row.family, []).append((entry(row), stage))
        return found
