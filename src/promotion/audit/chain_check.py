"""Follow the hash chain from its first event to its last, and hold it against the checkpoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from promotion.audit.checkpoints import FORGED, UNKNOWN, Checkpoint
from promotion.audit.findings import AuditFindings
from promotion.journal.audit_rows import COLUMNS, EVENT, Row
from promotion.journal.chain import GENESIS, link_event

_FAMILY, _ACTION, _ACTOR = (COLUMNS[EVENT].index(name) for name in ("family", "action", "actor"))


class Chain:
    """Where the chain has come to, held against checkpoints that `judge_checkpoints` judged."""

    def __init__(self, judged: Iterable[tuple[Checkpoint, str]], findings: AuditFindings) -> None:
        self._findings = findings
        self._waiting: dict[int, list[Checkpoint]] = defaultdict(list)
        for checkpoint, standing in judged:
            if standing in {UNKNOWN, FORGED}:
                findings.add("checkpoint", f"checkpoint {checkpoint.name}", standing)
            if standing != FORGED:
                self._waiting[checkpoint.sequence].append(checkpoint)
        self.sequence = 0
        self.hash = GENESIS
        self.count = 0

    def follow(self, rows: Sequence[Row]) -> None:
        """Go on with events in the order of their sequence."""
        waiting = self._waiting
        for row in rows:
            _, sequence, *_, previous, found = row
            if sequence != self.sequence + 1:
                self._report_jump(sequence)
            elif previous != self.hash:
                self._add(row, "does not follow the event before it: events were inserted, exchanged or edited")
            if linked(row) != found:
                self._add(row, "its content is not what its hash was made of: edited")
            if isinstance(sequence, int):
                self.sequence = sequence
            self.hash = found
            if sequence in waiting:
                self._compare(sequence)
        self.count += len(rows)

    def finish(self) -> None:
        """There are no more events; whoever is still waited for is missing."""
        for sequence, checkpoints in sorted(self._waiting.items()):
            for checkpoint in checkpoints:
                what = (
                    f"the journal ends at event {self.sequence}: its tail was cut off"
                    if sequence > self.sequence
                    else f"event {sequence} is missing"
                )
                self._findings.add("checkpoint", _name(checkpoint), what)

    def _compare(self, sequence: int) -> None:
        for checkpoint in self._waiting.pop(sequence):
            if checkpoint.hash != self.hash:
                self._findings.add(
                    "checkpoint",
                    _name(checkpoint),
                    f"event {sequence} has another hash ({self.hash[:12]}…) than the one recorded on {checkpoint.at}: "
                    "the chain was rewritten up to there",
                )

    def _report_jump(self, sequence: Any) -> None:
        expected = self.sequence + 1
        if isinstance(sequence, int) and sequence > expected:
            gone = f"event {expected}" if sequence == expected + 1 else f"events {expected} to {sequence - 1}"
            self._findings.add("event", gone, "missing: deleted")
        else:
            self._findings.add("event", f"event {sequence}", f"out of place, {expected} was expected: inserted")

    def _add(self, row: Row, what: str) -> None:
        where = f"event {row[1]} ({row[_FAMILY]}, {row[_ACTION]} by {row[_ACTOR]})"
        self._findings.add("event", where, what)


def check_newest(rows: Sequence[Row], findings: AuditFindings) -> None:
    """Follow the end of a chain, in the order of its events, whatever came before them."""
    chain = Chain((), findings)
    if rows:
        _, sequence, *_, previous, _ = rows[0]
        chain.sequence, chain.hash = sequence - 1, previous
    chain.follow(rows)


def linked(row: Row) -> str | None:
    """The hash that an event's content makes; None where it holds what no event of ours does."""
    _, *content, previous, _ = row
    try:
        return link_event(previous, content)
    except TypeError:  # a column of SQLite may hold bytes
        return None


def _name(checkpoint: Checkpoint) -> str:
    return f"checkpoint {checkpoint.name} of {checkpoint.journal}"
