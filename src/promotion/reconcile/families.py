"""Families, registered models and versions by the names people give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from promotion.config.family import FamilyConfigs
from promotion.config.policy import Aliases
from promotion.errors import UnknownFamily, UnknownModel, UnknownVersion, UsageError
from promotion.journal.journal import Journal
from promotion.journal.records import Entry
from promotion.registry.contract import ModelVersion, RegisteredModel, Registry
from promotion.registry.semver import parse_version
from promotion.registry.stages import Stage


@dataclass(slots=True)
class Families:
    """Finds what a name means.

    Attributes:
        journal: Decides who is where.
        registry: MLflow, which follows.
        configs: Families by name.
        report: Told every step, in the order they happen.
    """

    journal: Journal
    registry: Registry
    configs: FamilyConfigs
    report: Callable[[str], None] = field(default=lambda _line: None, kw_only=True)

    def family(self, model: str) -> str:
        """The family of a registered model; without configuration the model is its own family.

        Raises:
            ConfigError: A broken file may own it, or two files do.
        """
        config = self.configs.owner(model)
        return config.family if config else model

    def families_of(self, models: Iterable[str]) -> set[str]:
        """The families of registered models; where a file is broken, what it may own is left out."""
        return {self.family(model) for model in models if self.configs.is_certain(model)}

    def known_families(self) -> list[str]:
        """Configured families, those the journal has moved, and those that MLflow shows in a stage; no broken one."""
        staged = self.families_of(
            model.name
            for model in self.registry.models()
            if any(version.stage is not Stage.NONE for version in model.versions)
        )
        moved = self.journal.families() - set(self.configs) - set(self.configs.broken)
        return sorted(staged | set(filter(self.configs.is_certain, moved)) | set(self.configs))

    def require_family(self, family: str) -> str:
        """Accept the name of a configured family, or of a registered model without one.

        Raises:
            UnknownFamily: It is neither.
            ConfigError: The family's file is broken.
        """
        if family in self.configs:
            return family
        try:
            self.registry.model(family)
        except UnknownModel as error:
            known = ", ".join(sorted(self.configs)) or "none"
            raise UnknownFamily(
                f"unknown family {family!r}: neither configured (families: {known}) nor a registered model"
            ) from error
        return self.family(family)

    def candidate(self, model: str, version: int | str | None = None) -> ModelVersion:
        """A version by MLflow's number or by its semantic version, or the newest one of a registered model.

        Raises:
            UsageError: The text is no version.
            UnknownModel: No such registered model.
            UnknownVersion: No such version, or the model has none.
        """
        if version is not None:
            named = parse_version(version)
            if isinstance(named, int):
                return self.registry.version(model, named)
            if self.journal.entry(model, named) is None:
                self.registry.model(model)
            return self.registry.version(model, self.known_entry(model, named).number)
        versions = self.registry.versions(model)
        if not versions:
            raise UnknownVersion(f"registered model {model!r} has no versions yet")
        return versions[0]

    def known_entry(self, name: str, version: str) -> Entry:
        """What the journal knows of a version by number or semantic version, MLflow not asked.

        Raises:
            UnknownVersion: It knows none.
        """
        model = self.registered_model(name)
        entry = self.journal.entry(model, parse_version(version))
        if entry is None:
            known = ", ".join(sorted(item.version for item in self.journal.entries() if item.model == model)) or "none"
            raise UnknownVersion(f"{model} has no version {version}: the journal knows {known}")
        return entry

    def registered_model(self, name: str) -> str:
        """A registered model by its own name, or by its family's where the family has no other.

        Raises:
            UnknownModel: It is neither.
            UsageError: The family has several registered models.
        """
        if name not in self.configs or self.configs[name].owns(name):
            return name
        models = sorted(self.models(name))
        if not models:
            advice = ": train one first" if self.configs[name].trains_here else ""
            raise UnknownModel(f"family {name!r} has no registered model yet{advice}")
        if len(models) > 1:
            raise UsageError(f"family {name!r} has several registered models: name one of {', '.join(models)}")
        return models[0]

    def models(self, family: str) -> set[str]:
        """Names of the registered models that belong to a family, those included that other tools registered.

        So does what its past is recorded under it, whatever files say of that by now: it is no less there.
        """
        recorded = {model for model, home in self.journal.homes().items() if home == family}
        config = self.configs.get(family)
        if config is None:
            return {family} | recorded
        if not config.has_patterns:
            return {model for model in config.stated_models if self.configs.may_own(family, model)} | recorded
        names = {model.name for model in self.registry.models()}
        return {name for name in names if name in recorded or self.claims(family, name)}

    def shown(self, family: str) -> list[RegisteredModel]:
        """A family's registered models by name as MLflow shows them, each with every version, the newest first."""
        found = []
        for name in sorted(self.models(family)):
            with suppress(UnknownModel):  # claimed, but not registered yet
                found.append(replace(self.registry.model(name), versions=self.registry.versions(name)))
        return found

    def aliases(self, family: str) -> Aliases:
        """What the family's aliases are called that follow the journal."""
        config = None if family in self.configs.broken else self.configs.get(family)
        return config.aliases if config else Aliases()

    def claims(self, family: str, model: str) -> bool:
        """Whether a registered model would be among a family's; MLflow is not asked whether there is one."""
        config = self.configs.get(family)
        if config is None:
            return model == family
        if config.has_patterns:
            return self.configs.owns(family, model)
        return model in config.stated_models and self.configs.may_own(family, model)
