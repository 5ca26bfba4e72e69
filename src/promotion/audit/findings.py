"""What an audit brings to light."""

from __future__ import annotations

from dataclasses import dataclass, field

_KEPT = 1000


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that is wrong.

    Attributes:
        kind: event, checkpoint, attestation, report, approval, incident or version.
        where: Which one.
        what: What is wrong with it.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class AuditFindings:
    """Collects findings; of a journal that is wrong from end to end it keeps the first thousand and counts the rest.

    Attributes:
        kept: In the order they were found.
        count: How many there are.
    """

    kept: list[AuditFinding] = field(default_factory=list)
    count: int = 0

    def add(self, kind: str, where: str, what: str) -> None:
        """Note one."""
        self.count += 1
        if len(self.kept) < _KEPT:
            self.kept.append(AuditFinding(kind, where, what))
