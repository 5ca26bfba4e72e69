"""Hold the attestations beside the checkpoints against the events they are about."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from promotion.audit.attestations import DUE, AttestedMove, attestation_name
from promotion.audit.findings import AuditFindings
from promotion.journal.audit_rows import COLUMNS, EVENT, Row
from promotion.journal.chain import detail
from promotion.registry.stages import Stage

_SEQUENCE, _OPERATION, _FROM, _TO, _DETAILS, _HASH = (
    COLUMNS[EVENT].index(name) for name in ("sequence", "operation", "from_status", "to_status", "details", "hash")
)
_MARK = detail(DUE)


class AttestationCheck:
    """Listens to the events and compares with the envelopes found, by file; None where nobody brought their folder."""

    def __init__(self, found: Mapping[str, str] | None, trusted: Mapping[str, bytes], findings: AuditFindings) -> None:
        self._waiting = dict(found or {})
        self._is_asked = found is not None
        self._trusted = trusted
        self._findings = findings
        self.count = 0

    def hear(self, rows: Sequence[Row]) -> None:
        """Compare what these events make due; what is no event of ours, the chain's check says."""
        for row in rows if self._is_asked else ():
            if row[_TO] == Stage.PRODUCTION.status != row[_FROM] and _MARK in str(row[_DETAILS]):
                self._compare(row)

    def finish(self) -> None:
        """There are no more events."""
        for name in self._waiting:
            self._findings.add("attestation", f"attestation {name}", "of no promotion in this journal")

    def _compare(self, row: Row) -> None:
        try:
            details = json.loads(row[_DETAILS])
            recorded = AttestedMove.recorded(row[_SEQUENCE], row[_HASH], row[_OPERATION], details)
        except (ValueError, LookupError, TypeError, AttributeError):
            return
        if recorded.digest is None:
            return
        name = attestation_name(recorded.sequence, recorded.hash)
        text = self._waiting.pop(name, None)
        problem = "missing: reconcile writes it from the record" if text is None else ""
        if problem or (problem := recorded.problem(text or "", self._trusted)):
            self._findings.add("attestation", f"attestation {name}", problem)
        else:
            self.count += 1
