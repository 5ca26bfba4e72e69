"""MLflow's description of a model, the file MLmodel: read within bounds, for whoever made it may not be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promotion.config.document import read_yaml
from promotion.errors import ArtifactRefused, ConfigError

NAME = "MLmodel"
MAX_BYTES = 4 * 1024**2
"""A signature of many thousand columns is some hundred kilobytes."""


def read_description(folder: Path) -> dict[str, Any]:
    """What the file says, plain data.

    Raises:
        ArtifactRefused: It is missing, no YAML, too large, too deep, or made of aliases without end.
    """
    path = folder / NAME
    try:
        content = read_yaml(path, MAX_BYTES).content
    except ConfigError as error:
        reason = str(error).removeprefix(str(path)).lstrip(":")
        raise ArtifactRefused(f"{NAME}: missing or not an MLmodel file: {reason}") from error
    if not isinstance(content, dict) or not isinstance(content.get("flavors"), dict):
        raise ArtifactRefused(f"{NAME}: missing or not an MLmodel file: it has no section flavors")
    return content
