"""Who tells others is killed while a receiver has the event already: it is told again, the same event, and in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.promotion.factories import a_version, promote
from tests.promotion.monitoring.receivers import receiving

from promotion.config.family import load_configs
from promotion.config.settings import REPOSITORY
from promotion.events.delivery import Postman
from promotion.events.receivers import event_receivers
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.systems.outbox import letters

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

TELL = """
import sys
from pathlib import Path
from promotion.events.delivery import Postman
from promotion.journal.database import Database
from promotion.journal.journal import Journal
Postman(Journal(Database(sys.argv[1])), Path(sys.argv[2]), seconds=120).deliver()
"""


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_what_a_killed_process_was_telling_is_told_again(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """At least once, with one id to know it by; what follows in its family waits, other families do not."""
    url = f"sqlite:///{tmp_path / 'promotion.db'}" if store == "sqlite" else request.getfixturevalue("database")
    config = tmp_path / "config"
    config.mkdir()
    (config / "events.yaml").write_text("events:\n  ci: {url: CI_URL, network: private}\n")
    for family in ("churn", "price"):
        (config / f"{family}.yaml").write_text(f"family: {family}\nregistered_model: {family}\n")
    journal = Journal(Database(url), receivers=event_receivers(config, load_configs(config)))
    for number in (1, 2, 3):
        promote(journal, "churn", a_version("churn", number=number))
    promote(journal, "price", a_version("price", number=1))

    with receiving(delay=120) as ci:
        address = {"CI_URL": f"http://127.0.0.1:{ci.port}/hook"}
        process = subprocess.Popen(
            [sys.executable, "-c", TELL, url, str(config)],
            env={**os.environ, **address, "PYTHONPATH": str(REPOSITORY / "src")},
        )
        deadline = time.monotonic() + 120
        while len(ci.got) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert -signal.SIGKILL == process.wait(timeout=30)
        assert {("churn", 1), ("price", 1)} == {(it["data"]["family"], it["data"]["version"]) for it in ci.got}
        assert 4 == len(letters(journal)), "nobody wrote down that they were taken"

        ci.delay = 0
        postman = Postman(journal, config, environment=address)
        assert 0 == postman.deliver(), "as long as it may still be at it, nobody else tells"
        with journal.database.write() as connection:
            connection.execute(text("UPDATE outbox SET not_before = NULL"))
        assert 4 == postman.deliver()

        told = {
            name: [(it["id"], it["data"]["version"]) for it in ci.got if it["data"]["family"] == name]
            for name in ("churn", "price")
        }
    assert [1, 1, 2, 3] == [number for _, number in told["churn"]]
    assert [1, 1] == [number for _, number in told["price"]]
    assert all(both[0] == both[1] for both in told.values())
    assert 4 == len({event for both in told.values() for event, _ in both})
    assert [] == letters(journal)
    journal.database._engine.dispose()
