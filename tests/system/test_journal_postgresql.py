"""The journal on PostgreSQL: who writes about a family waits for whoever does so already, and for nothing else."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import text
from tests.promotion.factories import ANNA, a_version, promote

from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.reviews import Reviews
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


def _until_somebody_waits(journal: Journal) -> None:
    deadline = time.monotonic() + 20
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    while time.monotonic() < deadline:
        with journal.database.read() as connection:
            if connection.execute(waiting).scalar_one():
                return
        time.sleep(0.05)
    pytest.fail("nobody waits")
