"""Lead a canary through its steps: set its share, compare it with the stable pods, go on, stay, or give it up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from promotion.delivery.canary.analysis import compare, decide, undecided
from promotion.delivery.canary.records import (
    FULL,
    Analysis,
    Comparison,
    Counts,
    Decision,
    LabelCounts,
    LiveLabels,
    VersionName,
)
from promotion.delivery.canary.telemetry import TrackCounts, read_pods
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import CanaryHeld, ClusterError
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.failure_causes import hopeless
from promotion.delivery.kubernetes.manifests import selector
from promotion.delivery.kubernetes.objects import Pod, Rollout
from promotion.delivery.kubernetes.rollout import RolloutWatch
from promotion.delivery.records import Deployment, DeploymentTarget, Failure, RolloutVerdict
from promotion.errors import ProductionMoved, PromotionError

LOOK_SECONDS = 10.0


@dataclass(slots=True)
class CanarySteps:
    """One canary under analysis.

    Attributes:
        cluster: Where it runs.
        deployments: The record.
        watch: The observer of its rollout.
        actor: Who asks.
        report: Told what is seen.
        labels: Says what the labels say that arrived; None where the family names none.
        look: Seconds between two looks.
    """

    cluster: Cluster
    deployments: Deployments
    watch: RolloutWatch
    actor: str
    report: Callable[[str], None]
    labels: LiveLabels | None = None
    look: float = LOOK_SECONDS

    def run(self, attempt: Deployment) -> tuple[Deployment, Failure | None]:
        """Go through the steps that are left, but for the last one of 100 %.

        Args:
            attempt: A canary in analysis.

        Returns:
            The attempt as it stands then, and why it is given up.

        Raises:
            CanaryHeld: A step stays undecided; the canary stays where it is.
        """
        while attempt.analysis and attempt.analysis.percent not in {None, FULL}:
            attempt = self.deployments.try_step(attempt)
            try:
                analysis, failure = self._step(attempt)
            except ProductionMoved as error:
                return attempt, Failure(RolloutVerdict.OVERTAKEN, str(error))
            if failure and analysis is None:
                return attempt, failure
            assert analysis  # noqa: S101  # one of both there always is
            attempt = self.deployments.analysed(attempt, analysis, actor=self.actor)
            self.report(f"{attempt}: {analysis}")
            if failure:
                return attempt, failure
            if analysis.decision is Decision.HOLD:
                raise CanaryHeld(_what_to_do(attempt, analysis), **attempt.outcome())
        return attempt, None

    def _step(self, attempt: Deployment) -> tuple[Analysis | None, Failure | None]:
        """Set the share, then compare until the evidence says something or time is over."""
        assert attempt.analysis  # noqa: S101  # as in run
        progress, percent = attempt.analysis, attempt.analysis.percent or FULL
        tracks = TrackCounts(), TrackCounts()
        comparisons: tuple[Comparison, ...] = ()
        is_scaled, share, problem = False, 0.0, ""
        end = time.monotonic() + progress.plan.seconds
        while True:
            self.deployments.require_place(attempt)
            try:
                failure = self._scaled(attempt, percent) if not is_scaled else None
                is_scaled = is_scaled or failure is None
                ours, others = self._pods(attempt)
                failure = failure or self._broken(attempt, ours, others)
            except ClusterError as error:
                problem = f"; the cluster was out of reach: {error}"
            else:
                if failure and failure.verdict is not RolloutVerdict.INFRASTRUCTURE:
                    return None, failure
                problem = f"; {failure.reason}" if failure else ""
                share = _share(ours, others)
                for pods, counts in zip((ours, others), tracks, strict=True):
                    read_pods(self.cluster, pods, counts)
                canary, stable = self._labelled(attempt, *(counts.counts() for counts in tracks))
                comparisons = compare(canary, stable, progress.error)
                said = decide(comparisons, canary.requests, progress.plan.requests)
                if said:
                    found = Analysis(percent, share, *said, canary, stable, comparisons)
                    return found, _fault(found, ours, others)
            if time.monotonic() >= end:
                canary, stable = self._labelled(attempt, *(counts.counts() for counts in tracks))
                why = undecided(comparisons, canary.requests, progress.plan.requests) + problem
                return Analysis(percent, share, Decision.HOLD, why, canary, stable, comparisons), None
            time.sleep(self.look)

    def _labelled(self, attempt: Deployment, canary: Counts, stable: Counts) -> tuple[Counts, Counts]:
        """The counts with what the labels say; without where there are none, or both tracks run the same version."""
        beside = self._beside(attempt) if self.labels else None
        ours = attempt.image.model, attempt.image.version
        if self.labels is None or beside in {None, ours}:
            return canary, stable
        assert beside  # noqa: S101  # as was asked
        try:
            found = self.labels(ours, beside, attempt.started_at)
        except (PromotionError, OSError) as error:
            # The pods' own counts decide all the same; what cannot be read now is not asked for at each look.
            self.report(f"{attempt}: going on without labels: {error}")
            self.labels = no_labels
            found = no_labels()
        each = [
            replace(counts, labelled=labelled, wrong=wrong)
            for counts, (labelled, wrong) in zip((canary, stable), found, strict=True)
        ]
        return each[0], each[1]

    def _beside(self, attempt: Deployment) -> VersionName | None:
        """What the stable pods run."""
        stable = self.cluster.get("deployment", attempt.target.instance)
        record = self.deployments.named(Rollout.of(stable).operation) if stable else None
        return (record.image.model, record.image.version) if record else None

    def _scaled(self, attempt: Deployment, percent: int) -> Failure | None:
        """Give the canary the pods that make the share, and wait for them."""
        stable = self.cluster.get("deployment", attempt.target.instance)
        beside = Rollout.of(stable).ready if stable else 0
        pods = max(round(percent / (FULL - percent) * beside), 1)
        self.report(f"{attempt}: step {percent} %: {pods} pods beside {beside}")
        self.cluster.scale(attempt.target.name, pods)
        return self.watch.wait()

    def _pods(self, attempt: Deployment) -> tuple[list[Pod], list[Pod]]:
        """Those of the canary, and the stable ones beside it."""
        stable = DeploymentTarget(attempt.target.family, attempt.target.environment)
        found = [
            [Pod.of(item) for item in self.cluster.objects("pods", selector(target))]
            for target in (attempt.target, stable)
        ]
        return [pod for pod in found[0] if pod.operation == attempt.operation], found[1]

    def _broken(self, attempt: Deployment, ours: list[Pod], others: list[Pod]) -> Failure | None:
        """What ends an analysis whatever was counted."""
        running = self.cluster.get("deployment", attempt.target.name)
        rollout = Rollout.of(running) if running else None
        if rollout is None or rollout.operation != attempt.operation or attempt.template not in {"", rollout.template}:
            return Failure(RolloutVerdict.OVERTAKEN, f"{attempt.target} was changed by somebody else in its analysis")
        return hopeless(ours, others)


def no_labels(*_: object) -> tuple[LabelCounts, LabelCounts]:
    """Labels that cannot be read, as `LiveLabels`."""
    return (0, 0), (0, 0)


def _share(ours: list[Pod], others: list[Pod]) -> float:
    ready = [sum(pod.is_ready for pod in pods) for pods in (ours, others)]
    return ready[0] / max(sum(ready), 1)


def _fault(analysis: Analysis, ours: list[Pod], others: list[Pod]) -> Failure | None:
    """Whose fault it is that a canary does worse; a node that is slow looks like a version that is slow."""
    if analysis.decision is not Decision.ABORT:
        return None
    failure = Failure(RolloutVerdict.VERSION, f"analysis: {analysis}")
    if not next(each for each in analysis.comparisons if each.is_beyond).measure.startswith("requests beyond"):
        return failure
    nodes = {pod.node for pod in ours if pod.is_ready}
    if len(nodes) == 1 and not any(pod.is_ready and pod.node in nodes for pod in others):
        where = f"on {next(iter(nodes))} alone, where no stable pod is: the node may be at fault"
        return replace(failure, verdict=RolloutVerdict.INFRASTRUCTURE, reason=f"{failure.reason}; {where}")
    return failure


def _what_to_do(attempt: Deployment, analysis: Analysis) -> str:
    target = attempt.target
    command = f"python scripts/deploy-model.py --model {target.family} --environment {target.environment}"
    return (
        f"{attempt} stays at {analysis.share:.0%} of the pods: {analysis}; nothing moves until a person says so: "
        f"look again ({command} --resume), give it up ({command} --abort), or deploy it fully ({command} --image "
        f"{attempt.image.reference})"
    )
