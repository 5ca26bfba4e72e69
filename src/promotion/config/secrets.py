"""Keep what nobody may read out of what everybody reads: an unexpected error quotes whatever it was given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

CREDENTIALS = Path("~/.mlflow/credentials")
"""Where MLflow keeps a user's name and password."""
_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|CONNECTION_STRING|WEBHOOK"
    r"|(?:^|_)(?:KEY|PASS|PAT|AUTH|HOOK|DSN)(?:$|_)|(?:SLACK|PAGERDUTY|EMAIL)_URL",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(?:^|[\s;&?,])[\w.-]+\s*=\s*([^\s;&,]+)")
"""A value inside a text that names it: a connection string, a query, a file of settings."""
_FILES = (
    ("", CREDENTIALS, _ASSIGNED),
    ("AWS_SHARED_CREDENTIALS_FILE", Path("~/.aws/credentials"), _ASSIGNED),
    ("NETRC", Path("~/.netrc"), re.compile(r"\b(?:password|account)\s+(\S+)")),
    ("PGPASSFILE", Path("~/.pgpass"), re.compile(r":((?:[^:\n\\]|\\.)+)$", re.MULTILINE)),
)
"""Where programs beside us keep secrets: the variable that names the file, its usual place, what is secret in it."""
_PART = 8
"""Characters of a part of an address from which on it may be a token."""
_SHORTEST = 4
"""Shorter values are words that stand anywhere."""
_MASK = "***"


def without_secrets(text: str) -> str:
    """The text without the values of secret-looking variables, passwords inside addresses, and MLflow's credentials.

    Args:
        text: Not ours: an exception's, a library's.
    """
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, _MASK)
    return text


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _NAMES.search(name):
            yield from _spellings(value)
            for part in [*_ASSIGNED.findall(value), *_parts(value)]:
                yield from _spellings(part)
        elif "://" in value:
            for part in _login(value):
                yield from _spellings(part)
    for variable, usual, secret in _FILES:
        with suppress(OSError, RuntimeError):  # a user without a home folder has none
            path = Path(os.environ.get(variable) or usual).expanduser()
            for found in secret.findall(path.read_text(encoding="utf-8", errors="replace")):
                yield from _spellings(found)


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as it reads in a message that wrote it on one line."""
    for text in {
        secret,
        secret.strip(),
        *secret.split(),
        " ".join(secret.split()),
        repr(secret)[1:-1],
        unquote(secret),
    }:
        if len(text) >= _SHORTEST:
            yield text


def _login(address: str) -> Iterator[str]:
    """What lets somebody in: the password, a name that stands without one, values of the query that are named so."""
    with suppress(ValueError):
        parts = urlsplit(address)
        name = parts.username or ""
        yield parts.password or (name if parts.scheme in {"http", "https"} and len(name) >= _PART else "")
        yield from (value for name, value in parse_qsl(parts.query) if _NAMES.search(name))


def _parts(address: str) -> Iterator[str]:
    """Of an address that is a secret as a whole, as that of a channel: whatever in it may be a token."""
    with suppress(ValueError):
        parts = urlsplit(address)
        if parts.scheme:
            found = [parts.username, parts.password, *parts.path.split("/"), *(v for _, v in parse_qsl(parts.query))]
            yield from (part for part in found if part and len(part) >= _PART)
