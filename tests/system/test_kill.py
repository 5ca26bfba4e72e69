"""A promotion is killed with SIGKILL anywhere; the next command that writes leaves nothing half done."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.drivers.commands import NEVER, Commands, Finished, Kind
from tests.system.drivers.steps import Steps
from tests.system.drivers.world import World, content, register

from promotion.audit.attestations import attestation_name, is_attested
from promotion.config.settings import REPOSITORY
from promotion.errors import NothingToDo

SCRIPT = "scripts/promote-model.py"
OLD, NEW, OTHER = "1", "2", "3"
LONGEST = 30.0
TEAR = Path(__file__).parent / "drivers" / "tear.py"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, commands: Commands) -> World:
    """Three versions, of which the first is in Production."""
    world = World.local(tmp_path_factory.mktemp("prepared"))
    register(world.tracking_uri, world.model, model_folder, 3)
    assert 0 == commands(SCRIPT, world.model, OLD, environment=world.environment).code
    return world


def copied(prepared: World, home: Path) -> World:
    """The prepared world in files of its own."""
    shutil.copytree(prepared.home, home)
    return World.local(home)


def require_readers_change_nothing(commands: Commands, world: World, scratch: Path) -> Finished:
    """`--list` and `--history` work on what the killed process left, say what is pending, and write nothing."""
    shutil.copytree(world.home, scratch)
    listed = commands(SCRIPT, "--list", environment=world.environment)
    history = commands(SCRIPT, "--history", "--json", environment=world.environment)
    assert (0, 0) == (listed.code, history.code), listed.err + history.err
    assert content(scratch) == content(world.home)
    newest = max(json.loads(history.out), key=lambda event: event["id"])
    assert world.held() == [newest["version"]]
    assert bool(world.journal.pending()) == ("--reconcile finishes it" in listed.err), listed.err
    return listed


def require_one_production(world: World, expected: int) -> None:
    """Journal and MLflow agree on the expected version, all promotions are attested, the history has no hole."""
    assert expected == world.production()
    assert [] == world.journal.pending()
    attested = {attestation_name(event.sequence, event.hash) for event in filter(is_attested, world.journal.history())}
    assert attested <= {path.name for path in (world.home / "checkpoints").iterdir()}
    world.require_whole_history()


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["report", "call", "statement"])
def test_a_killed_promotion_is_finished_or_undone_by_the_next_command_that_writes(
    kind: Kind, steps: Steps, prepared: World, commands: Commands, tmp_path: Path
) -> None:
    """Killed at its n-th step; one of three commands comes next, in turn."""
    committed = []
    world = copied(prepared, tmp_path / "lives")
    lived = commands(SCRIPT, world.model, NEW, environment=world.environment, kill=(kind, NEVER))
    assert 0 == lived.code, lived.err
    require_one_production(world, int(NEW))
    for turn, number in enumerate(steps(lived.moments), 1):
        world = copied(prepared, tmp_path / f"{number}")
        killed = commands(SCRIPT, world.model, NEW, environment=world.environment, kill=(kind, number))
        assert -signal.SIGKILL == killed.code, killed.err
        assert number == len(killed.moments)
        require_readers_change_nothing(commands, world, tmp_path / f"{number}-before")
        was_committed = world.held() == [int(NEW)]
        committed.append(was_committed)
        arguments, code, expected = _next(turn, world, was_committed=was_committed)
        finished = commands(SCRIPT, *arguments, environment=world.environment)
        assert code == finished.code, (killed.moments, finished.err)
        assert finished.seconds < LONGEST
        require_one_production(world, expected)
    assert committed == sorted(committed)
    assert committed[-1]
    assert (kind == "call") == committed[0]


def _next(turn: int, world: World, *, was_committed: bool) -> tuple[list[str], int, int]:
    """The command that follows, the exit code it must have, and the version it must leave in Production."""
    if turn % 3 == 0:
        return ["--reconcile"], 0, int(NEW if was_committed else OLD)
    if turn % 3 == 1:
        return [world.model, NEW], NothingToDo.exit_code if was_committed else 0, int(NEW)
    return [world.model, OTHER], 0, int(OTHER)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_a_finishing_command_may_be_killed_as_well(prepared: World, commands: Commands, tmp_path: Path) -> None:
    """Killed after the commit, then again and again while finishing, the promotion is finished in the end."""
    world = copied(prepared, tmp_path / "home")
    assert -signal.SIGKILL == commands(SCRIPT, world.model, NEW, environment=world.environment, kill=("call", 1)).code
    assert ([int(NEW)], [int(OLD)]) == (world.held(), world.shown())
    for _ in range(3):
        assert -signal.SIGKILL == commands(SCRIPT, "--reconcile", environment=world.environment, kill=("call", 2)).code
    assert 0 == commands(SCRIPT, "--reconcile", environment=world.environment).code
    require_one_production(world, int(NEW))


@pytest.mark.system
@pytest.mark.timeout(300)
def test_the_very_first_promotion_may_be_killed(
    steps: Steps, model_folder: Path, commands: Commands, tmp_path: Path
) -> None:
    """Killed while the journal's tables are made or the first version moves in, a second attempt succeeds."""
    template = World.local(tmp_path / "template")
    register(template.tracking_uri, template.model, model_folder, 1)
    world = copied(template, tmp_path / "lives")
    lived = commands(SCRIPT, world.model, environment=world.environment, kill=("statement", NEVER))
    assert 0 == lived.code, lived.err
    assert len(lived.moments) > 20
    for number in steps(lived.moments):
        world = copied(template, tmp_path / f"{number}")
        killed = commands(SCRIPT, world.model, environment=world.environment, kill=("statement", number))
        assert -signal.SIGKILL == killed.code, killed.err
        readers = [commands(SCRIPT, option, environment=world.environment) for option in ("--list", "--history")]
        assert [0, 0] == [reader.code for reader in readers], [reader.err for reader in readers]
        again = commands(SCRIPT, world.model, environment=world.environment)
        assert again.code in {0, NothingToDo.exit_code}, again.err
        require_one_production(world, 1)


