"""Where an audit reads from: a journal's database, or an exported file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from promotion.audit.checkpoints import Checkpoint
from promotion.journal.audit_rows import AuditRows, Batch


class RecordSource(Protocol):
    """Where an audit reads from."""

    @property
    def name(self) -> str:
        """Where the records come from."""

    @property
    def checkpoints(self) -> Sequence[Checkpoint]:
        """Those that came with the records."""

    def records(self) -> Iterator[Batch]:
        """The rows of all kinds; events in the order of their sequence."""


class JournalSource(AuditRows):
    """A journal's database; checkpoints lie beside it, not in it."""

    checkpoints: Sequence[Checkpoint] = ()
