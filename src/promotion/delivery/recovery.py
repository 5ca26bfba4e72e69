"""Take a failed deployment back: the cluster first, then, when the version is to blame, the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import ClusterError, DeploymentFailed
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.manifests import DIGEST, MODEL, VERSION, render_manifests, selector
from promotion.delivery.kubernetes.objects import Pod, Revision, Rollout
from promotion.delivery.kubernetes.rollout import RolloutWatch, paused
from promotion.delivery.records import (
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Predecessor,
    RolloutVerdict,
    Track,
)
from promotion.errors import GateRefused, PromotionError, Quarantined
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.marking import LIFTED
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back, withdraw
from promotion.service import Mover, PromotionService


class _Newer(Exception):
    """The cluster or the registry is in a state that came after the attempt; says which."""


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
        end, why = DeploymentState.FAILED, ""
        try:
            for step in self._steps(attempt):
                done.append(step)  # noqa: PERF402  # what was done before a failure is said with it
        except _Newer as newer:
            end, why = DeploymentState.OVERTAKEN, str(newer)
            done.append(f"{why}: nothing newer is undone")
        except PromotionError as error:
            raise self._unfinished(self._now(attempt), done, error) from error
        attempt = self.deployments.advance(self._now(attempt), end, actor=self.actor, why=why)
        self.service.on_moved(self.service.report)
        return attempt, "; ".join(part for part in done if part)

    def _now(self, attempt: Deployment) -> Deployment:
        return self.deployments.named(attempt.operation) or attempt

    def _steps(self, attempt: Deployment) -> Iterator[str]:
        """Go back step by step; yields what was done.

        Raises:
            _Newer: The world is not what the attempt left any more.
        """
        assert attempt.failure  # noqa: S101  # what is going back has one
        is_guilty = attempt.failure.verdict is RolloutVerdict.VERSION
        if attempt.state is DeploymentState.WITHDRAWING:
            self._require_gone(attempt)
        else:
            yield self._cluster_back(attempt)
            if is_guilty:
                attempt = self.deployments.advance(attempt, DeploymentState.WITHDRAWING, actor=self.actor)
        if is_guilty:
            yield self._registry_back(attempt)
            if attempt.target.environment is Environment.PRODUCTION:
                yield self._settle(attempt)

    def _require_gone(self, attempt: Deployment) -> None:
        """See that nobody put the version back onto the stable pods since the attempt was taken off the cluster."""
        stable = DeploymentTarget(attempt.target.family, attempt.target.environment)
        running = self._running(stable)
        if running and (running.annotations.get(MODEL), running.annotations.get(VERSION)) == (
            attempt.image.model,
            str(attempt.image.version),
        ):
            raise _Newer(f"{stable} runs {attempt.version} again since")

    def _running(self, target: DeploymentTarget) -> Rollout | None:
        found = self.cluster.get("deployment", target.name)
        return Rollout.of(found) if found else None

    def _cluster_back(self, attempt: Deployment) -> str:
        target, before = attempt.target, attempt.predecessor
        running = self._running(target)
        if running is None:
            return f"{target} is gone"
        if running.is_paused:
            raise ClusterError(paused(target))
        if before and (running.operation, running.image) == (before.operation, before.image):
            return self._waited(target, running.operation, f"{running.image} runs")
        if running.operation != attempt.operation or attempt.template not in {"", running.template}:
            raise _Newer(f"{target} was changed by somebody else since and runs {running.image}")
        if target.track is Track.CANARY and not self._may_return(before):
            self.service.report(f"{target}: removing the canary")
            self.cluster.delete(f"deployment/{target.name}")
            return "the canary is removed, the stable pods were not touched"
        return self._predecessor_back(attempt)

    def _may_return(self, before: Predecessor | None) -> bool:
        """Whether a canary ran something that is not known bad."""
        record = self.deployments.named(before.operation) if before else None
        return record is not None and not self.deployments.entry(record).known_bad

    def _predecessor_back(self, attempt: Deployment) -> str:
        target, before = attempt.target, attempt.predecessor
        if before is None:
            return self._emptied(attempt, "nothing ran before")
        record = self.deployments.named(before.operation)
        if before.is_edited and record:
            # What we deployed then, without what somebody had put into it by hand.
            return self._applied(record, target)
        revisions = [Revision.of(item) for item in self.cluster.objects("replicasets", selector(target))]
        number = next((item.number for item in revisions if item.template and item.template == before.template), None)
        if number:
            self.service.report(f"{target}: going back to revision {number}, {before.image}")
            self.cluster.undo(target.name, number)
            return self._waited(target, before.operation, f"{before.image} runs again")
        if record:
            return self._applied(record, target)
        return self._emptied(attempt, f"the revision with {before.image} is gone from the history")

    def _applied(self, record: Deployment, target: DeploymentTarget) -> str:
        """Run what an earlier deployment ran, there or as a canary."""
        self.service.report(f"{target}: applying {record.image.reference} again")
        self.cluster.apply(render_manifests(self.manifests, target, record.image, record.operation))
        return self._waited(target, record.operation, f"{record.image.reference} runs again")

    def _waited(self, target: DeploymentTarget, operation: str | None, outcome: str) -> str:
        failure = self.watch(self.cluster, target, operation, self.seconds, self.service.report).wait()
        return outcome if failure is None else f"the cluster was told, but is not well: {failure.reason}"

    def _emptied(self, attempt: Deployment, why: str) -> str:
        """Remove what never served well; pods that do serve stay, and a person decides."""
        target, entry = attempt.target, self.deployments.entry(attempt)
        pods = [Pod.of(item) for item in self.cluster.objects("pods", selector(target))]
        others = [pod for pod in pods if pod.is_ready and pod.operation != attempt.operation]
        if others or self.deployments.deployed(target.family, target.environment, entry):
            serving = others[0].name if others else entry
            return f"{why}, and {serving} serves: {target} is left as it is, a person decides what runs there"
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
        self._require_unmoved(attempt, entry)
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

    def _require_unmoved(self, attempt: Deployment, entry: Entry) -> None:
        """See that nobody let the version into a stage again since the attempt began."""
        begun = self.deployments.begun_at(attempt)
        for event in self.service.journal.history(attempt.target.family, version_id=entry.id):
            if event.sequence <= begun:
                return
            if event.action == LIFTED:
                raise _Newer(f"{entry} was declared innocent since ({event.actor}: {event.reason})")
            if event.is_move and event.to_stage in {Stage.STAGING, Stage.PRODUCTION}:
                raise _Newer(f"{entry} went to {event.to_stage} since ({event.action} by {event.actor})")

    def _rolled_back(self, attempt: Deployment, mover: Mover) -> str:
        """Bring back the version the cluster runs now, else the registry's own predecessor; empty without any."""
        family = attempt.target.family
        proven = self._proven(attempt)
        ways: list[tuple[str, int | None]] = [(family, None)]
        if proven:
            ways.insert(0, (proven.model, proven.number))
        for name, number in ways:
            try:
                move = roll_back(self.service, name, number, mover, force=True, deployment=attempt.operation)
            except Quarantined:
                raise
            except GateRefused as error:
                self.service.report(f"{family}: {error}")
                continue
            problem = f" (MLflow does not show it yet: {move.unprojected})" if move.unprojected else ""
            return f"{move.version} is back in Production, {move.before} is known bad{problem}"
        return ""

    def _proven(self, attempt: Deployment) -> Entry | None:
        """The version that the stable pods run, where it was deployed well and nothing is held against it."""
        stable = DeploymentTarget(attempt.target.family, attempt.target.environment)
        running = self._running(stable)
        record = self.deployments.named(running.operation) if running else None
        if record is None or running is None or running.image != record.image.reference:
            return None
        entry = self.deployments.entry(record)
        is_other = entry.id != attempt.version_id and not entry.known_bad
        return entry if is_other and self.deployments.deployed(stable.family, stable.environment, entry) else None

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
        """Make the stable pods run what the registry says now, if that ran there; nothing that serves is removed."""
        stable = DeploymentTarget(attempt.target.family, attempt.target.environment)
        production = self.service.journal.production(stable.family)
        running = self._running(stable)
        if running is None:
            return f"nothing runs as {stable}: export, build and deploy {production}" if production else ""
        if production and running.annotations.get(DIGEST) == production.digest:
            return ""
        before = attempt.predecessor.operation if attempt.predecessor else None
        is_as_left = attempt.target == stable and running.operation in {attempt.operation, before}
        record = self.deployments.deployed(stable.family, stable.environment, production) if production else None
        if record and is_as_left:
            return self._applied(record, stable)
        runs = f"{running.annotations.get(MODEL)} v{running.annotations.get(VERSION)}"
        ways = [f"python mlops/registry/rollback_model.py --model-name {stable.family} --to-version VERSION"]
        ways += [f"export, build and deploy {production}"] if production else ["promote and deploy another version"]
        return (
            f"⚠️ {stable} goes on running {runs}, {production or 'no version'} is in Production: "
            f"a person decides ({' or '.join(ways)})"
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
