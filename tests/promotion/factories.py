"""Short ways to the parts that many tests of the promotion layer need: versions, a journal, a family, an evaluator."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from promotion.artifacts.files import artifact_digest
from promotion.artifacts.signature import sign_artifact
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.config.settings import Settings
from promotion.errors import ArtifactRefused, RegistryBroken, RegistryForbidden, RegistryUnreachable
from promotion.export.folder import FORMAT, MANIFEST, Manifest
from promotion.gates.evidence import Evaluation, Interval, Measurement, SliceFigure
from promotion.gates.gathering import Gatherer
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Change, Entry, Known, Registration, TrainingRound
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.open import open_registry
from promotion.registry.stages import Stage
from promotion.rules.rulebook import Rulebook
from promotion.service import PromotionService
from promotion.signing.keys import Keys

_ALGORITHMS: dict[str, Any] = {"forest": {}, "linear": {}}
ANNA = Authority("promote", "anna", "the better one")
FILES = MappingProxyType({"MLmodel": b"flavors: {}"})
"""Of a version that somebody else trained."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def a_version(
    model: str = "churn",
    number: int = 1,
    stage: Stage = Stage.NONE,
    *,
    minutes: int = 0,
    status: str = "READY",
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """A version as the registry would describe it; `minutes` says how long after the start it was last moved."""
    moved = START + timedelta(minutes=minutes)
    return ModelVersion(model, number, stage, status, "file:///nowhere", f"run-{number}", START, moved, tags or {})


def a_manifest(**changes: Any) -> Manifest:
    """What an export says of itself; it lists no files yet."""
    manifest = Manifest(
        format=FORMAT,
        family="churn",
        model="churn",
        version=3,
        semver=None,
        run_id="",
        stage="Production",
        artifact_digest="a" * 64,
        gate_report=None,
        git_sha=None,
        task="binary-classification",
        engine="onnx",
        trusted=[],
        files={},
    )
    return replace(manifest, **changes)


def seal_unsigned(folder: Path, manifest: Manifest) -> None:
    """Write the manifest over what lies in the folder now, for readers who do not ask who signed it."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(replace(manifest, files=files).text(), encoding="utf-8")


def a_registration(digest: str, signature: str | None, **changes: Any) -> Registration:
    """What a training would tell the journal of a version."""
    known = Registration(digest, signature, "tess@lab.example", "f" * 64, {"roc_auc": 0.9}, {})
    return replace(known, **changes)


def an_entry(model: str = "churn", number: int = 1, stage: Stage = Stage.NONE, **changes: Any) -> Entry:
    """A version as the journal would know it; its row has the version's number."""
    known: dict[str, Any] = {
        "id": number,
        "version": f"1.{number - 1}.0",
        "run_id": None,
        "digest": None,
        "trainer": None,
        "known_bad": None,
        "feature_hash": None,
        "approver": "anna",
        "reason": "held",
        "registered_at": None,
        "promoted_at": None,
        "deprecated_at": None,
    }
    return Entry(model=model, number=number, stage=stage, **(known | changes))


def a_journal(folder: Path, **options: Any) -> Journal:
    """A journal in `<folder>/promotion.db`."""
    return Journal(Database(f"sqlite:///{folder / 'promotion.db'}", **options))


def promote(journal: Journal, family: str, version: Known, authority: Authority = ANNA) -> str:
    """Move a version into Production, the one that is there into Archived."""
    current = journal.production(family)
    changes = [Change(current, Stage.ARCHIVED)] if current else []
    changes.append(Change(version, Stage.PRODUCTION))
    return journal.move(family, changes, authority, expected_production=current.id if current else None)


def a_family(name: str = "tiny", **changes: Any) -> FamilyConfig:
    """A family that trains elsewhere, whose evaluator below reads scores instead of computing them."""
    document: dict[str, Any] = {
        "family": name,
        "task": "binary-classification",
        "registered_model": name + "-*",
        "promotion": "auto",
        "selection_metric": "roc_auc",
        "data": {"path": "data/tiny.csv", "columns": {"x": {"type": "number"}, "y": {"type": "code", "codes": [0, 1]}}},
        "target": {"column": "y", "positive_above": 0},
        "numeric": ["x"],
        "gates": {"thresholds": {"roc_auc": {"minimum": 0.8}}},
    }
    return FamilyConfig.model_validate(document | changes)


def a_training_family(name: str = "tiny", **changes: Any) -> FamilyConfig:
    """The same family, which trains two algorithms here."""
    return a_family(name, **{"registered_model": name + "-{algorithm}", "candidates": _ALGORITHMS} | changes)


@dataclass(frozen=True)
class Scored:
    """An evaluation that was written down."""

    metrics: Mapping[str, float]
    rows: int = 60
    data_sha256: str = "0" * 64
    slices: tuple[SliceFigure, ...] = ()


