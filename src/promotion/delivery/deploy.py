"""Put a version on a cluster: check, write down, apply, watch, ask, record; or take it back, the registry included."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from promotion.audit.attestations import Attestations
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import ClusterError, DeploymentFailed
from promotion.delivery.export import ExpectedAnswers, read_expected
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.manifests import DIGEST, render_manifests, selector, startup_seconds
from promotion.delivery.kubernetes.objects import Revision, Rollout
from promotion.delivery.kubernetes.rollout import RolloutWatch, paused
from promotion.delivery.kubernetes.smoke import smoke_test
from promotion.delivery.records import (
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Failure,
    Image,
    Predecessor,
    RolloutVerdict,
    Track,
)
from promotion.delivery.recovery import Returner
from promotion.errors import GateRefused, NothingToDo, ProductionMoved, PromotionError, SigningFailed, UsageError
from promotion.journal.records import Entry
from promotion.registry.stages import Stage
from promotion.service import PromotionService


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """A checked deployment that was not made yet.

    Attributes:
        target: Where.
        image: What.
        entry: The version it carries.
        expected: What its server must answer.
        running: What runs there now.
    """

    target: DeploymentTarget
    image: Image
    entry: Entry
    expected: ExpectedAnswers
    running: Rollout | None


@dataclass(slots=True)
class Deployer:
    """Deploys one family to one environment.

    Attributes:
        service: Decides who is in Production, and moves versions back.
        cluster: Where to.
        manifests: The project's `k8s/`.
        actor: Who asks.
        seconds: How long a rollout may take.
        watch: Makes the observer of a rollout.
        attestations: Say what the version's promotion rested on; None asks for none.
    """

    service: PromotionService
    cluster: Cluster
    manifests: Path
    actor: str
    seconds: float = 300.0
    watch: Callable[..., RolloutWatch] = RolloutWatch
    settling: float = 45.0
    attestations: Attestations | None = None
    deployments: Deployments = field(init=False)

    def __post_init__(self) -> None:
        self.deployments = Deployments(self.service.journal)

    def check(self, target: DeploymentTarget, image: Image, export: Path | None) -> DeploymentPlan:
        """Look whether an image may be deployed; changes nothing.

        Args:
            target: Where.
            image: What.
            export: The folder it was built from; None for an image that answered rightly here before: then it is asked
                who it is, and nothing else.

        Raises:
            GateRefused: It does not carry the version that may run there, or was not built from this export.
            Quarantined: Nobody vouches for the family's Production.
            UsageError: The export is missing, or there is nothing a canary could run beside.
            ClusterError: The cluster cannot be asked, or somebody paused what runs there or scaled it to nothing.
        """
        self.service.require_sound(target.family)
        entry = self._entry(target, image)
        self._require_attested(target, entry, is_way_back=export is None)
        expected = _expected(export, image)
        running = self._require_movable(target)
        if running and running.desired == 0:
            raise ClusterError(
                f"{target} is scaled to 0 pods, so no rollout of it would end: kubectl --namespace {target.namespace} "
                f"scale deployment/{target.name} --replicas 1, then again; nothing was applied"
            )
        if target.track is Track.CANARY and self.cluster.get("deployment", target.instance) is None:
            raise UsageError(f"nothing runs as {target.namespace}/{target.instance}: deploy without --canary first")
        return DeploymentPlan(target, image, entry, expected, running)

    def require_time(self, environment: Environment) -> None:
        """Refuse a time that is over while a healthy pod may still be starting.

        Raises:
            UsageError: A rollout is given less than the startup probe gives one pod.
        """
        least = startup_seconds(self.manifests, environment)
        if self.seconds < least:
            raise UsageError(
                f"--timeout {self.seconds:g} is less than the {least:g} s that the startup probe gives a pod of "
                f"{environment}: a healthy version would be taken back; give a rollout {least:g} s or more"
            )

    def difference(self, plan: DeploymentPlan) -> str:
        """What the deployment would change in the cluster, as a diff."""
        return self.cluster.difference(render_manifests(self.manifests, plan.target, plan.image, "not-deployed-yet"))

    def deploy(self, target: DeploymentTarget, image: Image, export: Path | None) -> Deployment:
        """Deploy an image, finishing first what was interrupted.

        Args:
            target: Where.
            image: What.
            export: See `check`.

        Raises:
            DeploymentFailed: It was taken back; nothing is left half.
            NothingToDo: It runs already.
            ProductionMoved: The version is not the one that may run there any more.
            PromotionError: As `check`.
        """
        with self._lock(target):
            interrupted = self.deployments.unfinished(target.family, target.environment)
            if interrupted:
                self._require_cluster(interrupted)
                if (interrupted.target, interrupted.image) == (target, image) and not interrupted.is_excused:
                    return self._resume(interrupted, export)
                self._take_back(interrupted)
            if not self.service.journal.pending(target.family):
                # Before anything is finished: what was taken away is not written anew by whoever is to be shown it.
                known = self.service.journal.entry(image.model, image.version)
                self._require_attested(target, known, is_way_back=export is None)
            self.service.synchronise(target.family)
            plan = self.check(target, image, export)
            self._require_change(plan)
            begun = self.deployments.begin(
                target,
                image,
                plan.entry,
                self._predecessor(plan),
                cluster=self.cluster.server(),
                actor=self.actor,
            )
            return self._drive(begun, plan.expected)

    def resume(self, family: str, environment: Environment, export: Path) -> Deployment:
        """Finish what was interrupted.

        Raises:
            NothingToDo: Nothing was.
            DeploymentFailed: The attempt failed, and is taken back now.
        """
        with self._lock(DeploymentTarget(family, environment)):
            interrupted = self.deployments.unfinished(family, environment)
            if interrupted is None:
                raise NothingToDo(f"no deployment of {family!r} to {environment} was interrupted: nothing to do")
            self._require_cluster(interrupted)
            return self._resume(interrupted, export)

    def _lock(self, target: DeploymentTarget) -> AbstractContextManager[None]:
        return self.service.journal.family_lock(f"{target.family} on {target.environment}")

    def _entry(self, target: DeploymentTarget, image: Image) -> Entry:
        if image.family != target.family:
            raise GateRefused(f"{image.reference} carries a version of {image.family!r}, not of {target.family!r}")
        entry = self.service.journal.entry(image.model, image.version)
        stages = target.environment.stages
        if entry is None or entry.stage not in stages:
            where = f"in {entry.stage}" if entry else "unknown to the journal"
            current = self.service.journal.production(target.family)
            raise GateRefused(
                f"{image.reference} carries {image.model} v{image.version}, which is {where}; {target.environment} "
                f"takes the version in {' or '.join(stages)} (Production: {current or 'none'}): export and build that"
            )
        if entry.digest != image.digest:
            raise GateRefused(
                f"{image.reference} carries digest {image.digest}, the journal recorded {entry.digest} for {entry}: "
                "do not deploy it, and ask who built it"
            )
        return entry

    def _require_attested(self, target: DeploymentTarget, entry: Entry | None, *, is_way_back: bool) -> None:
        """A version in Production carries its promotion's attestation; going back must not wait for a file."""
        if self.attestations is None or entry is None or entry.stage is not Stage.PRODUCTION:
            return
        try:
            remark = self.attestations.require(target.family, entry)
        except (GateRefused, SigningFailed) as error:
            if not is_way_back:
                raise
            remark = str(error)
        if remark:
            self.service.report(f"⚠️ {remark}")

    def _require_cluster(self, interrupted: Deployment) -> None:
        server = self.cluster.server()
        if server != interrupted.cluster:
            raise UsageError(
                f"{interrupted} was interrupted on {interrupted.cluster}, and kubectl leads to {server}: "
                "finish it there first (--resume, with --context)"
            )

    def _require_movable(self, target: DeploymentTarget) -> Rollout | None:
        """What runs there, unless somebody stopped its rollouts."""
        found = self.cluster.get("deployment", target.name)
        running = Rollout.of(found) if found else None
        if running and running.is_paused:
            raise ClusterError(f"{paused(target)}; nothing was applied")
        return running

    def _require_change(self, plan: DeploymentPlan) -> None:
        """Refuse to do again what was done."""
        if plan.target.track is Track.CANARY:
            stable = self.cluster.get("deployment", plan.target.instance)
            if stable and Rollout.of(stable).annotations.get(DIGEST) == plan.image.digest:
                raise NothingToDo(f"{plan.entry} runs on every pod already: a canary beside it shows nothing")
        running = plan.running
        record = self.deployments.named(running.operation) if running else None
        if (
            running is None
            or record is None
            or record.state is not DeploymentState.DEPLOYED
            or record.image != plan.image
        ):
            return
        as_is = render_manifests(self.manifests, plan.target, plan.image, record.operation)
        if running.is_complete and not self.cluster.difference(as_is):
            raise NothingToDo(f"{record} runs already, as the manifests say: nothing to do")

    def _predecessor(self, plan: DeploymentPlan) -> Predecessor | None:
        running = plan.running
        if running is None:
            return None
        revisions = [Revision.of(item) for item in self.cluster.objects("replicasets", selector(plan.target))]
        template = next((item.template for item in revisions if item.number == running.revision), "")
        return Predecessor(template, running.operation, running.image)

    def _take_back(self, interrupted: Deployment) -> None:
        """Bring an attempt to an end that nobody wants any more."""
        self._require_movable(interrupted.target)
        attempt = interrupted
        if attempt.is_going_forward:
            failure = Failure(RolloutVerdict.OVERTAKEN, "it was interrupted, and another deployment is asked for")
            attempt = self.deployments.advance(attempt, DeploymentState.RETURNING, actor=self.actor, failure=failure)
        self.service.report(f"{attempt}: taking back what was interrupted")
        attempt, outcome = self._returner().finish(attempt)
        self.service.report(f"{attempt}: {outcome}")

    def _resume(self, interrupted: Deployment, export: Path | None) -> Deployment:
        self._require_movable(interrupted.target)
        self.service.report(f"{interrupted}: going on with what was interrupted ({interrupted.state})")
        if not interrupted.is_going_forward:
            return self._drive(interrupted, None)
        # Going back needs neither MLflow nor the export; going on does.
        self.service.synchronise(interrupted.target.family)
        try:
            expected = _expected(export, interrupted.image)
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
        if failure is None:
            watch.template = attempt.template
            failure = watch.wait() or smoke_test(
                self.cluster, attempt, expected, report, settling=self.settling, pause=watch.poll
            )
        if failure is None:
            return self._deployed(attempt)
        failure = watch.explain(self._judged(attempt, failure))
        for line in failure.details:
            report(f"   {line}")
        return self.deployments.advance(attempt, DeploymentState.RETURNING, actor=self.actor, failure=failure)

    def _apply(self, attempt: Deployment) -> tuple[Failure | None, str]:
        """Apply; returns what went wrong, or the digest of the pod template that the cluster holds then."""
        try:
            manifests = render_manifests(self.manifests, attempt.target, attempt.image, attempt.operation)
            self.deployments.require_place(attempt)
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
        """Spare a version that ran here before: then it is the image or the settings."""
        if failure.verdict is not RolloutVerdict.VERSION:
            return failure
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
            self.cluster.delete(
                f"deployment/{DeploymentTarget(attempt.target.family, attempt.target.environment, Track.CANARY).name}"
            )
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


def _expected(export: Path | None, image: Image) -> ExpectedAnswers:
    return read_expected(export, image) if export else ExpectedAnswers((), (), (), ())
