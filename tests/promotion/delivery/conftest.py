"""A family with three versions of which the second is in Production, and a scripted kubectl on the PATH."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.delivery.model_scene import ModelScene, model_scene, play
from tests.promotion.delivery.scripted_cluster import ScriptedCluster
from tests.promotion.factories import Store, a_family
from tests.promotion.shared_home import SharedHome

from promotion.config.settings import REPOSITORY
from promotion.delivery.deploy import Deployer
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.rollout import RolloutWatch
from promotion.delivery.records import Deployment, DeploymentTarget, Environment, Image, Track
from promotion.journal.records import Entry
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

MODEL = "tiny-linear"


@dataclass
class Scene:
    """Registry, journal, scripted cluster, and the deployer between them.

    Attributes:
        store: MLflow's store.
        cluster: The scripted one.
        said: What was reported.
        patience: See `RolloutWatch`.
        seconds: How long a rollout may take.
    """

    store: Store
    cluster: ScriptedCluster
    said: list[str] = field(default_factory=list)
    patience: float = 0.0
    seconds: float = 60.0

    def __post_init__(self) -> None:
        self.service: PromotionService = self.store.service(a_family(), report=self.said.append)

    def deployer(self, environment: Environment = Environment.PRODUCTION) -> Deployer:
        """A deployer that does not wait long."""
        return Deployer(
            self.service,
            Cluster(environment.namespace),
            REPOSITORY / "k8s",
            actor="anna",
            seconds=self.seconds,
            watch=partial(RolloutWatch, poll=0.01, patience=self.patience),
            settling=0.0,
        )

    def image(self, number: int, behaviour: str = "well", **answers: Any) -> Image:
        """An image of a version."""
        entry = self.entry(number)
        moves = [event for event in self.service.journal.history("tiny", version_id=entry.id) if event.is_move]
        report = moves[0].details["report_digest"] if moves else "e" * 64
        return self.cluster.image(
            MODEL, number, entry.digest or "0" * 64, family="tiny", behaviour=behaviour, report=report, **answers
        )

    def deploy(
        self, image: Image, track: Track = Track.STABLE, environment: Environment = Environment.PRODUCTION
    ) -> Deployment:
        """Deploy an image."""
        target = DeploymentTarget("tiny", environment, track)
        return self.deployer(environment).deploy(target, image, self.cluster.export(image.version))

    def promote(self, number: int, to: Stage = Stage.PRODUCTION) -> None:
        """Move a version on."""
        plan = self.service.check(self.service.candidate(MODEL, number), to)
        self.service.promote(plan, Mover("anna", "better"))

    def entry(self, number: int) -> Entry:
        """A version, as the journal knows it."""
        entry = self.service.journal.entry(MODEL, number)
        assert entry is not None
        return entry

    def production(self) -> int | None:
        """Number of the version in Production; journal and MLflow agree on it."""
        entry = self.service.journal.production("tiny")
        shown = [int(name.split(" v")[1]) for name, stage in self.store.shown().items() if stage == "Production"]
        assert ([entry.number] if entry else []) == shown
        return entry.number if entry else None

    def actions(self, limit: int) -> list[str]:
        """The newest events, oldest first."""
        return [event.action for event in self.service.journal.history("tiny", limit=limit)][::-1]


@pytest.fixture(scope="module")
def _shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    made = SharedHome(tmp_path_factory.mktemp("delivery"), empty_store)
    service = made.store.service(a_family())
    for number, score in enumerate((0.90, 0.92, 0.94), start=1):
        made.store.register(MODEL, roc_auc=score)
        if number == 1:
            plan = service.check(service.candidate(MODEL, number))
            service.promote(plan, Mover("anna", "better"))
    made.keep("first")
    return made


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedCluster:
    """An empty scripted cluster whose kubectl is first on the PATH."""
    made = ScriptedCluster(tmp_path / "cluster")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def first(_shared: SharedHome, cluster: ScriptedCluster) -> Scene:
    """Version 1 is in Production, nothing was ever deployed."""
    return Scene(_shared.back_to("first"), cluster)


@pytest.fixture
def second(_shared: SharedHome, cluster: ScriptedCluster) -> Scene:
    """Version 1 served and runs in the cluster; version 2 is in Production and not deployed yet."""
    scene = Scene(_shared.back_to("first"), cluster)
    scene.deploy(scene.image(1))
    scene.promote(2)
    with cluster.changed() as state:
        state["calls"] = []
    scene.said.clear()
    return scene


@pytest.fixture
def unserved(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelScene]:
    """Version 1 is in Production, nothing runs on the modelled cluster."""
    with model_scene(empty_store.with_name("promotion.db")) as scene:
        play(monkeypatch, scene)
        yield scene


@pytest.fixture
def modelled(unserved: ModelScene) -> ModelScene:
    """Version 1 is in Production and runs on the three pods of the modelled cluster."""
    unserved.deploy(unserved.image(1))
    unserved.cluster.calls.clear()
    return unserved
