"""The hash chain: what a hash covers, that it grows with each act, and that old journals get one."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from tests.promotion.factories import a_journal, a_version, promote

import promotion
from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.errors import JournalError
from promotion.journal.chain import FIELDS, GENESIS, canonical, digest, link_event, moment
from promotion.journal.schema import REVISION, promotion_event

CONTENT = (1, "op", "churn", 7, "promote", "none", "production", "Änne", "better", None, "2026-01-01T00:00:00", "{}")


def test_a_hash_can_be_recomputed_with_nothing_but_sha256() -> None:
    """The format is written down here once more, independently: an auditor can do the same in any language."""
    array = f'["{GENESIS}",1,"op","churn",7,"promote","none","production","Änne","better",null,"2026-01-01T00:00:00",'
    array += '"{}"]'

    assert hashlib.sha256(array.encode()).hexdigest() == link_event(GENESIS, CONTENT)


@pytest.mark.parametrize("field", range(len(CONTENT)), ids=FIELDS)
def test_every_field_is_covered(field: int) -> None:
    """Whatever is changed, the hash is another one; and so it is after another event."""
    changed = [*CONTENT]
    changed[field] = "other"

    assert link_event(GENESIS, CONTENT) != link_event(GENESIS, changed)
    assert link_event(GENESIS, CONTENT) != link_event("1" * 64, CONTENT)


def test_every_column_of_an_event_is_in_its_hash_or_is_the_chain_itself() -> None:
    """A column added to events later must join the hash."""
    assert {*FIELDS, "id", "previous_hash", "hash"} == set(promotion_event.c.keys())


def test_the_same_moment_is_spelt_the_same_everywhere() -> None:
    """Zones and missing microseconds do not matter; what PostgreSQL and SQLite give back hashes alike."""
    berlin = timezone(timedelta(hours=1))

    assert "2026-01-01T11:00:00.000000+00:00" == moment(datetime(2026, 1, 1, 12, tzinfo=berlin))


def test_the_same_content_has_the_same_digest() -> None:
    """Order of keys does not matter, values do."""
    assert digest({"a": 1, "b": [1.5]}) == digest({"b": [1.5], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert '{"a":"ä"}' == canonical({"a": "ä"}).encode().decode("unicode-escape")


def test_events_are_linked_one_to_the_next(tmp_path: Path) -> None:
    """Sequences have no gaps, each event names the hash before it, whichever family it is of."""
    journal = a_journal(tmp_path)
    for number in (1, 2):
        promote(journal, "churn", a_version(number=number))
        promote(journal, "fraud", a_version("fraud", number))

    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database:
        rows = database.execute(
            "SELECT sequence, previous_hash, hash FROM promotion_event ORDER BY sequence"
        ).fetchall()
    assert [1, 2, 3, 4, 5, 6] == [sequence for sequence, _, _ in rows]
    assert [GENESIS, *(own for _, _, own in rows[:-1])] == [previous for _, previous, _ in rows]


def test_an_event_cannot_be_replaced_by_its_sequence(tmp_path: Path) -> None:
    """INSERT OR REPLACE on a sequence that is taken is refused like any deletion."""
    promote(a_journal(tmp_path), "churn", a_version())

    with closing(sqlite3.connect(tmp_path / "promotion.db")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(promotion_event)")]
        chosen = ", ".join("99" if column == "id" else column for column in columns)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(f"INSERT OR REPLACE INTO promotion_event SELECT {chosen} FROM promotion_event")  # noqa: S608


@pytest.mark.system
def test_a_journal_from_before_the_chain_is_chained_and_sound(tmp_path: Path) -> None:
    """Events that were recorded without hashes get them on the first write, which continues their chain."""
    path = tmp_path / "promotion.db"
    _as_it_was(path)

    with a_journal(tmp_path).database.write():
        pass
    promote(a_journal(tmp_path), "churn", a_version(number=3))

    report = verify_journal(JournalSource(a_journal(tmp_path)), [], {})
    # The moves from before never had a checkpoint.
    assert ["checkpoint of event 2"] == [finding.where for finding in report.findings]
    assert 4 == report.events
    assert ["churn v3 to Production", "churn v1 to Archived", "fraud v2 to Production", "churn v1 to Production"] == [
        f"{event.model} v{event.number} to {event.to_stage}" for event in a_journal(tmp_path).history()
    ]
    with closing(sqlite3.connect(path)) as database, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("UPDATE promotion_event SET reason = 'none'")


_FIRST_PROMOTION = (
    "INSERT INTO family VALUES (:family, '2026-01-01')",
    "INSERT INTO model_registry VALUES (:number, :family, :family)",
    """
    INSERT INTO model_version_detail (id, model_id, family, mlflow_version, version, status)
    VALUES (:number, :number, :family, :number, :number, 'production')
    """,
    """
    INSERT INTO promotion_event
    (operation, family, version_id, action, from_status, to_status, actor, reason, at)
    VALUES ('op', :family, :number, 'promote', 'none', 'production', 'anna', 'better', '2026-01-01 09:00:00.500000')
    """,
)


def _as_it_was(path: Path) -> None:
    """A journal at the revision before, with a promotion in each of two families."""
    config = Config()
    config.set_main_option("script_location", str(Path(promotion.__file__).parent / "journal" / "migrations"))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number, family in enumerate(("churn", "fraud"), start=1):
            for statement in _FIRST_PROMOTION:
                connection.execute(text(statement), {"number": number, "family": family})
    engine.dispose()
    assert "0001" != REVISION


@pytest.mark.system
def test_a_journal_of_an_older_version_is_brought_up_to_date_by_the_first_command_that_reads(tmp_path: Path) -> None:
    """Nobody has to write first, which a promotion that reads first could not."""
    _as_it_was(tmp_path / "promotion.db")

    assert {"churn", "fraud"} == set(a_journal(tmp_path).productions())


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An old checkout says so in one line instead of misreading what it does not know."""
    _as_it_was(tmp_path / "promotion.db")
    with closing(sqlite3.connect(tmp_path / "promotion.db", isolation_level=None)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(JournalError, match="written by a newer version of this project"):
        a_journal(tmp_path).productions()
