"""Keep what nobody may read out of what everybody reads: an unexpected error quotes whatever it was given."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

CREDENTIALS = Path("~/.mlflow/credentials")
"""Where MLflow keeps a user's name and password."""
_NAMES = re.compile(
    r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL|CONNECTION_STRING|WEBHOOK"
    r"|(?:^|_)(?:KEY|PASS|PAT|AUTH|HOOK|DSN)(?:$|_)|(?:SLACK|PAGERDUTY|EMAIL)_URL",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(?:^|[\s;&?,])[\w.-]+\s*=\s*([^\s;&,]+)")
"""A value inside a text that names it: a connection string, a query, a file of settings."""
_TOLD = re.compile(
    r"""["']?[\w-]*(?:token|password|secret|key|auth)[\w-]*["']?\s*[:=]\s*["']?([^\s"',}]+)""", re.IGNORECASE
)
"""A value in YAML or JSON under a name that says what it is."""
_USERINFO = re.compile(r"://[^:@/\s]*:(\S+)@")
"""Also of an address that nobody can parse, because its password holds what should have been encoded."""
_FILES = (
    ("", CREDENTIALS, _ASSIGNED),
    ("AWS_SHARED_CREDENTIALS_FILE", Path("~/.aws/credentials"), _ASSIGNED),
    ("NETRC", Path("~/.netrc"), re.compile(r"\b(?:password|account)\s+(\S+)")),
    ("PGPASSFILE", Path("~/.pgpass"), re.compile(r":((?:[^:\n\\]|\\.)+)$", re.MULTILINE)),
    ("KUBECONFIG", Path("~/.kube/config"), _TOLD),
    ("", Path("~/.docker/config.json"), _TOLD),
    ("", Path("~/.kaggle/kaggle.json"), _TOLD),
    ("GOOGLE_APPLICATION_CREDENTIALS", Path("~/.config/gcloud/application_default_credentials.json"), _TOLD),
    ("DATABRICKS_CONFIG_FILE", Path("~/.databrickscfg"), _TOLD),
    ("PIP_CONFIG_FILE", Path("~/.config/pip/pip.conf"), _USERINFO),
    ("", Path("~/.git-credentials"), _USERINFO),
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
        for found in _of_variable(name, value):
            yield from _spellings(found)
    for variable, usual, secret in _FILES:
        for name in (os.environ.get(variable) or str(usual)).split(os.pathsep):
            with suppress(OSError, RuntimeError):  # a user without a home folder has none
                text = Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
                for found in secret.findall(text):
                    yield from _spellings(found)


def _of_variable(name: str, value: str) -> Iterator[str]:
    if is_secret_name(name):
        yield from (value, *_ASSIGNED.findall(value), *_parts(value))
    elif "://" in value:
        yield from _login(value)
        for found in _USERINFO.findall(value):
            yield from (found, *re.split(r"[@/?#]", found))


def _spellings(secret: str) -> Iterator[str]:
    """As it is, and as it reads in a message that wrote it on one line."""
    for text in {
        secret,
        secret.strip(),
        *secret.split(),
        " ".join(secret.split()),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        unquote(secret),
        quote(secret, safe=""),
    }:
        if len(text) >= _SHORTEST:
            yield text


def is_secret_name(name: str) -> bool:
    """Whether what stands under such a name, as a variable or in a query, is nobody's business."""
    return _NAMES.search(name) is not None


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
