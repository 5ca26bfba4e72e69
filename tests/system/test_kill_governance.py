"""Rollbacks and approvals that are killed anywhere, or meet each other, leave nothing half done."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.commands.governed_home import GOVERNED, governed_home
from tests.promotion.shared_home import SharedHome
from tests.system.drivers.commands import NEVER, Commands, Kind
from tests.system.drivers.steps import Steps
from tests.system.drivers.world import World, content, register
from tests.system.test_concurrency import ROUNDS, racers
from tests.system.test_kill import copied, require_one_production

from promotion.bootstrap import open_promotions
from promotion.config.settings import Settings
from promotion.errors import NothingToDo, ProductionMoved
from promotion.journal.reviews import Reviews
from promotion.service import Mover

PROMOTE, ROLLBACK, APPROVE = (
    f"{place}.py"
    for place in ("scripts/promote-model", "mlops/registry/rollback_model", "mlops/registry/approve_model")
)
BACK = ("--model-name", "churn", "--reason", "it answers nonsense")
SAID = ("--model-name", GOVERNED, "--version", "1.2.0", "--role", "devops", "--approver", "dora", "--comment", "fine")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, commands: Commands) -> World:
    """Two versions served, the second one serves; a third one never did."""
    world = World.local(tmp_path_factory.mktemp("served"))
    register(world.tracking_uri, world.model, model_folder, 3)
    for number in ("1", "2"):
        assert 0 == commands(PROMOTE, world.model, number, environment=world.environment).code
    return world


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["report", "call", "commit"])
def test_a_killed_rollback_is_finished_or_undone_by_the_next_command_that_writes(
    kind: Kind, steps: Steps, served: World, commands: Commands, tmp_path: Path
) -> None:
    """Killed at its n-th step: then the same command again, --reconcile or a promotion."""
    committed = []
    world = copied(served, tmp_path / "lives")
    lived = commands(ROLLBACK, *BACK, environment=world.environment, kill=(kind, NEVER))
    assert 0 == lived.code, lived.err
    require_one_production(world, 1)
    for turn, number in enumerate(steps(lived.moments), 1):
        world = copied(served, tmp_path / f"{number}")
        killed = commands(ROLLBACK, *BACK, environment=world.environment, kill=(kind, number))
        assert -signal.SIGKILL == killed.code, killed.err
        committed.append(world.held() == [1])
        again, code, expected = _next(turn, was_committed=committed[-1])
        finished = commands(*again, environment=world.environment)
        assert code == finished.code, (killed.moments, finished.err)
        require_one_production(world, expected)
        left = world.journal.entry(world.model, 2)
        assert left
        assert (expected == 1 or committed[-1]) == (left.known_bad == "it answers nonsense")
    assert committed == sorted(committed)
    assert committed[-1]


def _next(turn: int, *, was_committed: bool) -> tuple[tuple[str, ...], int, int]:
    """The command that follows, the exit code it must have, and the version it must leave in Production."""
    if turn % 3 == 0:
        return (PROMOTE, "--reconcile"), 0, 1 if was_committed else 2
    if turn % 3 == 1:
        return (ROLLBACK, *BACK, "--to-version", "1"), NothingToDo.exit_code if was_committed else 0, 1
    return (PROMOTE, "churn", "3"), 0, 3


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, fitted_model: Path) -> SharedHome:
    """A version in Staging that asks for four approvals."""
    return governed_home(tmp_path_factory.mktemp("governed"), empty_store, fitted_model)


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_killed_approval_is_recorded_with_its_event_or_not_at_all(
    governed: SharedHome, steps: Steps, commands: Commands
) -> None:
    """Killed at its n-th write: it counts or it is not there, and saying it again works."""
    settings = governed.store.settings
    environment = {
        "PROMOTION_HOME": str(settings.home),
        "PROMOTION_KEYS": str(settings.home / "keys"),
        "PROMOTION_CLOCK": "2026-12-05T09:00:00",
    }
    counted = []
    governed.back_to("staged")
    lived = commands(APPROVE, *SAID, environment=environment, kill=("statement", NEVER))
    assert 0 == lived.code, lived.err
    for number in [*steps(lived.moments), NEVER]:
        governed.back_to("staged")
        killed = commands(APPROVE, *SAID, environment=environment, kill=("statement", number))
        journal = governed.store.service().journal
        entry = journal.entry(GOVERNED, "1.2.0")
        rows = Reviews(journal).approvals(entry)
        events = [event for event in journal.history(GOVERNED) if event.action == "approve"]
        assert len(rows) == len(events)
        assert all(row.recorded for row in rows)
        if number == NEVER:
            assert 0 == killed.code, killed.err
            break
        assert -signal.SIGKILL == killed.code, killed.err
        counted.append(bool(rows))
        again = commands(APPROVE, *SAID, "--json", environment=environment)
        assert 0 == again.code, again.err
        assert ["devops"] == list(json.loads(again.out)["given"])
    assert len(lived.moments) > 3
    assert not any(counted)
    assert 1 == len(rows)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path, model_folder: Path) -> Iterator[World]:
    """Five versions that all served; journal and MLflow both on the named kind of database."""
    made = World.local(tmp_path)
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql")
        made = replace(
            made,
            tracking_uri=url.format("mlflow"),
            database_url=url.format("journal"),
            model=f"churn-{uuid4().hex[:8]}",
        )
    register(made.tracking_uri, made.model, model_folder, 5)
    service = open_promotions(Settings(made.home, made.tracking_uri, made.tracking_uri, made.database_url))
    for number in range(1, 6):
        service.promote(service.check(service.candidate(made.model, number)), Mover("test", "in turn"))
    service.journal.database._engine.dispose()
    with closing(made):
        yield made


@pytest.mark.system
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_exactly_one_of_four_rollbacks_at_once_wins(rounds: int, world: World) -> None:
    """Each proved another target against the same Production; the others are told that it moved."""
    serving = 5
    with racers(world) as play:
        for _ in range(rounds):
            answers = play([number for number in range(1, 6) if number != serving], "rollback")
            assert sorted([0, *[ProductionMoved.exit_code] * 3]) == sorted(a["code"] for a in answers), answers
            serving = world.production()
            assert [serving] == [answer["number"] for answer in answers if answer["code"] == 0]
    operations = {event.operation for event in world.journal.history(world.model) if event.action == "rollback"}
    assert rounds == len(operations)
    world.require_whole_history()


@pytest.mark.system
@pytest.mark.timeout(300)
def test_commands_that_only_look_change_nothing(governed: SharedHome, commands: Commands, tmp_path: Path) -> None:
    """The check, the two listings and the text to sign, on a journal that exists."""
    home = governed.back_to("staged").home
    shutil.copytree(home, tmp_path / "before")
    environment = {"PROMOTION_HOME": str(home), "PROMOTION_CLOCK": "2026-12-05T09:00:00"}
    named = SAID[:4]
    for script, arguments, code in (
        ("mlops/registry/check_promotion.py", named, 3),
        (APPROVE, (*named, "--list"), 0),
        (APPROVE, (*SAID, "--print-statement"), 0),
        ("mlops/registry/report_incident.py", ("--list",), 0),
    ):
        finished = commands(script, *arguments, environment=environment)
        assert code == finished.code, finished.err
    assert content(tmp_path / "before") == content(home)
