"""Who set which field of a Deployment, by what the API server keeps about it, and how all of it becomes ours.

Server-side apply takes away what its manager set before and does not say any more; what others set it never touches.
So a foreign command would survive every deployment. The fields that others own in the specification are handed to our
manager first, by rewriting who owns what, which changes no field and rolls no pod; the apply that follows then takes
away those which the manifests do not say, together with everything else, in one rollout. The number of pods stays the
autoscaler's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from promotion.delivery.kubernetes.cluster import FIELD_MANAGER

_OURS = (FIELD_MANAGER, "Apply")
_REPLICAS = "f:replicas"
# Of `kubectl rollout restart`: it restarts pods, and changes nothing they run.
_RESTARTED = ("f:template", "f:metadata", "f:annotations", "f:kubectl.kubernetes.io/restartedAt")

Fields = Mapping[str, Any]
"""A tree of fields as `managedFields` spells it."""


def foreign_fields(deployment: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What others put into a Deployment's specification beside what its manifest says.

    Args:
        deployment: As it is, with its managed fields.
        wanted: Its manifest.

    Returns:
        One line a field, with who set it.
    """
    found = {
        f"spec{_readable(path)} (set by {entry['manager']})"
        for entry in _foreign(deployment)
        for path in _leaves(entry["fieldsV1"]["f:spec"])
        if path[0] != _REPLICAS and path != _RESTARTED and not _says(wanted["spec"], path)
    }
    return sorted(found)


def owned_by_us(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The managed fields of a Deployment after others handed us what they own of its specification."""
    entries: list[dict[str, Any]] = copy.deepcopy(deployment["metadata"].get("managedFields", []))
    ours = next((entry for entry in entries if (entry["manager"], entry["operation"]) == _OURS), None)
    if ours is None:
        ours = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1"}
        entries.append(ours | {"fieldsV1": {}})
        ours = entries[-1]
    mine = ours["fieldsV1"].setdefault("f:spec", {})
    for entry in _foreign({"metadata": {"managedFields": entries}}):
        spec = entry["fieldsV1"]["f:spec"]
        kept = {name: spec.pop(name) for name in (_REPLICAS,) if name in spec}
        _merge(mine, spec)
        entry["fieldsV1"] = {**entry["fieldsV1"], "f:spec": kept}
        if not kept:
            del entry["fieldsV1"]["f:spec"]
    return [entry for entry in entries if entry.get("fieldsV1")]


def _foreign(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What others than our apply own of the specification; subresources such as the scale stay out."""
    entries = deployment["metadata"].get("managedFields", [])
    return [
        entry
        for entry in entries
        if (entry["manager"], entry["operation"]) != _OURS
        and not entry.get("subresource")
        and entry.get("fieldsV1", {}).get("f:spec")
    ]


def _merge(into: dict[str, Any], fields: Fields) -> None:
    for name, below in fields.items():
        _merge(into.setdefault(name, {}), below)


def _leaves(fields: Fields, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, below in fields.items():
        if name == ".":
            continue
        if set(below) - {"."}:
            yield from _leaves(below, (*path, name))
        else:
            yield (*path, name)


def _says(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a manifest says something at a path."""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f" and isinstance(value, Mapping) and name in value:
            value = value[name]
        elif kind == "k" and isinstance(value, list):
            keys = json.loads(name).items()
            # A key that a manifest leaves out has its default, such as TCP.
            value = next((item for item in value if all(item.get(key, wanted) == wanted for key, wanted in keys)), None)
            if value is None:
                return False
        else:
            return kind == "v" and isinstance(value, list) and json.loads(name) in value
    return True


def _readable(path: tuple[str, ...]) -> str:
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f":
            text += f".{name}"
        else:
            key = json.loads(name)
            text += f"[{next(iter(key.values())) if isinstance(key, dict) else key}]"
    return text
