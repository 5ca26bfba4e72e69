"""Deployments on PostgreSQL: many processes' worth of attempts at once, and one is under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.promotion.factories import a_version, promote

from promotion.delivery.deployments import Deployments
from promotion.delivery.records import DeploymentTarget, Environment, Image
from promotion.errors import JournalLocked
from promotion.journal.database import Database
from promotion.journal.journal import Journal

FAMILY = "begun-at-once"
IMAGE = Image("registry.example/begun:1", FAMILY, FAMILY, 1, "1.0.0", "d" * 64, "", "f" * 64)


@pytest.mark.system
def test_of_many_that_begin_at_once_one_does(postgresql: str) -> None:
    """The partial unique index lets one through; the others are told who was first, and leave nothing."""
    url = postgresql.format("journal")
    journals = [Journal(Database(url)) for _ in range(9)]
    journal = journals[0]
    promote(journal, FAMILY, a_version(FAMILY))
    entry = journal.entry(FAMILY, 1)
    assert entry is not None
    target = DeploymentTarget(FAMILY, Environment.PRODUCTION)

    def begin(number: int) -> str:
        try:
            return (
                Deployments(journals[number])
                .begin(target, IMAGE, entry, None, cluster="https://c", actor=f"{number}")
                .actor
            )
        except JournalLocked:
            return ""

    with ThreadPoolExecutor(8) as pool:
        begun = [actor for actor in pool.map(begin, range(1, 9)) if actor]

    under_way = Deployments(journal).unfinished(FAMILY, Environment.PRODUCTION)
    assert under_way is not None
    assert [under_way.actor] == begun
    assert ["deploy"] == [event.action for event in journal.history(FAMILY) if not event.is_move]
    for used in journals:
        used.database._engine.dispose()
