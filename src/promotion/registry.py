"""MLflow's model registry as the rest of the project sees it: four records and one small protocol.

Who implements it is decided by the URI (`open_registry`): REST through `requests` for http(s), direct reads of a known
SQLite schema for the default store, `MlflowClient` for everything else and for every local write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from promotion.settings import Settings
from promotion.stages import Stage


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        model: Name of the registered model.
        number: MLflow's integer version.
        stage: Where MLflow shows it.
        status: `READY`, `PENDING_REGISTRATION` or `FAILED_REGISTRATION`.
        source: Where the artifact was registered from (`models:/m-…`, `runs:/…`, a path or URI).
        run_id: Run that made it, if any.
        created_at: UTC.
        updated_at: UTC; a stage transition moves it.
        tags: All tags of the version.
    """

    model: str
    number: int
    stage: Stage
    status: str
    source: str
    run_id: str | None
    created_at: datetime
    updated_at: datetime
    tags: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model as a listing shows it: the highest version of each stage, and the aliases."""

    name: str
    versions: Sequence[ModelVersion]
    aliases: Mapping[str, int] = field(default_factory=dict)


class Registry(Protocol):
    """What we ask of MLflow.

    Every method raises `RegistryUnreachable`, `RegistryUnauthorised`, `RegistryForbidden` or `RegistryBroken` when the
    store fails, `UnknownModel` or `UnknownVersion` when it answers that there is no such thing; "nothing found" is
    never the answer to a failure.
    """

    uri: str

    def models(self) -> list[RegisteredModel]:
        """Every registered model by name, each with its highest version per stage."""

    def model(self, name: str) -> RegisteredModel:
        """One registered model."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of one registered model, newest first."""

    def version(self, name: str, number: int) -> ModelVersion:
        """One version."""

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        """All versions of all models that carry this tag."""

    def artifact_uri(self, version: ModelVersion) -> str:
        """Where the artifact's files are, resolved down to a storage location."""

    def set_stage(self, name: str, number: int, stage: Stage) -> None:
        """Move one version; other versions stay where they are."""

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Point an alias at a version."""

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; removing an absent one is no error."""

    def set_tag(self, name: str, number: int, key: str, value: str) -> None:
        """Write one version tag."""

    def delete_tag(self, name: str, number: int, key: str) -> None:
        """Remove one version tag; removing an absent one is no error."""


def open_registry(settings: Settings) -> Registry:
    """The registry behind `settings.registry_uri`; nothing is contacted yet."""
    raise NotImplementedError
