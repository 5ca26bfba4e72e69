"""A deployment is killed with SIGKILL anywhere; the next call finishes it. The cluster is a scripted stand-in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.promotion.delivery.scripted_cluster import ScriptedCluster
from tests.system.drivers.commands import NEVER, Commands, Finished, Kind
from tests.system.drivers.steps import Steps
from tests.system.drivers.world import MODEL, World, register

from promotion.audit import verify_journal
from promotion.audit.attestations import Attestations
from promotion.audit.checkpoints import read_checkpoints
from promotion.audit.source import JournalSource
from promotion.config.settings import REPOSITORY
from promotion.delivery.deployments import Deployments
from promotion.delivery.records import Environment
from promotion.signing.keys import Keys

PROMOTE, DEPLOY = "scripts/promote-model.py", "scripts/deploy-model.py"


@dataclass(frozen=True)
class Scene:
    """A world whose version 1 runs in the cluster and whose version 2 is in Production and not deployed."""

    world: World
    cluster: ScriptedCluster
    images: dict[str, str]

    def environment(self) -> dict[str, str]:
        """Where a command finds both."""
        return {**self.world.environment, **self.cluster.environment, "PROMOTION_KEYS": str(self.world.home / "keys")}

    def arguments(self, image: str) -> list[str]:
        """The command line that deploys an image."""
        number = 1 if image == "old" else 2
        return [
            *("--model", MODEL, "--environment", "production", "--image", self.images[image]),
            *("--export", str(self.cluster.export(number)), "--timeout", "60"),
        ]

    def copied(self, folder: Path) -> Scene:
        """The same in files of its own."""
        shutil.copytree(self.world.home.parent, folder)
        cluster = ScriptedCluster.__new__(ScriptedCluster)
        cluster.folder, cluster.file = folder / "cluster", folder / "cluster" / "cluster.json"
        return Scene(World.local(folder / "home"), cluster, self.images)

    def require_end(self, image: str, version: int) -> None:
        """Cluster, journal and MLflow agree, nothing is under way, and the chain holds."""
        assert self.images[image] == self.cluster.runs(MODEL)
        assert version == self.world.production()
        assert Deployments(self.world.journal).unfinished(MODEL, Environment.PRODUCTION) is None
        checkpoints, _ = read_checkpoints(self.world.home / "checkpoints")
        trusted = Keys(self.world.home / "keys" / "signing-key.pem").trusted()
        assert [] == list(verify_journal(JournalSource(self.world.journal), checkpoints, trusted).findings)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, commands: Commands) -> Scene:
    """See `Scene`; `old`, `good` and `bad` are images of versions 1, 2 and 2."""
    folder = tmp_path_factory.mktemp("deployment") / "prepared"
    world, cluster = World.local(folder / "home"), ScriptedCluster(folder / "cluster")
    register(world.tracking_uri, MODEL, model_folder, 2)
    images: dict[str, str] = {}
    scene = Scene(world, cluster, images)

    def add(name: str, number: int, behaviour: str) -> None:
        entry = world.journal.entry(MODEL, number)
        assert entry is not None
        assert entry.digest is not None
        keys = Keys(world.home / "keys" / "signing-key.pem")
        (attestation,) = Attestations(world.journal, world.home / "checkpoints", lambda: keys).digests(MODEL, entry)
        images[name] = cluster.image(
            MODEL, number, entry.digest, family=MODEL, behaviour=behaviour, attestation=attestation
        ).reference

    assert 0 == commands(PROMOTE, MODEL, "1", environment=scene.environment()).code
    add("old", 1, "well")
    done = commands(DEPLOY, *scene.arguments("old"), environment=scene.environment())
    assert 0 == done.code, done.err
    assert 0 == commands(PROMOTE, MODEL, "2", environment=scene.environment()).code
    add("good", 2, "well")
    add("bad", 2, "crash")
    with cluster.changed() as state:
        state["calls"] = []
    return scene


def finish(scene: Scene, image: str, commands: Commands, number: int) -> Finished:
    """What a person or Jenkins does next: the same call, or --resume, in turn."""
    again = scene.arguments(image)
    if number % 2:
        again = [*again[:4], *again[6:], "--resume"]
    return commands(DEPLOY, *again, environment=scene.environment())


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("image", ["good", "bad"])
@pytest.mark.parametrize("kind", ["call", "commit"])
def test_a_deployment_killed_anywhere_is_finished_by_the_next_call(
    kind: Kind, image: str, steps: Steps, prepared: Scene, commands: Commands, tmp_path: Path
) -> None:
    """Killed at its n-th write to MLflow or the end of a transaction: never half, either way."""
    scene = prepared.copied(tmp_path / "lives")
    lived = commands(DEPLOY, *scene.arguments(image), environment=scene.environment(), kill=(kind, NEVER))
    assert (0 if image == "good" else 1) == lived.code, lived.err
    for turn, number in enumerate(steps(lived.moments), 1):
        scene = prepared.copied(tmp_path / f"{number}")
        killed = commands(DEPLOY, *scene.arguments(image), environment=scene.environment(), kill=(kind, number))
        assert -signal.SIGKILL == killed.code, killed.err
        _require_finished(scene, image, commands, turn)


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("image", ["good", "bad"])
def test_a_deployment_killed_at_any_call_of_kubectl_is_finished_by_the_next_call(
    image: str, steps: Steps, prepared: Scene, commands: Commands, tmp_path: Path
) -> None:
    """Killed before a call: the one before it was done, nobody remembers, and it ends well all the same."""
    scene = prepared.copied(tmp_path / "lives")
    lived = commands(DEPLOY, *scene.arguments(image), environment=scene.environment())
    assert (0 if image == "good" else 1) == lived.code, lived.err
    for turn, number in enumerate(steps(scene.cluster.verbs()), 1):
        scene = prepared.copied(tmp_path / f"{number}")
        with scene.cluster.changed() as state:
            state["kill"] = number
        killed = commands(DEPLOY, *scene.arguments(image), environment=scene.environment())
        with scene.cluster.changed() as state:
            state.pop("kill")
        assert -signal.SIGKILL == killed.code, killed.err
        _require_finished(scene, image, commands, turn)


def _require_finished(scene: Scene, image: str, commands: Commands, number: int) -> None:
    if number % 3 == 0:
        _require_looking_changes_nothing(scene, image, commands)
    after = finish(scene, image, commands, number)
    if after.code == 5 and image == "bad":
        # Nothing was begun yet, so there was nothing to resume.
        after = commands(DEPLOY, *scene.arguments(image), environment=scene.environment())
    if image == "bad":
        assert after.code in {1, 3}, after.err
        scene.require_end("old", 1)
        left = scene.world.journal.entry(MODEL, 2)
        assert left is not None
        assert left.known_bad
        return
    if after.code == 5 and number % 2:
        after = commands(DEPLOY, *scene.arguments(image), environment=scene.environment())
    assert after.code in {0, 5}, after.err
    scene.require_end("good", 2)


def _require_looking_changes_nothing(scene: Scene, image: str, commands: Commands) -> None:
    before = json.dumps(scene.cluster.state["objects"], sort_keys=True)
    shown = commands(DEPLOY, *scene.arguments(image)[:4], "--status", environment=scene.environment())
    assert shown.code in {0, 3}, shown.err
    assert _without_looks(before) == _without_looks(json.dumps(scene.cluster.state["objects"], sort_keys=True))


def _without_looks(objects: str) -> object:
    document = json.loads(objects)
    for namespace in document.values():
        for item in namespace.values():
            item.pop("looked", None)
            item.pop("status", None)
    return document


@pytest.mark.system
def test_two_deployments_at_once_are_one_after_the_other(prepared: Scene, tmp_path: Path) -> None:
    """Both are asked to deploy the same image: one does, the other finds nothing to do; one apply is made."""
    scene = prepared.copied(tmp_path / "two")
    command = [sys.executable, str(REPOSITORY / DEPLOY), *scene.arguments("good")]
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, **scene.environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=100)[0] for process in running]

    assert [0, 5] == sorted(process.returncode for process in running), said
    assert 1 == scene.cluster.verbs().count("apply")
    scene.require_end("good", 2)
