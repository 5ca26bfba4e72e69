"""Who is acting: the name that goes into the record."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable


def actor() -> str:
    """The person behind this process.

    `PROMOTION_ACTOR` if set, else the person who started the Jenkins build (`BUILD_USER_ID`, set by the build-user-vars
    plugin), else the login name with the host's.
    """
    named = os.environ.get("PROMOTION_ACTOR") or os.environ.get("BUILD_USER_ID")
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def person(name: str) -> str:
    """A name as it is compared: `John.Doe@company.com` and `john.doe@laptop` are one person."""
    return name.strip().lower().partition("@")[0]


def persons(names: Iterable[str]) -> set[str]:
    """Names as they are compared, blank ones left out."""
    return {person(name) for name in names if name.strip()}


def trainers(account: str, commit_author: str | None, ci_accounts: Iterable[str]) -> list[str]:
    """The persons behind a training: who caused it and who wrote the code, never a CI account; empty when unknown."""
    machines = persons(ci_accounts)
    return sorted({name for name in (account, commit_author) if name and name.strip() and person(name) not in machines})
