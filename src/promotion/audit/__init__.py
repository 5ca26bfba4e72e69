"""Whether the journal still says what was recorded: the chain, the checkpoints, and the tables beside the events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promotion.audit.attestation_check import AttestationCheck
from promotion.audit.chain_check import Chain
from promotion.audit.checkpoints import UNSIGNED, VALID, Checkpoint, counted, judge_checkpoints
from promotion.audit.coverage import Coverage
from promotion.audit.findings import AuditFinding, AuditFindings
from promotion.audit.source import RecordSource
from promotion.audit.table_check import Claims
from promotion.audit.timeline import DateCheck
from promotion.journal.audit_rows import EVENT, RULES


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        source: What was read.
        events: How many.
        sequence: Of the last event; 0 when there is none.
        hash: Of the last event; note it down, and a later audit can be held against it.
        checkpoints: How many there are of each kind.
        vouched: Up to which event the newest checkpoint with a valid signature vouches for the chain.
        believed: The keys whose signatures were believed.
        rows: How many rows of each kind were compared with the events.
        rehearsed: How many events were recorded in a rehearsal.
        findings: What is wrong, the first thousand.
        count: How much is wrong.
        attestations: How many promotions have one that a trusted key signed and that says what the chain says.
    """

    source: str
    events: int
    sequence: int
    hash: str
    checkpoints: Mapping[str, int]
    vouched: int
    believed: Sequence[str]
    rows: Mapping[str, int]
    rehearsed: int
    findings: Sequence[AuditFinding]
    count: int
    attestations: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.count

    @property
    def notes(self) -> list[str]:
        """What this audit could not see."""
        notes = []
        if unsigned := self.checkpoints.get(UNSIGNED):
            notes.append(f"{unsigned} unsigned: worth nothing against somebody who can write to their folder")
        if not self.vouched and self.events:
            notes.append("no checkpoint with a valid signature: a chain that was rewritten whole would not be seen")
        elif self.vouched < self.sequence:
            notes.append(
                f"events {self.vouched + 1} to {self.sequence} came after the newest signed checkpoint: nothing but "
                f"the database vouches for these {self.sequence - self.vouched:,}"
            )
        if self.rehearsed:
            notes.append(f"{self.rehearsed:,} recorded in a rehearsal: their dates were set by hand and not compared")
        return notes

    @property
    def compared(self) -> list[str]:
        """What was held against what, one line each."""
        counts = ((count, "rule set" if kind == RULES else kind) for kind, count in self.rows.items())
        rows = ", ".join(f"{count:,} {kind}s" for count, kind in counts) or "no rows"
        signed = f"{self.checkpoints.get(VALID, 0):,} signed checkpoints"
        keys = f"keys believed: {', '.join(self.believed) or 'none'}"
        return [
            f"{self.events:,} events with their own hashes, the event before them, and the order of time",
            f"{rows} with what the events say of them",
            f"{signed} with the hashes of the events they name, up to event {self.vouched}; {keys}",
        ]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "sound": self.is_sound, "compared": self.compared, "notes": self.notes}


def verify_journal(
    source: RecordSource,
    checkpoints: Sequence[Checkpoint],
    trusted: Mapping[str, bytes],
    *,
    unreadable: Sequence[str] = (),
    attestations: Mapping[str, str] | None = None,
    progress: Callable[[int], None] = lambda _events: None,
) -> AuditReport:
    """Read every record once, in bounded memory, and say what is not as it was recorded.

    Args:
        source: A journal, or an exported file.
        checkpoints: What the chain is held against, beside those that the source brings.
        trusted: Public keys whose checkpoints are believed, from `Keys.trusted`.
        attestations: Envelopes by the name of their file; None asks for none.
        unreadable: Why files among the checkpoints could not be read, one line each.
        progress: Told now and then how many events were read.

    Raises:
        JournalError: The database cannot be read.
        DataError: The exported file cannot be read.
    """
    findings = AuditFindings()
    for problem in unreadable:
        findings.add("checkpoint", "checkpoint", problem)
    judged = judge_checkpoints(dict.fromkeys([*checkpoints, *source.checkpoints]), trusted)
    chain, claims = Chain(judged, findings), Claims(findings)
    attested = AttestationCheck(attestations, trusted, findings)
    dates, coverage = DateCheck(findings), Coverage(source, judged, findings)
    compared: Counter[str] = Counter()
    for kind, rows in source.records():
        if kind == EVENT:
            chain.follow(rows)
            dates.follow(rows, source.now())
            coverage.follow(rows)
            claims.hear(rows)
            attested.hear(rows)
            progress(chain.count)
        else:
            claims.compare(kind, rows)
            compared[kind] += len(rows)
    chain.finish()
    claims.finish()
    attested.finish()
    coverage.finish(claims.named)
    return AuditReport(
        source=source.name,
        events=chain.count,
        sequence=chain.sequence,
        hash=chain.hash,
        checkpoints=counted(judged),
        vouched=coverage.vouched,
        believed=sorted(trusted),
        rows=dict(sorted(compared.items())),
        rehearsed=dates.rehearsed,
        findings=findings.kept,
        count=findings.count,
        attestations=attested.count,
    )
