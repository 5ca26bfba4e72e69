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
# What the API server says itself where nobody does: whoever makes a Deployment anew from what `kubectl get` printed
# owns it, and changed nothing.
_DEFAULTS = {
    "f:apiVersion": "v1",
    "f:defaultMode": 0o644,
    "f:dnsPolicy": "ClusterFirst",
    "f:protocol": "TCP",
    "f:restartPolicy": "Always",
    "f:scheme": "HTTP",
    "f:schedulerName": "default-scheduler",
    "f:successThreshold": 1,
    "f:terminationMessagePath": "/dev/termination-log",
}
# Another name of serviceAccountName, which it always follows.
_SAME = "f:serviceAccount"
_ABSENT = object()

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
        if path[0] != _REPLICAS and path != _RESTARTED and path[-1] != _SAME
        if _at(wanted["spec"], path) is _ABSENT and not _is_default(deployment.get("spec"), path)
    }
    return sorted(found)


def _is_default(spec: Any, path: tuple[str, ...]) -> bool:
    return path[-1] in _DEFAULTS and _at(spec, path) == _DEFAULTS[path[-1]]


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


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """What an object says at a path."""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f" and isinstance(value, Mapping):
            value = value.get(name, _ABSENT)
        elif kind == "k" and isinstance(value, list):
            keys = json.loads(name).items()
            # A key that a manifest leaves out has its default, such as TCP.
            found = (item for item in value if all(item.get(key, wanted) == wanted for key, wanted in keys))
            value = next(found, _ABSENT)
        elif kind == "v" and isinstance(value, list) and json.loads(name) in value:
            return json.loads(name)
        else:
            return _ABSENT
    return value


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
