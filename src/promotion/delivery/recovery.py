"""Take a failed deployment back: the cluster first, then, when the version is to blame, the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import DeploymentFailed
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.manifests import DIGEST, render_manifests, selector
from promotion.delivery.kubernetes.objects import Revision, Rollout
from promotion.delivery.kubernetes.rollout import RolloutWatch
from promotion.delivery.records import Deployment, DeploymentState, DeploymentTarget, Environment, RolloutVerdict, Track
from promotion.errors import GateRefused, PromotionError, Quarantined
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back, withdraw
from promotion.service import Mover, PromotionService


@dataclass(slots=True)
class Returner:
    """Finishes attempts that failed; every step may be repeated.

    Attributes:
        service: Moves versions back.
        cluster: What goes back first.
        manifests: The project's `k8s/`.
        actor: Who acts.
        seconds: How long a rollout may take.
        watch: Makes the observer of a rollout.
        deployments: The record.
    """

    service: PromotionService
    cluster: Cluster
    manifests: Path
    actor: str
    seconds: float
    watch: Callable[..., RolloutWatch]
    deployments: Deployments

    def finish(self, attempt: Deployment) -> tuple[Deployment, str]:
        """Go back as far as the verdict asks.

        Args:
            attempt: One whose failure is recorded.

        Returns:
            The attempt as it ended, and what was done, in words.

        Raises:
            DeploymentFailed: It could not be finished now; what is missing is recorded, and a later call does it.
        """
        done: list[str] = []
        assert attempt.failure  # noqa: S101  # what is going back has one
        is_guilty = attempt.failure.verdict is RolloutVerdict.VERSION
        try:
            if attempt.state is DeploymentState.RETURNING:
                done.append(self._cluster_back(attempt))
                if is_guilty:
                    attempt = self.deployments.advance(attempt, DeploymentState.WITHDRAWING, actor=self.actor)
            if is_guilty:
                done.append(self._registry_back(attempt))
                if attempt.target.environment is Environment.PRODUCTION:
                    done.append(self._settle(attempt))
        except PromotionError as error:
            raise self._unfinished(attempt, done, error) from error
        attempt = self.deployments.advance(attempt, DeploymentState.FAILED, actor=self.actor)
        self.service.on_moved(self.service.report)
        return attempt, "; ".join(part for part in done if part)

    def _cluster_back(self, attempt: Deployment) -> str:
        target = attempt.target
        found = self.cluster.get("deployment", target.name)
        running = Rollout.of(found) if found else None
        if running is None:
            return f"{target} is gone"
        if running.operation != attempt.operation:
            return self._waited(target, running.operation, f"{running.image} runs")
        if target.track is Track.CANARY:
            self.service.report(f"{target}: removing the canary")
            self.cluster.delete(f"deployment/{target.name}")
            return "the canary is removed, the stable pods were not touched"
        return self._predecessor_back(attempt)

    def _predecessor_back(self, attempt: Deployment) -> str:
        target, before = attempt.target, attempt.predecessor
        if before is None:
            return self._emptied(target, "nothing ran before")
        revisions = [Revision.of(item) for item in self.cluster.objects("replicasets", selector(target))]
        number = next((item.number for item in revisions if item.template and item.template == before.template), None)
        if number:
            self.service.report(f"{target}: going back to revision {number}, {before.image}")
            self.cluster.undo(target.name, number)
            return self._waited(target, before.operation, f"{before.image} runs again")
        record = self.deployments.named(before.operation)
        if record:
            return self._applied(record)
        return self._emptied(target, f"the revision with {before.image} is gone from the history")

    def _applied(self, record: Deployment) -> str:
        """Run what an earlier deployment ran."""
        self.service.report(f"{record.target}: applying {record.image.reference} again")
        self.cluster.apply(render_manifests(self.manifests, record.target, record.image, record.operation))
        return self._waited(record.target, record.operation, f"{record.image.reference} runs again")

    def _waited(self, target: DeploymentTarget, operation: str | None, outcome: str) -> str:
        failure = self.watch(self.cluster, target, operation, self.seconds, self.service.report).wait()
        return outcome if failure is None else f"the cluster was told, but is not well: {failure.reason}"

    def _emptied(self, target: DeploymentTarget, why: str) -> str:
        self.service.report(f"⚠️ {target}: {why}: removing it, NOTHING RUNS THERE now")
        self.cluster.delete(f"deployment/{target.name}", f"horizontalpodautoscaler/{target.name}")
        return f"{why}, so {target} was removed and NOTHING RUNS THERE"

    def _registry_back(self, attempt: Deployment) -> str:
        self.service.synchronise(attempt.target.family)
        entry = self.deployments.entry(attempt)
        assert attempt.failure  # noqa: S101  # as in finish
        mover = Mover(
            self.actor, f"deployment {attempt.operation[:8]} to {attempt.target} failed: {attempt.failure.reason}"
        )
        if attempt.target.environment is Environment.STAGING and entry.stage is Stage.PRODUCTION:
            return self._incident(attempt, entry, mover)
        if entry.known_bad and entry.stage is not Stage.PRODUCTION:
            return f"{entry} is known bad"
        if entry.stage is Stage.PRODUCTION:
            back = self._rolled_back(attempt, mover)
            if back:
                return back
        problem = withdraw(self.service, entry, mover).unprojected
        empty = " and NO VERSION IS IN PRODUCTION" if entry.stage is Stage.PRODUCTION else ""
        return f"{entry} is known bad{empty}" + (f" (MLflow does not show it yet: {problem})" if problem else "")

    def _rolled_back(self, attempt: Deployment, mover: Mover) -> str:
        """Bring back the version the cluster runs now, else the registry's own predecessor; empty without any."""
        family = attempt.target.family
        before = self.deployments.named(attempt.predecessor.operation) if attempt.predecessor else None
        proven = self.deployments.entry(before) if before else None
        ways: list[tuple[str, int | None]] = [(family, None)]
        if proven and not proven.known_bad:
            ways.insert(0, (proven.model, proven.number))
        for name, number in ways:
            try:
                move = roll_back(self.service, name, number, mover, force=True)
            except Quarantined:
                raise
            except GateRefused as error:
                self.service.report(f"{family}: {error}")
                continue
            problem = f" (MLflow does not show it yet: {move.unprojected})" if move.unprojected else ""
            return f"{move.version} is back in Production, {move.before} is known bad{problem}"
        return ""

    def _incident(self, attempt: Deployment, entry: Entry, mover: Mover) -> str:
        reviews = Reviews(self.service.journal)
        known = [item.id for item in reviews.incidents(entry=entry) if item.summary == mover.reason]
        number = (
            known[0]
            if known
            else reviews.open_incident(
                attempt.target.family, entry, severity="critical", summary=mover.reason, actor=self.actor
            )
        )
        return f"{entry} stays in Production, critical incident {number} is open: a person decides"

    def _settle(self, attempt: Deployment) -> str:
        """Make the cluster run what the registry says now, where going back led elsewhere."""
        stable = DeploymentTarget(attempt.target.family, attempt.target.environment)
        production = self.service.journal.production(stable.family)
        found = self.cluster.get("deployment", stable.name)
        if found is None:
            return f"nothing runs as {stable}: export, build and deploy {production}" if production else ""
        running = Rollout.of(found).annotations.get(DIGEST)
        if production and running == production.digest:
            return ""
        record = self.deployments.deployed(stable.family, stable.environment, production) if production else None
        if record:
            return self._applied(record)
        return self._emptied(
            stable, f"{production or 'no version'} is in Production, and no image of it was deployed here"
        )

    def _unfinished(self, attempt: Deployment, done: list[str], error: PromotionError) -> DeploymentFailed:
        failure = attempt.failure
        what = "the cluster" if attempt.state is DeploymentState.RETURNING else "the registry"
        so_far = f"; {'; '.join(done)}" if done else ""
        return DeploymentFailed(
            f"{attempt} failed ({failure and failure.verdict}): {failure and failure.reason}{so_far}; "
            f"{what} COULD NOT GO BACK YET: {error}; when that is settled: python scripts/deploy-model.py "
            f"--model {attempt.target.family} --environment {attempt.target.environment} --resume",
            **attempt.outcome(),
        )
