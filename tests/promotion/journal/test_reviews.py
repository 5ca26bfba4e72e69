"""What people say of a version: approvals, rejections and incidents."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import a_journal, a_version, promote

from promotion.errors import JournalError, UsageError
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Churn v1 serves; a gate report of it is kept."""
    journal = a_journal(tmp_path)
    promote(journal, "churn", a_version())
    journal.save_report(
        family="churn",
        version=a_version(),
        target=Stage.PRODUCTION,
        passed=True,
        report={},
        evidence="e" * 64,
        actor="anna",
    )
    return journal


def _entry(journal: Journal) -> Entry:
    entry = journal.entry("churn", 1)
    assert entry is not None
    return entry


def _word(**changes: Any) -> dict[str, Any]:
    return {
        "role": "devops",
        "approver": "dora",
        "approved": True,
        "comment": "it deploys",
        "artifact_digest": "a" * 64,
        "evidence": "e" * 64,
        "gate_report_id": 1,
        "statement": '{"decision":"approve"}',
        "signature": None,
        "expires_at": clock.now() + timedelta(days=30),
    } | changes


def test_an_approval_and_its_event_are_one_write(journal: Journal) -> None:
    """The word comes back as it was said; the event names role, person, account and the statement's digest."""
    reviews = Reviews(journal)

    reviews.add_approval("churn", _entry(journal), _word(), "account")

    (approval,) = reviews.approvals(_entry(journal))
    assert ("devops", "dora", True, "it deploys", True) == (
        approval.role,
        approval.approver,
        approval.approved,
        approval.comment,
        approval.recorded,
    )
    event = journal.history("churn")[0]
    assert ("approve", "account", "devops: it deploys", 1) == (
        event.action,
        event.actor,
        event.reason,
        event.gate_report_id,
    )
    assert {"approver": "dora", "role": "devops", "signed": False}.items() <= event.details.items()
    assert not event.is_move


def test_a_rejection_is_recorded_as_one(journal: Journal) -> None:
    """Its event cannot be taken for an approval."""
    reviews = Reviews(journal)
    reviews.add_approval("churn", _entry(journal), _word(approved=False, statement='{"decision":"reject"}'), "account")

    assert [(False, True)] == [(word.approved, word.recorded) for word in reviews.approvals(_entry(journal))]
    assert "reject" == journal.history("churn")[0].action


def test_an_approval_written_past_the_journal_is_not_recorded(journal: Journal, tmp_path: Path) -> None:
    """A row that no event accounts for is told apart, even with another approval's event there."""
    reviews = Reviews(journal)
    reviews.add_approval("churn", _entry(journal), _word(), "account")
    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database, database:
        columns = "version_id, role, approver, approved, comment, artifact_digest, evidence, gate_report_id"
        database.execute(
            f"INSERT INTO approval ({columns}, statement, created_at, expires_at) "  # noqa: S608
            f"SELECT version_id, 'security', 'eve', 1, comment, artifact_digest, evidence, gate_report_id, "
            '\'{"decision":"mine"}\', created_at, expires_at FROM approval'
        )

    assert {"dora": True, "eve": False} == {word.approver: word.recorded for word in reviews.approvals(_entry(journal))}


