"""Where everything is: one home folder, and the environment variables that move a part of it elsewhere."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from promotion.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
"""This package's folder, wherever it is installed."""
PACKAGES = PACKAGE.parent
REPOSITORY = PACKAGES.parent
"""The checkout, where this package lies in one (`is_checkout`)."""

_HOST = re.compile(r"(?:[^/\s@]+@)?(?:[\w-]+(?:\.[\w-]+)+|[\w-]+(?=:\d)|\[[\da-fA-F:]+\])(?::\d+)?(?:/.*)?")
"""A host without a scheme before it, as nobody names a folder; one that is there may be called so."""
_FILE_STORES = frozenset(
    [
        "abfs",
        "abfss",
        "adl",
        "dbfs",
        "ftp",
        "gs",
        "hdfs",
        "mlflow-artifacts",
        "models",
        "runs",
        "s3",
        "sftp",
        "wasb",
        "wasbs",
    ]
)
"""Schemes under which MLflow keeps artifacts and never a registry."""
_DATABASES = (".db", ".sqlite", ".sqlite3")
_STORES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")
_OTHER_STORES = frozenset(["", "file", "databricks", "databricks-uc", "uc"])
_PLUGINS = ("mlflow.tracking_store", "mlflow.model_registry_store")
"""Under which installed packages name to MLflow the schemes they serve."""
_WINDOWS_FOLDER = re.compile(r"[a-z]:[\\/]|\\\\", re.IGNORECASE)
_SLASHES = re.compile(r"(sqlite)(?::/{0,2}|//)(?=[^/:+])|(https?|postgresql|mysql)(?::/?|//)(?=[^/:+])", re.IGNORECASE)
"""A scheme behind which too few slashes stand, or no colon."""
_QUOTES = "\"'`“”„‘’«»"


def is_checkout() -> bool:
    """Whether this package runs from a checkout of its repository; an installed one does not."""
    try:
        project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return False
    return PACKAGES.name == "src" and 'name = "promotion-layer"' in project


def checkout_path(name: str, why: str) -> Path:
    """A file or folder that only a checkout has.

    Args:
        name: Where it lies in the repository.
        why: What it is needed for, to end the sentence "… is needed".

    Raises:
        UsageError: It is not there.
    """
    path = REPOSITORY / name
    if not path.exists():
        raise UsageError(f"{path} is missing, {why}: run the command in a checkout of the repository")
    return path


def default_home() -> Path:
    """The checkout, else the working directory where it holds `config/`, else the user's data folder (XDG).

    Raises:
        UsageError: The user has no home folder.
    """
    if is_checkout():
        return REPOSITORY
    with suppress(OSError):  # the working directory may be gone
        here = Path.cwd()
        if (here / "config").is_dir() and not here.is_relative_to(PACKAGES):
            return here
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    try:
        return (data if data.is_absolute() else Path.home() / ".local" / "share") / "promotion-layer"
    except RuntimeError as error:
        raise UsageError("no home folder for this user: set PROMOTION_HOME to the folder with config/") from error


def home_notice() -> str | None:
    """Which home folder is used, where neither the variable nor a checkout says so already.

    Raises:
        UsageError: There is none.
    """
    if os.environ.get("PROMOTION_HOME") or is_checkout():
        return None
    return f"home folder: {default_home()} (PROMOTION_HOME names another)"


def _address(variable: str, scheme: str = "http", host: str = "host:5000") -> str | None:
    """What a variable says, its scheme in small letters, if it can be an address; it may hold a password."""
    value = os.environ.get(variable)
    if not value:
        return None
    if value != value.strip().strip(_QUOTES):
        raise UsageError(f"{variable} stands in quotes or blanks: remove them (docker --env-file keeps them)")
    _require_scheme(variable, value, scheme, host)
    try:
        found = urlsplit(value).scheme
    except ValueError as error:
        raise UsageError(f"{variable} is no address ({error}): expected such as {scheme}://{host}") from error
    if found in _FILE_STORES:
        meant = f"expected such as {scheme}://{host}"
        raise UsageError(f"{variable} names a place for files ({found}:), where nothing is registered: {meant}")
    if scheme == "http":
        _require_store(variable, found)
    return found + value[len(found) :]


def _require_scheme(variable: str, value: str, scheme: str, host: str) -> None:
    """Refuse what has no scheme, or only most of one, and is no folder."""
    if slip := _SLASHES.match(value):
        begins = f"{slip[1]}:///" if slip[1] else f"{slip[2]}://"
        raise UsageError(f"{variable} has too few slashes or no colon: such an address begins with {begins}")
    if _WINDOWS_FOLDER.match(value):
        raise UsageError(f"{variable} is a folder of Windows, no store: expected such as {scheme}://{host}")
    if _HOST.fullmatch(value) and not Path(value).is_dir():
        meant = f"sqlite:///{value}" if value.endswith(_DATABASES) else f"{scheme}://{value}"
        meant = f"{scheme}://user:password@{host}" if "@" in value else meant
        raise UsageError(f"{variable} has no scheme: did you mean {meant}?")


def _require_store(variable: str, scheme: str) -> None:
    """Refuse a scheme under which MLflow finds no store; `databricks` alone is an address without one."""
    kind = scheme.partition("+")[0]
    if kind in _STORES or kind in _OTHER_STORES or any(entry_points(group=group, name=kind) for group in _PLUGINS):
        return
    near = get_close_matches(kind, _STORES, 1, cutoff=0.8)
    meant = f"did you mean {near[0]}://?" if near else "expected such as http://host:5000"
    raise UsageError(f"{variable} names no store there is ({scheme}:): {meant}")


@dataclass(frozen=True, slots=True)
class Settings:
    """The places one process works with.

    Attributes:
        home: Folder that holds `config/`, `data/` and the default stores.
        tracking_uri: MLflow tracking store.
        registry_uri: MLflow model registry; the tracking store unless set apart.
        database_url: SQLAlchemy URL of the promotion journal.
    """

    home: Path
    tracking_uri: str
    registry_uri: str
    database_url: str

    @classmethod
    def from_environment(cls) -> Self:
        """Read `PROMOTION_HOME`, `MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI` and `PROMOTION_DATABASE_URL`.

        Each is optional; without any, everything lives in `default_home`: `mlflow.db`, `mlartifacts/`, `promotion.db`.

        Raises:
            UsageError: There is no home folder, or an address is none.
        """
        home = Path(os.environ.get("PROMOTION_HOME") or default_home()).resolve()
        tracking_uri = _address("MLFLOW_TRACKING_URI") or f"sqlite:///{home / 'mlflow.db'}"
        return cls(
            home=home,
            tracking_uri=tracking_uri,
            registry_uri=_address("MLFLOW_REGISTRY_URI") or tracking_uri,
            database_url=_address("PROMOTION_DATABASE_URL", "postgresql", "host/promotion")
            or f"sqlite:///{home / 'promotion.db'}",
        )

    @property
    def config_folder(self) -> Path:
        """One YAML file per family."""
        return self.home / "config"

    @property
    def artifact_folder(self) -> Path:
        """Where run and model artifacts go when the tracking store is the default SQLite file."""
        return self.home / "mlartifacts"

    @property
    def registry_is_remote(self) -> bool:
        """Whether other machines can see the registry."""
        return self.registry_uri.startswith(("http://", "https://", "databricks"))
