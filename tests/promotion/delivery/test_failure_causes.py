"""Whose fault a stuck rollout is, told from what kubectl shows."""

from __future__ import annotations

from typing import Any

import pytest

from promotion.delivery.kubernetes.failure_causes import hopeless, late, obstacle
from promotion.delivery.kubernetes.objects import Pod, Rollout, event_lines
from promotion.delivery.records import RolloutVerdict


def a_pod(node: str = "one", **container: Any) -> Pod:
    """A pod of the new revision whose server's container has this status."""
    status = {"name": "server", "ready": False, "restartCount": 0, "state": {}, "lastState": {}} | container
    ready = {"type": "Ready", "status": str(status["ready"])}
    conditions = [{"type": "PodScheduled", "status": "True"}, ready]
    document = {"phase": "Running", "conditions": conditions, "containerStatuses": [status]}
    return Pod.of({"metadata": {"name": "tiny-1"}, "spec": {"nodeName": node}, "status": document})


def a_rollout(*conditions: dict[str, str], generation: int = 2, **counts: int) -> Rollout:
    """A Deployment of two pods whose controller has seen generation 2."""
    status = {"observedGeneration": 2, "conditions": list(conditions), **counts}
    template = {"metadata": {"annotations": None}, "spec": {"containers": [{"name": "server", "image": "i"}]}}
    return Rollout.of(
        {"metadata": {"generation": generation}, "spec": {"replicas": 2, "template": template}, "status": status}
    )


def waiting(reason: str, message: str = "m") -> dict[str, Any]:
    """State of a container that does not run."""
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, reason: str = "Error", said: str = "") -> dict[str, Any]:
    """Last state of a container that ran."""
    return {"terminated": {"reason": reason, "exitCode": code, "message": said}}


CRASHING = waiting("CrashLoopBackOff")
ALL = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), 2)


@pytest.mark.parametrize(
    ("container", "verdict"),
    [
        ({"state": CRASHING, "lastState": ended(1), "restartCount": 2}, RolloutVerdict.VERSION),
        ({"state": CRASHING, "lastState": ended(137, "OOMKilled"), "restartCount": 1}, RolloutVerdict.VERSION),
        ({"state": CRASHING, "lastState": ended(2), "restartCount": 2}, RolloutVerdict.INFRASTRUCTURE),
        ({"state": CRASHING, "lastState": ended(128, "StartError"), "restartCount": 2}, RolloutVerdict.INFRASTRUCTURE),
        ({"state": CRASHING, "lastState": ended(255, "Unknown"), "restartCount": 1}, RolloutVerdict.INFRASTRUCTURE),
        (
            {"state": CRASHING, "lastState": ended(137, "ContainerStatusUnknown"), "restartCount": 1},
            RolloutVerdict.INFRASTRUCTURE,
        ),
        ({"state": CRASHING, "lastState": ended(3), "restartCount": 2}, RolloutVerdict.VERSION),
        (
            {"state": CRASHING, "lastState": ended(3, said="m: no key in TRUSTED_KEYS"), "restartCount": 2},
            RolloutVerdict.INFRASTRUCTURE,
        ),
        ({"state": CRASHING, "lastState": ended(1), "restartCount": 0}, None),
        ({"state": ended(1), "restartCount": 0}, None),
        ({"state": waiting("InvalidImageName")}, RolloutVerdict.INFRASTRUCTURE),
        ({"state": waiting("CreateContainerConfigError", 'secret "x" not found')}, RolloutVerdict.INFRASTRUCTURE),
        ({"state": waiting("ContainerCreating")}, None),
        ({"state": waiting("ImagePullBackOff")}, None),
        ({"state": {"running": {}}}, None),
    ],
)
def test_what_no_waiting_changes(container: dict[str, Any], verdict: RolloutVerdict | None) -> None:
    """A crash loop counts from the second crash; one crash, or an image that is being fetched, does not count yet."""
    failure = hopeless([a_pod(**container)])

    assert verdict == (failure and failure.verdict)


@pytest.mark.parametrize(
    ("rollout", "container", "verdict"),
    [
        (a_rollout(), {"state": {"running": {}}}, RolloutVerdict.VERSION),
        (a_rollout(), {"state": waiting("Error"), "lastState": ended(1)}, RolloutVerdict.VERSION),
        (a_rollout(), {"state": waiting("ContainerCreating")}, RolloutVerdict.INFRASTRUCTURE),
        (a_rollout(), {"state": waiting("ErrImagePull")}, RolloutVerdict.INFRASTRUCTURE),
        (
            a_rollout(),
            {"state": CRASHING, "lastState": ended(0, "Completed"), "restartCount": 2},
            RolloutVerdict.VERSION,
        ),
        (
            a_rollout({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}),
            {"state": {"running": {}}},
            RolloutVerdict.INFRASTRUCTURE,
        ),
    ],
)
def test_time_is_up(rollout: Rollout, container: dict[str, Any], verdict: RolloutVerdict) -> None:
    """Started and never ready is the version's fault, unless anything around it is in the way."""
    assert verdict is late(rollout, [a_pod(**container)], 10, [a_pod(ready=True)]).verdict


