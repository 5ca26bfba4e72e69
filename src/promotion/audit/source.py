"""Where an audit reads from: a journal's database, or an exported file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from promotion.audit.checkpoints import Checkpoint
from promotion.journal.audit_rows import AuditRows, Batch
from promotion.journal.reader import JournalReader


class RecordSource(Protocol):
    """Where an audit reads from.

    Attributes:
        name: Where the records come from.
        checkpoints: Those that came with the records.
        end: Up to which event checkpoints may be missed: later ones came while it was read.
        unfinished: Operations that were under way, whose checkpoint is still to come.
        written: The events for which the journal knows that a signed checkpoint was written.
    """

    name: str
    checkpoints: Sequence[Checkpoint]
    end: int
    unfinished: Collection[str]
    written: Collection[int]

    def records(self) -> Iterator[Batch]:
        """The rows of all kinds; events in the order of their sequence."""

    def now(self) -> datetime:
        """What time it is, rehearsal or not, UTC."""


class JournalSource(AuditRows):
    """A journal's database; checkpoints lie beside it, not in it, and are read after this was made."""

    checkpoints: Sequence[Checkpoint] = ()

    def __init__(self, journal: JournalReader, family: str | None = None) -> None:
        super().__init__(journal, family)
        self._journal = journal
        # In this order: what is done by now, of what had been recorded before, has left its checkpoint.
        self.end = journal.last_sequence()
        self.unfinished: Collection[str] = {pending.operation for pending in journal.pending()}
        self.written: Collection[int] = journal.written_checkpoints()

    def now(self) -> datetime:
        """What time it is, rehearsal or not, UTC."""
        return self._journal.real_time()
