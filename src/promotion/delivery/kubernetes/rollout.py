"""Watch a rollout to its end: say how far it is, and know early when it will not come."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from promotion.delivery.errors import ClusterError, ClusterUnreachable
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.failure_causes import hopeless, late, obstacle
from promotion.delivery.kubernetes.objects import Pod, Rollout, being_made, event_lines, with_causes
from promotion.delivery.records import DeploymentTarget, Failure, RolloutVerdict

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
"""How long something that may pass may last: the kubelet tries an image three times in it."""

_EVENTS = 8
_LOG_LINES = 15


def paused(target: DeploymentTarget) -> str:
    """What to do about a Deployment whose rollouts somebody stopped."""
    return (
        f"{target} is paused, so nothing that is applied would run: "
        f"kubectl --namespace {target.namespace} rollout resume deployment/{target.name}, then again"
    )


@dataclass(slots=True)
class RolloutWatch:
    """One rollout under observation.

    Attributes:
        cluster: Where.
        target: Which Deployment.
        operation: The deployment it must carry.
        seconds: How long it may take.
        report: Told what changes.
        poll: Seconds between two looks.
        patience: Seconds that something may last which may pass.
        template: Digest of the pod template it must carry; empty where nobody noted it.
        said: What was reported last.
        whole_since: Since when all pods that were asked for are there.
    """

    cluster: Cluster
    target: DeploymentTarget
    operation: str | None
    seconds: float
    report: Callable[[str], None]
    poll: float = POLL_SECONDS
    patience: float = PATIENCE_SECONDS
    template: str = ""
    said: str = field(default="", init=False)
    whole_since: float = field(default=0.0, init=False)

    def wait(self) -> Failure | None:
        """Wait for the end of the rollout; returns why it will not come, None when it came."""
        started = time.monotonic()
        stuck_since: float | None = None
        while True:
            now = time.monotonic()
            is_over = now - started >= self.seconds
            try:
                rollout, pods, others = self._look()
            except ClusterUnreachable as error:
                if is_over:
                    return Failure(RolloutVerdict.INFRASTRUCTURE, str(error))
                self._say(f"the API server does not answer, trying again ({error})")
            except ClusterError as error:
                return Failure(RolloutVerdict.INFRASTRUCTURE, str(error))
            else:
                if rollout and self._is_enough(rollout, now):
                    return None
                stuck_since = (stuck_since or now) if rollout and obstacle(rollout, pods) else None
                is_stuck = stuck_since is not None and now - stuck_since >= self.patience
                failure = self._judge(rollout, pods, others, is_stuck=is_stuck, is_over=is_over)
                if failure:
                    return failure
            time.sleep(self.poll)

    def _is_enough(self, rollout: Rollout, now: float) -> bool:
        """Whether a rollout is complete, with the pods its autoscaler wants, or that was given time to ask for them."""
        if not (self._is_ours(rollout) and rollout.is_complete):
            return False
        self._say(f"{self.target}: {rollout}")
        least = self._least()
        self.whole_since = self.whole_since or now
        if rollout.desired < least and now - self.whole_since < self.patience:
            return False
        if rollout.desired < least:
            self._say(f"⚠️ {self.target}: {rollout.available} of {least} pods: the autoscaler asked for no more yet")
        return True

    def _least(self) -> int:
        """How many pods the autoscaler wants at least; 0 where there is none, or nobody can say."""
        try:
            found = self.cluster.get("horizontalpodautoscaler", self.target.name)
        except ClusterError:
            return 0
        return int(found["spec"].get("minReplicas", 1)) if found else 0

    def _judge(
        self,
        rollout: Rollout | None,
        pods: Sequence[Pod],
        others: Sequence[Pod],
        *,
        is_stuck: bool,
        is_over: bool,
    ) -> Failure | None:
        if rollout is None or not self._is_ours(rollout):
            return Failure(RolloutVerdict.OVERTAKEN, f"{self.target} was changed by somebody else during the rollout")
        if rollout.is_paused:
            return Failure(RolloutVerdict.INFRASTRUCTURE, paused(self.target))
        self._say(f"{self.target}: {rollout}")
        failure = hopeless(pods, others) or (obstacle(rollout, pods) if is_stuck else None)
        if failure or not (is_over or "ProgressDeadlineExceeded" in rollout.stopped):
            return failure
        return late(rollout, pods, self.seconds, others)

    def _is_ours(self, rollout: Rollout) -> bool:
        return rollout.operation == self.operation and self.template in {"", rollout.template}

    def explain(self, failure: Failure) -> Failure:
        """Add what a person wants to read: warnings, and the end of what the failing server wrote."""
        details: list[str] = []
        try:
            details += event_lines(self.cluster.objects("events"), self.target.name, limit=_EVENTS)
            pods = [pod for pod in self._pods()[0] if pod.has_started]
            pods.sort(key=lambda pod: (pod.is_ready, -pod.restarts))
            if pods:
                crashed = pods[0].ended is not None and pods[0].waiting[0] != ""
                lines = self.cluster.logs(pods[0].name, previous=crashed, lines=_LOG_LINES)
                details += [f"{pods[0].name} wrote: {line}" for line in lines]
        except ClusterError as error:
            details.append(f"no more is known: {error}")
        return replace(failure, details=tuple(details))

    def _look(self) -> tuple[Rollout | None, list[Pod], list[Pod]]:
        found = self.cluster.get("deployment", self.target.name)
        return (Rollout.of(found), *self._pods()) if found else (None, [], [])

    def _pods(self) -> tuple[list[Pod], list[Pod]]:
        """The pods of this deployment, and the family's others, a canary's among them."""
        instance = f"app.kubernetes.io/instance={self.target.instance}"
        pods = [Pod.of(item) for item in self.cluster.objects("pods", instance)]
        ours = [pod for pod in pods if pod.operation == self.operation]
        if being_made(ours):
            ours = with_causes(ours, self.cluster.objects("events"))
        return ours, [pod for pod in pods if pod.operation != self.operation]

    def _say(self, line: str) -> None:
        """Report what changed since it was last reported."""
        if line != self.said:
            self.report(line)
            self.said = line
