"""A family on the model of a cluster: registry and cluster in memory, the journal in a file, time that is played."""

# ruff: noqa: ARG002, D102  # a registry has the protocol's methods, documented there

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
import yaml
from tests.promotion.delivery.model_cluster import ModelCluster, ModelImage
from tests.promotion.delivery.scripted_cluster import predictions, write_export
from tests.promotion.factories import ScoreFileEvaluator, a_family

from promotion.config.family import FamilyConfigs
from promotion.config.settings import REPOSITORY
from promotion.delivery import checks, recovery
from promotion.delivery import status as status_module
from promotion.delivery.canary import steps, telemetry
from promotion.delivery.canary.records import AnalysisPlan, LiveLabels
from promotion.delivery.deploy import Deployer
from promotion.delivery.kubernetes import manifests, rollout, smoke
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.records import Deployment, DeploymentTarget, Environment, Image, Track
from promotion.errors import UnknownModel, UnknownVersion
from promotion.gates.gathering import Gatherer
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion, RegisteredModel, Registry
from promotion.registry.stages import Stage
from promotion.rules.rulebook import Rulebook
from promotion.service import Mover, PromotionService

MODEL = "tiny-linear"
CANARY = "tiny-canary"
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_IMAGE = "registry.example/placeholder:0"
_OPERATION = "placeholder-operation"


class ModelRegistry(Registry):
    """One registered model in memory.

    Args:
        folder: For the versions' files.
    """

    uri = "memory"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[int, ModelVersion] = {}
        self.aliases: dict[str, int] = {}

    def add(self, number: int, score: float) -> None:
        """Register a version with a score."""
        folder = self.folder / str(number)
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps({"roc_auc": score}), encoding="utf-8")
        self.held[number] = ModelVersion(MODEL, number, Stage.NONE, "READY", str(folder), None, _NOW, _NOW)

    def reading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def models(self) -> list[RegisteredModel]:
        return [self.model(MODEL)]

    def model(self, name: str) -> RegisteredModel:
        if name != MODEL:
            raise UnknownModel(name)
        return RegisteredModel(MODEL, self.versions(name), dict(self.aliases))

    def versions(self, name: str) -> list[ModelVersion]:
        return [self.held[number] for number in sorted(self.held, reverse=True)]

    def every_version(self) -> list[ModelVersion]:
        return list(self.held.values())

    def version(self, name: str, number: int) -> ModelVersion:
        if number not in self.held:
            raise UnknownVersion(f"{name} has no version {number}")
        return self.held[number]

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        return [version for version in self.held.values() if version.tags.get(key) == value]

    def artifact_uri(self, version: ModelVersion) -> str:
        return version.source

    def keeps_logged_model(self, *_: Any) -> bool:
        return True

    def require_rights(self, *_: Any, **__: Any) -> None:
        pass

    def run(self, *_: Any, **__: Any) -> Any:
        return None

    def runs(self, *_: Any) -> Any:
        return {}

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        self.held[number] = replace(self.held[number], stage=stage)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self.aliases[alias] = number

    def delete_alias(self, name: str, alias: str) -> None:
        self.aliases.pop(alias, None)

    def set_tag(self, name: str, number: int, key: str, value: str) -> None:
        self.held[number] = replace(self.held[number], tags={**self.held[number].tags, key: value})

    def delete_tag(self, name: str, number: int, key: str) -> None:
        kept = {name: value for name, value in self.held[number].tags.items() if name != key}
        self.held[number] = replace(self.held[number], tags=kept)

    def set_description(self, name: str, number: int, text: str) -> None:
        self.held[number] = replace(self.held[number], description=text)

    def delete_version(self, name: str, number: int) -> None:
        self.held.pop(number, None)


