"""Where log, labels and statistics of a family come from: the command line, for one or for all, and its file."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.errors import UsageError

if TYPE_CHECKING:
    from promotion.monitoring.run import Options

SOURCE = "PREDICTION_LOG_SOURCE"
_FAMILY, _INSTANCE = "{family}", "{instance}"

LOG = click.option(
    "--log",
    "source",
    metavar="SOURCE",
    envvar=SOURCE,
    help=f"The prediction log: a .jsonl file, a folder, or a URL such as s3://bucket/folder; also {SOURCE}, "
    "then monitoring.log of the family's file.",
)


@dataclass(frozen=True)
class Given:
    """What the command line says of how to look."""

    source: str | None
    labels: Path | None
    window: Any
    exports: Sequence[Path]
    engine: Any
    dry_run: bool

    def options(self, settings: Settings, config: FamilyConfig) -> Options:
        """The same for one family, whose file says the rest."""
        from promotion.export.folder import MANIFEST
        from promotion.monitoring.observe.reference import REFERENCE
        from promotion.monitoring.run import Options

        known, family = config.monitoring_policy, config.family
        labels = _found(self.labels, family) if self.labels else []
        exports = [_found(given, family, holding=(MANIFEST, REFERENCE)) for given in self.exports]
        return Options(
            source=log_source(settings, config, self.source and _filled(self.source, family)),
            window=self.window,
            labels=labels[0] if labels else (settings.home / known.labels if known.labels else None),
            exports=[folder for found in exports for folder in found],
            prometheus=os.environ.get("PROMETHEUS_URL") or None,
            engine=self.engine,
            dry_run=self.dry_run,
        )


def is_template(text: str | Path) -> bool:
    """Whether a path stands for one of each family."""
    return _FAMILY in str(text) or _INSTANCE in str(text)


def log_source(settings: Settings, config: FamilyConfig, given: str | None) -> str:
    """The prediction log of a family.

    Args:
        settings: Where the home is.
        config: The family.
        given: What the command line names.

    Raises:
        UsageError: Nobody names one.
    """
    known = config.monitoring_policy.log
    if (named := given or known) is None:
        family = config.family
        raise UsageError(f"no prediction log: name it with --log or {SOURCE}, or as monitoring.log in {family}'s file")
    # A path of the command line is from where it was typed; one of the file is from the home.
    return named if given or "://" in named else str(settings.home / named)


def _filled(text: str, family: str) -> str:
    if _INSTANCE in text:
        from promotion.delivery.records import DeploymentTarget, Environment

        text = text.replace(_INSTANCE, DeploymentTarget(family, Environment.PRODUCTION).instance)
    return text.replace(_FAMILY, family)


def _found(given: Path, family: str, *, holding: Sequence[str] = ()) -> list[Path]:
    """What was named; of a template with a `*` what there is of the family, and is whole."""
    text = str(given)
    if not (is_template(text) and glob.has_magic(text)):
        return [Path(_filled(text, family))]
    found = sorted(glob.glob(_filled(text, family)))  # noqa: PTH207  # the pattern is a whole path
    return [Path(name) for name in found if all(Path(name, file).is_file() for file in holding)]
