"""Events reach whoever asked for them: after the commit, at least once, in order, and none is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from tests.promotion.factories import ANNA, a_family, a_journal, a_version, promote
from tests.promotion.monitoring.receivers import TOKEN, Receiver, receiving

from promotion.config.family import FamilyConfigs, load_configs
from promotion.errors import ConfigError, ProductionMoved
from promotion.events.delivery import Postman
from promotion.events.receivers import event_receivers
from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change
from promotion.journal.systems.outbox import claim, letters, revive, settle
from promotion.registry.stages import Stage

GENERAL = "events:\n  ci: {url: CI_URL, network: private}\n"
CHURN = "family: churn\nregistered_model: churn\n"


class Workplace:
    """A home whose journal tells receivers.

    Args:
        home: Its folder.
        general: What `config/events.yaml` says; there is none when it is empty.
        environment: Addresses and keys.
    """

    def __init__(self, home: Path, general: str = GENERAL, environment: Mapping[str, str] | None = None) -> None:
        self.folder = home / "config"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "churn.yaml").write_text(CHURN)
        if general:
            (self.folder / "events.yaml").write_text(general)
        self.said: list[str] = []
        self.database = home / "promotion.db"
        configs = load_configs(self.folder)
        self.journal = Journal(Database(f"sqlite:///{self.database}"), receivers=event_receivers(self.folder, configs))
        self.postman = Postman(self.journal, self.folder, self.said.append, environment or {}, seconds=2)
        self.journal.tell_receivers = self.postman.deliver

    def at(self, receiver: Receiver) -> Workplace:
        """The same, with the receiver's address in the environment."""
        environment = {"CI_URL": f"http://127.0.0.1:{receiver.port}/hook?token={TOKEN}"}
        self.postman = Postman(self.journal, self.folder, self.said.append, environment, seconds=2)
        self.journal.tell_receivers = self.postman.deliver
        return self

    def pass_time(self) -> None:
        """Let every wait be over."""
        with closing(sqlite3.connect(self.database, isolation_level=None)) as database:
            database.execute("UPDATE outbox SET not_before = NULL")


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promotion.events.delivery._FIRST_WAIT", 0.0)


def _told(receiver: Receiver) -> list[tuple[str, int]]:
    return [(body["data"]["action"], body["data"]["version"]) for body in receiver.got]


def test_a_promotion_is_told_once_with_what_it_replaced(tmp_path: Path) -> None:
    """The version that arrives is the event; the one that left for it stands inside."""
    with receiving() as ci:
        place = Workplace(tmp_path).at(ci)
        promote(place.journal, "churn", a_version(number=1))
        promote(place.journal, "churn", a_version(number=2))

    assert [("promote", 1), ("promote", 2)] == _told(ci)
    assert [None, {"model": "churn", "version": 1, "semver": "1"}] == [body["data"]["replaced"] for body in ci.got]
    assert [event.hash for event in place.journal.history() if event.to_stage is Stage.PRODUCTION][::-1] == [
        body["id"] for body in ci.got
    ]
    assert [] == letters(place.journal)
    assert [] == place.journal.pending("churn") or all(not item.error for item in place.journal.pending("churn"))


def test_nobody_is_told_while_the_family_is_locked(tmp_path: Path) -> None:
    """MLflow is brought after the journal under the lock: whoever hears of a move finds it there."""
    with receiving() as ci:
        place = Workplace(tmp_path).at(ci)
        with place.journal.family_lock("churn"):
            promote(place.journal, "churn", a_version())
            assert [] == ci.got

    assert [("promote", 1)] == _told(ci)


def test_what_fails_tells_nobody(tmp_path: Path) -> None:
    """No commit, no event."""
    with receiving() as ci:
        place = Workplace(tmp_path).at(ci)
        with pytest.raises(ProductionMoved):
            place.journal.move("churn", [Change(a_version(), Stage.PRODUCTION)], ANNA, expected_production=7)

    assert [] == ci.got
    assert [] == letters(place.journal)


