"""What the journal knows of one month, in the terms of the report."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import datetime, timedelta

from promotion.audit.timeline import misdated
from promotion.compliance.facts import Act, Kept, MisdatedAct, Month, Snapshot, Tenure, tenures
from promotion.config.family import FamilyConfig
from promotion.config.policy import Retention
from promotion.journal.chain import digest
from promotion.journal.periods import Period, ProductionEntrant
from promotion.journal.records import StoredReport


def acts_of(period: Period) -> list[Act]:
    """Every event of the period, in order."""
    reports = period.reports()
    return [Act(event, reports.get(event.gate_report_id or 0)) for event in period.events()]


def misdated_acts(period: Period, month: Month, now: datetime) -> list[MisdatedAct]:
    """The acts of the month whose dates cannot be right, those among them that are dated in another month."""
    dates = period.dates()
    rehearsed_inside = {it.sequence for it in dates if it.is_rehearsed and month.start <= it.at < month.end}
    found = {
        item.sequence: item
        for item in misdated(dates, now)
        # Of a rehearsal everything is told already that is dated in the month.
        if item.sequence not in rehearsed_inside
        and item.before >= month.start
        and (item.after is None or item.after < month.end)
    }
    return [
        MisdatedAct(Act(event, None), found[event.sequence].after, found[event.sequence].before)
        for event in period.events_at(found)
    ]


def tenures_of(period: Period, acts: Sequence[Act], month: Month) -> list[Tenure]:
    """Who was in Production of each family, during the month and when it began."""
    before = {event.family: Act(event, None) for event in period.production_before()}
    during: dict[str, list[Act]] = {}
    for act in acts:
        if act.is_entry or act.is_exit:
            during.setdefault(act.event.family, []).append(act)
    return [
        tenure
        for name in sorted(before.keys() | during.keys())
        for tenure in tenures(name, before.get(name), during.get(name, []), month.start, month.end)
    ]


def snapshots_of(period: Period, acts: Sequence[Act]) -> list[Snapshot]:
    """The versions that entered Production in the period, as they were then."""
    entered = {(act.model, act.number): act for act in acts if act.is_entry}
    kept = period.entrants_reports()
    return [
        _snapshot(act, version, kept.get(act.event.gate_report_id or 0))
        for version in period.entrants()
        if (act := entered.get((version.model, version.number)))
    ]


def retained(
    period: Period, month: Month, configs: Mapping[str, FamilyConfig], without: Container[str] = ()
) -> list[Kept]:
    """Versions that were archived at the month's end, and whose retention had not ended when it began."""
    found = []
    for event in period.archived():
        if event.family in without:
            continue
        retention = configs[event.family].retention if event.family in configs else Retention()
        until = event.at + timedelta(days=retention.days)
        if until >= month.start:
            found.append(Kept(Act(event, None), until))
    return found


def _snapshot(act: Act, version: ProductionEntrant, kept: StoredReport | None) -> Snapshot:
    known = version.registration
    return Snapshot(
        act=act,
        metrics=(kept.report.get("metrics") or {}) if kept else {},
        registered_metrics=known.metrics or {},
        feature_hash=known.feature_hash,
        lineage=known.lineage or {},
        signature=known.signature,
        trainer=known.trainer,
        is_report_intact=digest(kept.report) == kept.digest if kept else None,
        is_registration_intact=version.is_intact,
    )
