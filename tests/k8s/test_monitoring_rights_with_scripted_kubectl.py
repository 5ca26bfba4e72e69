"""The monitor's Role holds exactly what taking a version back asks of the cluster; kubectl is a scripted stand-in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.k8s.test_monitoring_manifests import found, rights
from tests.promotion.delivery.conftest import Scene, _shared, cluster, first, second
from tests.promotion.delivery.scripted_cluster import ScriptedCluster
from tests.promotion.delivery.test_rollback_with_scripted_kubectl import back, deployed

__all__ = ["_shared", "cluster", "deployed", "first", "second"]

pytestmark = pytest.mark.system

Right = tuple[str, str]

PLURAL = {"deployment": "deployments", "service": "services", "horizontalpodautoscaler": "horizontalpodautoscalers"}
APPLIED = (
    *("deployments", "services", "configmaps", "serviceaccounts"),
    *("horizontalpodautoscalers", "poddisruptionbudgets", "networkpolicies"),
)
EMPTYING = {("deployments", "delete"), ("horizontalpodautoscalers", "delete")}
"""Removes a canary, or a first version that failed and has nothing to go back to."""


RIGHTS: dict[str, set[Right]] = {
    # Both send a patch, of which a new object is made; a comparison as a dry run.
    "apply": {(kind, right) for kind in APPLIED for right in ("get", "create", "patch")},
    "diff": {(kind, right) for kind in APPLIED for right in ("get", "create", "patch")},
    "rollout": {("deployments", "get"), ("deployments", "patch"), ("replicasets", "list")},
    "logs": {("pods", "get"), ("pods/log", "get")},
    "port-forward": {("services", "get"), ("pods", "list"), ("pods", "get"), ("pods/portforward", "create")},
    "config": set(),
}


def needed(call: Sequence[str]) -> set[Right]:
    """The rights that one call of kubectl takes."""
    verb, *words = [word for word in call if not word.startswith("--")]
    if verb == "get":
        kind = words[0].partition(".")[0]
        is_named = words[1:] != ["json"] and "--selector" not in call
        return {(PLURAL.get(kind, kind), "get" if is_named else "list")}
    if verb == "delete":
        return {(PLURAL[name.partition("/")[0]], "delete") for name in words}
    return RIGHTS[verb]


def test_the_role_holds_what_a_way_back_takes_and_no_more(deployed: Scene, cluster: ScriptedCluster) -> None:
    """One that works, and one whose old image does not come up and is undone, with its events and last words."""
    with cluster.changed() as state:
        state["calls"] = []
        for reference, image in state["images"].items():
            if ":1-" in reference:
                image["behaviour"] = "crash"
    assert back(deployed).problem
    with cluster.changed() as state:
        for image in state["images"].values():
            image["behaviour"] = "well"
    deployed.deploy(deployed.image(1))
    taken = {right for call in cluster.state["calls"] for right in needed(call)}
    (role,) = found("Role").values()

    assert {"get", "apply", "rollout", "logs", "port-forward"} <= set(cluster.verbs())
    assert rights(role) == taken | EMPTYING
