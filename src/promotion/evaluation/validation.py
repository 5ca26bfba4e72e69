"""Validate a registered version on rows it has not seen, remember what came out, and name what it had to reach."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from promotion.config.family import FamilyConfig
from promotion.config.policy import Threshold
from promotion.config.settings import Settings
from promotion.errors import NothingToDo, UnknownFamily, UsageError
from promotion.journal import clock
from promotion.reconcile.families import Families
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.registry.tracking import quiet, readable_failures


def model_of(service: Families, name: str) -> tuple[str, FamilyConfig]:
    """The one registered model a name means, and its family.

    Args:
        service: Knows the families.
        name: A registered model, or a family that has only one.

    Raises:
        UnknownFamily: No configuration says how to validate it, or it has several registered models.
    """
    config = service.configs.get(name) or service.configs.owner(name)
    if config is None:
        known = ", ".join(sorted(service.configs)) or "none"
        raise UnknownFamily(
            f"no configuration says how to validate {name!r} (families: {known}): add config/{name}.yaml"
        )
    if config.owns(name):
        return name, config
    if config.has_patterns:
        models = ", ".join(sorted(service.models(config.family))) or "none is registered yet"
        raise UnknownFamily(f"family {name!r} has several registered models: name one of {models}")
    return config.registered_model, config


def newest_in(service: Families, model: str, stage: Stage) -> ModelVersion:
    """The newest version that is in a stage now; a higher one in another stage does not count.

    Raises:
        UnknownModel: There is no such registered model.
        NothingToDo: No version is in that stage.
    """
    versions = service.registry.versions(model)
    held = {(entry.model, entry.number): entry.stage for entry in service.journal.entries(service.family(model))}
    for version in versions:
        if held.get((version.model, version.number), version.stage) is stage:
            return version
    found = ", ".join(f"v{version.number} {version.stage}" for version in versions) or "no versions at all"
    raise NothingToDo(f"no version of {model!r} is in stage {stage}: {found}")


def bound_text(threshold: Threshold) -> str:
    """A threshold as people write it: `< 0.10`."""
    return " and ".join(f"{sign} {_number(bound)}" for sign, bound in threshold.bounds)


def with_threshold(config: FamilyConfig, limit: float) -> tuple[FamilyConfig, str]:
    """The family with another bound on the metric it is validated by.

    Args:
        config: The family.
        limit: Takes the place of the configured bound, in its direction.

    Returns:
        The changed family, and in words what is waived: empty when the bound is not looser.

    Raises:
        UsageError: The family bounds no metric.
    """
    thresholds = config.gates.thresholds
    if not thresholds:
        raise UsageError(f"family {config.family!r} has no threshold that --threshold could change")
    metric = config.selection_metric if config.has_holdout else ""
    metric = metric if metric in thresholds else next(iter(thresholds))
    old = thresholds[metric]
    side = next(name for name in ("minimum", "below", "maximum") if getattr(old, name) is not None)
    new = old.model_copy(update={side: limit})
    looser = limit < getattr(old, side) if side == "minimum" else limit > getattr(old, side)
    gates = config.gates.model_copy(update={"thresholds": {**thresholds, metric: new}})
    waived = f"{metric} {bound_text(new)} instead of {bound_text(old)}" if looser else ""
    return config.model_copy(update={"gates": gates}), waived


def remember(settings: Settings, version: ModelVersion, metrics: Mapping[str, float], data_sha256: str | None) -> None:
    """Log what a validation found into the version's run: metrics, when, on which data.

    Raises:
        RegistryError: MLflow does not take it.
    """
    if version.run_id is None:
        return
    import mlflow

    moment = clock.now()
    with quiet(), readable_failures(settings.tracking_uri):
        client = mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)
        for name, value in metrics.items():
            client.log_metric(version.run_id, f"validation_{name}", value, int(moment.timestamp() * 1000))
        client.set_tag(version.run_id, "validated_at", moment.astimezone(UTC).isoformat(timespec="seconds"))
        client.set_tag(version.run_id, "validation_data_sha256", data_sha256 or "unknown")


def _number(bound: float) -> str:
    short = f"{bound:.2f}"
    return short if float(short) == bound else f"{bound:g}"
