"""Hold what the tables say today against what the chained events said when it happened.

Whoever can write to the database can change a status, a digest, a gate report or an approval without touching an event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from promotion.audit.findings import AuditFindings
from promotion.audit.timeline import apart
from promotion.journal.audit_rows import APPROVAL, COLUMNS, EVENT, INCIDENT, REPORT, RULES, VERSION, Row
from promotion.journal.chain import digest
from promotion.journal.records import Place, Registration, registered_facts
from promotion.registry.stages import Stage

_SEQUENCE, _FAMILY, _VERSION_ID, _ACTION, _ACTOR, _REASON, _FROM, _TO, _REPORT_ID, _AT, _DETAILS = (
    COLUMNS[EVENT].index(name)
    for name in (
        *("sequence", "family", "version_id", "action", "actor", "reason", "from_status", "to_status"),
        *("gate_report_id", "at", "details"),
    )
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
_TOLD = ("trainer", "provenance")
"""Columns of a registration that its event holds as they are; of all of them it holds the digest."""


@dataclass(slots=True)
class _Version:
    """What the events say of one version; there may be a hundred thousand, so attributes are few."""

    family: str
    status: str = Stage.NONE.status
    identity: Place | None = None
    semver: str | None = None
    digest: str | None = None
    registration: str | None = None
    registered_at: str | None = None
    told: Mapping[str, str | None] = field(default_factory=dict)
    known_bad: str | None = None

    def __str__(self) -> str:
        return "{} v{}".format(*self.identity) if self.identity else "a version"


_REGISTRATION = "registration (signature, trainer, feature hash, metrics, lineage, provenance)"


class _Word(NamedTuple):
    """What an event says of an approval, or of a rejection."""

    version_id: int
    at: str
    report_id: int | None
    where: str


class _Incident(NamedTuple):
    """What the events say of an incident."""

    version_id: int
    severity: str
    summary: str
    opened_by: str
    opened_at: str
    closed_by: str | None = None
    closed_at: str | None = None
    resolution: str | None = None


class Claims:
    """Remembers what events say, compares it with the rows, and tells what does not fit.

    Its memory grows with versions, gate reports and approvals, not with events.

    Args:
        findings: Collects what is wrong.
        unjudged: Columns of a version that somebody else judges.

    Attributes:
        named: The checkpoints that events name, by sequence, each with the first event that does.
    """

    def __init__(self, findings: AuditFindings, unjudged: Container[str] = ()) -> None:
        self._findings = findings
        self._unjudged = unjudged
        self.named: dict[int, int] = {}
        self._versions: dict[int, _Version] = {}
        self._words: dict[str, _Word] = {}
        self._incidents: dict[int, _Incident] = {}
        self._evidence: dict[int, tuple[int, str | None, str | None]] = {}
        self._reports: dict[int, tuple[str | None, str]] = {}
        self._rules: dict[str, int] = {}
        self._approvals: list[Mapping[str, Any]] = []
        self._compare: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            REPORT: self._report,
            APPROVAL: self._approvals.append,  # its event may still come
            INCIDENT: self._incident,
            VERSION: self._version,
            RULES: self._rule_set,
        }

    def hear(self, rows: Sequence[Row]) -> None:
        """Remember what these events say."""
        for row in rows:
            known = self._versions.get(row[_VERSION_ID])
            if known is None:
                known = self._versions[row[_VERSION_ID]] = _Version(row[_FAMILY])
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
        for word in self._words.values():
            self._findings.add("approval", word.where, "its approval is missing: deleted or edited")
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
        if isinstance(checkpoint := details.get("checkpoint"), int):
            self.named.setdefault(checkpoint, row[_SEQUENCE])
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
                known.registered_at = row[_AT]
                known.told = {name: details[name] for name in _TOLD if name in details}
            case "approve" | "reject":
                where = f"the word on {known} in event {row[_SEQUENCE]}"
                self._words[details["statement"]] = _Word(row[_VERSION_ID], row[_AT], row[_REPORT_ID], where)
            case "incident":
                told = (row[_REASON], row[_ACTOR], row[_AT])
                self._incidents[details["incident"]] = _Incident(row[_VERSION_ID], details["severity"], *told)
            case "incident closed":
                self._incidents[details["incident"]] = self._incidents[details["incident"]]._replace(
                    closed_by=row[_ACTOR], closed_at=row[_AT], resolution=row[_REASON]
                )

    def _rule_set(self, row: Mapping[str, Any]) -> None:
        found = hashlib.sha256(row["content"].encode()).hexdigest()
        if found != row["digest"]:
            what = "its content is not what its digest was made of: edited"
            self._findings.add("rules", f"rules {row['digest'][:_SHOWN_DIGITS]}", what)
        self._rules.pop(row["digest"], None)

    def _report(self, row: Mapping[str, Any]) -> None:
        self._reports[row["id"]] = (row["evidence"], row["digest"])
        where = f"gate report {row['id']} ({row['model']} v{row['mlflow_version']})"
        report = row["report"]
        if not isinstance(report, dict) or digest(report) != row["digest"]:
            self._findings.add("report", where, "its content is not what its digest was made of: edited")
            return
        columns = {name: row[name] for name in ("passed", "evidence", "family")}
        columns |= {"target": row["target"].capitalize(), "candidate": f"{row['model']} v{row['mlflow_version']}"}
        for name, today in columns.items():
            if report.get(name, today) != today:
                self._differs("report", where, name, today, report[name], "its content says")

    def _spoken(self, row: Mapping[str, Any]) -> None:
        where = f"approval {row['id']} ({row['role']}, {row['approver']})"
        word = self._words.pop(digest(row["statement"]), None)
        if word is None or word.version_id != row["version_id"]:
            self._findings.add("approval", where, "in no event: written or edited past the journal")
            return
        try:
            statement = json.loads(row["statement"])
            recorded = {column: statement[name] for column, name in _STATED.items()}
            recorded |= {"approved": statement["decision"] == "approve", "created_at": word.at}
            recorded |= {"gate_report_id": word.report_id}
        except (ValueError, LookupError, TypeError):
            self._findings.add("approval", where, "its statement is none of ours: edited")
            return
        for column, value in recorded.items():
            if row[column] != value:
                self._differs("approval", where, column, row[column], value, "its statement and its event say")

    def _incident(self, row: Mapping[str, Any]) -> None:
        recorded, where = self._incidents.pop(row["id"], None), f"incident {row['id']}"
        if recorded is None:
            self._findings.add("incident", where, "in no event: written past the journal")
            return
        for column, value in recorded._asdict().items():
            # Earlier versions told the time twice, the row and then its event.
            is_same = row[column] == value or (column == "opened_at" and not apart(value, row[column]))
            if not is_same:
                self._differs("incident", where, column, row[column], value, "its events say")

    def _version(self, row: Mapping[str, Any]) -> None:
        where = f"{row['model']} v{row['mlflow_version']}"
        known = self._versions.pop(row["id"], None)
        if known is None:
            self._findings.add("version", where, "in no event: written past the journal")
            return
        identity, told = (row["model"], row["mlflow_version"]), known.told
        recorded = {
            "name": (identity, known.identity or identity),
            "family": (row["family"], known.family),
            "version": (row["version"], known.semver or row["version"]),
            "status": (row["status"], known.status),
            "digest": (row["digest"], known.digest if known.identity else known.digest or row["digest"]),
            "known-bad mark": (row["known_bad"], known.known_bad),
            "registered_at": (row["registered_at"], known.registered_at),
            **{name: (row[name], value) for name, value in told.items()},
        }
        for name, (today, then) in recorded.items():
            if today != then and name not in self._unjudged:
                self._differs("version", where, name, today, then, "the events say")
        # What is named already is not told again.
        facts = (
            digest(registered_facts({**row, **told, "digest": known.digest})) if _is_registered(row, known) else None
        )
        if facts != known.registration:
            self._differs("version", where, _REGISTRATION, facts, known.registration, "the events say")

    def _differs(self, kind: str, where: str, column: str, today: Any, then: Any, whose: str) -> None:
        what = f"its row's {column} is {_shown(today)}, {whose} {_shown(then)}: changed by SQL"
        self._findings.add(kind, where, what)


def _is_registered(row: Mapping[str, Any], known: _Version) -> bool:
    """Whether there is a registration, by its event or by the row."""
    facts = (name for name in Registration.__slots__ if name != "digest")
    return known.registration is not None or any(row[name] is not None for name in facts)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "{} v{}".format(*value)
    return str("empty" if value is None or value == "" else value)
