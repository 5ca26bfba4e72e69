"""Events and audit reports as lines for people and as plain data for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from promotion.audit import AuditReport
from promotion.errors import UsageError
from promotion.journal.chain import moment
from promotion.journal.journal import Journal
from promotion.journal.records import Entry, Event
from promotion.rules.changes import RuleChange

_SHOWN_DIGITS = 12


def newest_events(
    journal: Journal,
    family: str | None,
    version: str | None,
    *,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> list[Event]:
    """What was recorded, newest first, not before `since` and before `until`.

    Raises:
        UsageError: The family has no such version.
    """
    wanted = [entry.id for entry in entries_of(journal, family, version)] if family and version else [None]
    events = [
        event
        for version_id in wanted
        for event in journal.history(family, version_id=version_id, since=since, until=until, limit=limit)
    ]
    return sorted(events, key=lambda event: -event.sequence)[:limit]


def entries_of(journal: Journal, family: str, version: str) -> list[Entry]:
    """A family's versions by MLflow's integer or by semantic version; algorithms trained together share the latter.

    Raises:
        UsageError: There is none.
    """
    found = [entry for entry in journal.entries(family) if version in {str(entry.number), entry.version}]
    if not found:
        raise UsageError(f"the journal knows no version {version} of {family!r}: audit.py show --model {family} lists")
    return found


def event_line(event: Event) -> str:
    """Who did what to which version, why and on what evidence; an override comes first."""
    details = event.details
    overridden = f"⚠️ OVERRIDE of {', '.join(details['override'])}: " if details.get("override") else ""
    semver = f" ({event.version})" if event.version != str(event.number) else ""
    moved = f": {event.from_stage} → {event.to_stage}" if event.is_move else ""
    on_behalf = f", answered for by {details['approver']}" if "approver" in details else ""
    rehearsed = "; CLOCK SET BY HAND" if "clock" in details else ""
    return (
        f"{event.sequence:>6}  {event.at:%Y-%m-%d %H:%M:%S} UTC  {event.model} v{event.number}{semver}{moved}  "
        f"{overridden}{event.action} by {event.actor}{on_behalf}: {event.reason}{_evidence(event)}{rehearsed}"
    )


def _evidence(event: Event) -> str:
    evidence, rules = event.details.get("evidence"), event.details.get("rules")
    found = [f"gate report {event.gate_report_id}"] if event.gate_report_id is not None else []
    found += [f"evidence {evidence[:_SHOWN_DIGITS]}"] if found and evidence else []
    if rules and (found or event.is_move):
        commit = f" at {rules['commit'][:_SHOWN_DIGITS]}" if rules.get("commit") else ""
        found += [f"rules {rules['digest'][:_SHOWN_DIGITS]}, {rules['state']}{commit}"]
    return f" [{', '.join(found)}]" if found else ""


def event_document(event: Event, changes: Iterable[RuleChange]) -> dict[str, Any]:
    """An event as plain data, with what of its rules is different from the promotion before."""
    stages = {"from_stage": event.from_stage.value, "to_stage": event.to_stage.value}
    rules = {"rule_changes": [change.as_json() for change in changes]}
    return asdict(event) | stages | {"at": moment(event.at), "details": dict(event.details)} | rules


def report_lines(report: AuditReport) -> Sequence[str]:
    """The report, each finding and each thing it could not see on a line of its own."""
    end = f", the last one {report.sequence} with hash {report.hash}" if report.events else ""
    checkpoints = ", ".join(f"{count} {standing}" for standing, count in report.checkpoints.items()) or "none"
    lines = [
        f"🔍 {report.source}",
        f"   events: {report.events:,}{end}",
        f"   checkpoints: {checkpoints}",
        f"   attestations: {report.attestations:,} valid",
        *(f"   compared: {line}" for line in report.compared),
        *(f"   ⚠️ {note}" for note in report.notes),
        *(f"❌ {finding}" for finding in report.findings),
    ]
    if unshown := report.count - len(report.findings):
        lines.append(f"❌ and {unshown:,} more like these")
    who = (
        f"a signed checkpoint vouches for events 1 to {report.vouched}"
        if report.vouched
        else "no checkpoint vouches for it"
    )
    return lines if report.count else [*lines, f"✅ the journal is sound: all that was compared agrees, and {who}"]
