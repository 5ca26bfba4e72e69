"""What kubectl answers, read once into plain records: Deployments, their revisions, pods and events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promotion.delivery.kubernetes.manifests import OPERATION

_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rollout:
    """How far a Deployment is with what it was told to run.

    Attributes:
        annotations: Of its pod template.
        image: Of its server container.
        revision: Number of its newest revision; 0 before the controller saw it.
        desired: Pods it should have.
        updated: Pods of the newest revision.
        ready: Pods of any revision that are ready.
        available: Pods of any revision that have been ready long enough.
        total: Pods of any revision.
        is_seen: Whether the controller has acted on the newest specification.
        stopped: Why the controller gave up or cannot make pods; empty while it works.
        is_paused: Whether somebody stopped its rollouts: what is applied then waits.
        template: Digest of its pod template, whoever wrote it.
    """

    annotations: Mapping[str, str]
    image: str
    revision: int
    desired: int
    updated: int
    ready: int
    available: int
    total: int
    is_seen: bool
    stopped: Mapping[str, str]
    is_paused: bool
    template: str

    @classmethod
    def of(cls, deployment: Object) -> Rollout:
        """Read a Deployment."""
        metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status", {})
        template = spec["template"]
        containers = template["spec"]["containers"]
        server = next((item for item in containers if item["name"] == "server"), containers[0])
        is_seen = status.get("observedGeneration", 0) >= metadata.get("generation", 1)
        return cls(
            annotations=template["metadata"].get("annotations") or {},
            image=server["image"],
            revision=int((metadata.get("annotations") or {}).get(_REVISION, 0)),
            desired=spec.get("replicas", 1),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            available=status.get("availableReplicas", 0),
            total=status.get("replicas", 0),
            is_seen=is_seen,
            # Until then the conditions are about the rollout before.
            stopped=_stopped(status.get("conditions", [])) if is_seen else {},
            is_paused=bool(spec.get("paused")),
            template=hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest(),
        )

    @property
    def operation(self) -> str | None:
        """The deployment that put it there; None when it was not ours."""
        return self.annotations.get(OPERATION)

    @property
    def is_complete(self) -> bool:
        """Whether all pods are of the newest revision and available; the same rule as `kubectl rollout status`."""
        return (
            self.is_seen
            and self.desired > 0
            and self.updated >= self.desired
            and self.total <= self.updated
            and self.available >= self.updated
        )

    @property
    def is_serving(self) -> bool:
        """Whether only pods of the newest revision are left and some answer; the autoscaler may be adding more."""
        return self.is_seen and self.desired > 0 and self.total <= self.updated and self.available > 0

    def __str__(self) -> str:
        old = max(self.total - self.updated, 0)
        return f"{self.updated} of {self.desired} pods are new, {self.available} available, {old} old ones left"


def _stopped(conditions: list[Object]) -> dict[str, str]:
    """Conditions that say the controller is stuck: reason to message."""
    return {
        item.get("reason", item["type"]): item.get("message", "")
        for item in conditions
        if (item["type"], item["status"]) in {("ReplicaFailure", "True"), ("Progressing", "False")}
    }


@dataclass(frozen=True, slots=True)
class Revision:
    """One entry of a Deployment's history.

    Attributes:
        number: Of the revision; changes when it becomes the newest again.
        template: Its `pod-template-hash`, which stays.
        annotations: Of its pods.
        image: Of its server container.
    """

    number: int
    template: str
    annotations: Mapping[str, str]
    image: str

    @classmethod
    def of(cls, replica_set: Object) -> Revision:
        """Read a ReplicaSet."""
        metadata, template = replica_set["metadata"], replica_set["spec"]["template"]
        return cls(
            number=int((metadata.get("annotations") or {}).get(_REVISION, 0)),
            template=metadata["labels"].get(_HASH, ""),
            annotations=template["metadata"].get("annotations") or {},
            image=template["spec"]["containers"][0]["image"],
        )


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod, as far as a rollout is concerned.

    Attributes:
        name: Of the pod.
        annotations: What it runs.
        phase: Pending, Running, Succeeded, Failed or Unknown.
        is_ready: Whether it takes requests.
        has_started: Whether its server ran at least once.
        restarts: How often its server was started again.
        waiting: Why its server does not run: reason and message; empty when it does.
        ended: Why its server ended last: reason and exit code; empty when it never did.
        last_words: What its server said when it ended last; empty when it never did, or said nothing.
        unscheduled: Why no node takes it; empty when one did.
        evicted: Why the node threw it out; empty when it did not.
        is_leaving: Whether it is being deleted.
        node: Where it runs; empty before one took it.
        unmade: Why its node cannot make it, by events; empty where none says so, or nobody looked.
    """

    name: str
    annotations: Mapping[str, str]
    phase: str
    is_ready: bool
    has_started: bool
    restarts: int
    waiting: tuple[str, str]
    ended: tuple[str, int] | None
    last_words: str
    unscheduled: str
    evicted: str
    is_leaving: bool
    node: str = ""
    unmade: str = ""

    @classmethod
    def of(cls, pod: Object) -> Pod:
        """Read a Pod."""
        metadata, status = pod["metadata"], pod.get("status", {})
        containers = status.get("containerStatuses", [])
        server: Object = next((item for item in containers if item["name"] == "server"), {})
        state, last = server.get("state", {}), server.get("lastState", {})
        ended = state.get("terminated") or last.get("terminated")
        before = [item.get("state", {}).get("waiting", {}) for item in status.get("initContainerStatuses", [])]
        # A challenger's image that cannot be pulled keeps the server waiting, and says why itself.
        waiting = next((item for item in before if item.get("reason", _BEGINNING) != _BEGINNING), None)
        waiting = waiting or state.get("waiting", {})
        conditions = {item["type"]: item for item in status.get("conditions", [])}
        scheduled = conditions.get("PodScheduled", {})
        return cls(
            name=metadata["name"],
            annotations=metadata.get("annotations") or {},
            phase=status.get("phase", "Unknown"),
            is_ready=conditions.get("Ready", {}).get("status") == "True",
            has_started="running" in state or ended is not None,
            restarts=server.get("restartCount", 0),
            waiting=(waiting.get("reason", ""), waiting.get("message", "")),
            ended=(ended.get("reason", "Error"), ended.get("exitCode", 0)) if ended else None,
            last_words=(ended or {}).get("message", ""),
            unscheduled=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
            evicted=status.get("message", "") if status.get("reason") in _THROWN_OUT else "",
            is_leaving="deletionTimestamp" in metadata,
            node=pod.get("spec", {}).get("nodeName", ""),
        )

    @property
    def operation(self) -> str | None:
        """The deployment it belongs to."""
        return self.annotations.get(OPERATION)


