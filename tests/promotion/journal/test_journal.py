"""The journal: who is where, compared and swapped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.promotion.factories import ANNA, a_journal, a_version, promote, rows

from promotion.errors import ProductionMoved
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Event
from promotion.registry.stages import Stage


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return a_journal(tmp_path)


def _told(events: list[Event]) -> list[tuple[int, str, str]]:
    return [(event.number, event.from_stage.value, event.to_stage.value) for event in events]


def test_reading_creates_nothing(journal: Journal, tmp_path: Path) -> None:
    """A journal that was never written answers every question with "nothing" and leaves no file."""
    assert not journal.exists
    assert not journal.knows("churn")
    assert not any([journal.entries(), journal.history(), journal.pending(), journal.families()])
    assert not any([journal.production("churn"), journal.previous("churn"), journal.arrival("churn", Stage.STAGING)])
    assert journal.production_at("churn", datetime.now(UTC)) is None
    assert {} == journal.productions()
    assert [] == list(tmp_path.iterdir())


def test_a_move_records_state_event_and_outbox_together(journal: Journal) -> None:
    """A promotion is visible as an entry, as an event and as something MLflow must be told."""
    operation = journal.move(
        "churn", [Change(a_version(), Stage.PRODUCTION, "ab" * 32)], ANNA, expected_production=None
    )

    entry = journal.production("churn")
    assert entry is not None
    assert ("churn", 1, Stage.PRODUCTION, "run-1") == (entry.model, entry.number, entry.stage, entry.run_id)
    assert ("ab" * 32, "anna", "the better one") == (entry.digest, entry.approver, entry.reason)
    (event,) = journal.history("churn")
    assert (operation, "promote", "anna") == (event.operation, event.action, event.actor)
    assert (Stage.NONE, Stage.PRODUCTION) == (event.from_stage, event.to_stage)
    assert event.at == entry.promoted_at
    assert UTC == event.at.tzinfo
    (pending,) = journal.pending("churn")
    assert (operation, 0, None) == (pending.operation, pending.attempts, pending.error)
    assert journal.knows("churn")
    assert {"churn": entry} == journal.productions()


def test_a_move_against_an_outdated_check_is_refused(journal: Journal, tmp_path: Path) -> None:
    """If Production moved since the check, nothing at all is written and the error names who is there now."""
    promote(journal, "churn", a_version(number=1))
    checked = journal.production("churn")
    assert checked is not None
    promote(journal, "churn", a_version(number=2))
    before = rows(tmp_path / "promotion.db")

    with pytest.raises(ProductionMoved, match="churn v2 is in Production of 'churn' now") as refused:
        journal.move(
            "churn",
            [Change(checked, Stage.ARCHIVED), Change(a_version(number=3), Stage.PRODUCTION)],
            ANNA,
            expected_production=checked.id,
        )

    assert 4 == refused.value.exit_code
    assert before == rows(tmp_path / "promotion.db")


@pytest.mark.parametrize("expected", [None, 99])
def test_a_first_promotion_expects_an_empty_production(journal: Journal, expected: int | None) -> None:
    """Expecting nobody is a comparison too: it fails once a version is there, and the opposite before."""
    if expected is None:
        promote(journal, "churn", a_version(number=1))

    with pytest.raises(ProductionMoved, match="nothing moved, check again"):
        journal.move("churn", [Change(a_version(number=2), Stage.PRODUCTION)], ANNA, expected_production=expected)


def test_a_move_that_forgets_to_archive_is_refused(journal: Journal, tmp_path: Path) -> None:
    """Even a caller that leaves the old Production in place cannot make a second one: all of its move is undone."""
    promote(journal, "churn", a_version(number=1))
    current = journal.production("churn")
    before = rows(tmp_path / "promotion.db")

    with pytest.raises(ProductionMoved):
        journal.move(
            "churn",
            [Change(a_version(number=2), Stage.PRODUCTION)],
            ANNA,
            expected_production=current.id if current else None,
        )

    assert before == rows(tmp_path / "promotion.db")


def test_families_do_not_disturb_each_other(journal: Journal) -> None:
    """Each family has its own Production, its own history and its own queue."""
    promote(journal, "churn", a_version("churn"))
    promote(journal, "fraud", a_version("fraud-tree", 7))

    assert {"churn": "churn v1", "fraud": "fraud-tree v7"} == {
        name: str(entry) for name, entry in journal.productions().items()
    }
    assert [(7, "None", "Production")] == _told(journal.history("fraud"))
    assert ["fraud"] == [item.family for item in journal.pending("fraud")]
    assert 2 == len(journal.entries())


def test_history_tells_every_move_newest_first(journal: Journal) -> None:
    """A promotion over another version is two events of one operation; `limit` keeps the newest."""
    promote(journal, "churn", a_version(number=1))
    operation = promote(journal, "churn", a_version(number=2))

    history = journal.history("churn")

    assert [(2, "None", "Production"), (1, "Production", "Archived"), (1, "None", "Production")] == _told(history)
    assert [operation, operation] == [event.operation for event in history[:2]]
    assert history[:1] == journal.history(limit=1)


def test_the_last_move_of_each_version(journal: Journal) -> None:
    """One event a version, the latest first; acts that move nothing and other families do not count."""
    promote(journal, "churn", a_version(number=1))
    promote(journal, "churn", a_version(number=2))
    promote(journal, "demand", a_version("demand"))
    journal.record("churn", a_version(number=2), Authority("refuse", "anna", "once more"))

    assert [(2, "None", "Production"), (1, "Production", "Archived")] == _told(journal.last_moves("churn"))


def test_production_at_answers_for_any_moment(journal: Journal) -> None:
    """Who served at a time in the past is read from the events, "nobody" included."""
    promote(journal, "churn", a_version(number=1))
    promote(journal, "churn", a_version(number=2))
    journal.move(
        "churn",
        [Change(a_version(number=2), Stage.ARCHIVED)],
        ANNA,
        expected_production=getattr(journal.production("churn"), "id", None),
    )
    first, second, ended = (
        event.at
        for event in reversed(journal.history("churn"))
        if event.number != 1 or event.to_stage is Stage.PRODUCTION
    )

    def served(moment: datetime) -> int | None:
        event = journal.production_at("churn", moment)
        return event.number if event else None

    tick = timedelta(microseconds=1)
    assert [None, 1, 1, 2, 2, None] == [
        served(moment) for moment in (first - tick, first, second - tick, second, ended - tick, ended)
    ]


def test_previous_is_the_version_that_served_before(journal: Journal) -> None:
    """After A, B, A again, the predecessor is B; with an empty Production it is the one that left last."""
    promote(journal, "churn", a_version(number=1))
    assert journal.previous("churn") is None
    promote(journal, "churn", a_version(number=2))
    assert "churn v1" == str(journal.previous("churn"))
    promote(journal, "churn", a_version(number=1))
    assert "churn v2" == str(journal.previous("churn"))

    current = journal.production("churn")
    assert current is not None
    journal.move("churn", [Change(current, Stage.ARCHIVED)], ANNA, expected_production=current.id)

    assert "churn v1" == str(journal.previous("churn"))


def test_arrival_is_the_newest_move_of_a_version_that_is_still_there(journal: Journal) -> None:
    """A version that came to Staging later but left it again is not the arrival."""
    for number in (1, 2):
        journal.move("churn", [Change(a_version(number=number), Stage.STAGING)], ANNA, expected_production=None)
    journal.move("churn", [Change(a_version(number=2), Stage.ARCHIVED)], ANNA, expected_production=None)

    arrival = journal.arrival("churn", Stage.STAGING)

    assert arrival is not None
    assert 1 == arrival.number


def test_an_archived_version_says_since_when(journal: Journal, tmp_path: Path) -> None:
    """Leaving Production sets `deprecated_at`; coming back clears it."""
    promote(journal, "churn", a_version(number=1))
    promote(journal, "churn", a_version(number=2))

    def deprecated() -> dict[int, bool]:
        with closing(sqlite3.connect(tmp_path / "promotion.db")) as database:
            query = "SELECT mlflow_version, deprecated_at IS NOT NULL FROM model_version_detail"
            return {number: bool(flag) for number, flag in database.execute(query)}

    assert {1: True, 2: False} == deprecated()
    promote(journal, "churn", a_version(number=1))
    assert {1: False, 2: True} == deprecated()


def test_the_outbox_counts_attempts_and_keeps_the_reason(journal: Journal) -> None:
    """A failed projection stays pending with its reason, a done one leaves the queue."""
    promote(journal, "churn", a_version())
    journal.mark_failed(journal.pending(), "MLflow is down")
    (pending,) = journal.pending()
    assert (1, "MLflow is down") == (pending.attempts, pending.error)

    journal.mark_done([pending])

    assert [] == journal.pending()


def test_a_gate_report_is_kept_with_its_digest(journal: Journal, tmp_path: Path) -> None:
    """The digest depends on what the report says, not on the order of its keys."""
    reports = [{"a": 1, "b": [2]}, {"b": [2], "a": 1}, {"a": 1, "b": [3]}]
    ids = [
        journal.save_report(
            family="churn",
            version=a_version(),
            target=Stage.PRODUCTION,
            passed=False,
            report=report,
            evidence="e" * 64,
            actor="anna",
        )
        for report in reports
    ]

    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database:
        kept = database.execute("SELECT id, target, passed, actor, digest FROM gate_report ORDER BY id").fetchall()
    assert [(number, "production", 0, "anna") for number in ids] == [row[:4] for row in kept]
    assert kept[0][4] == kept[1][4] != kept[2][4]


@pytest.fixture
def database(journal: Journal, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A journal with two promotions, opened by hand."""
    promote(journal, "churn", a_version(number=1))
    promote(journal, "churn", a_version(number=2), Authority("promote", "ben", "newer"))
    with closing(sqlite3.connect(tmp_path / "promotion.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE model_version_detail SET status = 'production' WHERE mlflow_version = 1", "UNIQUE constraint"),
        ("UPDATE model_version_detail SET status = 'Production' WHERE mlflow_version = 1", "known_status"),
        ("UPDATE promotion_event SET actor = 'nobody'", "append-only"),
        ("UPDATE promotion_event SET actor = 'nobody' WHERE id = 1", "append-only"),
        ("DELETE FROM promotion_event WHERE id = 1", "append-only"),
        ("DELETE FROM promotion_event", "append-only"),
        ("INSERT OR REPLACE INTO promotion_event SELECT * FROM promotion_event WHERE id = 1", "append-only"),
        ("DELETE FROM model_version_detail WHERE mlflow_version = 2", "FOREIGN KEY"),
    ],
)
def test_the_database_itself_keeps_the_rules(
    database: sqlite3.Connection, statement: str, complaint: str, tmp_path: Path
) -> None:
    """Raw SQL cannot make a second Production, misspell a status, or rewrite what happened."""
    before = rows(tmp_path / "promotion.db")

    with closing(database), pytest.raises(sqlite3.IntegrityError, match=complaint):
        database.execute(statement)

    assert before == rows(tmp_path / "promotion.db")


def test_the_two_documented_statements_by_hand_are_accepted(database: sqlite3.Connection, journal: Journal) -> None:
    """Archiving the old and promoting the new by hand keeps one Production, so the database lets it pass."""
    with closing(database):
        database.execute("UPDATE model_version_detail SET status = 'archived' WHERE mlflow_version = 2")
        database.execute("UPDATE model_version_detail SET status = 'production' WHERE mlflow_version = 1")

    assert "churn v1" == str(journal.production("churn"))