class ScoreFileEvaluator:
    """Reads a model's metrics from `scores.json` in its artifact."""

    feature_hash = "f" * 64
    data_sha256 = "0" * 64

    def holdout_problems(self) -> list[str]:
        """None."""
        return []

    def load(self, artifact: Path) -> None:
        """Refuse what cannot be scored."""
        self.evaluate(artifact)

    def measure(self, artifact: Path) -> Measurement:
        """Costs as the scores name them."""
        scores = self.evaluate(artifact).metrics
        return Measurement(scores.get("latency", 1.0), 0.5, scores.get("memory", 100.0), scores.get("cpu", 1.0), 200)

    def schema_problems(self, artifact: Path) -> list[str]:
        """What the file `schema_problems.txt` says."""
        path = artifact / "schema_problems.txt"
        return path.read_text().splitlines() if path.is_file() else []

    def split_problems(self, trained: Mapping[str, Any]) -> list[str]:  # noqa: ARG002  # the protocol's
        """Nothing is known of any."""
        return []

    def data_problems(self) -> list[str]:
        """None."""
        return []

    def evaluate(self, artifact: Path) -> Scored:
        """The metrics written there, or a refusal."""
        path = artifact / "scores.json"
        if not path.is_file():
            raise ArtifactRefused(f"{path.name} is missing: the model cannot be scored")
        return Scored(json.loads(path.read_text()))

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """The plain difference, 0.02 to either side of it."""
        value = candidate.metrics[metric] - production.metrics[metric]
        return Interval(value, value - 0.02, value + 0.02)


class Watched:
    """A registry that notes who is in Production after every stage it sets, and that can be told to fail.

    Args:
        registry: Does the work.
        broken: Versions whose stage cannot be set, as on a file store with a RepresenterError.
        is_down: Whether every write fails as on a server that went away.
        is_read_only: Whether whoever asks may read and not write.
    """

    def __init__(
        self, registry: Registry, *, broken: Container[str] = (), is_down: bool = False, is_read_only: bool = False
    ) -> None:
        self._registry = registry
        self._broken = broken
        self._is_down = is_down
        self._is_read_only = is_read_only
        self.stages: list[str] = []
        self.productions: list[set[str]] = []

    def __getattr__(self, name: str) -> Any:
        if self._is_down and name.startswith(("set_", "delete_")):
            raise RegistryUnreachable("http://mlflow: no connection")
        if self._is_read_only and name.startswith(("set_", "delete_", "require_")):
            raise RegistryForbidden("http://mlflow: answered 403")
        return getattr(self._registry, name)

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        """Do it, or fail; and look around afterwards."""
        self.stages.append(f"{name} v{number} → {stage}")
        if self._is_read_only:
            raise RegistryForbidden("http://mlflow: answered 403")
        if self._is_down:
            raise RegistryUnreachable("http://mlflow: no connection")
        if f"{name} v{number}" in self._broken:
            raise RegistryBroken("RepresenterError: cannot represent an object")
        self._registry.set_stage(name, number, stage)
        self.productions.append(
            {str(v) for m in self._registry.models() for v in m.versions if v.stage is Stage.PRODUCTION}
        )


