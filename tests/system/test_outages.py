"""MLflow or a database fails: before the commit nothing moved, after it the promotion stands and can be completed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.system.drivers.commands import Commands, Finished
from tests.system.drivers.faulty import (
    WELL,
    Fault,
    FaultyProxy,
    Rule,
    always,
    from_first_write,
    on_writes,
)
from tests.system.drivers.hold import held
from tests.system.drivers.world import World, content, register

from promotion.errors import ProjectionIncomplete
from promotion.reconcile.projection import STAGE_TAG

SCRIPT = "scripts/promote-model.py"
OLD, NEW = "1", "2"
FAILED, INCOMPLETE = 1, ProjectionIncomplete.exit_code
LONGEST = 60.0
RIGHTS_ASKED = 4
"""Requests before the commit that look like writes: stage, alias, tag, description."""

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def proxy(server: str) -> Iterator[FaultyProxy]:
    """The way to the server, well until told otherwise."""
    with FaultyProxy(server) as standing:
        yield standing


@pytest.fixture
def remote(
    server: str,
    proxy: FaultyProxy,
    commands: Commands,
    tmp_path: Path,
    model_folder: Path,
    request: pytest.FixtureRequest,
) -> World:
    """Two versions of a registered model on the server, the first in Production; the journal is a local file."""
    from mlflow.tracking import MlflowClient

    model = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    world = replace(World.local(tmp_path / "home"), tracking_uri=server, model=model)
    client = MlflowClient(server)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(model_folder), "model")
    client.create_registered_model(model)
    for _ in (OLD, NEW):
        client.create_model_version(model, source=f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    assert 0 == promote(commands, world, OLD, proxy).code
    return world


def through(world: World, proxy: FaultyProxy | None) -> dict[str, str]:
    """The environment of a command that reaches MLflow over the proxy."""
    return {**world.environment, **({"MLFLOW_TRACKING_URI": proxy.uri} if proxy else {})}


def promote(commands: Commands, world: World, number: str, proxy: FaultyProxy | None = None) -> Finished:
    """`promote-model.py MODEL NUMBER`, within the time a person is willing to wait."""
    finished = commands(SCRIPT, world.model, number, environment=through(world, proxy))
    assert finished.seconds < LONGEST
    return finished


def require_completed_by_reconcile(commands: Commands, world: World, proxy: FaultyProxy | None = None) -> None:
    """The promotion is in the journal and pending; `--list` says so, `--reconcile` completes it."""
    assert [int(NEW)] == world.held()
    assert 1 == len(world.journal.pending(world.model))
    listed = commands(SCRIPT, "--list", environment=through(world, proxy))
    assert 0 == listed.code, listed.err
    assert "--reconcile finishes it" in listed.err
    reconciled = commands(SCRIPT, "--reconcile", "--model", world.model, environment=through(world, proxy))
    assert 0 == reconciled.code, reconciled.err
    assert int(NEW) == world.production()
    assert STAGE_TAG not in world.tags(int(NEW)) | world.tags(int(OLD))
    assert [] == world.journal.pending()
    world.require_whole_history()


def require_nothing_moved(world: World) -> None:
    """The old version is in Production and nothing is pending."""
    assert int(OLD) == world.production()
    assert [] == world.journal.pending()
    world.require_whole_history()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(drop=True), "no connection"),
        (Fault(seconds=45), "no answer"),
        (Fault(status=500), "500"),
        (Fault(status=503), "503"),
        (Fault(status=401), "401 (not authorised): no credentials were sent"),
        (Fault(status=403), "403 (the proxy says no): this access is known but may not do this"),
    ],
    ids=["dropped", "slow", "500", "503", "401", "403"],
)
def test_before_the_commit_a_failing_server_moves_nothing(
    fault: Fault, words: str, remote: World, proxy: FaultyProxy, commands: Commands
) -> None:
    """Exit 1, one line that tells what happened, and everything as before."""
    require_refused(always(fault), words, remote, proxy, commands)


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault(status=401), "401 (not authorised)"), (Fault(status=403), "403 (the proxy says no)")],
    ids=["401", "403"],
)
@pytest.mark.parametrize("containing", ["transition-stage", "alias", "set-tag"])
def test_a_right_that_is_missing_is_found_before_the_commit(
    fault: Fault, words: str, containing: str, remote: World, proxy: FaultyProxy, commands: Commands
) -> None:
    """Reading works, one of the writes that must follow would be refused: exit 1, and everything as before."""
    require_refused(on_writes(fault, containing=containing), words, remote, proxy, commands)


def require_refused(rule: Rule, words: str, remote: World, proxy: FaultyProxy, commands: Commands) -> None:
    """A promotion fails and moves nothing; the same promotion goes through when the server is well."""
    proxy.rule = rule
    failed = promote(commands, remote, NEW, proxy)
    assert FAILED == failed.code, failed.err
    line = failed.err.strip().splitlines()[-1]
    assert words in line
    assert proxy.uri in line
    require_nothing_moved(remote)
    proxy.rule = always(WELL)
    assert 0 == promote(commands, remote, NEW, proxy).code
    assert int(NEW) == remote.production()


def test_a_server_that_is_not_there_moves_nothing(remote: World, server: str, commands: Commands) -> None:
    """A refused connection is exit 1; promoting, listing and reconciling all say that there is no connection."""
    with FaultyProxy(server) as gone:
        pass
    for arguments in ([remote.model, NEW], ["--list"], ["--reconcile"]):
        failed = commands(SCRIPT, *arguments, environment=through(remote, gone))
        assert FAILED == failed.code, failed.err
        assert failed.seconds < LONGEST
        assert f"{gone.uri}: no connection" in failed.err.strip().splitlines()[-1]
    require_nothing_moved(remote)


@pytest.mark.parametrize(
    "rule",
    [
        from_first_write(Fault(drop=True)),
        from_first_write(Fault(status=500)),
        from_first_write(Fault(seconds=45)),
        on_writes(Fault(drop=True)),
        on_writes(Fault(status=500)),
        on_writes(Fault(seconds=12)),
        on_writes(Fault(drop=True), containing="alias"),
        on_writes(Fault(status=500), containing="alias"),
        on_writes(Fault(status=500), containing="set-tag"),
    ],
    ids=[
        "goes-down",
        "breaks",
        "gets-slow",
        "drops-writes",
        "500-on-writes",
        "slow-writes",
        "drops-aliases",
        "500-on-aliases",
        "500-on-tags",
    ],
)
def test_after_the_commit_a_failing_server_is_brought_up_to_date_later(
    rule: Rule, remote: World, proxy: FaultyProxy, commands: Commands
) -> None:
    """Exit 6: the journal holds the promotion, and `--reconcile` completes MLflow once it is well."""
    proxy.rule = rule
    promoted = promote(commands, remote, NEW, proxy)
    assert INCOMPLETE == promoted.code, promoted.err
    assert "--reconcile" in promoted.err.strip().splitlines()[-1]
    still = commands(SCRIPT, "--reconcile", "--model", remote.model, environment=through(remote, proxy))
    assert still.code in {FAILED, INCOMPLETE}, still.err
    assert still.seconds < LONGEST
    assert len(remote.shown()) > 0
    proxy.rule = always(WELL)
    require_completed_by_reconcile(commands, remote, proxy)


def test_a_server_that_cannot_store_stages_gets_tags_and_aliases(
    remote: World, proxy: FaultyProxy, commands: Commands
) -> None:
    """Where only stage transitions fail, alias and `stage` tag carry the promotion until `--reconcile`."""
    proxy.rule = on_writes(Fault(status=500), containing="transition-stage")
    promoted = promote(commands, remote, NEW, proxy)
    assert INCOMPLETE == promoted.code, promoted.err
    assert [int(OLD)] == remote.shown()
    assert {"production": int(NEW), "previous": int(OLD)} == remote.aliases()
    assert ("Production", "Archived") == tuple(remote.tags(number)[STAGE_TAG] for number in (int(NEW), int(OLD)))
    proxy.rule = always(WELL)
    require_completed_by_reconcile(commands, remote, proxy)


def test_a_slow_server_is_waited_for(remote: World, proxy: FaultyProxy, commands: Commands) -> None:
    """A second for every answer is slow, and no failure."""
    proxy.rule = always(Fault(seconds=1))
    promoted = promote(commands, remote, NEW, proxy)
    assert 0 == promoted.code, promoted.err
    assert int(NEW) == remote.production()


def test_a_server_that_fails_for_a_moment_is_asked_again(remote: World, proxy: FaultyProxy, commands: Commands) -> None:
    """One 503 for every endpoint is retried and changes nothing for the user."""
    met: set[tuple[str, str]] = set()

    def once(method: str, path: str) -> Fault:
        endpoint = (method, path.partition("?")[0])
        if "/artifacts/" in path or endpoint in met:
            return WELL
        met.add(endpoint)
        return Fault(status=503)

    proxy.rule = once
    promoted = promote(commands, remote, NEW, proxy)
    assert 0 == promoted.code, promoted.err
    assert int(NEW) == remote.production()


# Locked databases


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, commands: Commands) -> World:
    """Two versions in the default stores, the first in Production."""
    world = World.local(tmp_path_factory.mktemp("prepared"))
    register(world.tracking_uri, world.model, model_folder, 2)
    assert 0 == promote(commands, world, OLD).code
    return world


@pytest.fixture
def local(prepared: World, tmp_path: Path) -> World:
    """A copy of the prepared stores."""
    shutil.copytree(prepared.home, tmp_path / "home")
    return World.local(tmp_path / "home")


@pytest.mark.parametrize(
    ("database", "mode"),
    [("promotion.db", "IMMEDIATE"), ("promotion.db", "EXCLUSIVE"), ("mlflow.db", "EXCLUSIVE")],
)
def test_a_database_locked_before_the_commit_moves_nothing(
    database: str, mode: str, local: World, commands: Commands
) -> None:
    """Exit 1 after a bounded wait, the line names the file and that it is locked."""
    with held(local.home / database, mode):
        failed = promote(commands, local, NEW)
    assert FAILED == failed.code, failed.err
    line = failed.err.strip().splitlines()[-1]
    assert database in line
    assert "locked" in line
    require_nothing_moved(local)


@pytest.mark.parametrize("database", ["promotion.db", "mlflow.db"])
def test_reading_commands_work_beside_a_writer(database: str, local: World, commands: Commands) -> None:
    """While another process writes, `--list` and `--history` answer at once and change nothing."""
    before = content(local.home)
    with held(local.home / database, "IMMEDIATE"):
        for option in ("--list", "--history"):
            answered = commands(SCRIPT, option, environment=local.environment)
            assert 0 == answered.code, answered.err
            assert answered.seconds < 3
    assert before == content(local.home)


def test_mlflow_locked_after_the_commit_is_brought_up_to_date_later(local: World, commands: Commands) -> None:
    """MLflow can be read, so the promotion is committed, but not written, so it stays pending: exit 6."""
    with held(local.home / "mlflow.db", "IMMEDIATE"):
        promoted = promote(commands, local, NEW)
        assert INCOMPLETE == promoted.code, promoted.err
        assert "locked" in promoted.err.strip().splitlines()[-1]
    require_completed_by_reconcile(commands, local)


@pytest.mark.parametrize("mode", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_journal_locked_right_after_the_commit_is_no_failure_to_promote(
    mode: str, remote: World, proxy: FaultyProxy, commands: Commands
) -> None:
    """The journal holds the promotion and cannot note that MLflow shows it: exit 6, never "nothing moved"."""
    lock = held(remote.home / "promotion.db", mode)
    writes: list[str] = []

    def lock_at_first_write(method: str, path: str) -> Fault:
        if method != "GET":
            writes.append(path)
            # The first ones only ask for rights.
            if len(writes) == RIGHTS_ASKED + 1:
                lock.__enter__()
        return WELL

    proxy.rule = lock_at_first_write
    promoted = promote(commands, remote, NEW, proxy)
    lock.__exit__(None, None, None)
    assert INCOMPLETE == promoted.code, promoted.err
    assert "nothing moved" not in promoted.err
    require_completed_by_reconcile(commands, remote, proxy)
