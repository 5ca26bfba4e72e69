"""A version's two names: the integer MLflow counts, and the semantic version people speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from promotion.errors import UsageError

FIRST = "1.0.0"
_SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_LONGEST = 64
"""Characters of a semantic version."""
_LARGEST = 2**31 - 1
"""Of MLflow's numbers, as databases keep them."""
_EXPECTED = "expected MLflow's number (3) or a semantic version (1.2.0)"


def is_semantic(text: str) -> bool:
    """Whether the text is MAJOR.MINOR.PATCH (https://semver.org, without pre-release and build)."""
    return len(text) <= _LONGEST and _SEMANTIC.fullmatch(text) is not None


def require_semantic(text: str) -> str:
    """Give the text back.

    Raises:
        UsageError: It is no semantic version.
    """
    if not is_semantic(text):
        raise UsageError(f"{text!r} is no semantic version: expected MAJOR.MINOR.PATCH such as 1.2.0")
    return text


def parse_version(text: str | int) -> int | str:
    """MLflow's number as an integer, a semantic version as text.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(text, int) and 0 <= text <= _LARGEST:
        return text
    name = str(text).strip().removeprefix("v")
    if name.isdecimal() and len(name) <= len(str(_LARGEST)) and 0 < int(name) <= _LARGEST:
        return int(name)
    if is_semantic(name):
        return name
    raise UsageError(f"{str(text)[:_LONGEST]!r} is no version: {_EXPECTED}")


def next_minor(known: Iterable[str]) -> str:
    """The next minor version after the highest known one, 1.0.0 when there is none; other texts are passed over."""
    numbers = [tuple(map(int, text.split("."))) for text in known if is_semantic(text)]
    if not numbers:
        return FIRST
    major, minor, _ = max(numbers)
    return f"{major}.{minor + 1}.0"
