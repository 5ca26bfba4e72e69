"""What other systems are still to be told of: queued with the event, taken in order, kept when nobody takes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select

from promotion.journal.journal import Journal
from promotion.journal.records import Event
from promotion.journal.rows import EVENTS, event, record
from promotion.journal.schema import outbox, promotion_event
from promotion.journal.transaction import FamilyTransaction
from promotion.registry.stages import Stage

Queue = tuple[str, str]
"""A family and a receiver: what the one has to tell the other arrives in order."""

# Longer than any attempt takes: whoever claimed a letter and did not answer by then has died.
_CLAIM = timedelta(minutes=2)
_FIRST_WAIT = timedelta(seconds=30)
_LONGEST_WAIT = timedelta(hours=6)
_ATTEMPTS = 20
"""Then nobody tries any more, which is after two and a half days."""

_LETTERS: Select[Any] = select(outbox).where(outbox.c.receiver.is_not(None), outbox.c.done_at.is_(None))
_LIVING = _LETTERS.where(outbox.c.dead_at.is_(None))


@dataclass(frozen=True, slots=True)
class Letter:
    """One event that one receiver has not taken yet.

    Attributes:
        id: Row.
        family: Whose event.
        receiver: As the file calls it.
        sequence: Of the event.
        created_at: UTC.
        attempts: How often it was tried.
        error: Why it was not taken last; None when it was never tried.
        dead_at: Since when nobody tries any more, UTC; None while somebody does.
    """

    id: int
    family: str
    receiver: str
    sequence: int
    created_at: datetime
    attempts: int
    error: str | None
    dead_at: datetime | None


def letters(journal: Journal) -> list[Letter]:
    """Everything that was not taken yet, dead letters too, oldest first."""
    return [record(Letter, row) for row in journal.rows(_LETTERS.order_by(outbox.c.id))]


def due_queues(journal: Journal) -> list[Queue]:
    """Who has something to be told of whose oldest letter may be tried now."""
    heads = _LIVING.with_only_columns(func.min(outbox.c.id)).group_by(outbox.c.family, outbox.c.receiver)
    if not journal.exists:
        return []
    query = select(outbox).where(outbox.c.id.in_(heads)).order_by(outbox.c.id)
    now = journal.now()
    return [
        (row.family, row.receiver) for row in journal.rows(query) if row.not_before is None or row.not_before <= now
    ]


def claim(journal: Journal, queue: Queue) -> Letter | None:
    """Take the oldest letter of a queue, if its time has come; nobody else takes one until this one is settled."""
    with journal.database.write() as connection:
        return _claim(FamilyTransaction(connection, queue[0]), queue)


def settle(journal: Journal, letter: Letter, problem: str, *, is_final: bool = False) -> Letter | None:
    """Write down what became of a letter.

    Args:
        journal: Holds it.
        letter: As it was claimed.
        problem: Why it was not taken; empty when it was.
        is_final: Whether another attempt would not change that.

    Returns:
        The next one of its queue, claimed; None where it has to wait, or there is none.
    """
    with journal.database.write() as connection:
        transaction = FamilyTransaction(connection, letter.family)
        tried, now = letter.attempts + 1, transaction.now
        if not problem:
            transaction.update(outbox, letter.id, attempts=tried, done_at=now, error=None, not_before=None)
        elif is_final or tried >= _ATTEMPTS:
            transaction.update(outbox, letter.id, attempts=tried, dead_at=now, error=problem, not_before=None)
        else:
            # As an exponent it would grow beyond what a time span holds.
            wait = min(_FIRST_WAIT * 2 ** min(letter.attempts, _ATTEMPTS), _LONGEST_WAIT)
            transaction.update(outbox, letter.id, attempts=tried, error=problem, not_before=now + wait)
        return _claim(transaction, (letter.family, letter.receiver))


def release(journal: Journal, letter: Letter) -> None:
    """Hand a letter back untried: this process cannot reach its receiver, another one may."""
    with journal.database.write() as connection:
        FamilyTransaction(connection, letter.family).update(outbox, letter.id, not_before=None)


def drop(journal: Journal, letter: Letter) -> Letter | None:
    """Forget a letter whose receiver the files do not name any more; returns the next one, as `settle`."""
    return settle(journal, letter, "")


def revive(journal: Journal, families: Collection[str] | None) -> int:
    """Let dead letters, of these families or of all, be tried again, and waiting ones at once; returns how many."""
    found = [letter for letter in letters(journal) if families is None or letter.family in families]
    for family in sorted({letter.family for letter in found}):
        ids = [letter.id for letter in found if letter.family == family]
        with journal.database.write() as connection:
            transaction = FamilyTransaction(connection, family)
            claimed = outbox.c.error.is_(None) & outbox.c.not_before.is_not(None)
            again = outbox.update().where(outbox.c.id.in_(ids), outbox.c.done_at.is_(None), ~claimed)
            transaction.connection.execute(again.values(dead_at=None, not_before=None, attempts=0))
    return sum(letter.dead_at is not None for letter in found)


def event_of(journal: Journal, letter: Letter) -> tuple[Event, Event | None]:
    """The event that a letter is about, and the one that took another version out of Production for it, if any."""
    about = event(journal.rows(EVENTS.where(promotion_event.c.sequence == letter.sequence))[0])
    if not about.is_move or about.to_stage is not Stage.PRODUCTION:
        return about, None
    left = EVENTS.where(
        promotion_event.c.operation == about.operation,
        promotion_event.c.from_status == Stage.PRODUCTION.status,
        promotion_event.c.to_status == Stage.ARCHIVED.status,
    )
    return about, next((event(row) for row in journal.rows(left)), None)


def _claim(transaction: FamilyTransaction, queue: Queue) -> Letter | None:
    mine = _LIVING.where(outbox.c.family == queue[0], outbox.c.receiver == queue[1])
    row = transaction.connection.execute(mine.order_by(outbox.c.id).limit(1)).first()
    if row is None or (row.not_before is not None and row.not_before > transaction.now):
        return None
    transaction.update(outbox, row.id, not_before=transaction.now + _CLAIM)
    return record(Letter, row)
