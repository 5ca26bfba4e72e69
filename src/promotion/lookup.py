"""Which one version a name and a stage, or a version, mean; nobody is left to guess."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from promotion.config.family import load_configs
from promotion.config.settings import Settings
from promotion.errors import JournalError, UnknownModel, UnknownVersion, UsageError
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import ModelVersion, RegisteredModel, Registry
from promotion.registry.semver import is_semantic, parse_version
from promotion.registry.stages import Stage


class EmptyStage(UsageError):
    """No version is in the stage asked for; the message names the stages that have one."""


class AmbiguousStage(UsageError):
    """Several versions answer to the same question; the message names them."""


class UnknownStage(UsageError):
    """What was named is neither a stage nor a version."""


def find_version(registry: Registry, name: str, stage: str | int) -> ModelVersion:
    """The one version a name and a stage (or a version) mean; raises as `load_model`."""
    models = models_of(registry, name)
    if str(stage).isdecimal():
        return _by_number(registry, models, name, int(parse_version(stage)))
    if is_semantic(str(stage)):
        return _by_semantic_version(registry, models, name, str(stage))
    wanted = parse_stage(str(stage), "a version such as 3 or 1.2.0")
    if wanted is Stage.PRODUCTION:
        return _production(registry, name, models)
    return _by_stage(registry, models, name, wanted)


def parse_stage(text: str, *others: str) -> Stage:
    """A stage in any case; `others` are what else would have been understood, for the message.

    Raises:
        UnknownStage: It is none.
    """
    try:
        return Stage.parse(text)
    except ValueError as error:
        raise UnknownStage(", or ".join([str(error), *others])) from error


def _journal() -> Journal:
    return Journal(Database(Settings.from_environment().database_url))


def _production(registry: Registry, name: str, models: Sequence[RegisteredModel]) -> ModelVersion:
    """What serves: in a family that asks for approvals by the journal's word, whatever somebody chose in MLflow.

    What was changed outside is told; it is an error where that leaves nobody, several, or a version that is known bad.

    Raises:
        Quarantined: Somebody wrote SQL into the journal, or put a known-bad version back.
        AmbiguousStage: MLflow shows several versions in Production.
        EmptyStage: Nothing serves.
    """
    configs = load_configs(Settings.from_environment().config_folder)
    config = configs.get(name) or configs.owner(models[0].name)
    reconciler = Reconciler(_journal(), registry, configs)
    journal, family = reconciler.journal, config.family if config else models[0].name
    is_governed = config is not None and config.approvals is not None
    try:
        is_known = journal.knows(family)
        found = reconciler.unsettled(family)
    except JournalError:
        if is_governed:
            raise
        # A consumer of a family without approvals need not reach the journal.
        return _by_stage(registry, models, name, Stage.PRODUCTION)
    if found.is_ambiguous and not (is_governed and is_known):
        what = "; ".join((*found.lines, found.advice))
        raise AmbiguousStage(f"Production of {name!r} is ambiguous: {what}; or name a registered model and its version")
    if found.known_bad or (found.by_hand and is_governed):
        raise found.error()
    if found.lines and is_known:
        logging.getLogger(__name__).warning("%s", found)
    if not (is_governed and is_known):
        return _by_stage(registry, models, name, Stage.PRODUCTION)
    entry = journal.production(family)
    if entry is None or entry.model not in {model.name for model in models}:
        raise EmptyStage(f"no version of {name!r} is in Production: the journal {journal.name} decides, not MLflow")
    return registry.version(entry.model, entry.number)


def _by_semantic_version(
    registry: Registry, models: Sequence[RegisteredModel], name: str, version: str
) -> ModelVersion:
    journal = _journal()
    entries = [entry for model in models if (entry := journal.entry(model.name, version))]
    if not entries:
        raise UnknownVersion(f"no registered model of {name!r} has a version {version} in the journal {journal.name}")
    return _only([registry.version(entry.model, entry.number) for entry in entries], f"version {version} of {name!r}")


def models_of(registry: Registry, name: str) -> Sequence[RegisteredModel]:
    """The registered models of a family, or the one of that name.

    Raises:
        UnknownModel: There is none.
    """
    configs = load_configs(Settings.from_environment().config_folder)
    config = configs.get(name)
    if config is None:
        return [registry.model(name)]
    owned = [model for model in registry.models() if configs.owns(name, model.name)]
    if not owned:
        trainer = "train_ensemble.py" if config.is_forecast else "train.py"
        advice = f": train it first (python src/models/{trainer} --model {name})" if config.trains_here else ""
        raise UnknownModel(f"family {name!r} has no registered model at {registry.uri}{advice}")
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
        newest_last = sorted(found, key=lambda version: (version.model, version.number))
        found = list({version.model: version for version in newest_last}.values())
    return _only(found, f"{stage} of {name!r}")


def _only(versions: Sequence[ModelVersion], question: str) -> ModelVersion:
    if len(versions) > 1:
        names = ", ".join(str(version) for version in versions)
        raise AmbiguousStage(f"{question} is ambiguous: {names}; name a registered model and its version")
    return versions[0]