class Store:
    """MLflow's real store with short verbs; what these do happens behind the journal's back, as in the user interface.

    Args:
        settings: Names the stores.
        artifacts: Folder for the versions' files.
    """

    def __init__(self, settings: Settings, artifacts: Path) -> None:
        self.settings = settings
        self.home = settings.home
        self._artifacts = artifacts

    @cached_property
    def client(self) -> Any:
        """MLflow's own client."""
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.settings.tracking_uri, self.settings.registry_uri)

    def register(self, model: str, tags: Mapping[str, str] | None = None, **scores: float) -> int:
        """Make a version whose artifact is a file of scores; returns its number."""
        known = {found.name for found in self.client.search_registered_models()}
        if model not in known:
            self.client.create_registered_model(model)
        folder = self._artifacts / f"{model}-{time.monotonic_ns()}"
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps(scores))
        return int(self.client.create_model_version(model, source=str(folder), tags=dict(tags or {})).version)

    def log(
        self, model: str, metrics: Mapping[str, float] = MappingProxyType({}), files: Mapping[str, bytes] = FILES
    ) -> int:
        """Make a version as a trainer elsewhere does, from a run with metrics; returns its number."""
        run = self.client.create_run("0", tags={"mlflow.user": "tina"}).info.run_id
        for name, value in metrics.items():
            self.client.log_metric(run, name, value)
        if model not in {found.name for found in self.client.search_registered_models()}:
            self.client.create_registered_model(model)
        folder = self._artifacts / run
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return int(self.client.create_model_version(model, source=str(folder), run_id=run).version)

    def train(
        self,
        family: str,
        *models: str,
        best: str = "",
        tag: str = "",
        tagged: Mapping[str, str] | None = None,
        **scores: float,
    ) -> list[int]:
        """Make a version of each model and register them together as a training does; returns their numbers.

        Args:
            family: Whose.
            models: Registered models.
            best: The one that won, the first by default.
            tag: The one that carries `best_model`, the winner by default; `-` for none.
            tagged: Other tags of all.
            scores: What each version's artifact scores.
        """
        winner = best or models[0]
        tags = {"roc_auc": f"{scores.get('roc_auc', 0.9):.4f}"} | dict(tagged or {})
        marked = tag or winner
        made = {m: self.register(m, tags | ({"best_model": "true"} if m == marked else {}), **scores) for m in models}
        self.record_training(family, list(made.items()), winner)
        return list(made.values())

    def record_training(self, family: str, versions: Sequence[tuple[str, int]], best: str) -> None:
        """Tell the journal of versions as a training does that made them."""
        journal, keys = Journal(Database(self.settings.database_url)), Keys.from_environment()
        known: dict[str, tuple[Known, Registration]] = {}
        for model, number in versions:
            folder = Path(self.registry.artifact_uri(self.registry.version(model, number)).removeprefix("file://"))
            registration = a_registration(artifact_digest(folder), sign_artifact(folder, keys))
            known[model] = self.registry.version(model, number), registration
        training = TrainingRound(f"round {time.monotonic_ns()}", known[best][0])
        journal.register(family, list(known.values()), actor="trainer", semver=None, training=training)

    def artifact(self, model: str, number: int) -> Path:
        """Where the version's files are."""
        return Path(self.client.get_model_version(model, str(number)).source)

    def move(self, model: str, number: int, stage: Stage, *, archive: bool = False) -> None:
        """Choose a stage as in MLflow's user interface."""
        self.client.transition_model_version_stage(model, str(number), stage.value, archive)

    def sql(self, statement: str) -> None:
        """Change MLflow's tables by hand."""
        with closing(sqlite3.connect(self.home / "mlflow.db", isolation_level=None)) as database:
            database.execute(statement)

    def shown(self) -> dict[str, str]:
        """Every version with its stage, as MLflow's own client tells it, without those that are nowhere."""
        versions = self.client.search_model_versions()
        return {f"{v.name} v{v.version}": v.current_stage for v in versions if v.current_stage != "None"}

    def aliases(self) -> dict[str, str]:
        """Every alias with the version it points at."""
        models = self.client.search_registered_models()
        return {f"{m.name}@{alias}": str(number) for m in models for alias, number in m.aliases.items()}

    def tags(self, model: str, number: int) -> dict[str, str]:
        """A version's tags."""
        return dict(self.client.get_model_version(model, str(number)).tags)

    def service(
        self,
        *configs: FamilyConfig,
        registry: Watched | None = None,
        report: Callable[[str], None] = lambda _line: None,
        **database: Any,
    ) -> PromotionService:
        """The promotion service on this store."""
        journal = Journal(Database(self.settings.database_url, **database))
        chosen = cast("Registry", registry or self.registry)
        rulebook = Rulebook(self.home, self.home / "config" / "allowed_signers")
        return PromotionService(
            journal,
            chosen,
            FamilyConfigs({config.family: config for config in configs}),
            Gatherer(journal, Reviews(journal), chosen, lambda _config: ScoreFileEvaluator(), rulebook),
            report=report,
        )

    @property
    def registry(self) -> Registry:
        """The registry as commands open it."""
        return open_registry(self.settings)

    def rows(self) -> dict[str, Any]:
        """Everything both databases hold."""
        return {name: rows(self.home / name) for name in ("mlflow.db", "promotion.db")}


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a SQLite file, by table; empty when there is no file."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(tables)}  # noqa: S608


def make_key(folder: Path, name: str, *, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A person's SSH key as ssh-keygen makes one: the private file, and `.pub` beside it."""
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "rsa":
        key = rsa.generate_private_key(65537, 2048)
    else:
        curves = {"ecdsa": ec.SECP256R1(), "ecdsa-384": ec.SECP384R1(), "ecdsa-521": ec.SECP521R1()}
        key = ec.generate_private_key(curves[kind])
    # OpenSSH's own lock takes one more library; PKCS #8's is read by the same programs.
    lock = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    form = PrivateFormat.PKCS8 if passphrase else PrivateFormat.OpenSSH
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, form, lock))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(f"{name}.pub").write_text(f"{public} {name}\n")
    return path


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Take the write permission of a file or folder; from root too, whom permissions do not stop, by a mount."""
    mode = path.stat().st_mode
    if os.geteuid() != 0:
        path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            path.chmod(mode)
        return
    for options in (["--bind", str(path)], ["-o", "remount,bind,ro"]):
        if subprocess.run(["mount", *options, str(path)], capture_output=True, check=False).returncode:
            pytest.skip("root may not mount here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of `size` on `folder`."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
