"""What a consumer asks of the registry: which version is in a stage, what is it, and give me the model.

A name is a family (`heart-disease`, whose registered models carry an algorithm) or one registered model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from promotion.artifacts import local_artifact
from promotion.config import family_of, load_configs
from promotion.database import Database
from promotion.errors import PromotionError, Quarantined, UnknownModel, UnknownVersion, UsageError
from promotion.journal import Journal
from promotion.records import Entry
from promotion.registry import ModelVersion, RegisteredModel, Registry, open_registry
from promotion.semver import is_semantic
from promotion.settings import Settings
from promotion.stages import Stage

if TYPE_CHECKING:
    import pandas as pd


class EmptyStage(UsageError):
    """No version is in the stage asked for; the message names the stages that have one."""


class AmbiguousStage(UsageError):
    """Several versions answer to the same question; the message names them."""


class UnloadableModel(PromotionError):
    """The artifact cannot be turned into a model without running code nobody vouched for, or at all."""


class Model(Protocol):
    """Anything that predicts; our own models are fitted scikit-learn pipelines."""

    def predict(self, rows: pd.DataFrame, /) -> Any:
        """One prediction a row; `rows` has one column a feature."""


def load_model(name: str, stage: str | int = Stage.PRODUCTION) -> Model:
    """Load the model that is in a stage.

    Args:
        name: A family or a registered model.
        stage: A stage in any case, or a version: MLflow's number or the semantic version.

    Returns:
        A family's model as the fitted pipeline, raw rows go in; a model without configuration as `mlflow.pyfunc` loads
        it, which runs the code it brings; pickles are refused unless MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        EmptyStage: Nothing is in that stage.
        AmbiguousStage: More than one version answers.
        UnloadableModel: The artifact cannot be loaded.
        RegistryError: MLflow did not answer.
    """
    registry = open_registry(Settings.from_environment())
    return load_version(registry, find_version(registry, name, stage))


def load_version(registry: Registry, version: ModelVersion) -> Model:
    """Load one known version; raises as `load_model`."""
    with local_artifact(registry, version) as folder:
        # By configuration, never by what the artifact says of itself: a crafted one would choose the weaker loader.
        if family_of(version.model, load_configs(Settings.from_environment().config_folder)) is None:
            return _load_foreign(version, folder)
        from models.packaging import load_artifact

        ours: Model = load_artifact(folder)
        return ours


def get_model_version(name: str, stage: str | int = Stage.PRODUCTION) -> str:
    """The number of the version in a stage, as text; raises as `load_model`."""
    return str(find_version(open_registry(Settings.from_environment()), name, stage).number)


def get_model_info(name: str, version: str | int | None = None) -> dict[str, Any]:
    """Describe one version, or all of them.

    Args:
        name: A family or a registered model.
        version: A version number; all versions when None.

    Returns:
        With a version: `name`, `version`, `current_stage`, `run_id`, `status`, `source`, `created_at`, `tags`. Without:
        `name` and `versions`, newest first, each with the same keys and `stage` for `current_stage`.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        RegistryError: MLflow did not answer.
    """
    registry = open_registry(Settings.from_environment())
    if version is not None:
        found = find_version(registry, name, version)
        return _describe(found, "current_stage")
    found_versions = [item for model in _models_of(registry, name) for item in registry.versions(model.name)]
    found_versions.sort(key=lambda item: item.created_at, reverse=True)
    return {"name": name, "versions": [_describe(item, "stage") for item in found_versions]}


def list_registered_models() -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(model.name for model in open_registry(Settings.from_environment()).models())


def find_version(registry: Registry, name: str, stage: str | int) -> ModelVersion:
    """The one version a name and a stage (or a version) mean; raises as `load_model`."""
    models = _models_of(registry, name)
    if str(stage).isdecimal():
        return _by_number(registry, models, name, int(stage))
    if is_semantic(str(stage)):
        return _by_semantic_version(registry, models, name, str(stage))
    try:
        wanted = Stage.parse(str(stage))
    except ValueError as error:
        raise UsageError(f"{error}, or a version such as 3 or 1.2.0") from error
    if wanted is Stage.PRODUCTION and (approved := _approved_production(name, models)):
        return registry.version(approved.model, approved.number)
    return _by_stage(registry, models, name, wanted)


def _journal() -> Journal:
    return Journal(Database(Settings.from_environment().database_url))


def _approved_production(name: str, models: Sequence[RegisteredModel]) -> Entry | None:
    """What serves in a family that asks for approvals: the journal's word, whatever somebody chose in MLflow.

    Raises:
        Quarantined: Somebody wrote SQL into the journal.
        EmptyStage: Nothing serves.
    """
    configs = load_configs(Settings.from_environment().config_folder)
    config = configs.get(name) or family_of(models[0].name, configs)
    journal = _journal()
    if config is None or config.approvals is None or not journal.knows(config.family):
        return None
    if by_hand := journal.changed_by_hand(config.family):
        lines = "; ".join(f"{entry} was moved from {was} to {entry.stage} by SQL" for entry, was in by_hand)
        raise Quarantined(f"{config.family!r} is quarantined: {lines}; python scripts/promote-model.py --reconcile")
    entry = journal.production(config.family)
    if entry is None or entry.model not in {model.name for model in models}:
        raise EmptyStage(f"no version of {name!r} is in Production: the journal {journal.name} decides, not MLflow")
    return entry


def _by_semantic_version(
    registry: Registry, models: Sequence[RegisteredModel], name: str, version: str
) -> ModelVersion:
    journal = _journal()
    entries = [entry for model in models if (entry := journal.entry(model.name, version))]
    if not entries:
        raise UnknownVersion(f"no registered model of {name!r} has a version {version} in the journal {journal.name}")
    return _only([registry.version(entry.model, entry.number) for entry in entries], f"version {version} of {name!r}")


def _models_of(registry: Registry, name: str) -> Sequence[RegisteredModel]:
    config = load_configs(Settings.from_environment().config_folder).get(name)
    if config is None:
        return [registry.model(name)]
    owned = [model for model in registry.models() if config.owns(model.name)]
    if not owned:
        script = "train_ensemble" if config.is_forecast else "train"
        raise UnknownModel(
            f"family {name!r} has no registered model at {registry.uri}: "
            f"train it first (python src/models/{script}.py --model {name})"
        )
    return owned


def _by_number(registry: Registry, models: Sequence[RegisteredModel], name: str, number: int) -> ModelVersion:
    found = []
    for model in models:
        try:
            found.append(registry.version(model.name, number))
        except UnknownVersion:
            if len(models) == 1:
                raise
    if not found:
        raise UnknownVersion(f"no registered model of family {name!r} has a version {number}")
    return _only(found, f"version {number} of {name!r}")


def _by_stage(registry: Registry, models: Sequence[RegisteredModel], name: str, stage: Stage) -> ModelVersion:
    versions = [version for model in models for version in registry.versions(model.name)]
    found = [version for version in versions if version.stage is stage]
    if not found:
        taken = {item: [str(version) for version in versions if version.stage is item] for item in Stage}
        full = [f"{item}: {', '.join(names)}" for item, names in taken.items() if names]
        raise EmptyStage(f"no version of {name!r} is in {stage}; {'; '.join(full) or 'there is none at all'}")
    if stage is not Stage.PRODUCTION:
        found = [max((item for item in found if item.model == model), key=_number) for model in _names(found)]
    return _only(found, f"{stage} of {name!r}")


def _number(version: ModelVersion) -> int:
    return version.number


def _names(versions: Sequence[ModelVersion]) -> list[str]:
    return sorted({version.model for version in versions})


def _only(versions: Sequence[ModelVersion], question: str) -> ModelVersion:
    if len(versions) > 1:
        names = ", ".join(str(version) for version in versions)
        raise AmbiguousStage(f"{question} is ambiguous: {names}; name a registered model and its version")
    return versions[0]


def _describe(version: ModelVersion, stage_key: str) -> dict[str, Any]:
    return {
        "name": version.model,
        "version": str(version.number),
        stage_key: version.stage.value,
        "run_id": version.run_id,
        "status": version.status,
        "source": version.source,
        "created_at": version.created_at,
        "tags": dict(version.tags),
    }


def _load_foreign(version: ModelVersion, folder: Path) -> Model:
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow.pyfunc

    try:
        model: Model = mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        summary = " ".join(str(error).split())
        raise UnloadableModel(f"{version} cannot be loaded: {summary}") from error
    return model