def test_words_come_in_the_order_of_the_chain(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever they are dated; a copy of an older row is no newer word, and one in no event comes last."""
    reviews = Reviews(journal)
    present = clock.local()
    for number, days in enumerate((900, 0, -900)):
        monkeypatch.setattr(clock, "now", lambda days=days: present + timedelta(days=days))
        reviews.add_approval("churn", _entry(journal), _word(approver=f"p{number}", statement=f"{number}"), "account")
    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database, database:
        columns = "version_id, role, approver, approved, comment, artifact_digest, evidence, gate_report_id, created_at"
        copied = f"INSERT INTO approval ({columns}, statement, expires_at) SELECT {columns}, {{}}, expires_at"
        for statement in ("statement", "'mine'"):
            database.execute(f"{copied.format(statement)} FROM approval WHERE approver = 'p0' LIMIT 1")

    found = [(word.approver, word.recorded) for word in reviews.approvals(_entry(journal))]

    assert [("p0", True), ("p0", True), ("p1", True), ("p2", True), ("p0", False)] == found


def test_what_is_said_in_a_rehearsal_counts_in_one_alone(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval, an incident and its end; said again in earnest, they count."""
    reviews = Reviews(journal)
    real = reviews.open_incident("churn", _entry(journal), severity="critical", summary="wrong", actor="ben")
    monkeypatch.setenv(clock.VARIABLE, "2030-01-01")
    reviews.add_approval("churn", _entry(journal), _word(), "account")
    reviews.close_incident(real, resolution="rehearsed", actor="ben")
    rehearsed = reviews.open_incident("churn", _entry(journal), severity="critical", summary="test", actor="ben")
    assert [rehearsed] == [item.id for item in reviews.incidents()]
    assert [False] == [word.is_void for word in reviews.approvals(_entry(journal))]
    monkeypatch.delenv(clock.VARIABLE)

    assert [(rehearsed, True), (real, False)] == [(item.id, item.is_void) for item in reviews.incidents()]
    assert [True] == [word.is_void for word in reviews.approvals(_entry(journal))]
    reviews.close_incident(real, resolution="in earnest", actor="ben")
    reviews.add_approval("churn", _entry(journal), _word(), "account")
    assert [rehearsed] == [item.id for item in reviews.incidents()]
    assert {False} == {word.is_void for word in reviews.approvals(_entry(journal))}


def test_an_approval_cannot_be_edited(journal: Journal, tmp_path: Path) -> None:
    """The table is append-only by its own triggers."""
    Reviews(journal).add_approval("churn", _entry(journal), _word(approved=False), "account")
    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database:
        for statement in ("UPDATE approval SET approved = 1", "DELETE FROM approval"):
            with pytest.raises(sqlite3.IntegrityError, match="approval is append-only"):
                database.execute(statement)


def test_nobody_said_anything_of_an_unknown_version(journal: Journal) -> None:
    """No entry, no approvals."""
    assert [] == Reviews(journal).approvals(None)


def test_an_incident_is_opened_and_closed_once(journal: Journal) -> None:
    """Open ones are listed newest first; both ends are events; a closed one stays readable."""
    reviews = Reviews(journal)
    first = reviews.open_incident("churn", _entry(journal), severity="critical", summary="5 % errors", actor="ben")
    second = reviews.open_incident("churn", _entry(journal), severity="info", summary="odd", actor="ben")

    reviews.close_incident(first, resolution="more memory", actor="dora")

    assert [second] == [incident.id for incident in reviews.incidents()]
    assert [second, first] == [i.id for i in reviews.incidents(entry=_entry(journal), only_open=False)]
    closed = reviews.incidents(only_open=False)[-1]
    assert ("churn", 1, "dora", "more memory") == (closed.model, closed.number, closed.closed_by, closed.resolution)
    assert ["incident closed", "incident", "incident"] == [event.action for event in journal.history("churn", limit=3)]
    with pytest.raises(UsageError, match=f"incident {first} was closed by dora already"):
        reviews.close_incident(first, resolution="again", actor="ben")


def test_an_incident_needs_a_known_severity(journal: Journal) -> None:
    """The levels are listed; nothing is written."""
    with pytest.raises(UsageError, match="unknown severity 'bad': expected one of critical, warning, info"):
        Reviews(journal).open_incident("churn", _entry(journal), severity="bad", summary="?", actor="ben")
    assert [] == Reviews(journal).incidents(only_open=False)


def test_an_unknown_incident_cannot_be_closed(journal: Journal) -> None:
    """One line says so."""
    with pytest.raises(UsageError, match="there is no incident 7"):
        Reviews(journal).close_incident(7, resolution="?", actor="ben")


@pytest.mark.system
def test_a_locked_journal_takes_neither_half(journal: Journal, tmp_path: Path) -> None:
    """Approval and event are written together or not at all."""
    impatient = a_journal(tmp_path, lock_timeout=0.1)
    entry = _entry(journal)
    with closing(sqlite3.connect(tmp_path / "promotion.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError):
            Reviews(impatient).add_approval("churn", entry, _word(), "account")
        other.execute("ROLLBACK")

    assert [] == Reviews(journal).approvals(entry)
    assert "promote" == journal.history("churn")[0].action
