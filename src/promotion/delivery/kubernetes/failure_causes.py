"""Whose fault it is when a rollout does not come to its end: the version's, or that of everything around it.

A version is blamed only for what only it can do. The mark it gets then stays, while a deployment that is repeated for
nothing costs minutes; so in doubt it is the infrastructure.
"""

from __future__ import annotations

from collections.abc import Sequence

from promotion.delivery.kubernetes.objects import Pod, Rollout
from promotion.delivery.records import Failure, RolloutVerdict

BY_RETRYING = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "CreateContainerError"})
"""What may pass: it must last for a while before it counts."""

_AT_ONCE = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "ImageInspectError"})
_CRASHING = "CrashLoopBackOff"
# The server's documented exit code for settings it refuses; those come from the cluster's ConfigMap and Secret.
_REFUSED_SETTINGS = 2
# Its exit code for an exported folder it refuses. The export was proven before it was deployed, so a signature that is
# refused is a matter of the keys in the cluster's Secret, which the refusal names.
_REFUSED_EXPORT = 3
_KEYS = "TRUSTED_KEYS"
_SAID = 400
# How a runtime says that it could not start a container, or lost sight of one: no server ended there.
_OF_THE_NODE = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown", "Unknown"})
# Of a server that was told to end: by itself, by SIGKILL, by SIGTERM.
_STOPPED = frozenset({0, 128 + 9, 128 + 15})


def hopeless(pods: Sequence[Pod], others: Sequence[Pod] = ()) -> Failure | None:
    """What no waiting will change: a crash loop, an image name nobody can pull, missing settings.

    Args:
        pods: Those of the new revision.
        others: The family's other pods.
    """
    for pod in pods:
        reason, message = pod.waiting
        if reason in _AT_ONCE:
            return _infrastructure(f"{pod.name}: {reason}: {message}")
        if reason == _CRASHING and pod.restarts:
            return _crash(pod, pods, others)
    return None


def obstacle(rollout: Rollout, pods: Sequence[Pod]) -> Failure | None:
    """What keeps the rollout up and may still pass, but seldom does: a quota, no image, no sandbox, no volume."""
    for reason, message in rollout.stopped.items():
        if reason in {"FailedCreate", "ReplicaSetCreateError"}:
            return _infrastructure(f"pods cannot be made: {message}")
    for pod in pods:
        reason, message = pod.waiting
        if reason in BY_RETRYING:
            return _infrastructure(f"{pod.name}: {reason}: {message}")
        if pod.unmade:
            return _infrastructure(f"{pod.node} cannot make {pod.name}: {pod.unmade}")
    return None


def no_room(pods: Sequence[Pod]) -> Failure | None:
    """What a cluster may settle on its own by adding nodes, so that only the end of the time ends it."""
    for pod in pods:
        if pod.unscheduled:
            return _infrastructure(f"{pod.name} finds no node: {pod.unscheduled}")
        if pod.evicted:
            return _infrastructure(f"{pod.name} was thrown out by its node: {pod.evicted}")
    return None


def late(rollout: Rollout, pods: Sequence[Pod], seconds: float, others: Sequence[Pod] = ()) -> Failure:
    """What it means that time is up.

    Args:
        rollout: How far it came.
        pods: Those of the new revision.
        seconds: How long it was given.
        others: The family's other pods.
    """
    stuck = obstacle(rollout, pods) or no_room(pods)
    if stuck:
        return stuck
    crashed = [pod for pod in pods if pod.ended and not pod.is_ready]
    if crashed:
        return _crash(crashed[0], pods, others)
    waiting = [pod for pod in pods if not pod.is_ready and not pod.is_leaving]
    if waiting and all(pod.has_started and pod.phase == "Running" for pod in waiting):
        names = ", ".join(pod.name for pod in waiting)
        return _of_probes(f"{names}: started, but never became ready within {seconds:g} s", waiting, pods, others)
    return _infrastructure(f"the rollout did not end within {seconds:g} s: {rollout}")


def _of_probes(reason: str, failing: Sequence[Pod], pods: Sequence[Pod], others: Sequence[Pod]) -> Failure:
    """Whose fault it is that probes got no answer in time: a node that hangs looks the same from outside.

    Args:
        reason: What is seen.
        failing: The pods whose probes fail.
        pods: All of the new revision.
        others: The family's other pods.
    """
    if any(pod.is_ready for pod in pods):
        return _infrastructure(f"{reason}; others of the version are ready")
    nodes = {pod.node for pod in failing}
    if len(nodes) > 1:
        return Failure(RolloutVerdict.VERSION, f"{reason}, on {len(nodes)} nodes")
    if any(pod.is_ready and pod.node in nodes for pod in others):
        return Failure(RolloutVerdict.VERSION, f"{reason}, while another version's pod is ready on the same node")
    where = next(iter(nodes)) or "one node"
    return _infrastructure(f"{reason}; on {where} alone, where no other pod is ready: the node may be at fault")


def _crash(pod: Pod, pods: Sequence[Pod], others: Sequence[Pod]) -> Failure:
    reason, code = pod.ended or ("Error", 1)
    times = f"{pod.restarts + 1} times"
    lines = pod.last_words.splitlines()
    said = f": {lines[-1][:_SAID]}" if lines else ""
    if reason in _OF_THE_NODE:
        return _infrastructure(f"{pod.name} was not run by {pod.node or 'its node'} {times}: {reason}, {code}{said}")
    if reason == "OOMKilled":
        return Failure(RolloutVerdict.VERSION, f"{pod.name} needs more memory than its limit: OOMKilled {times}")
    if code == _REFUSED_SETTINGS:
        return _infrastructure(f"{pod.name} refuses its settings: the server ended with exit code {code}{said}")
    if code == _REFUSED_EXPORT and _KEYS in said:
        return _infrastructure(f"{pod.name} does not trust the export: the server ended with exit code {code}{said}")
    if code in _STOPPED:
        failing = [each for each in pods if each.ended and not each.is_ready]
        return _of_probes(f"{pod.name} never gets well: its probes had it stopped {times}", failing, pods, others)
    what = f"{pod.name} crashes: the server ended {times}, last with exit code {code}{said}"
    return Failure(RolloutVerdict.VERSION, what)


def _infrastructure(reason: str) -> Failure:
    return Failure(RolloutVerdict.INFRASTRUCTURE, " ".join(reason.split()))
