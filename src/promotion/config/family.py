"""Families by name, from `config/<family>.yaml`; one whose file is broken keeps no command from the others."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from promotion.config.document import MAX_BYTES, described, read_yaml
from promotion.config.events import GENERAL, SUFFIXES
from promotion.config.explain import explain
from promotion.config.schema import NUMBERED, FamilyConfig, claim_of
from promotion.errors import ConfigError, UnknownFamily

__all__ = ["BrokenFamily", "FamilyConfig", "FamilyConfigs", "load_config", "load_configs"]

_STATED_MODELS = re.compile(r"^[ \t]*[\"']?registered_model[\"']?[ \t]*:.*(?:\n(?:[ \t]+|-[ \t]).*)*", re.MULTILINE)
_SNIPPET = 10_000


class DoublyClaimed(ConfigError):
    """Two files name a registered model, neither of them more exactly."""


@dataclass(frozen=True, slots=True)
class BrokenFamily:
    """A family whose file cannot be used.

    Attributes:
        error: Says why.
        models: Its registered models, as far as they can be read; None when they cannot.
    """

    error: ConfigError
    models: tuple[str, ...] | None

    @property
    def summary(self) -> str:
        """The error in one line."""
        first, *others = str(self.error).splitlines()
        return f"{first} (and {len(others)} more in this file)" if others else first

    def claim(self, model: str) -> float:
        """As `FamilyConfig.claim`; less than any other claim, where every model may be meant."""
        return 0.5 if self.models is None else max((claim_of(name, model) for name in self.models), default=0)


class FamilyConfigs(Mapping[str, FamilyConfig]):
    """Families by name. One whose file is broken raises what is wrong when it is asked for, and is not iterated over.

    Args:
        sound: Those that can be used.
        broken: The others.
        homes: Registered models whose family is known, whatever the files say.
    """

    def __init__(
        self,
        sound: Mapping[str, FamilyConfig],
        broken: Mapping[str, BrokenFamily] | None = None,
        homes: Mapping[str, str] | None = None,
    ) -> None:
        self._sound = dict(sound)
        self.broken = dict(broken or {})
        self._homes = dict(homes or {})
        self._owners: dict[str, FamilyConfig | None] = {}

    def __getitem__(self, family: str) -> FamilyConfig:
        if family in self.broken:
            raise self.broken[family].error
        return self._sound[family]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sound)

    def __len__(self) -> int:
        return len(self._sound)

    def with_family(self, config: FamilyConfig) -> FamilyConfigs:
        """The same families, one of them with other rules."""
        return FamilyConfigs({**self._sound, config.family: config}, self.broken, self._homes)

    def as_recorded(self, homes: Mapping[str, str], recorded: Mapping[str, FamilyConfig]) -> FamilyConfigs:
        """The same families, no broken one, with registered models where their past is.

        Args:
            homes: By registered model, its family.
            recorded: Rules of families that have no file which can be used.
        """
        return FamilyConfigs({**self._sound, **recorded}, None, homes)

    def may_own(self, family: str, model: str) -> bool:
        """Whether no other family is known to be the registered model's."""
        return self._homes.get(model, family) == family

    def is_certain(self, model: str) -> bool:
        """Whether it can be told to which family a registered model belongs."""
        try:
            self.owner(model)
        except ConfigError:
            return False
        return True

    def owns(self, family: str, model: str) -> bool:
        """Whether a registered model certainly belongs to a configured family."""
        return self.is_certain(model) and self.owner(model) is self._sound.get(family, self)

    def names(self, family: str, model: str) -> bool:
        """Whether a family's file names a registered model, broken or not; without one it is the family's own name."""
        if family in self.broken:
            return model == family or self.broken[family].claim(model) >= 1
        return self.owns(family, model) if family in self._sound else model == family

    def contested(self, models: Iterable[str]) -> list[str]:
        """Which registered models two files name equally, one line each."""
        lines = []
        for model in models:
            with suppress(ConfigError):
                try:
                    self.owner(model)
                except DoublyClaimed as error:
                    lines.append(str(error))
        return lines

    def owner(self, model: str) -> FamilyConfig | None:
        """The family that owns a registered model; None for a model without configuration, which is its own family.

        The one that names it most exactly does. A broken file loosens no rule: what it may own, nobody else gets.

        Raises:
            ConfigError: Two families name it equally, or a broken file may own it.
        """
        if model in self._homes:
            return self._sound.get(self._homes[model])
        # Commands about many families ask for each model several times, and every family is looked at for the answer.
        if model not in self._owners:
            self._owners[model] = self._claimant(model)
        return self._owners[model]

    def _claimant(self, model: str) -> FamilyConfig | None:
        claims = {name: config.claim(model) for name, config in self._sound.items()}
        best = max(claims.values(), default=0)
        for name, family in self.broken.items():
            if family.claim(model) >= max(best, 0.5):
                owned = "belongs" if family.models else "may belong"
                raise ConfigError(f"{model!r} {owned} to family {name!r}, whose file is broken: {family.summary}")
        owners = [name for name, claim in claims.items() if claim == best > 0]
        if len(owners) > 1:
            files = " and ".join(f"config/{name}.yaml" for name in owners)
            raise DoublyClaimed(f"{files}: registered_model: each owns {model!r}; leave it to one of them")
        return self._sound[owners[0]] if owners else None


