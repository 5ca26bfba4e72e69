"""What a consumer asks of the registry: which version is in a stage, what is it, give me the model, promote it.

A name is a family (`heart-disease`, whose registered models carry an algorithm) or one registered model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from promotion.approvals.people import actor
from promotion.artifacts.files import local_artifact
from promotion.config.family import load_configs
from promotion.config.settings import Settings
from promotion.errors import PromotionError
from promotion.lookup import (
    AmbiguousStage,
    EmptyStage,
    UnknownStage,
    find_version,
    models_of,
    parse_stage,
)
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.open import open_registry
from promotion.registry.semver import parse_version
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    import pandas as pd

    from promotion.move import Moved


__all__ = [
    "AmbiguousStage",
    "EmptyStage",
    "Predictor",
    "UnknownStage",
    "UnloadableModel",
    "find_version",
    "get_model_info",
    "get_model_version",
    "list_registered_models",
    "load_model",
    "load_version",
    "promote_model",
]


class UnloadableModel(PromotionError):
    """The artifact cannot be turned into a model without running code nobody vouched for, or at all."""


class Predictor(Protocol):
    """Anything that predicts: our own models, a scikit-learn pipeline or a sales ensemble, and those MLflow loads."""

    def predict(self, rows: pd.DataFrame, /) -> Any:
        """One prediction a row; `rows` has one column a feature."""


def load_model(model_name: str, stage: str | int = Stage.PRODUCTION) -> Predictor:
    """Load the model that is in a stage.

    Args:
        model_name: A family or a registered model.
        stage: A stage in any case, or a version: MLflow's number or the semantic version.

    Returns:
        A family's model, raw rows go in; a model whose columns no configuration describes as `mlflow.pyfunc` loads it,
        which runs the code it brings; pickles are refused unless MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        UnknownStage: There is no such stage, and a version reads otherwise.
        EmptyStage: Nothing is in that stage.
        AmbiguousStage: More than one version answers.
        UnloadableModel: The artifact cannot be loaded.
        RegistryError: MLflow did not answer.
    """
    registry = open_registry(Settings.from_environment())
    return load_version(registry, find_version(registry, model_name, stage))


def load_version(registry: Registry, version: ModelVersion) -> Predictor:
    """Load one known version; raises as `load_model`."""
    with local_artifact(registry, version) as folder:
        # By configuration, never by what the artifact says of itself: a crafted one would choose the weaker loader.
        config = load_configs(Settings.from_environment().config_folder).owner(version.model)
        if config is None or not config.has_holdout:
            return _load_foreign(version, folder)
        from promotion.evaluation.loading import load_artifact

        ours: Predictor = load_artifact(folder)
        return ours


def get_model_version(model_name: str, stage: str | int = Stage.PRODUCTION) -> str:
    """The number of the version in a stage, as text; raises as `load_model`."""
    return str(find_version(open_registry(Settings.from_environment()), model_name, stage).number)


def get_model_info(model_name: str, version: str | int | None = None) -> dict[str, Any]:
    """Describe one version, or all of them.

    Args:
        model_name: A family or a registered model.
        version: A version number, a semantic version, or a stage; all versions when None.

    Returns:
        With a version: `name`, `version`, `current_stage`, `run_id`, `status`, `source`, `created_at`, `description`,
        `tags`. Without: `name` and `versions`, newest first, each with the same keys and `stage` for `current_stage`.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        RegistryError: MLflow did not answer.
    """
    registry = open_registry(Settings.from_environment())
    if version is not None:
        found = find_version(registry, model_name, version)
        return _describe(found, "current_stage")
    found_versions = [item for model in models_of(registry, model_name) for item in registry.versions(model.name)]
    found_versions.sort(key=lambda item: item.created_at, reverse=True)
    return {"name": model_name, "versions": [_describe(item, "stage") for item in found_versions]}


def promote_model(
    model_name: str,
    version: str | int,
    stage: str,
    *,
    archive_existing: bool = True,
    reason: str | None = None,
    approver: str | None = None,
) -> Moved:
    """Move a version as the commands do: gates, journal, MLflow, record.

    To Staging every version may go that passes its gates; to Production one from Staging, and an archived one that
    served before, which is recorded as a rollback; to Archived whatever does not serve. Nothing goes back to None. Who
    acts is PROMOTION_ACTOR, else the login name.

    Args:
        model_name: A registered model, or a family.
        version: MLflow's number or the semantic version.
        stage: Staging, Production or Archived, in any case.
        archive_existing: Whether the version in Production may be archived for this one; a family has no two.
        reason: Goes into the record and into the version's description.
        approver: The person who answers for it, when that is not who acts.

    Returns:
        What moved where, and which version left Production for it.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        UnknownStage: There is no such stage.
        AmbiguousStage: Several registered models of the family have this version.
        UsageError: The version reads wrong, or should go back to None.
        ProductionOccupied: Another version serves, and archive_existing is False.
        GateRefused: A gate said no; the message has what was measured, `details["report"]` the gate report.
        Quarantined: Somebody moved a version past the rules.
        NothingToDo: It is there already.
        ProductionMoved: Production changed between check and move; nothing moved.
        ProjectionIncomplete: It moved, but MLflow does not show it yet.
        RegistryError: MLflow did not answer; nothing moved.
    """
    from promotion.bootstrap import open_promotions
    from promotion.move import move, stage_of, usual_reason
    from promotion.service import Mover

    target = parse_stage(stage)
    service = open_promotions(Settings.from_environment())
    found = find_version(service.registry, model_name, parse_version(version))
    service.synchronise(service.family(found.model))
    why = (reason or "").strip() or usual_reason(stage_of(service, found), target)
    return move(service, found, target, Mover(actor(), why, approver), archive_existing=archive_existing)


def list_registered_models() -> list[str]:
    """Names of all registered models, sorted."""
    return sorted(model.name for model in open_registry(Settings.from_environment()).models())


def _describe(version: ModelVersion, stage_key: str) -> dict[str, Any]:
    return {
        "name": version.model,
        "version": str(version.number),
        stage_key: version.stage.value,
        "run_id": version.run_id,
        "status": version.status,
        "source": version.source,
        "created_at": version.created_at,
        "description": version.description,
        "tags": dict(version.tags),
    }


def _load_foreign(version: ModelVersion, folder: Path) -> Predictor:
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow.pyfunc

    try:
        model: Predictor = mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        summary = " ".join(str(error).split())
        raise UnloadableModel(f"{version} cannot be loaded: {summary}") from error
    return model
