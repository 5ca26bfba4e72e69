"""Whatever is killed at whatever write: the record verifies at once, and the same command again makes it whole."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from tests.system.drivers.commands import NEVER, Commands, Finished, Kind
from tests.system.drivers.steps import Steps
from tests.system.drivers.world import World, register

from promotion.errors import NothingToDo

PROMOTE = ("scripts/promote-model.py", "churn", "3")
ROLLBACK = ("mlops/registry/rollback_model.py", "--model-name", "churn", "--to-version", "1", "--reason", "nonsense")
REGISTER = ("tests/system/drivers/register_version.py", "churn", "3")
APPROVE = (
    *("mlops/registry/approve_model.py", "--model-name", "churn", "--version", "1"),
    *("--role", "devops", "--approver", "dora", "--comment", "it deploys"),
)
RULES = "family: churn\nregistered_model: churn\napprovals: {roles: [devops]}\n"
Copied = Callable[[int], AbstractContextManager[World]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_folder: Path, commands: Commands
) -> World:
    """Version 1 is registered; two versions served, the second one serves; a third one never did."""
    world = World.local(tmp_path_factory.mktemp("served"))
    if request.param == "postgresql":
        world = replace(world, database_url=_new(request.getfixturevalue("postgresql"), "template1"))
    register(world.tracking_uri, world.model, model_folder, 3)
    assert 0 == commands(REGISTER[0], "churn", "1", environment=world.environment).code
    for number in ("1", "2"):
        assert 0 == commands(PROMOTE[0], "churn", number, environment=world.environment).code
    return world


@pytest.fixture
def copied(served: World, tmp_path: Path, request: pytest.FixtureRequest) -> Copied:
    """That world in databases of its own, by a number."""

    def made(number: int) -> AbstractContextManager[World]:
        home = tmp_path / f"{number}"
        shutil.copytree(served.home, home)
        world = World.local(home)
        if not served.database_url.startswith("sqlite"):
            name = served.database_url.split("?")[0].rpartition("/")[2]
            world = replace(world, database_url=_new(request.getfixturevalue("postgresql"), name))
        return closing(world)

    return made


def _new(url: str, template: str) -> str:
    """Copy a database of the cluster to which nobody is connected; returns the new one's URL."""
    name = f"kill_{uuid4().hex[:12]}"
    engine = create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return url.format(name)


def _require_sound(commands: Commands, world: World) -> None:
    """No half event, no row without its event, and no checkpoint that should be there and is not."""
    verified = commands("scripts/audit.py", "verify", environment=world.environment)
    assert 0 == verified.code, verified.out + verified.err


def _require_approved(world: World) -> None:
    (said,) = (event for event in world.journal.history("churn") if event.action == "approve")
    assert 1 == said.number


def _require_registered(world: World) -> None:
    entry = world.journal.entry("churn", 3)
    assert entry
    assert entry.registered_at
    assert 1 == sum(event.action == "register" and event.number == 3 for event in world.journal.history("churn"))


def _require_serving(number: int) -> Callable[[World], None]:
    def whole(world: World) -> None:
        assert [number] == world.held() == world.shown()
        assert number == world.aliases()["production"]
        assert [] == world.journal.pending()

    return whole


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("command", "kind", "require_whole", "rules"),
    [
        pytest.param(PROMOTE, "commit", _require_serving(3), "", id="promote"),
        pytest.param(ROLLBACK, "commit", _require_serving(1), "", id="rollback"),
        pytest.param(REGISTER, "statement", _require_registered, "", id="register"),
        pytest.param(APPROVE, "statement", _require_approved, RULES, id="approve"),
    ],
)
def test_a_killed_command_leaves_a_sound_record_and_is_made_whole_by_itself(
    copied: Copied,
    steps: Steps,
    commands: Commands,
    command: tuple[str, ...],
    kind: Kind,
    require_whole: Callable[[World], None],
    rules: str,
) -> None:
    """Killed at its n-th write; the checkpoint's own writes are among them."""
    script, *arguments = command

    def act(world: World, kill: int | None) -> Finished:
        if rules:
            (world.home / "config" / "churn.yaml").write_text(rules)
        environment = {**world.environment, "PROMOTION_ACTOR": "dora"} if rules else world.environment
        finished = commands(script, *arguments, environment=environment, kill=(kind, kill) if kill else None)
        _require_sound(commands, world)
        return finished

    with copied(NEVER) as world:
        lived = act(world, NEVER)
        assert 0 == lived.code, lived.err
        require_whole(world)
    assert len(lived.moments) > 2
    for number in steps(lived.moments):
        with copied(number) as world:
            killed = act(world, number)
            assert -signal.SIGKILL == killed.code, killed.err
            again = act(world, None)
            assert again.code in {0, NothingToDo.exit_code}, (killed.moments, again.err)
            require_whole(world)
