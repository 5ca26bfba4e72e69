"""What differs between the objects in the cluster and the manifests, field by field, out of `kubectl diff`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

WHOLE = "diff -N -U1000000"
"""The comparing program that `kubectl diff` is told to use: it shows both sides whole, so that they can be read."""

_HEADER = re.compile(r"^--- .*\n\+\+\+ .*\n", re.MULTILINE)
# Of the server's own, and of the autoscaler's.
_PASSED_OVER = {
    ("metadata", "generation"),
    ("metadata", "resourceVersion"),
    ("metadata", "creationTimestamp"),
    ("metadata", "uid"),
    ("metadata", "managedFields"),
    ("status",),
    ("spec", "replicas"),
}
_LONGEST = 80
_ABSENT = object()


def read_differences(diff: str) -> list[str]:
    """One line for each field that an apply would change, and for each object that is missing.

    Args:
        diff: What `kubectl diff` printed, with `WHOLE` as the comparing program.
    """
    return [line for section in _HEADER.split(diff)[1:] for line in _section(section)]


def _section(section: str) -> list[str]:
    """What one object's part says; the changed lines themselves, where it is not the two sides whole."""
    lines = section.splitlines()
    try:
        live, wanted = (
            yaml.safe_load("\n".join(line[1:] for line in lines if line[:1] in {" ", sign})) or {} for sign in "-+"
        )
        name = f"{(wanted or live)['kind']} {(wanted or live)['metadata']['name']}"
    except (yaml.YAMLError, LookupError, TypeError):
        return [line for line in lines if line[:1] in {"+", "-"}]
    return [f"{name}: {line}" for line in _lines(live, wanted)] if live else [f"{name} is missing"]


def _lines(live: Any, wanted: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if path in _PASSED_OVER or live == wanted:
        return
    before, after = _named(live), _named(wanted)
    if before is None or after is None:
        yield f"{'.'.join(path)} is {_short(live)}, the manifests say {_short(wanted)}"
        return
    for name in [*before, *(name for name in after if name not in before)]:
        yield from _lines(before.get(name, _ABSENT), after.get(name, _ABSENT), (*path, name))


def _named(value: Any) -> Mapping[str, Any] | None:
    """The parts of a value by name; None for one that has no parts."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return {str(item.get("name", number)): item for number, item in enumerate(value)}
    return None


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
