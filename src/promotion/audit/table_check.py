"""Hold what the tables say today against what the chained events said when it happened.

Whoever can write to the database can change a status, a digest, a gate report or an approval without touching an event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from promotion.audit.findings import AuditFindings
from promotion.journal.audit_rows import APPROVAL, COLUMNS, EVENT, INCIDENT, REPORT, RULES, VERSION, Row
from promotion.journal.chain import digest
from promotion.journal.records import registered_facts
from promotion.registry.stages import Stage

_SEQUENCE, _VERSION_ID, _ACTION, _FROM, _TO, _REPORT_ID, _DETAILS = (
    COLUMNS[EVENT].index(name)
    for name in ("sequence", "version_id", "action", "from_status", "to_status", "gate_report_id", "details")
)
_SHOWN_DIGITS = 12
_TELLING = {"register", "approve", "reject", "incident", "incident closed"}
"""Actions of which another table keeps a row."""
_STATED = {
    "role": "role",
    "approver": "approver",
    "comment": "comment",
    "artifact_digest": "artifact",
    "evidence": "evidence",
    "expires_at": "expires",
}
"""Columns of an approval, each with its name in the statement."""


class _Version:
    """What the events say of one version; there may be a hundred thousand, so attributes are few."""

    __slots__ = ("digest", "identity", "known_bad", "registration", "semver", "status")

    def __init__(self) -> None:
        self.status = Stage.NONE.status
        self.identity: tuple[str, int] | None = None
        self.semver: str | None = None
        self.digest: str | None = None
        self.registration: str | None = None
        self.known_bad: str | None = None

    def __str__(self) -> str:
        return "{} v{}".format(*self.identity) if self.identity else "a version"


_REGISTRATION = "registration (signature, trainer, feature hash, metrics, lineage, provenance)"


class Claims:
    """Remembers what events say, compares it with the rows, and tells what does not fit.

    Its memory grows with versions, gate reports and approvals, not with events.

    Args:
        findings: Collects what is wrong.
    """

    def __init__(self, findings: AuditFindings) -> None:
        self._findings = findings
        self._versions: dict[int, _Version] = {}
        self._words: dict[str, tuple[int, str]] = {}
        self._incidents: dict[int, tuple[str, bool]] = {}
        self._evidence: dict[int, tuple[int, str | None, str | None]] = {}
        self._reports: dict[int, tuple[str | None, str]] = {}
        self._rules: dict[str, int] = {}
        self._compare = {
            REPORT: self._report,
            APPROVAL: self._approval,
            INCIDENT: self._incident,
            VERSION: self._version,
            RULES: self._rule_set,
        }
        self._approvals: list[Mapping[str, Any]] = []

    def hear(self, rows: Sequence[Row]) -> None:
        """Remember what these events say."""
        for row in rows:
            known = self._versions.get(row[_VERSION_ID])
            if known is None:
                known = self._versions[row[_VERSION_ID]] = _Version()
            if row[_FROM] != row[_TO]:
                known.status = row[_TO]
            try:
                details = json.loads(row[_DETAILS])
                self._remember(row, known, details)
            except (ValueError, TypeError, LookupError, AttributeError):
                self._findings.add("event", f"event {row[_SEQUENCE]}", "its details are not what any event of ours has")

    def compare(self, kind: str, rows: Sequence[Row]) -> None:
        """Hold rows of a table against the events; versions and incidents come after all events."""
        names, compare = COLUMNS[kind], self._compare[kind]
        for row in rows:
            compare(dict(zip(names, row, strict=True)))

    def finish(self) -> None:
        """All events and rows were seen; tell what events speak of and no table has."""
        for report_id, (sequence, evidence, content) in self._evidence.items():
            found = self._reports.get(report_id)
            if found is None:
                self._findings.add("report", f"gate report {report_id}", f"missing: event {sequence} relies on it")
            elif (evidence, content) != (evidence and found[0], content and found[1]):
                what = f"not the one that event {sequence} relies on: its content or evidence was exchanged"
                self._findings.add("report", f"gate report {report_id}", what)
        for row in self._approvals:
            self._spoken(row)
        for _, where in self._words.values():
            self._findings.add("approval", where, "its approval is missing: deleted or edited")
        self._tell_missing()

    def _tell_missing(self) -> None:
        for incident_id in self._incidents:
            self._findings.add("incident", f"incident {incident_id}", "missing: deleted")
        for name, sequence in self._rules.items():
            what = f"missing: event {sequence} stands under them"
            self._findings.add("rules", f"rules {name[:_SHOWN_DIGITS]}", what)
        for version_id, known in self._versions.items():
            self._findings.add("version", str(known), f"row {version_id} is missing: deleted")

    def _remember(self, row: Row, known: _Version, details: Mapping[str, Any]) -> None:
        if "model" in details:
            identity = (details["model"], details["number"])
            if known.identity is None:
                known.identity = identity
            elif known.identity != identity:
                what = "{} v{} shares its row with {}".format(*identity, known)
                self._findings.add("event", f"event {row[_SEQUENCE]}", what)
            known.semver = details["version"]
            known.digest = known.digest or details["digest"]
        known.known_bad = details.get("known_bad", known.known_bad)
        if rules := details.get("rules"):
            self._rules.setdefault(rules["digest"], row[_SEQUENCE])
        if (report_id := row[_REPORT_ID]) is not None and (report_id not in self._evidence or "evidence" in details):
            self._evidence[report_id] = (row[_SEQUENCE], details.get("evidence"), details.get("report_digest"))
        if row[_ACTION] in _TELLING:
            self._remember_act(row, known, details)

    def _remember_act(self, row: Row, known: _Version, details: Mapping[str, Any]) -> None:
        match row[_ACTION]:
            case "register":
                known.digest, known.registration = details["digest"], details["registration"]
            case "approve" | "reject":
                self._words[details["statement"]] = (row[_VERSION_ID], f"the word on {known} in event {row[_SEQUENCE]}")
            case "incident":
                self._incidents[details["incident"]] = (details["severity"], False)
            case "incident closed":
                severity, _ = self._incidents[details["incident"]]
                self._incidents[details["incident"]] = (severity, True)

    def _rule_set(self, row: Mapping[str, Any]) -> None:
        found = hashlib.sha256(row["content"].encode()).hexdigest()
        if found != row["digest"]:
            what = "its content is not what its digest was made of: edited"
            self._findings.add("rules", f"rules {row['digest'][:_SHOWN_DIGITS]}", what)
        self._rules.pop(row["digest"], None)

    def _report(self, row: Mapping[str, Any]) -> None:
        self._reports[row["id"]] = (row["evidence"], row["digest"])
        where = f"gate report {row['id']} ({row['model']} v{row['mlflow_version']})"
        if digest(row["report"]) != row["digest"]:
            self._findings.add("report", where, "its content is not what its digest was made of: edited")
        elif any(row["report"].get(name, row[name]) != row[name] for name in ("passed", "evidence")):
            self._findings.add("report", where, "its columns contradict its content: edited")

    def _approval(self, row: Mapping[str, Any]) -> None:
        # Its event may still come.
        self._approvals.append(row)

    def _spoken(self, row: Mapping[str, Any]) -> None:
        where = f"approval {row['id']} ({row['role']}, {row['approver']})"
        word = self._words.pop(digest(row["statement"]), None)
        if word is None or word[0] != row["version_id"]:
            self._findings.add("approval", where, "in no event: written or edited past the journal")
            return
        try:
            statement = json.loads(row["statement"])
            wrong = [column for column, name in _STATED.items() if statement[name] != row[column]]
            wrong += ["approved"] if bool(row["approved"]) != (statement["decision"] == "approve") else []
        except (ValueError, LookupError, TypeError):
            wrong = ["everything"]
        if wrong:
            self._findings.add("approval", where, f"{', '.join(wrong)} not as in its statement: edited")

    def _incident(self, row: Mapping[str, Any]) -> None:
        recorded = self._incidents.pop(row["id"], None)
        if recorded != (row["severity"], row["closed_at"] is not None):
            what = "in no event: written past the journal" if recorded is None else "not as its events say: edited"
            self._findings.add("incident", f"incident {row['id']}", what)

    def _version(self, row: Mapping[str, Any]) -> None:
        where = f"{row['model']} v{row['mlflow_version']}"
        known = self._versions.pop(row["id"], None)
        if known is None:
            self._findings.add("version", where, "in no event: written past the journal")
            return
        registration = digest(registered_facts(row)) if known.registration else None
        for name, today, recorded in (
            ("name", (row["model"], row["mlflow_version"]), known.identity or (row["model"], row["mlflow_version"])),
            ("version", row["version"], known.semver or row["version"]),
            ("status", row["status"], known.status),
            ("digest", row["digest"], known.digest or row["digest"]),
            ("known-bad mark", row["known_bad"], known.known_bad),
            (
                "registration (signature, trainer, feature hash, metrics, lineage, provenance)",
                registration,
                known.registration,
            ),
        ):
            if today != recorded:
                what = f"its row's {name} is {_shown(today)}, the events say {_shown(recorded)}: changed by SQL"
                self._findings.add("version", where, what)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "{} v{}".format(*value)
    return str(value or "empty")
