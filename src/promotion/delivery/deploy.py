"""Put a version on a cluster: check, write down, apply, watch, ask, record; or take it back, the registry included."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from promotion.delivery.canary.records import AnalysisPlan, LiveLabels
from promotion.delivery.canary.steps import CanarySteps
from promotion.delivery.checks import DeploymentChecks
from promotion.delivery.errors import ClusterError, DeploymentFailed
from promotion.delivery.export import ExpectedAnswers
from promotion.delivery.kubernetes.objects import Rollout
from promotion.delivery.kubernetes.rollout import RolloutWatch
from promotion.delivery.kubernetes.smoke import smoke_test
from promotion.delivery.records import (
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Failure,
    Image,
    RolloutVerdict,
    Track,
)
from promotion.delivery.recovery import Returner
from promotion.errors import GateRefused, NothingToDo, ProductionMoved, PromotionError, UsageError
from promotion.registry.stages import Stage


@dataclass(slots=True)
class Deployer(DeploymentChecks):
    """Deploys one family to one environment.

    Attributes:
        watch: Makes the observer of a rollout.
        settling: Seconds in which a pod of the version before may still answer.
        labels: Says what the labels say that arrived, for a canary's analysis; None without.
    """

    watch: Callable[..., RolloutWatch] = RolloutWatch
    settling: float = 45.0
    labels: LiveLabels | None = None

    def deploy(
        self, target: DeploymentTarget, image: Image, export: Path | None, plan: AnalysisPlan | None = None
    ) -> Deployment:
        """Deploy an image, finishing first what was interrupted.

        Args:
            target: Where.
            image: What.
            export: See `check`.
            plan: The steps of a canary and how they are analysed; None for one that is only watched and asked.

        Raises:
            CanaryHeld: A step of a canary stays undecided.
            DeploymentFailed: It was taken back; nothing is left half.
            NothingToDo: It runs already.
            ProductionMoved: The version is not the one that may run there any more.
            PromotionError: As `check`.
        """
        with self._lock(target):
            interrupted = self.deployments.unfinished(target.family, target.environment)
            if interrupted:
                self._require_cluster(interrupted)
                # The last step of a canary that goes to every pod is an attempt of its own.
                is_last_step = plan is not None and plan.is_full and interrupted.target.track is Track.STABLE
                is_same = interrupted.image == image and (interrupted.target == target or is_last_step)
                if is_same and not interrupted.is_excused:
                    return self._completed(self._resume(interrupted, export))
                self._take_back(interrupted, "it was interrupted, and another deployment is asked for")
            passed = self._passed(target)
            if passed and passed.image == image:
                return self._completed(passed)
            return self._completed(self._begin(target, image, export, plan))

    def _begin(
        self, target: DeploymentTarget, image: Image, export: Path | None, steps: AnalysisPlan | None
    ) -> Deployment:
        if not self.service.journal.pending(target.family):
            # Before anything is finished: what was taken away is not written anew by whoever is to be shown it.
            known = self.service.journal.entry(image.model, image.version)
            self._require_attested(target, known, is_way_back=export is None or self._ran(target, image))
        self.service.require_sound(target.family)
        self.service.synchronise(target.family)
        plan = self.check(target, image, export)
        runs = self._unchanged(plan, steps)
        canary = self.deployments.canary(target.family, target.environment) if target.track is Track.STABLE else None
        if canary and (runs or canary.image != image):
            # Whoever asks through the Service is led to the pods that are ready for longest, which are its own.
            self._remove(canary, f"{plan.entry} is wanted on every pod")
            if runs:
                return runs
        if runs:
            raise NothingToDo(f"{runs} runs already, as the manifests say: nothing to do")
        begun = self.deployments.begin(
            target,
            image,
            plan.entry,
            self._predecessor(plan),
            cluster=self.cluster.server(),
            actor=self.actor,
            plan=steps,
        )
        return self._drive(begun, plan.expected)

    def _passed(self, target: DeploymentTarget) -> Deployment | None:
        """A canary that passed its steps, and was stopped before its version went to every pod."""
        canary = DeploymentTarget(target.family, target.environment, Track.CANARY)
        found = self.cluster.get("deployment", canary.name) if target.track is Track.CANARY else None
        record = self.deployments.named(Rollout.of(found).operation) if found else None
        is_passed = (
            record and record.state is DeploymentState.DEPLOYED and record.analysis and record.analysis.plan.is_full
        )
        return record if is_passed else None

    def _completed(self, done: Deployment) -> Deployment:
        """Deploy a canary that passed all of its steps on every pod, if that is the last one."""
        if done.target.track is Track.STABLE or not (done.analysis and done.analysis.plan.is_full):
            return done
        stable = DeploymentTarget(done.target.family, done.target.environment)
        self.service.report(f"{done}: every step is passed, now on every pod")
        return self._begin(stable, done.image, None, None)

    def resume(self, family: str, environment: Environment, export: Path) -> Deployment:
        """Finish what was interrupted.

        Raises:
            NothingToDo: Nothing was.
            DeploymentFailed: The attempt failed, and is taken back now.
        """
        with self._lock(DeploymentTarget(family, environment)):
            interrupted = self.deployments.unfinished(family, environment)
            passed = None if interrupted else self._passed(DeploymentTarget(family, environment, Track.CANARY))
            if passed:
                return self._completed(passed)
            if interrupted is None:
                raise NothingToDo(f"no deployment of {family!r} to {environment} was interrupted: nothing to do")
            self._require_cluster(interrupted)
            return self._completed(self._resume(interrupted, export))

    def abort(self, family: str, environment: Environment) -> Deployment:
        """Take back what was interrupted, or is held by its analysis, or a canary; the version stays unblemished.

        Raises:
            NothingToDo: There is nothing of that.
            DeploymentFailed: It could not be taken back yet.
        """
        with self._lock(DeploymentTarget(family, environment)):
            interrupted = self.deployments.unfinished(family, environment)
            given_up = interrupted or self.deployments.canary(family, environment)
            if given_up is None:
                raise NothingToDo(
                    f"no deployment of {family!r} to {environment} is under way, and no canary: nothing to give up"
                )
            self._require_cluster(given_up)
            why = f"given up by {self.actor}"
            return self._take_back(interrupted, why) if interrupted else self._remove(given_up, why)

    def _remove(self, canary: Deployment, why: str) -> Deployment:
        """Remove a canary that was deployed; the stable pods serve on."""
        self.service.report(f"{canary}: removing the canary ({why})")
        self._delete(canary.target)
        self.deployments.removed(canary, actor=self.actor, why=why)
        return canary

    def _delete(self, canary: DeploymentTarget) -> None:
        """Delete a canary, unless another family's Deployment is called so."""
        with suppress(UsageError):
            self._running(canary)
            self.cluster.delete(f"deployment/{canary.name}")

    def _lock(self, target: DeploymentTarget) -> AbstractContextManager[None]:
        return self.service.journal.family_lock(f"{target.family} on {target.environment}")

    def _require_cluster(self, interrupted: Deployment) -> None:
        server = self.cluster.server()
        if server != interrupted.cluster:
            raise UsageError(
                f"{interrupted} was interrupted on {interrupted.cluster}, and kubectl leads to {server}: "
                "finish it there first (--resume, with --context)"
            )

    def _take_back(self, interrupted: Deployment, why: str) -> Deployment:
        """Bring an attempt to an end that nobody wants any more."""
        self._require_movable(interrupted.target)
        attempt = interrupted
        if attempt.is_going_forward:
            failure = Failure(RolloutVerdict.OVERTAKEN, why)
            attempt = self.deployments.advance(attempt, DeploymentState.RETURNING, actor=self.actor, failure=failure)
        self.service.report(f"{attempt}: taking back what was interrupted")
        attempt, outcome = self._returner().finish(attempt)
        self.service.report(f"{attempt}: {outcome}")
        return attempt

    def _resume(self, interrupted: Deployment, export: Path | None) -> Deployment:
        self._require_movable(interrupted.target)
        self.service.report(f"{interrupted}: going on with what was interrupted ({interrupted.state})")
        if not interrupted.is_going_forward:
            return self._drive(interrupted, None)
        # Going back needs neither MLflow nor the export; going on does.
        self.service.synchronise(interrupted.target.family)
        if interrupted.state is DeploymentState.ANALYSING:
            # It answered rightly already.
            return self._drive(interrupted, ExpectedAnswers((), (), (), ()))
        try:
            expected = self._expected(interrupted.target, interrupted.image, export)
        except (GateRefused, UsageError) as error:
            failure = Failure(RolloutVerdict.INFRASTRUCTURE, f"interrupted, and cannot be checked any more: {error}")
        else:
            return self._drive(interrupted, expected)
        back = self.deployments.advance(interrupted, DeploymentState.RETURNING, actor=self.actor, failure=failure)
        return self._drive(back, None)

    def _drive(self, attempt: Deployment, expected: ExpectedAnswers | None) -> Deployment:
        """Bring an attempt to its end, from wherever it stands."""
        if expected:
            attempt = self._forward(attempt, expected)
        if attempt.failure is None:
            return attempt
        attempt, outcome = self._returner().finish(attempt)
        failure = attempt.failure
        assert failure  # noqa: S101  # it was there before
        if RolloutVerdict.OVERTAKEN in {failure.verdict, attempt.state.value}:
            raise ProductionMoved(f"{attempt}: {failure.reason}; {outcome}", **attempt.outcome())
        raise DeploymentFailed(
            f"{attempt} failed ({failure.verdict}): {failure.reason}; {outcome}", **attempt.outcome()
        )

    def _forward(self, attempt: Deployment, expected: ExpectedAnswers) -> Deployment:
        report = self.service.report
        watch = self.watch(self.cluster, attempt.target, attempt.operation, self.seconds, report)
        failure = None
        if attempt.state is DeploymentState.APPLYING:
            failure, template = self._apply(attempt)
            if failure is None:
                attempt = self.deployments.advance(
                    attempt, DeploymentState.CHECKING, actor=self.actor, template=template
                )
        watch.template = attempt.template
        if failure is None and attempt.state is DeploymentState.CHECKING:
            failure = watch.wait() or smoke_test(
                self.cluster, attempt, expected, report, settling=self.settling, pause=watch.poll
            )
            if failure is None and attempt.analysis:
                attempt = self.deployments.advance(attempt, DeploymentState.ANALYSING, actor=self.actor)
        if failure is None and attempt.state is DeploymentState.ANALYSING:
            steps = CanarySteps(self.cluster, self.deployments, watch, self.actor, report, self.labels)
            attempt, failure = steps.run(attempt)
        if failure is None:
            return self._deployed(attempt)
        failure = watch.explain(self._judged(attempt, failure))
        for line in failure.details:
            report(f"   {line}")
        return self.deployments.advance(attempt, DeploymentState.RETURNING, actor=self.actor, failure=failure)

    def _apply(self, attempt: Deployment) -> tuple[Failure | None, str]:
        """Apply; returns what went wrong, or the digest of the pod template that the cluster holds then."""
        try:
            manifests = self._rendered(attempt)
            self.deployments.require_place(attempt)
            self._take_ownership(attempt.target, manifests)
            self.service.report(f"{attempt}: applying {attempt.image.reference}")
            self.cluster.apply(manifests)
        except ProductionMoved as error:
            return Failure(RolloutVerdict.OVERTAKEN, str(error)), ""
        except PromotionError as error:
            return Failure(RolloutVerdict.INFRASTRUCTURE, str(error)), ""
        try:
            found = self.cluster.get("deployment", attempt.target.name)
        except ClusterError:
            # The watch asks again; that the template is ours is then known by its annotation alone.
            found = None
        return None, Rollout.of(found).template if found else ""

    def _judged(self, attempt: Deployment, failure: Failure) -> Failure:
        """Spare a version that ran here before: then it is the image or the settings; and one with a challenger."""
        if failure.verdict is not RolloutVerdict.VERSION:
            return failure
        if attempt.image.challenger:
            reason = f"{failure.reason}; {attempt.image.challenger} runs in the same pods, and may be at fault"
            return Failure(RolloutVerdict.INFRASTRUCTURE, reason)
        before = self.deployments.deployed(
            attempt.target.family, attempt.target.environment, self.deployments.entry(attempt)
        )
        if before is None:
            return failure
        reason = (
            f"{failure.reason}; the version ran here before as {before.image.reference}: image or settings are at fault"
        )
        return Failure(RolloutVerdict.INFRASTRUCTURE, reason)

    def _deployed(self, attempt: Deployment) -> Deployment:
        if attempt.target.track is Track.STABLE:
            self._delete(DeploymentTarget(attempt.target.family, attempt.target.environment, Track.CANARY))
        done = self.deployments.advance(attempt, DeploymentState.DEPLOYED, actor=self.actor)
        self.service.on_moved(self.service.report)
        entry = self.deployments.entry(done)
        if entry.stage not in done.target.environment.stages:
            now = self.service.journal.production(done.target.family) or "no version"
            raise ProductionMoved(
                f"{done} runs, but left its stage meanwhile: {now} is in {Stage.PRODUCTION} now; deploy that one"
            )
        return done

    def _returner(self) -> Returner:
        return Returner(
            self.service, self.cluster, self.manifests, self.actor, self.seconds, self.watch, self.deployments
        )
