"""The installation a version goes to: its address, its journal, and credentials of its own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from promotion.config.settings import Settings
from promotion.errors import PromotionError, UsageError
from promotion.registry.contract import without_password
from promotion.registry.open import sqlite_path

PREFIX = "TARGET_"
"""What variables of the target begin with, where the command names nothing else."""

_PLACES = ("MLFLOW_REGISTRY_URI", "PROMOTION_DATABASE_URL", "PROMOTION_HOME")
_CREDENTIALS = re.compile(
    r"MLFLOW_TRACKING_(USERNAME|PASSWORD|TOKEN|INSECURE_TLS|(SERVER|CLIENT)_CERT_PATH|AWS_SIGV4|AUTH)"
)
"""What is said to one server must not be said to another."""
_VARIABLE = re.compile(r"\b(?:AWS|MLFLOW|PROMOTION)_[A-Z0-9_]+")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a version goes.

    Attributes:
        uri: Of the MLflow server, or of a SQLite file.
        prefix: What its variables begin with: `TARGET_MLFLOW_TRACKING_TOKEN` stands for `MLFLOW_TRACKING_TOKEN` there.
        home: Our own home folder, whose families' files count there too unless `PROMOTION_HOME` is said for it.
    """

    uri: str
    prefix: str
    home: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*_", self.prefix):
            raise UsageError(f"{self.prefix!r} is no beginning of a variable's name: expected one such as {PREFIX}")
        if not re.match(r"[A-Za-z][\w+.-]*:/", self.uri):
            raise UsageError(f"--to {self.shown!r} is no address: expected one such as https://host or sqlite:///file")

    @property
    def shown(self) -> str:
        """Its address without a password."""
        return without_password(self.uri)

    @contextmanager
    def entered(self) -> Iterator[Settings]:
        """Be there: the environment is the target's as long as the block lasts.

        Raises:
            PromotionError: As the block does, with the target's variables called as they are here.
            UsageError: An address is none.
        """
        before = dict(os.environ)
        own = {name for name in before if _CREDENTIALS.fullmatch(name) or name in _PLACES}
        given = {name.removeprefix(self.prefix): text for name, text in before.items() if name.startswith(self.prefix)}
        for name in own:
            del os.environ[name]
        os.environ.update(self._defaults(given) | given | {"MLFLOW_TRACKING_URI": self.uri})
        try:
            yield Settings.from_environment()
        except PromotionError as error:
            error.respell(self.spelled)
            raise
        finally:
            for name in set(os.environ) - set(before):
                del os.environ[name]
            os.environ.update(before)

    def spelled(self, text: str) -> str:
        """What is said there of a variable, as whoever runs the command here sets it."""
        return _VARIABLE.sub(lambda it: "--to" if it[0] == "MLFLOW_TRACKING_URI" else self.prefix + it[0], text)

    def _defaults(self, given: Mapping[str, str]) -> dict[str, str]:
        """Families' files are ours, the journal is its own, where nothing else is said."""
        if "PROMOTION_HOME" in given:
            return {}
        name = f"promotion-at-{hashlib.sha256(self.shown.encode()).hexdigest()[:12]}.db"
        return {"PROMOTION_HOME": str(self.home), "PROMOTION_DATABASE_URL": f"sqlite:///{self.home / name}"}

    @property
    def artifacts(self) -> Path | None:
        """Where files go when the target is a SQLite file; None for a server, which decides itself."""
        path = sqlite_path(self.uri)
        return path.absolute().parent / "mlartifacts" if path else None
