"""Turns what databases and MLflow's client raise into our errors: one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from promotion.errors import (
    RegistryBroken,
    RegistryError,
    RegistryForbidden,
    RegistryReadOnly,
    RegistryUnauthorised,
    RegistryUnreachable,
)
from promotion.registry.retry import HINT, is_representer_error
from promotion.registry.stages import Stage

_LONGEST = 300
_FOLDER = (
    "a folder, in which this MLflow keeps nothing any more: name a server or sqlite:///PATH/mlflow.db in "
    "MLFLOW_TRACKING_URI, or let MLflow have its way with MLFLOW_ALLOW_FILE_STORE=true"
)
# First match decides: what a store's message contains, the error it means, and what helps.
_FAILURES: tuple[tuple[str, type[RegistryError], str], ...] = (
    (
        r"database is locked|database table is locked|database is busy|LockNotAvailable|lock timeout",
        RegistryUnreachable,
        "another process is writing and does not finish: wait or end it, then try again",
    ),
    (
        r"readonly database|read-only|ReadOnlySqlTransaction",
        RegistryReadOnly,
        "the database cannot be written: check the file's permissions and whether the disk is mounted read-only",
    ),
    (
        r"disk is full|No space left|DiskFull",
        RegistryBroken,
        "the disk is full: free some space, then try again",
    ),
    (
        r"unable to open database file|disk I/O error",
        RegistryBroken,
        "the path is no readable file, or the disk fails: check MLFLOW_TRACKING_URI",
    ),
    (
        r"file is not a database|malformed|no such (?:table|column)",
        RegistryBroken,
        "this is not MLflow's database, or it is damaged: check MLFLOW_TRACKING_URI",
    ),
    (
        r"password authentication failed|no password supplied|Access denied for user|UNAUTHENTICATED|\b401\b",
        RegistryUnauthorised,
        (
            "the credentials are missing or wrong: check those in MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        ),
    ),
    (
        r"permission denied|PERMISSION_DENIED|InsufficientPrivilege|\b403\b",
        RegistryForbidden,
        "the user is known but may not do this: ask for the permission",
    ),
    (
        r"out-of-date database schema",
        RegistryBroken,
        "back the database up, then run `mlflow db upgrade` on it",
    ),
    (
        r"No module named",
        RegistryBroken,
        "the database's driver is not installed: pip install it, or name another, such as mysql+pymysql://",
    ),
    (
        r"too many \d+ error responses",
        RegistryBroken,
        "the server keeps failing: its log says more",
    ),
    (
        (
            r"connection (?:failed|refused|timeout|is bad)|could not connect|can't connect|timeout expired|timed out"
            r"|could not translate host|server closed the connection|terminating connection|failed to resolve"
            r"|max retries exceeded"
        ),
        RegistryUnreachable,
        "is the database or server up, and MLFLOW_TRACKING_URI right?",
    ),
)


def registry_error(place: str, error: Exception) -> RegistryError:
    """The one of our errors that says what an exception of a store means.

    Args:
        place: The store as it may be shown, without a password.
        error: What sqlite3, SQLAlchemy or MLflow raised.
    """
    summary = f"{type(error).__name__}: {excerpt(_without_statement(error))}"
    if "filesystem tracking backend" in str(error):
        return RegistryBroken(f"{place}: {_FOLDER}")
    if is_representer_error(error):
        return RegistryBroken(f"{place}: {summary}; {HINT}")
    if getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
        return RegistryError(f"{place}: {summary}")
    for pattern, kind, remedy in _FAILURES:
        if re.search(pattern, str(error), re.IGNORECASE):
            return kind(f"{place}: {summary}; {remedy}")
    return RegistryBroken(f"{place}: {summary}")


def shown_stage(version: str, text: str) -> Stage:
    """The stage a store says a version is in.

    Raises:
        RegistryBroken: It is none that MLflow knows: somebody wrote SQL.
    """
    try:
        return Stage.parse(text)
    except ValueError as error:
        raise RegistryBroken(f"{version}: MLflow's database says {error}: repair the row there") from error


@contextmanager
def only_refusals() -> Iterator[None]:
    """Let out what says that a right is missing; whatever else fails says nothing about rights."""
    try:
        yield
    except (RegistryUnauthorised, RegistryForbidden, RegistryReadOnly):
        raise
    except RegistryError:
        return


def excerpt(text: str) -> str:
    """The text in one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _without_statement(error: Exception) -> str:
    """The message without SQLAlchemy's statement, parameters and background link."""
    return re.split(r"\n\[SQL:|\n\(Background on this error", str(error), maxsplit=1)[0]
