"""The small file of hyper-parameters a person edits between two trainings, laid over the family's configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from models.training.candidates import build_estimator, build_pipeline
from promotion.config.document import YamlDocument, described, read_yaml
from promotion.config.family import FamilyConfig
from promotion.config.training import Candidate, ParameterValue
from promotion.errors import ConfigError


def with_params_file(config: FamilyConfig, home: Path) -> FamilyConfig:
    """Lay `config.params_file` over its candidate's hyper-parameters; without one nothing changes.

    Args:
        config: The family.
        home: The project's home folder, which the file's path is relative to.

    Raises:
        ConfigError: The file is missing or no flat YAML, or names a hyper-parameter or a value that does not exist.
    """
    if config.params_file is None:
        return config
    (algorithm, candidate), *_ = config.candidates.items()
    build_pipeline(config, algorithm)  # a mistake in the configuration is not to be looked for in the overlay
    path = home / config.params_file
    document = _read(path, config)
    overlay: dict[str, ParameterValue] = document.content or {}
    build_estimator(algorithm, config.task, overlay, partial(_place, document))
    overlaid = Candidate(params={**candidate.params, **overlay})
    return config.model_copy(update={"candidates": {algorithm: overlaid}})


def _place(document: YamlDocument, name: str = "") -> str:
    return f"{document.path}:{document.place([name]).line}: {name}".removesuffix(": ")


def _read(path: Path, config: FamilyConfig) -> YamlDocument:
    wanted = "expected lines such as `n_estimators: 100`"
    if not path.exists():
        key = config.at("params_file")
        raise ConfigError(f"{path}: no such file, {wanted}; create it, or remove the key {key}")
    document = read_yaml(path)
    content = document.content or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}:1: {wanted}, found {described(document.root)}")
    for name, value in content.items():
        if not isinstance(value, bool | int | float | str | None):
            found = described(document.place([name]).node)
            raise ConfigError(f"{_place(document, name)}: expected one value, found {found}")
    return document
