"""What a consumer asks of the registry: which version is in a stage, what is it, give me the model, promote it.

A name is a family (`heart-disease`, whose registered models carry an algorithm) or one registered model.
`promotion.api` does it; here it has the names and the signatures that the documents give it.
"""

from __future__ import annotations

from typing import Any

from promotion import api
from promotion.api import load_model
from promotion.evaluation.loading import UnloadableModel
from promotion.lookup import AmbiguousStage, EmptyStage, UnknownStage
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.service import Move

__all__ = [
    "AmbiguousStage",
    "EmptyStage",
    "UnknownStage",
    "UnloadableModel",
    "get_model_info",
    "get_model_version",
    "list_registered_models",
    "load_model",
    "promote_model",
]


def get_model_version(model_name: str, stage: str | int = Stage.PRODUCTION) -> str:
    """The number of the version in a stage, as text; raises as `load_model`."""
    return str(api.find_model(model_name, stage).number)


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
    if version is not None:
        return _describe(api.find_model(model_name, version), "current_stage")
    return {"name": model_name, "versions": [_describe(item, "stage") for item in api.list_versions(model_name)]}


def promote_model(
    model_name: str,
    version: str | int,
    stage: str,
    *,
    archive_existing: bool = True,
    reason: str | None = None,
    approver: str | None = None,
) -> Move:
    """Move a version as the commands do: gates, journal, MLflow, record.

    To Staging every version may go that passes its gates; to Production one from Staging, one from None where the
    family's `gates.staging` does not ask for Staging, and an archived one that served before, which is recorded as a
    rollback; to Archived whatever does not serve. Nothing goes back to None.

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
        PromotionError: As `promotion.promote` does.
    """
    return api.promote(
        model_name,
        version,
        stage=stage,
        reason=reason,
        approver=approver,
        archive_existing=archive_existing,
        comes_back=True,
    )


def list_registered_models() -> list[str]:
    """Names of all registered models, sorted."""
    return [model.name for model in api.list_models()]


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