def test_a_receiver_that_is_down_hears_everything_later_in_order(tmp_path: Path) -> None:
    """The first event is tried, waits, and keeps those behind it waiting; then all come."""
    with receiving(*[503] * 3) as ci:
        place = Workplace(tmp_path).at(ci)
        for number in (1, 2, 3):
            promote(place.journal, "churn", a_version(number=number))
        assert 3 == len(ci.got), "three tries of the first event, none of the others"
        assert ["HTTP 503, service unavailable", None, None] == [letter.error for letter in letters(place.journal)]
        assert 0 == place.postman.deliver(), "its time has not come"
        place.pass_time()
        assert 3 == place.postman.deliver()

    assert [("promote", 1), ("promote", 2), ("promote", 3)] == _told(ci)[3:]
    assert ci.got[0] == ci.got[3], "the same event has the same id"
    assert 1 == len(place.said)


@pytest.mark.system
def test_waits_grow(tmp_path: Path) -> None:
    """Half a minute at first, then twice as long each time, up to six hours, and at last nobody tries any more."""
    place = Workplace(tmp_path, environment={"CI_URL": "http://127.0.0.1:9/"})
    promote(place.journal, "churn", a_version())
    waits = []
    for _ in range(19):
        with closing(sqlite3.connect(place.database)) as database:
            ((until,),) = database.execute("SELECT not_before FROM outbox WHERE receiver IS NOT NULL")
        waits.append(round((datetime.fromisoformat(until + "+00:00") - clock.local()).total_seconds(), -1))
        place.pass_time()
        place.postman.deliver()

    assert [30, 60, 120, 240] == waits[:4]
    assert 21_600 == max(waits)
    (letter,) = letters(place.journal)
    assert (20, "no answer (ConnectionRefusedError)") == (letter.attempts, letter.error)
    assert letter.dead_at is not None


@pytest.mark.system
def test_what_a_receiver_refuses_for_good_is_kept_and_holds_up_nothing(tmp_path: Path) -> None:
    """A message that cannot be taken is a dead letter, shown until somebody has it sent again."""
    with receiving(400) as ci:
        place = Workplace(tmp_path).at(ci)
        promote(place.journal, "churn", a_version(number=1))
        promote(place.journal, "churn", a_version(number=2))
        (dead,) = letters(place.journal)
        assert ("ci", 1, "HTTP 400, bad request") == (dead.receiver, dead.attempts, dead.error)
        place.pass_time()
        assert 0 == place.postman.deliver(), "dead is dead"
        assert 1 == revive(place.journal, {"churn"})
        assert 1 == place.postman.deliver()

    assert [1, 2, 1] == [version for _, version in _told(ci)]
    assert [] == letters(place.journal)


def test_a_redirect_is_no_answer(tmp_path: Path) -> None:
    """Nothing is sent where nobody looked whether it may go."""
    with receiving(*[302] * 3) as ci:
        place = Workplace(tmp_path).at(ci)
        promote(place.journal, "churn", a_version())

    assert ["HTTP 302, found"] == [letter.error for letter in letters(place.journal)]


def test_one_receiver_does_not_wait_for_another(tmp_path: Path) -> None:
    """Who never answers costs its own patience, once, and the commit nothing."""
    with receiving(delay=30) as silent, receiving() as ci:
        place = Workplace(tmp_path, GENERAL + "  other: {url: OTHER_URL, network: private}\n")
        environment = {"CI_URL": f"http://127.0.0.1:{silent.port}/", "OTHER_URL": f"http://127.0.0.1:{ci.port}/"}
        place.journal.tell_receivers = Postman(
            place.journal, place.folder, place.said.append, environment, seconds=0.3
        ).deliver
        promote(place.journal, "churn", a_version())
        promote(place.journal, "churn", a_version(number=2))

    assert [("promote", 1), ("promote", 2)] == _told(ci)
    assert [("ci", True), ("ci", False)] == [
        (it.receiver, "no answer" in (it.error or "")) for it in letters(place.journal)
    ]


