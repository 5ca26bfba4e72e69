"""A cleanup is killed with SIGKILL anywhere; the next one finishes it, and every deletion is recorded once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.system.drivers.commands import NEVER, Commands
from tests.system.drivers.steps import Steps
from tests.system.drivers.world import World, register
from tests.system.test_kill import copied

from promotion.errors import NothingToDo

SCRIPT = "scripts/promote-model.py"
CLEANUP = ("--cleanup", "--keep", "1", "--yes")


def _present(world: World) -> set[int]:
    from mlflow.tracking import MlflowClient

    found = MlflowClient(world.tracking_uri).search_model_versions(f"name = '{world.model}'")
    return {int(version.version) for version in found}


def _recorded(world: World) -> list[int]:
    return sorted(event.number for event in world.journal.history(world.model) if event.action == "cleanup")


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_killed_cleanup_is_finished_by_the_next(
    steps: Steps, commands: Commands, model_folder: Path, tmp_path: Path
) -> None:
    """Killed at a statement that writes: nothing vanishes unrecorded, and a second run completes it."""
    prepared = World.local(tmp_path / "prepared")
    register(prepared.tracking_uri, prepared.model, model_folder, 4)
    assert 0 == commands(SCRIPT, prepared.model, "1", environment=prepared.environment).code
    world = copied(prepared, tmp_path / "lives")
    lived = commands(SCRIPT, *CLEANUP, environment=world.environment, kill=("statement", NEVER))
    assert (0, [2, 3]) == (lived.code, _recorded(world)), lived.err
    assert len(lived.moments) > 4
    half_done = 0
    for number in steps(lived.moments):
        world = copied(prepared, tmp_path / f"{number}")
        killed = commands(SCRIPT, *CLEANUP, environment=world.environment, kill=("statement", number))
        assert {2, 3} - _present(world) <= set(_recorded(world)), killed.moments
        half_done += len(_recorded(world)) not in {0, 2} or _recorded(world) != sorted({2, 3} - _present(world))
        assert -signal.SIGKILL == killed.code, killed.err

        again = commands(SCRIPT, *CLEANUP, environment=world.environment)

        assert again.code in {0, NothingToDo.exit_code}, again.err
        assert {1, 4} == _present(world)
        assert [2, 3] == _recorded(world)
        assert 1 == world.production()
        world.close()
    assert half_done
