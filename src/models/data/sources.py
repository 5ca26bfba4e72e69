"""Files a family's data comes from when nobody brought one: known data written out, or rows made up from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.data.synthetic_patients import invent_alzheimer
from promotion.config.family import FamilyConfig
from promotion.data.files import write_whole
from promotion.errors import ConfigError, DataError


@dataclass(frozen=True, slots=True)
class DataSource:
    """One way to make a file.

    Attributes:
        make: Gives the file's text; the same each time.
        words: What the rows are, for the person who is about to learn from them.
        invented: Whether the rows describe nobody and nothing.
    """

    make: Callable[[], str]
    words: str
    invented: bool


def write_iris() -> str:
    """Write the 150 flowers that come with scikit-learn (Fisher 1936, Annals of Eugenics 7:179-188) as CSV.

    Lengths and widths in cm; the file's order is scikit-learn's, so that a seed draws the same rows from both.
    """
    from sklearn.datasets import load_iris

    iris = load_iris()
    names = [name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names]
    rows = [
        ",".join([*(f"{value:.1f}" for value in values), iris.target_names[kind]])
        for values, kind in zip(iris.data, iris.target, strict=True)
    ]
    return "\n".join([",".join([*names, "species"]), *rows, ""])


SOURCES = {
    "iris": DataSource(write_iris, "R. A. Fisher's 150 irises (1936), as they come with scikit-learn", invented=False),
    "alzheimer": DataSource(
        invent_alzheimer,
        "rows invented by a seeded generator, no patients: put your own CSV in their place before you believe a figure",
        invented=True,
    ),
}


def source_of(config: FamilyConfig) -> DataSource | None:
    """What `data.generator` names; None where the config names nothing.

    Raises:
        ConfigError: It names something that does not exist.
    """
    name = config.data.generator
    if name is None:
        return None
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise ConfigError(f"{config.at('data', 'generator')}: unknown source {name!r}; expected one of {known}")
    return SOURCES[name]


def make_missing(config: FamilyConfig, home: Path) -> DataSource | None:
    """Write the family's file if there is none and its config names a generator; a file that is there stays.

    Returns:
        What the file was written from; None when nothing was written.

    Raises:
        ConfigError: There is no such generator.
        DataError: The file cannot be written.
    """
    source, path = source_of(config), home / config.data.path
    if source is None or path.exists():
        return None
    text = source.make()
    if path.exists():  # a person was faster
        return None
    try:
        write_whole(path, text)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}; make room or give write permission") from error
    return source


def describe_invention(config: FamilyConfig, sha256: str) -> str:
    """Say so if the family's file holds the rows its generator invents; empty for any other file.

    Args:
        config: The family.
        sha256: Digest of the file in use.
    """
    source = source_of(config)
    if source is None or not source.invented or hashlib.sha256(source.make().encode()).hexdigest() != sha256:
        return ""
    return f"{config.data.path}: {source.words}"