_BEGINNING = "PodInitializing"
_THROWN_OUT = {
    "Evicted",
    "NodeLost",
    "NodeAffinity",
    "Preempting",
    "Shutdown",
    "Terminated",
    "UnexpectedAdmissionError",
}


_UNMADE = {"FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume", "NetworkNotReady"}
_BEING_MADE = {"ContainerCreating", "PodInitializing"}


def being_made(pods: Sequence[Pod]) -> list[Pod]:
    """Pods that a node took and has not made: their status names no reason, only events do."""
    return [pod for pod in pods if pod.node and not pod.has_started and pod.waiting[0] in _BEING_MADE]


def with_causes(pods: Sequence[Pod], events: Sequence[Object]) -> list[Pod]:
    """The same pods, with why their nodes cannot make those that are being made.

    Args:
        pods: Of one rollout.
        events: As `kubectl get events` lists them.
    """
    # The newest one counts: after a sandbox that came at last, an image may take its time to be pulled.
    newest = {event["involvedObject"].get("name"): event for event in sorted(events, key=_last_seen)}
    said = {
        name: f"{event['reason']}: {' '.join(event.get('message', '').split())}"
        for name, event in newest.items()
        if event.get("reason") in _UNMADE
    }
    waiting = {pod.name for pod in being_made(pods)}
    return [replace(pod, unmade=said.get(pod.name, "")) if pod.name in waiting else pod for pod in pods]


def event_lines(events: Sequence[Object], name: str, *, limit: int) -> list[str]:
    """Warnings about a Deployment, its ReplicaSets and pods, oldest first.

    Args:
        events: As `kubectl get events` lists them.
        name: Of the Deployment; its ReplicaSets and pods begin with it.
        limit: At most so many.
    """
    ours = [
        event
        for event in events
        if event.get("type") == "Warning"
        # An autoscaler complains about missing metrics all the time.
        and event["involvedObject"].get("kind") != "HorizontalPodAutoscaler"
        and f"{event['involvedObject'].get('name', '')}-".startswith(f"{name}-")
    ]
    ours.sort(key=_last_seen)
    return [
        f"{event['involvedObject'].get('kind', '')} {event['involvedObject'].get('name', '')}: "
        f"{event.get('reason', '')}: {' '.join(event.get('message', '').split())}"
        for event in ours[-limit:]
    ]


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return (
        event.get("lastTimestamp")
        or series.get("lastObservedTime")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
