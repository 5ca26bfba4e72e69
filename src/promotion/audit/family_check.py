"""Hold what is known of one family against its events before anything is decided by it, as an audit does for all."""

from __future__ import annotations

from promotion.audit.chain_check import linked
from promotion.audit.findings import AuditFindings
from promotion.audit.table_check import Claims
from promotion.errors import RecordsAltered
from promotion.journal.audit_rows import COLUMNS, EVENT, AuditRows
from promotion.journal.journal import Journal

_SHOWN = 5
_OF_STAGES = frozenset({"status"})
"""Whether a version is where the events put it, reconciling finds out: it may be an act that people have to ratify."""

_SEQUENCE, _ACTION, _ACTOR = (COLUMNS[EVENT].index(name) for name in ("sequence", "action", "actor"))


def require_unaltered(journal: Journal, family: str) -> None:
    """Make sure that no row that decides about a family says something else than was recorded.

    These are its versions, registrations, known-bad marks, approvals, incidents and gate reports, and its events
    themselves, each of which must be what its own hash and the event after it were made of.

    Raises:
        RecordsAltered: One does; the message names row, column, and the recorded value.
        JournalError: The journal cannot be read.
    """
    findings = AuditFindings()
    claims = Claims(findings, _OF_STAGES)
    for kind, rows in AuditRows(journal, family).state():
        if kind != EVENT:
            claims.compare(kind, rows)
            continue
        for row in rows:
            if linked(row) != row[-1]:
                where = f"event {row[_SEQUENCE]} ({row[_ACTION]} by {row[_ACTOR]})"
                findings.add("event", where, "its content is not what its hash was made of: edited")
        claims.hear(rows)
    claims.finish()
    for sequence in journal.torn_links(family):
        findings.add("event", f"event {sequence}", "the event after it was chained to another one: edited")
    if findings.count:
        shown = [str(finding) for finding in findings.kept[:_SHOWN]]
        more = f"; and {findings.count - _SHOWN} more" if findings.count > _SHOWN else ""
        raise RecordsAltered(
            f"{family!r}: the journal was changed past its events: {'; '.join(shown)}{more}; nothing moves until the "
            "recorded values are back (or the database is restored); python scripts/audit.py verify lists all",
            found=[str(finding) for finding in findings.kept],
        )