@pytest.mark.system
@pytest.mark.timeout(200)
def test_commands_started_from_nothing_finish_a_killed_promotion(
    prepared: World, commands: Commands, tmp_path: Path
) -> None:
    """The same with commands as a person starts them, each its own fresh interpreter."""
    world = copied(prepared, tmp_path / "home")
    assert -signal.SIGKILL == commands(SCRIPT, world.model, NEW, environment=world.environment, kill=("call", 1)).code

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(REPOSITORY / SCRIPT), *arguments],
            env={**os.environ, **world.environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    listed = run("--list")
    assert 0 == listed.returncode
    assert "--reconcile finishes it" in listed.stderr
    assert 0 == run("--reconcile").returncode
    require_one_production(world, int(NEW))
    assert "" == run("--list").stderr


@pytest.mark.system
@pytest.mark.timeout(100)
@pytest.mark.parametrize("database", ["mlflow.db", "promotion.db"])
def test_a_database_whose_writer_was_killed_within_its_commit_heals(
    database: str, prepared: World, commands: Commands, tmp_path: Path
) -> None:
    """SQLite takes the half-written transaction back; no command stumbles over it."""
    world = copied(prepared, tmp_path / "home")
    torn = subprocess.run([sys.executable, str(TEAR), str(world.home / database)], check=False, timeout=30)
    assert -signal.SIGKILL == torn.returncode
    assert b"\xd9\xd5\x05\xf9" == (world.home / f"{database}-journal").read_bytes()[:4]
    for arguments in (["--list"], ["--history"], [world.model, NEW]):
        finished = commands(SCRIPT, *arguments, environment=world.environment)
        assert 0 == finished.code, finished.err
    assert "half_written" not in str(content(world.home))
    require_one_production(world, int(NEW))
