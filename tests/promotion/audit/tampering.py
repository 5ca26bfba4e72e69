"""A journal with something of everything, and what a person with write access to its database could do to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text
from tests.promotion.factories import a_version

from promotion.approvals.rules import Word
from promotion.audit.checkpoints import leave_checkpoint
from promotion.journal import clock
from promotion.journal.chain import FIELDS, GENESIS, link_event
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Registration
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.signing.keys import Keys

MODEL = "churn"
EVENTS = 11


def fill(journal: Journal, checkpoints: Path, keys: Keys) -> None:
    """Two versions are registered, approved and promoted; one has an incident and goes back; four checkpoints."""
    reviews = Reviews(journal)
    for number in (1, 2):
        registration = Registration(
            f"{number}" * 64, None, "tom", "f" * 64, {"roc_auc": 0.9 + number / 100}, {"rows": 3}
        )
        journal.register(MODEL, [(a_version(number=number), registration)], actor="tom", semver=None)
        entry = journal.entry(MODEL, number)
        assert entry
        report = journal.save_report(
            family=MODEL,
            version=entry,
            target=Stage.PRODUCTION,
            passed=True,
            report={"passed": True, "evidence": "e" * 64, "metrics": {"roc_auc": 0.91}},
            evidence="e" * 64,
            actor="anna",
        )
        now = clock.now()
        word = Word("business", "bea", True, "useful", entry.digest or "", "e" * 64, now, now + timedelta(days=9))  # noqa: FBT003
        values = {name: getattr(word, name) for name in Word.__slots__ if name not in {"at", "rules"}}
        values |= {"gate_report_id": report, "statement": word.statement(MODEL, entry), "signature": None}
        reviews.add_approval(MODEL, entry, values, "bea")
        move(journal, number, Authority("promote", "anna", "better", report, details={"evidence": "e" * 64}))
        leave_checkpoint(journal, checkpoints, lambda: keys, _fail)
    entry = journal.entry(MODEL, 2)
    assert entry
    incident = reviews.open_incident(MODEL, entry, severity="critical", summary="wrong", actor="otto")
    move(journal, 1, Authority("rollback", "otto", "wrong answers"), known_bad="wrong answers")
    leave_checkpoint(journal, checkpoints, lambda: keys, _fail)
    reviews.close_incident(incident, resolution="rolled back", actor="otto")
    leave_checkpoint(journal, checkpoints, lambda: keys, _fail)


def move(journal: Journal, number: int, authority: Authority, *, known_bad: str | None = None) -> None:
    """Put a version into Production."""
    current = journal.production(MODEL)
    changes = [Change(current, Stage.ARCHIVED, known_bad=known_bad)] if current else []
    changes.append(Change(a_version(number=number), Stage.PRODUCTION))
    journal.move(MODEL, changes, authority, expected_production=current.id if current else None)
    journal.mark_done(journal.pending(MODEL))


def _fail(line: str) -> None:
    raise AssertionError(line)


@contextmanager
def past_the_triggers(url: str) -> Iterator[Connection]:
    """A transaction of somebody who owns the database and has taken its triggers off."""
    engine = create_engine(url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            found = "SELECT tgname, tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal"
            for name, table in connection.execute(text(found)).all():
                connection.execute(text(f"DROP TRIGGER {name} ON {table}"))
        else:
            for (name,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection
    engine.dispose()


def rewrite(connection: Connection) -> None:
    """Make the whole chain consistent with what the rows say now."""
    previous = GENESIS
    for position, row in enumerate(_events(connection), start=1):
        values = {**row, "sequence": position}
        hashed = link_event(previous, (values[name] for name in FIELDS))
        change = "UPDATE promotion_event SET sequence = :n, previous_hash = :p, hash = :h WHERE id = :id"
        connection.execute(text(change), {"n": position, "p": previous, "h": hashed, "id": row["id"]})
        previous = hashed


def _events(connection: Connection) -> list[dict[str, Any]]:
    from promotion.journal.audit_rows import COLUMNS, EVENT, _events

    query = _events(connection.dialect.name).order_by(text("sequence"))
    return [dict(zip(COLUMNS[EVENT], row, strict=True)) for row in connection.execute(query).all()]


def edit(connection: Connection) -> None:
    """Somebody else is to have promoted."""
    connection.execute(text("UPDATE promotion_event SET actor = 'mallory' WHERE sequence = 3"))


def redate(connection: Connection) -> None:
    """It is to have happened a day earlier."""
    connection.execute(text("UPDATE promotion_event SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 3"))


def delete(connection: Connection) -> None:
    """The rollback never happened."""
    connection.execute(text("DELETE FROM promotion_event WHERE sequence IN (6, 7)"))


def truncate(connection: Connection) -> None:
    """Nothing happened after the first promotion; the tables agree."""
    connection.execute(text("DELETE FROM promotion_event WHERE sequence > 3"))


def forge(connection: Connection) -> None:
    """Another story from the beginning, with hashes that fit."""
    connection.execute(text("UPDATE promotion_event SET actor = 'mallory' WHERE sequence = 1"))
    rewrite(connection)


def close_up(connection: Connection) -> None:
    """A deleted event, and everything after it renumbered and hashed anew."""
    connection.execute(text("DELETE FROM promotion_event WHERE sequence = 2"))
    rewrite(connection)


def insert(connection: Connection) -> None:
    """An event between others, linked to the one before it; the later ones make room."""
    connection.execute(text("UPDATE promotion_event SET sequence = -sequence - 1 WHERE sequence > 4"))
    connection.execute(text("UPDATE promotion_event SET sequence = -sequence WHERE sequence < 0"))
    before, row = _events(connection)[3], _events(connection)[2]
    row |= {"id": 99, "sequence": 5, "actor": "mallory", "previous_hash": before["hash"]}
    row["hash"] = link_event(before["hash"], (row[name] for name in FIELDS))
    names = ", ".join(row)
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(text(f"INSERT INTO promotion_event ({names}) VALUES ({marks})"), row)  # noqa: S608


ATTACKS: dict[str, tuple[Callable[[Connection], None], str]] = {
    "edit": (edit, r"event 3 \(churn, promote by mallory\): its content is not what its hash was made of"),
    "redate": (redate, r"event 3 .*: its content is not what its hash was made of"),
    "delete": (delete, "events 6 to 7: missing: deleted"),
    "truncate": (truncate, r"checkpoint 11-.*: the journal ends at event 3: its tail was cut off"),
    "forge": (forge, r"checkpoint 3-.*: event 3 has another hash .* the chain was rewritten up to there"),
    "close up": (close_up, r"checkpoint 3-.*: event 3 has another hash .* the chain was rewritten up to there"),
    "insert": (insert, r"event 6 .*: does not follow the event before it"),
}
"""What is done, and a finding that must result."""

HANDIWORK = {
    "status": (
        "UPDATE model_version_detail SET status = 'staging' WHERE mlflow_version = 2",
        "churn v2: its row's status is staging, the events say archived",
    ),
    "digest": (
        "UPDATE model_version_detail SET digest = '9999' WHERE mlflow_version = 2",
        r"churn v2: its row's digest is 9999, the events say 2{64}",
    ),
    "metrics": (
        """UPDATE model_version_detail SET metrics = '{"roc_auc": 0.99}' WHERE mlflow_version = 2""",
        r"churn v2: its row's registration \(signature, trainer, feature hash, metrics, lineage, provenance\)",
    ),
    "known bad": (
        "UPDATE model_version_detail SET known_bad = NULL",
        "churn v2: its row's known-bad mark is empty, the events say wrong answers",
    ),
    "semantic version": (
        "UPDATE model_version_detail SET version = '9.9.9' WHERE mlflow_version = 2",
        r"churn v2: its row's version is 9\.9\.9, the events say 1\.1\.0",
    ),
    "renamed model": (
        "UPDATE model_registry SET name = 'fraud'",
        "fraud v1: its row's name is fraud v1, the events say churn v1",
    ),
    "report": (
        """UPDATE gate_report SET report = '{"passed": true, "metrics": {"roc_auc": 0.99}}' WHERE id = 1""",
        r"gate report 1 \(churn v1\): its content is not what its digest was made of",
    ),
    "report's verdict": (
        "UPDATE gate_report SET evidence = 'dddd' WHERE id = 1",
        "gate report 1: not the one that event 3 relies on",
    ),
    "approver": (
        "UPDATE approval SET approver = 'mallory' WHERE id = 2",
        r"approval 2 \(business, mallory\): its row's approver is mallory, its statement and its event say bea",
    ),
    "statement": (
        "UPDATE approval SET statement = '{}' WHERE id = 1",
        r"approval 1 \(business, bea\): in no event",
    ),
    "deleted approval": (
        "DELETE FROM approval WHERE id = 1",
        "the word on churn v1 in event 2: its approval is missing",
    ),
    "incident": (
        "UPDATE incident SET severity = 'info'",
        "incident 1: its row's severity is info, its events say critical: changed by SQL",
    ),
    "incident's summary": (
        "UPDATE incident SET summary = 'a typing error'",
        "incident 1: its row's summary is a typing error, its events say wrong: changed by SQL",
    ),
    "who opened it": (
        "UPDATE incident SET opened_by = 'eve'",
        "incident 1: its row's opened_by is eve, its events say otto",
    ),
    "when": ("UPDATE incident SET opened_at = '2020-01-01 00:00:00.000000'", "incident 1: its row's opened_at is 2020"),
    "resolution": (
        "UPDATE incident SET resolution = 'nothing was wrong', closed_by = 'bea'",
        "incident 1: its row's resolution is nothing was wrong, its events say rolled back",
    ),
    "evidence of an approval": (
        "UPDATE approval SET gate_report_id = 3 - gate_report_id WHERE id = 2",
        r"approval 2 \(business, \w+\): its row's gate_report_id is \d, its statement and its event say \d",
    ),
    "deleted incident": ("DELETE FROM incident", "incident 1: missing"),
}
"""SQL that touches no event, and a finding that must result."""
