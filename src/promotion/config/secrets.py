"""Keep what nobody may read out of what everybody reads: an unexpected error quotes whatever it was given."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

CREDENTIALS = Path("~/.mlflow/credentials")
"""Where MLflow keeps a user's name and password."""
_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|(?:^|_)KEY(?:$|_)|(?:SLACK|PAGERDUTY|EMAIL)_URL", re.IGNORECASE
)
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
        elif "://" in value and (password := _password(value)):
            yield from _spellings(password)
    with suppress(OSError, RuntimeError):  # a user without a home folder has none
        for line in CREDENTIALS.expanduser().read_text(encoding="utf-8", errors="replace").splitlines():
            yield from _spellings(line.partition("=")[2].strip())


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


def _password(address: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(address).password
    return None