def load_config(folder: Path, family: str) -> FamilyConfig:
    """Read `<folder>/<family>.yaml`, or `.yml`.

    Raises:
        UnknownFamily: There is no such file.
        ConfigError: The file is not YAML, or breaks the schema: one line a mistake.
    """
    files = _files(folder)
    if family not in files:
        known = ", ".join(sorted(files)) or "none"
        raise UnknownFamily(f"unknown family {family!r}: {folder / family}.yaml does not exist (families: {known})")
    return _read(family, files[family])


def load_configs(folder: Path) -> FamilyConfigs:
    """Read every family under `folder`; what is wrong with one is raised when that one is asked for."""
    sound, broken = {}, {}
    for family, paths in sorted(_files(folder).items()):
        try:
            sound[family] = _read(family, paths)
        except ConfigError as error:
            broken[family] = BrokenFamily(error, _legible_models(paths))
    return FamilyConfigs(sound, broken)


def _files(folder: Path) -> dict[str, list[Path]]:
    """Files by family; one has two where somebody wrote both spellings of the suffix."""
    found: dict[str, list[Path]] = {}
    for suffix in SUFFIXES:
        for path in folder.glob(f"*{suffix}"):
            found.setdefault(path.name.removesuffix(suffix), []).append(path)
    found.pop(GENERAL, None)
    return found


def _read(family: str, paths: list[Path]) -> FamilyConfig:
    path, *others = paths
    if others:
        raise ConfigError(f"{path}: {others[0].name} stands beside it; keep one of the two")
    document = read_yaml(path, numbered=NUMBERED)
    if not isinstance(document.content, dict):
        raise ConfigError(f"{path}:1: expected keys such as `family: {family}`, found {described(document.root)}")
    try:
        config = FamilyConfig.model_validate(document.content)
    except ValidationError as error:
        raise ConfigError(*explain(document, FamilyConfig, error)) from error
    if config.family != family:
        line = document.place(["family"]).line
        raise ConfigError(f"{path}:{line}: family: expected {family!r}, the file's name, found {config.family!r}")
    return config.from_file(path, document.sha256)


def _legible_models(paths: list[Path]) -> tuple[str, ...] | None:
    """The registered models that a broken file names, read as a person would; None when it does not tell."""
    found: list[str] = []
    for path in paths:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                stated = _STATED_MODELS.findall(file.read(MAX_BYTES))
        except OSError:
            return None
        names = [_names_in(text) for text in stated]
        if not names or not all(names):
            return None
        found += [name for group in names for name in group]
    return tuple(found)


def _names_in(text: str) -> list[str]:
    for snippet in (text, text.partition("\n")[0]):
        try:
            document = yaml.load(textwrap.dedent(snippet[:_SNIPPET]), yaml.BaseLoader)  # noqa: S506  # texts only
        except (yaml.YAMLError, ValueError, RecursionError):
            continue
        stated = next(iter(document.values()), None) if isinstance(document, dict) else None
        names = [name for name in (stated if isinstance(stated, list) else [stated]) if isinstance(name, str) and name]
        if names:
            return names
    return []
