"""MLflow's model registry as the rest of the project sees it: a few records and one small protocol.

`promotion.registry.open` chooses who implements it.
"""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from promotion.config.secrets import is_secret_name
from promotion.errors import ArtifactMissing, RegistryError, UnknownModel, UnknownVersion, UsageError
from promotion.registry.stages import Stage

_NAMES_SHOWN = 10
_ASKED_ONE_BY_ONE = 20
"""Registered models; of more, all versions of the registry are asked for at once, which is quicker."""

NO_VERSION = 2**31 - 1
"""A number that no version has: a write to it cannot succeed, but is refused first where the right is missing."""
NO_NAME = "no such name!"
"""What cannot be the name of a stage or of an alias."""


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
        description: What people, and we, noted about it; empty when nobody did.
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
    description: str = ""

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"

    @property
    def logged_model(self) -> str:
        """Id of the logged model it was registered from; empty where it was registered from elsewhere."""
        scheme, identifier = _origin(self.source)
        return identifier if scheme == "models" and identifier.startswith("m-") else ""


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """The MLflow run that a version came from, as whoever logged it says.

    Attributes:
        user: The account it ran under; None when not logged.
        tags: All tags of the run.
        metrics: The last value of each, NaN and infinity as such.
        datasets: Its dataset inputs, name and digest each.
        is_deleted: Whether somebody deleted it, so that its files go with the next `mlflow gc`.
    """

    user: str | None
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    datasets: Sequence[tuple[str, str]] = ()
    is_deleted: bool = False

    @property
    def finite_metrics(self) -> dict[str, float]:
        """The metrics that are numbers; NaN and infinity say nothing that could be written down or bounded."""
        return {name: value for name, value in self.metrics.items() if math.isfinite(value)}


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A registered model as a listing shows it, newest version first, with its aliases.

    Every version in a stage is there, and the newest without one.
    """

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

    def reading(self) -> AbstractContextManager[None]:
        """Read many times, in this thread, without a write between."""

    def models(self) -> list[RegisteredModel]:
        """Every registered model by name, each with the versions that a listing shows."""

    def model(self, name: str) -> RegisteredModel:
        """One registered model."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of one registered model, newest first."""

    def every_version(self) -> list[ModelVersion]:
        """All versions of all registered models, in no order."""

    def version(self, name: str, number: int) -> ModelVersion:
        """One version."""

    def tagged(self, key: str, value: str) -> list[ModelVersion]:
        """All versions of all models that carry this tag."""

    def run(self, run_id: str) -> TrackedRun | None:
        """The run that made a version; None when there is none of this id."""

    def runs(self, run_ids: Iterable[str]) -> dict[str, TrackedRun]:
        """Those of many runs that the store tells at once, by their ids; any other is to be asked for by itself."""

    def keeps_logged_model(self, model_id: str) -> bool:
        """Whether there is such a logged model that nobody deleted; a deleted one's files go with `mlflow gc`."""

    def artifact_uri(self, version: ModelVersion) -> str:
        """Where the artifact's files are, resolved down to a storage location.

        Raises:
            ArtifactMissing: It was registered from a logged model or a run that is deleted.
        """

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

    def set_description(self, name: str, number: int, text: str) -> None:
        """Replace what is noted about a version."""

    def delete_version(self, name: str, number: int) -> None:
        """Remove one version with its tags and aliases for good; removing an absent one is no error.

        Its files stay where they are: MLflow deletes them with the run that made them.
        """

    def require_rights(self, name: str, *, deletes: bool) -> None:
        """Find out whether a registered model's stages, aliases, tags and descriptions may be written; writes nothing.

        Args:
            name: The registered model; one that does not exist yet is no error.
            deletes: Whether aliases, tags or versions will be removed too, which servers grant apart.

        Raises:
            RegistryUnauthorised: Whoever asks is not known.
            RegistryForbidden: Whoever asks may not.
            RegistryReadOnly: The store cannot be written. Any other failure says nothing about rights; none is raised.
        """


def with_whole_stages(
    models: Sequence[RegisteredModel], search: Callable[[str], Iterable[ModelVersion]]
) -> list[RegisteredModel]:
    """Add the versions that MLflow's own listing hides: of several in a stage it shows the highest number."""
    staged = [model.name for model in models if any(version.stage is not Stage.NONE for version in model.versions)]
    conditions = [by_name(name) for name in staged] if len(staged) <= _ASKED_ONE_BY_ONE else [""]
    hidden: dict[str, list[ModelVersion]] = {}
    for condition in conditions:
        for version in search(condition):
            if version.stage is not Stage.NONE:
                hidden.setdefault(version.model, []).append(version)
    return [
        replace(
            model,
            versions=sorted(
                {version.number: version for version in (*hidden.get(model.name, ()), *model.versions)}.values(),
                key=lambda version: -version.number,
            ),
        )
        for model in models
    ]


