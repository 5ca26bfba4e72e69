"""The journal on PostgreSQL: who writes about a family waits for whoever does so already, and for nothing else."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from tests.promotion.factories import ANNA, a_version, promote

from promotion.errors import ClockSkewed, JournalError
from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import RuleSet
from promotion.journal.reviews import Reviews
from promotion.journal.transaction import keep_rules
from promotion.registry.stages import Stage

FAMILY = "waits-in-order"


@pytest.mark.system
def test_an_approval_waits_for_a_move_without_standing_in_its_way(postgresql: str) -> None:
    """Family first, chain second, whoever writes: in the other order the two would wait for each other."""
    first, second = (Journal(Database(postgresql.format("journal"))) for _ in range(2))
    promote(first, FAMILY, a_version(FAMILY))
    entry = first.production(FAMILY)
    assert entry is not None
    report = first.save_report(
        family=FAMILY, version=entry, target=Stage.PRODUCTION, passed=True, report={}, evidence="e" * 64, actor="anna"
    )
    word = {
        "role": "ml-lead",
        "approver": "ben@example.com",
        "approved": True,
        "comment": "fine",
        "artifact_digest": "a" * 64,
        "evidence": "e" * 64,
        "gate_report_id": report,
        "statement": "I approve",
        "signature": None,
        "expires_at": clock.now() + timedelta(days=1),
    }
    approving = threading.Thread(target=Reviews(second).add_approval, args=(FAMILY, entry, word, "ben"))

    with first.transaction(FAMILY) as transaction:
        approving.start()
        _until_somebody_waits(first)
        transaction.append(transaction.entry(entry.id), ANNA)
    approving.join(timeout=30)

    assert ["approve", ANNA.action] == [event.action for event in first.history(FAMILY, limit=2)]
    for used in (first, second):
        used.database._engine.dispose()


@pytest.mark.system
def test_time_is_the_databases_whatever_this_machine_says(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the tolerance an agent's clock changes nothing that is recorded or asked."""
    journal = Journal(Database(database))
    monkeypatch.setattr(clock, "local", lambda: datetime.now(UTC) + timedelta(seconds=50))

    promote(journal, FAMILY, a_version(FAMILY))
    report = journal.save_report(
        family=FAMILY, version=a_version(FAMILY), target=Stage.PRODUCTION, passed=True, report={}, evidence="", actor=""
    )

    moments = [journal.history(FAMILY)[0].at, journal.report(report).created_at, journal.now()]
    assert all(abs(moment - datetime.now(UTC)) < timedelta(seconds=20) for moment in moments), moments
    journal.database._engine.dispose()


@pytest.mark.system
@pytest.mark.parametrize("days", [8, -8])
def test_an_agent_whose_clock_is_wrong_moves_nothing(database: str, monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Neither with the family's lock nor without it; one line names both times. Whoever reads can see it."""
    journal = Journal(Database(database))
    promote(journal, FAMILY, a_version(FAMILY))
    monkeypatch.setattr(clock, "local", lambda: datetime.now(UTC) + timedelta(days=days))

    line = r"this machine's clock says .* UTC, the database's .* UTC: 691,2\d\d s apart, more than 60: nothing moved"
    with pytest.raises(ClockSkewed, match=line), journal.family_lock(FAMILY):
        pytest.fail("it was let in")
    with pytest.raises(ClockSkewed, match=line):
        promote(journal, FAMILY, a_version(FAMILY, 2))
    assert [1] == [entry.number for entry in journal.entries(FAMILY)]
    assert "691,2" in journal.read_clock().skew
    journal.database._engine.dispose()


def _until_somebody_waits(journal: Journal) -> None:
    deadline = time.monotonic() + 20
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while time.monotonic() < deadline:
        with journal.database.read() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.05)
    pytest.fail("nobody waits")


@pytest.mark.system
def test_rules_are_kept_once_whoever_writes_them_first(postgresql: str) -> None:
    """Two transactions that both found none leave one row, which nobody may change."""
    rules = RuleSet("churn", {"family": "churn"}, {"file": "", "state": "no file"}, "1.0.0")
    first, second = (Journal(Database(postgresql.format("journal")), lambda _family: rules) for _ in range(2))
    first.prepare()
    other = threading.Thread(target=promote, args=(second, "churn", a_version("churn")))
    with first.database.write() as connection:
        keep_rules(connection, rules, datetime(2026, 1, 1, tzinfo=UTC))
        other.start()
        time.sleep(0.5)
    other.join()

    assert rules.sections == second.rules(rules.digest)
    assert rules.as_json() == second.history("churn")[0].details["rules"]
    with pytest.raises(JournalError, match="append-only"), first.database.write() as connection:
        connection.execute(text("DELETE FROM rule_set"))