class ModelScene:
    """Registry, journal, the modelled cluster, and the deployer between them; version 1 is in Production.

    Args:
        folder: For the journal and files.
        journal: An empty journal to copy.
        versions: How many there are.
    """

    def __init__(self, folder: Path, journal: Path, versions: int = 3) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(journal, folder / "promotion.db")
        self.cluster = ModelCluster()
        self.registry = ModelRegistry(folder / "artifacts")
        self.said: list[str] = []
        self.labels: LiveLabels | None = None
        for number in range(1, versions + 1):
            self.registry.add(number, 0.9 + number / 1000)
        opened = Journal(Database(f"sqlite:///{folder / 'promotion.db'}"))
        rulebook = Rulebook(folder, folder / "signers")
        self.service = PromotionService(
            opened,
            self.registry,
            FamilyConfigs({"tiny": a_family()}),
            Gatherer(opened, Reviews(opened), self.registry, lambda _config: ScoreFileEvaluator(), rulebook),
            report=self.said.append,
        )
        self.promote(1)

    def deployer(self) -> Deployer:
        """A deployer to the modelled Production."""
        return Deployer(
            self.service,
            cast("Cluster", self.cluster),
            REPOSITORY / "k8s",
            actor="anna",
            seconds=60.0,
            settling=5.0,
            labels=self.labels,
        )

    def promote(self, number: int) -> None:
        """Move a version into Production."""
        plan = self.service.check(self.service.candidate(MODEL, number), Stage.PRODUCTION)
        self.service.promote(plan, Mover("anna", "better"))

    def entry(self, number: int) -> Entry:
        """A version, as the journal knows it."""
        entry = self.service.journal.entry(MODEL, number)
        assert entry is not None
        return entry

    def production(self) -> int | None:
        """Number of the version in Production; journal and registry agree on it."""
        entry = self.service.journal.production("tiny")
        shown = [number for number, version in self.registry.held.items() if version.stage is Stage.PRODUCTION]
        assert ([entry.number] if entry else []) == shown
        return entry.number if entry else None

    def image(self, number: int, behaviour: str = "well") -> Image:
        """A new image of a version, which also has an export folder."""
        entry = self.entry(number)
        digest = entry.digest or "0" * 64
        moves = [event for event in self.service.journal.history("tiny", version_id=entry.id) if event.is_move]
        report = next((event.details["report_digest"] for event in moves if "report_digest" in event.details), "e" * 64)
        manifest = write_export(self.export(number), MODEL, number)
        reference = f"registry.example/tiny:{number}-{behaviour}-{len(self.cluster.images)}"
        answers: Mapping[str, Any] = {"classes": [0, 0]} if behaviour == "wrong" else {}
        said = {"artifact_digest": digest, "image": reference, "model": MODEL, "version": str(number)}
        self.cluster.images[reference] = ModelImage(behaviour, said, predictions(answers))
        return Image(reference, "tiny", MODEL, number, f"1.{number}.0", digest, report, manifest)

    def export(self, number: int) -> Path:
        """The export folder of a version."""
        return self.folder / f"export-{number}"

    def deploy(self, image: Image, track: Track = Track.STABLE, plan: AnalysisPlan | None = None) -> Deployment:
        """Deploy an image, and let the cluster come to rest."""
        target = DeploymentTarget("tiny", Environment.PRODUCTION, track)
        try:
            return self.deployer().deploy(target, image, self.export(image.version), plan)
        finally:
            self.cluster.settle()

    def resume(self, number: int) -> Deployment:
        """Finish what was interrupted."""
        try:
            return self.deployer().resume("tiny", Environment.PRODUCTION, self.export(number))
        finally:
            self.cluster.settle()

    def actions(self, limit: int) -> list[str]:
        """The newest events, oldest first."""
        return [event.action for event in self.service.journal.history("tiny", limit=limit)][::-1]


@contextmanager
def model_scene(journal: Path, versions: int = 3) -> Iterator[ModelScene]:
    """A scene whose files lie in memory, where the machine has such a place: SQLite waits for the disk else."""
    memory = Path("/dev/shm")  # noqa: S108  # the folder below it has a name of its own
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield ModelScene(Path(folder), journal, versions)


def play(monkeypatch: pytest.MonkeyPatch, scene: ModelScene) -> None:
    """Let time and HTTP be the model's, and render the manifests once for all."""
    clock = SimpleNamespace(monotonic=scene.cluster.monotonic, sleep=scene.cluster.sleep)
    asked = SimpleNamespace(
        get=scene.cluster.ask,
        post=scene.cluster.ask,
        RequestException=requests.RequestException,
        Response=requests.Response,
    )
    monkeypatch.setattr(rollout, "time", clock)
    monkeypatch.setattr(smoke, "time", clock)
    monkeypatch.setattr(steps, "time", clock)
    monkeypatch.setattr(smoke, "requests", asked)
    monkeypatch.setattr(telemetry, "requests", asked)
    for module in (checks, recovery, status_module):
        monkeypatch.setattr(module, "render_manifests", render_quickly)


def render_quickly(folder: Path, target: DeploymentTarget, image: Image, operation: str) -> str:
    """As `render_manifests` would, from what it rendered once."""
    annotations = manifests.annotations_of(image, operation)
    placeholder = manifests.annotations_of(_placeholder(), _OPERATION)
    text = _rendered(folder, target)
    for name, value in sorted(placeholder.items(), key=lambda item: -len(item[1])):
        text = text.replace(json.dumps(value), json.dumps(annotations[name]))
    return text.replace('"77"', json.dumps(str(image.version)))


def _placeholder() -> Image:
    return Image(_IMAGE, "tiny", "placeholder-model", 77, "0.0.77", "d" * 64, "g" * 64, "m" * 64)


@cache
def _rendered(folder: Path, target: DeploymentTarget) -> str:
    text = manifests.render_manifests(folder, target, _placeholder(), _OPERATION)
    return "\n---\n".join(json.dumps(document) for document in yaml.safe_load_all(text))
