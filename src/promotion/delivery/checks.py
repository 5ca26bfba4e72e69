"""Whether an image may be deployed, what is there before it, and whose fields are in it; nothing is rolled out here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from promotion.audit.attestations import Attestations
from promotion.delivery.canary.records import AnalysisPlan
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import ClusterError
from promotion.delivery.export import ExpectedAnswers, read_expected
from promotion.delivery.kubernetes.cluster import WITH_OWNERS, Cluster
from promotion.delivery.kubernetes.manifests import DIGEST, deployment_in, render_manifests, selector, startup_seconds
from promotion.delivery.kubernetes.objects import Revision, Rollout
from promotion.delivery.kubernetes.ownership import foreign_fields, owned_by_us
from promotion.delivery.kubernetes.rollout import paused
from promotion.delivery.records import (
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Image,
    Predecessor,
    Track,
)
from promotion.errors import GateRefused, NothingToDo, SigningFailed, UsageError
from promotion.journal.records import Entry
from promotion.registry.stages import Stage
from promotion.service import PromotionService

_HAND_OVERS = 5


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
class DeploymentChecks:
    """What is asked before a deployment.

    Attributes:
        service: Decides who is in Production, and moves versions back.
        cluster: Where to.
        manifests: The project's `k8s/`.
        actor: Who asks.
        seconds: How long a rollout may take.
        attestations: Say what the version's promotion rested on; None asks for none.
    """

    service: PromotionService
    cluster: Cluster
    manifests: Path
    actor: str
    seconds: float = 300.0
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
        ran = self._ran(target, image)
        self._require_attested(target, entry, is_way_back=export is None or ran)
        self._require_proofs(target, image, entry, ran=ran)
        expected = self._expected(target, image, export)
        running = self._require_pods(target)
        if target.track is Track.CANARY:
            stable = DeploymentTarget(target.family, target.environment)
            beside = self._require_pods(stable)
            if beside is None:
                raise UsageError(f"nothing runs as {stable}: deploy without --canary first")
            if beside.ready == 0:
                raise ClusterError(
                    f"no pod of {stable} is ready, so a canary would get every request: deploy without --canary, or "
                    f"see what its pods lack (kubectl --namespace {stable.namespace} get pods); nothing was applied"
                )
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

    def known_image(self, target: DeploymentTarget, reference: str) -> Image | None:
        """An image that is named by its digest and ran here before: its labels are known, whoever has it now."""
        record = self.deployments.ran(target, reference) if "@sha256:" in reference else None
        return replace(record.image, challenger=None) if record else None

    def _expected(self, target: DeploymentTarget, image: Image, export: Path | None) -> ExpectedAnswers:
        """What the server must answer; nothing of an image that answered rightly here before.

        Raises:
            GateRefused: It is new here, and was not built from this export.
            UsageError: It is new here, and the export is missing.
        """
        try:
            if export:
                return read_expected(export, image)
        except (GateRefused, UsageError) as error:
            if not self._ran(target, image):
                raise
            self.service.report(f"{image.reference} answered rightly here before: it is only asked who it is ({error})")
        return ExpectedAnswers((), (), (), ())

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

    def _require_proofs(self, target: DeploymentTarget, image: Image, entry: Entry | None, *, ran: bool) -> None:
        """A new image carries its bill of materials and its promotion's attestation; one that ran here need not."""
        if self.attestations is None or entry is None:
            return
        known = self.attestations.digests(target.family, entry)
        missing = [] if image.sbom else ["bill of materials (label io.promotion.sbom)"]
        if entry.stage is Stage.PRODUCTION and known and image.attestation not in known:
            what = "an attestation that is none of this version's" if image.attestation else "no attestation"
            missing.append(f"promotion's attestation (it has {what})")
        if not missing:
            return
        problem = f"{image.reference} was built without its {' and its '.join(missing)}"
        if not ran:
            again = f"--model {target.family}"
            raise GateRefused(
                f"{problem}: python scripts/export-model.py {again}, then python scripts/build-image.py {again}"
            )
        self.service.report(f"⚠️ {problem}; it answered rightly here before, so it is let through")

    def _ran(self, target: DeploymentTarget, image: Image) -> bool:
        """Whether this very image, with these labels, was deployed well there."""
        record = self.deployments.ran(target, image.reference)
        return record is not None and replace(record.image, challenger=image.challenger) == image

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

    def _running(self, target: DeploymentTarget) -> Rollout | None:
        """What runs there.

        Raises:
            UsageError: It is another family's, whose name becomes the same on a cluster.
        """
        found = self.cluster.get("deployment", target.name)
        running = Rollout.of(found) if found else None
        record = self.deployments.named(running.operation) if running else None
        if record and record.target.family != target.family:
            raise UsageError(
                f"{target} runs {record.version} of family {record.target.family!r}: on a cluster the names of both "
                f"become the same, so {target.family!r} cannot be deployed there; nothing was applied"
            )
        return running

    def _require_movable(self, target: DeploymentTarget) -> Rollout | None:
        """What runs there, unless somebody stopped its rollouts."""
        running = self._running(target)
        if running and running.is_paused:
            raise ClusterError(f"{paused(target)}; nothing was applied")
        return running

    def _require_pods(self, target: DeploymentTarget) -> Rollout | None:
        """What runs there, unless no rollout of it would end."""
        running = self._require_movable(target)
        if running and running.desired == 0:
            raise ClusterError(
                f"{target} is scaled to 0 pods, so no rollout of it would end: kubectl --namespace {target.namespace} "
                f"scale deployment/{target.name} --replicas 1, then again; nothing was applied"
            )
        return running

    def _unchanged(self, plan: DeploymentPlan, steps: AnalysisPlan | None) -> Deployment | None:
        """What runs there already just as it is asked for; None where there is something to do.

        Args:
            plan: What is asked for.
            steps: How a canary is to be analysed; one that was not analysed so is not what is asked for.

        Raises:
            NothingToDo: A canary of what runs on every pod.
        """
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
            or (steps and not (record.analysis and record.analysis.plan == steps))
        ):
            return None
        as_is = self._rendered(replace(record, target=plan.target))
        is_as_said = not self.cluster.differences(as_is) and not self._foreign(plan.target, as_is)
        return record if running.is_complete and is_as_said else None

    def _predecessor(self, plan: DeploymentPlan) -> Predecessor | None:
        running = plan.running
        if running is None:
            return None
        revisions = [Revision.of(item) for item in self.cluster.objects("replicasets", selector(plan.target))]
        template = next((item.template for item in revisions if item.number == running.revision), "")
        return Predecessor(template, running.operation, running.image, is_edited=self._is_edited(plan.target, running))

    def _is_edited(self, target: DeploymentTarget, running: Rollout) -> bool:
        """Whether somebody put another image, or fields of his own, into what we deployed."""
        record = self.deployments.named(running.operation)
        if record is None:
            return False
        if running.image != record.image.reference:
            return True
        return bool(self._foreign(target, self._rendered(replace(record, target=target))))

    def _rendered(self, attempt: Deployment) -> str:
        return render_manifests(self.manifests, attempt.target, attempt.image, attempt.operation)

    def _foreign(self, target: DeploymentTarget, manifests: str) -> list[str]:
        found = self.cluster.get("deployment", target.name, WITH_OWNERS)
        return foreign_fields(found, deployment_in(manifests)) if found else []

    def _take_ownership(self, target: DeploymentTarget, manifests: str) -> None:
        """Make what others set in the Deployment ours, so that the apply takes it away."""
        for attempt in range(_HAND_OVERS):
            found = self.cluster.get("deployment", target.name, WITH_OWNERS)
            foreign = foreign_fields(found, deployment_in(manifests)) if found else []
            if not (found and foreign):
                return
            try:
                self.cluster.hand_over(target.name, owned_by_us(found), found["metadata"]["resourceVersion"])
            except ClusterError as error:
                # The controllers write into the same object all the time.
                if "modified" not in str(error) or attempt == _HAND_OVERS - 1:
                    raise
                continue
            for line in foreign:
                self.service.report(f"⚠️ {target}: taking away what is not of the manifests: {line}")
            return