STUCK: dict[str, Any] = {"state": {"running": {}}}
KILLED = {"state": CRASHING, "lastState": ended(137), "restartCount": 2}
TOLD_TO_END = {"state": CRASHING, "lastState": ended(143), "restartCount": 2}


@pytest.mark.parametrize("container", [STUCK, KILLED, TOLD_TO_END])
@pytest.mark.parametrize(
    ("nodes", "others", "verdict"),
    [
        (["one"], [], RolloutVerdict.INFRASTRUCTURE),
        (["one"], [("two", True)], RolloutVerdict.INFRASTRUCTURE),
        (["one"], [("one", False)], RolloutVerdict.INFRASTRUCTURE),
        (["one", "one"], [], RolloutVerdict.INFRASTRUCTURE),
        (["one"], [("one", True)], RolloutVerdict.VERSION),
        (["one", "two"], [], RolloutVerdict.VERSION),
    ],
)
def test_probes_without_an_answer_are_the_versions_fault_only_where_the_node_is_well(
    container: dict[str, Any], nodes: list[str], others: list[tuple[str, bool]], verdict: RolloutVerdict
) -> None:
    """Another node fails as well, or another version's pod is ready on the same one."""
    pods = [a_pod(node, **container) for node in nodes]
    found = [a_pod(node, ready=is_ready) for node, is_ready in others]

    assert verdict is late(a_rollout(), pods, 10, found).verdict
    early = hopeless(pods, found)
    assert early is None if container is STUCK else (early and early.verdict is verdict)


def test_a_version_that_is_ready_elsewhere_is_not_blamed_for_its_probes() -> None:
    """One pod of three does not get ready: its node, or its neighbours."""
    pods = [a_pod("one", ready=True), a_pod("two", **STUCK), a_pod("three", **STUCK)]

    assert RolloutVerdict.INFRASTRUCTURE is late(a_rollout(), pods, 10, [a_pod("two", ready=True)]).verdict


def test_a_cluster_gets_the_whole_time_to_find_room() -> None:
    """Nodes that are added on demand take minutes: no room is no early end, but the reason when time is up."""
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    pod = Pod.of({"metadata": {"name": "tiny-1"}, "status": {"phase": "Pending", "conditions": [scheduled]}})

    assert obstacle(a_rollout(), [pod]) is None
    assert "tiny-1 finds no node: 0/3 nodes" == late(a_rollout(), [pod], 10).reason


def test_without_any_pod_it_is_the_infrastructure() -> None:
    """Nothing started, so nothing can be held against the version."""
    failure = late(a_rollout(updatedReplicas=0), [], 10)

    assert RolloutVerdict.INFRASTRUCTURE is failure.verdict
    assert "0 of 2 pods are new" in failure.reason


def test_conditions_of_the_rollout_before_do_not_count() -> None:
    """Until the controller has seen the new specification, what it says is about the old one."""
    stale = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}

    assert obstacle(a_rollout(stale), []) is not None
    assert obstacle(a_rollout(stale, generation=3), []) is None


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        (a_rollout(**ALL), True),
        (a_rollout(generation=3, **ALL), False),
        (a_rollout(**{**ALL, "replicas": 3}), False),
        (a_rollout(**{**ALL, "updatedReplicas": 1}), False),
        (a_rollout(**{**ALL, "availableReplicas": 1}), False),
    ],
)
def test_a_rollout_is_complete_as_kubectl_sees_it(rollout: Rollout, *, expected: bool) -> None:
    """Seen, all pods updated, none old, all available."""
    assert expected is rollout.is_complete


def test_only_warnings_about_the_deployment_are_shown() -> None:
    """Oldest first; another family's events, whose name only begins alike, stay out."""

    def event(name: str, reason: str, at: str, kind: str = "Warning", about: str = "Pod") -> dict[str, Any]:
        return {
            "metadata": {},
            "type": kind,
            "reason": reason,
            "message": "m",
            "involvedObject": {"kind": about, "name": name},
            "eventTime": at,
        }

    events = [
        event("tiny-5d-x", "Second", "2026-01-02"),
        event("tiny", "First", "2026-01-01"),
        event("tinyhouse-5d-x", "Other", "2026-01-01"),
        event("tiny-5d-x", "Fine", "2026-01-01", "Normal"),
        event("tiny", "FailedGetResourceMetric", "2026-01-03", about="HorizontalPodAutoscaler"),
    ]

    assert ["Pod tiny: First: m", "Pod tiny-5d-x: Second: m"] == event_lines(events, "tiny", limit=5)
    assert ["Pod tiny-5d-x: Second: m"] == event_lines(events, "tiny", limit=1)


def test_pods_that_the_autoscaler_is_adding_are_no_drift() -> None:
    """One of two pods answers and no old one is left: the version serves, though the rollout is not complete."""
    rollout = a_rollout(replicas=2, updatedReplicas=2, availableReplicas=1)

    assert (True, False) == (rollout.is_serving, rollout.is_complete)
    assert not a_rollout(replicas=3, updatedReplicas=2, availableReplicas=2).is_serving
    assert not a_rollout(replicas=2, updatedReplicas=2, availableReplicas=0).is_serving