def test_two_processes_do_not_tell_the_same_event(tmp_path: Path) -> None:
    """Whoever claims a letter settles it; another one passes the queue over until then."""
    with receiving() as ci:
        place = Workplace(tmp_path)
        place.journal.tell_receivers = lambda: None
        promote(place.journal, "churn", a_version())
        letter = claim(place.journal, ("churn", "ci"))
        assert letter is not None
        assert 0 == place.at(ci).postman.deliver()
        assert 0 == revive(place.journal, None), "nor does who has dead letters sent again"
        assert 0 == place.postman.deliver()
        settle(place.journal, letter, "")

    assert [] == ci.got
    assert [] == letters(place.journal)


def test_a_workplace_without_the_address_leaves_it_to_others(tmp_path: Path) -> None:
    """What is not set here is said, counts as no attempt, and goes out where it is."""
    with receiving() as ci:
        place = Workplace(tmp_path)
        promote(place.journal, "churn", a_version())
        assert ["⚠️ churn: ci is told later: CI_URL is not set here"] == place.said
        assert [0] == [letter.attempts for letter in letters(place.journal)]
        place.at(ci).postman.deliver()

    assert [("promote", 1)] == _told(ci)


def test_whom_no_file_names_any_more_is_told_nothing(tmp_path: Path) -> None:
    """What is queued for it goes; a broken file of the family keeps it, as nobody knows whom that names."""
    place = Workplace(tmp_path, "", {"CI_URL": "http://127.0.0.1:9/"})
    (place.folder / "churn.yaml").write_text(CHURN + "events: {ci: {url: CI_URL, network: private}}\n")
    place.journal = Journal(place.journal.database, receivers=event_receivers(place.folder, load_configs(place.folder)))
    promote(place.journal, "churn", a_version(number=1))
    promote(place.journal, "churn", a_version(number=2))
    postman = Postman(place.journal, place.folder, place.said.append, {}, seconds=1)
    (place.folder / "churn.yaml").write_text(CHURN + "evnts: {}\n")
    postman.deliver()
    assert 2 == len(letters(place.journal))
    (place.folder / "churn.yaml").write_text(CHURN)

    assert 0 == postman.deliver()
    assert [] == letters(place.journal)


def test_a_wrong_file_stops_the_act_and_not_the_reader(tmp_path: Path) -> None:
    """An event that could not be queued would be lost: nothing is written, and the line says where and why."""
    place = Workplace(tmp_path, "events:\n  ci: {url: https://ci.example.com}\n")

    with pytest.raises(ConfigError, match=r"events\.yaml:2: events\.ci\.url: expected a text of the form"):
        promote(place.journal, "churn", a_version())

    assert [] == place.journal.history()


def test_a_rehearsal_says_that_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its type: a job that deploys what is promoted does not hear of it."""
    monkeypatch.setenv(clock.VARIABLE, "2026-12-01T09:00:00")
    with receiving() as ci:
        place = Workplace(tmp_path).at(ci)
        promote(place.journal, "churn", a_version())

    assert ["promotion-layer.rehearsal.promote"] == [told["type"] for told in ci.got]


def test_only_what_was_asked_for_is_told(tmp_path: Path) -> None:
    """A family's file wins over the general one, and `only` says of what."""
    config = a_family("churn").model_copy(update={"events": {}})
    names = event_receivers(
        Workplace(tmp_path, GENERAL.replace("}", ", only: [rollback]}")).folder, FamilyConfigs({"churn": config})
    )

    assert [] == names("churn", "promote")
    assert ["ci"] == names("churn", "rollback")
    assert [] == names("churn", "checklist")


def test_a_journal_without_receivers_queues_nothing(tmp_path: Path) -> None:
    """Who has no such file has the outbox that MLflow is told from, and no more."""
    journal = a_journal(tmp_path)
    journal.move(
        "churn", [Change(a_version(), Stage.STAGING)], Authority("stage", "anna", "x"), expected_production=None
    )

    assert [] == letters(journal)
    assert 1 == len(journal.pending())
