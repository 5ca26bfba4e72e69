"""The small file of hyper-parameters a person edits between two trainings, laid over the family's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from models.training.candidates import build_estimator, build_pipeline
from promotion.config.family import Candidate, FamilyConfig
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
    overlay = _read(path, config)
    build_estimator(algorithm, overlay, str(path))
    overlaid = Candidate(params={**candidate.params, **overlay})
    return config.model_copy(update={"candidates": {algorithm: overlaid}})


def _read(path: Path, config: FamilyConfig) -> dict[str, Any]:
    wanted = "expected lines such as `n_estimators: 100`"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        key = f"config/{config.family}.yaml: params_file"
        raise ConfigError(f"{path}: no such file, {wanted}; create it, or remove the key {key}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        summary = " ".join(str(error).split())
        raise ConfigError(f"{path}: not readable as YAML: {summary}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: {wanted}, found {document!r}")
    for name, value in document.items():
        if not isinstance(name, str) or not isinstance(value, bool | int | float | str | None):
            raise ConfigError(f"{path}: {name}: expected one value, found {value!r}")
    return document
