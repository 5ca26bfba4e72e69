"""Which events a checkpoint vouches for, and which checkpoints are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promotion.audit.checkpoints import UNKNOWN, VALID, Checkpoint
from promotion.audit.findings import AuditFindings
from promotion.audit.source import RecordSource
from promotion.journal.audit_rows import COLUMNS, EVENT, Row

_SEQUENCE, _OPERATION, _FROM, _TO = (
    COLUMNS[EVENT].index(name) for name in ("sequence", "operation", "from_status", "to_status")
)


class Coverage:
    """Holds the checkpoints that should be there against those that are.

    Every event names the newest checkpoint that had been written, the journal lists all, and after each move one
    is due. Only a checkpoint with a valid signature counts: any other can be made up by whoever deletes the real one.

    Attributes:
        vouched: Up to which event the newest checkpoint with a valid signature vouches for the chain.
    """

    def __init__(self, source: RecordSource, judged: Sequence[tuple[Checkpoint, str]], findings: AuditFindings) -> None:
        self._source = source
        self._findings = findings
        # One by a stranger's key is a finding of its own, and there.
        self._present = {checkpoint.sequence for checkpoint, standing in judged if standing in {VALID, UNKNOWN}}
        self._newest = max(self._present, default=0)
        self._moves: list[int] = []
        self._moved = 0
        self.vouched = max((checkpoint.sequence for checkpoint, standing in judged if standing == VALID), default=0)

    def follow(self, rows: Sequence[Row]) -> None:
        """Go on with events in the order of their sequence."""
        if not rows or not _is_after(rows[-1][_SEQUENCE], self._newest):
            return
        for row in rows:
            if (
                row[_FROM] != row[_TO]
                and _is_after(row[_SEQUENCE], self._newest)
                and row[_SEQUENCE] <= self._source.end
                and row[_OPERATION] not in self._source.unfinished
            ):
                self._moves = [*self._moves[:1], row[_SEQUENCE]]
                self._moved += 1

    def finish(self, named: Mapping[int, int]) -> None:
        """All events were seen; `named` are the checkpoints that events name, each with the first event that does."""
        for sequence in sorted((named.keys() | self._source.written) - self._present):
            by = f"event {named[sequence]} names it" if sequence in named else "the journal lists it"
            what = f"missing: {by}, and none with a valid signature is here: deleted, exchanged, or not brought along"
            self._findings.add("checkpoint", f"checkpoint of event {sequence}", what)
        if self._moved:
            count = "a move" if self._moved == 1 else f"{self._moved:,} moves"
            where = f"checkpoint of event {self._moves[-1]}"
            what = (
                f"missing: {count} since event {self._newest}, the first one event {self._moves[0]}, vouched for by "
                "nothing but the database; each move leaves a signed checkpoint"
            )
            self._findings.add("checkpoint", where, what)


def _is_after(sequence: object, newest: int) -> bool:
    return isinstance(sequence, int) and sequence > newest