_PARAMETER = re.compile(r"(?<=[?&])([^=&#]+)=[^&#]*")


def without_password(uri: str) -> str:
    """The URI as it may be shown: credentials inside it are masked."""
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        uri = urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
    return _PARAMETER.sub(lambda found: f"{found[1]}=***" if is_secret_name(found[1]) else found[0], uri)


def as_logged(metrics: Mapping[str, float | str]) -> dict[str, float]:
    """Metrics as their run logged them: for infinity MLflow's databases hold the largest number there is."""
    found = {name: float(value) for name, value in metrics.items()}
    return {
        name: math.copysign(math.inf, value) if abs(value) == sys.float_info.max else value
        for name, value in found.items()
    }


def from_milliseconds(timestamp: int) -> datetime:
    """UTC time of MLflow's milliseconds since the epoch."""
    return datetime.fromtimestamp(timestamp / 1000, tz=UTC)


def served_artifact_uri(uri: str, tracking_uri: str) -> str:
    """An `mlflow-artifacts:` URI as the http(s) address at which the tracking server proxies it; others unchanged.

    MLflow resolves the address as `<server>/api/2.0/mlflow-artifacts/artifacts/<path>`.
    """
    artifact, server = urlsplit(uri), urlsplit(tracking_uri)
    if artifact.scheme != "mlflow-artifacts" or server.scheme not in {"http", "https"}:
        return uri
    path = f"{server.path.rstrip('/')}/api/2.0/mlflow-artifacts/artifacts/{artifact.path.lstrip('/')}"
    return urlunsplit((server.scheme, artifact.netloc or server.netloc, path, "", ""))


def search_literal(text: str) -> str:
    """A string literal of MLflow's search language, which has no escapes.

    Raises:
        UsageError: `text` contains both kinds of quotation marks.
    """
    for mark in "'\"":
        if mark not in text:
            return f"{mark}{text}{mark}"
    raise UsageError(f"{text!r} contains both kinds of quotation marks: MLflow cannot search for it")


def by_name(model: str) -> str:
    """The condition of MLflow's search that selects the versions of a registered model."""
    return f"name = {search_literal(model)}"


def unknown_model(name: str, known: Sequence[str]) -> UnknownModel:
    """The error for a name the registry does not have; it lists the names that exist, the most similar first."""
    if not known:
        return UnknownModel(f"no registered model {name!r}: the registry is empty; register a version first")
    similar = difflib.get_close_matches(name, known, n=_NAMES_SHOWN, cutoff=0.4)
    ordered = [*similar, *(other for other in known if other not in similar)]
    rest = len(ordered) - _NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return UnknownModel(f"no registered model {name!r}: the registry has {', '.join(ordered[:_NAMES_SHOWN])}{more}")


def origin_deleted(version: ModelVersion, uri: str) -> ArtifactMissing:
    """The error for a version registered from `models:/m-…` or `runs:/…` that MLflow does not hand out any more."""
    scheme, identifier = _origin(uri)
    what = f"{'logged model' if scheme == 'models' else 'run'} {identifier}"
    return ArtifactMissing(
        f"{version}: its {what} is deleted in MLflow, which has no command that brings it back, and its files go with "
        "`mlflow gc`: train or register another version"
    )


def has_lost_logged_model(registry: Registry, version: ModelVersion) -> bool:
    """Whether its logged model is deleted; not, where models are out of reach or the server does not know them."""
    with suppress(RegistryError):
        return bool(version.logged_model) and not registry.keeps_logged_model(version.logged_model)
    return False


def _origin(uri: str) -> tuple[str, str]:
    """Scheme and id of `models:/m-…` or `runs:/…`, whatever follows."""
    scheme, _, path = uri.partition(":/")
    return scheme, path.strip("/").partition("/")[0]


def unknown_version(name: str, number: int, known: Sequence[int]) -> UnknownVersion:
    """The error for a version the model does not have; it lists the newest that exist."""
    numbers = sorted(known, reverse=True)
    if not numbers:
        return UnknownVersion(f"{name} has no version {number}: it has no versions at all")
    rest = len(numbers) - _NAMES_SHOWN
    more = f" and {rest} older" if rest > 0 else ""
    listed = ", ".join(str(known_number) for known_number in numbers[:_NAMES_SHOWN])
    return UnknownVersion(f"{name} has no version {number}: it has {listed}{more}")
