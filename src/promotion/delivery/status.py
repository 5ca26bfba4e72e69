"""What runs in the cluster against what the registry says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promotion.config.settings import checkout_path
from promotion.delivery.deployments import Deployments
from promotion.delivery.errors import ClusterError
from promotion.delivery.kubernetes.cluster import WITH_OWNERS, Cluster
from promotion.delivery.kubernetes.manifests import (
    CHALLENGER,
    DIGEST,
    GATE_REPORT,
    IMAGE,
    MODEL,
    VERSION,
    deployment_in,
    render_manifests,
)
from promotion.delivery.kubernetes.objects import Rollout
from promotion.delivery.kubernetes.ownership import foreign_fields
from promotion.delivery.kubernetes.smoke import who_answers
from promotion.delivery.records import Deployment, DeploymentState, DeploymentTarget, Environment, Track
from promotion.journal.records import Entry
from promotion.service import PromotionService


@dataclass(frozen=True, slots=True)
class Running:
    """What a Deployment, or the registry, says of a version.

    Attributes:
        version: Registered model and MLflow's number.
        digest: sha256 of its artifact.
        gate_report: sha256 of the report it was promoted on.
        image: Its image; empty for the registry.
        challenger: What runs beside it in the same pods; empty where nothing does.
    """

    version: str
    digest: str
    gate_report: str
    image: str = ""
    challenger: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Both sides, and where they differ.

    Attributes:
        target: Where was looked.
        registry: The version that should run; None when none is in its stage.
        cluster: What runs; None when nothing does.
        canary: What a canary runs.
        share: The canary's part of the pods that are ready; None without a canary.
        analysis: Which of its steps a canary is at, and what its last analysis said; empty where none is made.
        rollout: How far the rollout is.
        drift: What differs, one line each.
    """

    target: DeploymentTarget
    registry: Running | None
    cluster: Running | None
    canary: Running | None
    share: float | None
    analysis: str
    rollout: str
    drift: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The status as plain data."""
        document = asdict(self)
        return document | {"target": str(self.target), "drift": list(self.drift)}


def status(service: PromotionService, cluster: Cluster, family: str, environment: Environment) -> Status:
    """Compare what should run with what does: versions, every object that was applied, and who answers.

    A canary of the version in Production beside a version that was deployed before is what was asked for.

    Raises:
        ClusterError: The cluster cannot be asked.
    """
    target = DeploymentTarget(family, environment)
    stable = _look(service, cluster, target)
    canary = _look(service, cluster, DeploymentTarget(family, environment, Track.CANARY))
    runs, tried = (_running(side.rollout) if side else None for side in (stable, canary))
    chosen = _chosen(_wanted(service, family, environment, tried or runs), tried or runs)
    drift = [*service.outside_changes(family), *_interrupted(service, family, environment)]
    is_trial = tried is not None and chosen is not None and not _versions(chosen, tried) and _ran(stable)
    if not is_trial:
        chosen = _chosen(_wanted(service, family, environment, runs), runs)
        drift += _versions(chosen, runs)
        drift += [f"the canary runs {tried.version}, which is not to be tried"] if tried else []
    for side in (stable, canary):
        drift += _side_drift(cluster, side) if side else []
    if stable:
        drift += _answer_drift(cluster, target, [side for side in (runs, tried) if side])
    return Status(
        target=target,
        registry=chosen,
        cluster=runs,
        canary=tried,
        share=_share(stable, canary),
        analysis=str(canary.record.analysis or "") if canary and canary.record else "",
        rollout=str(stable.rollout) if stable else "nothing runs",
        drift=tuple(drift),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """A Deployment as it is, and the attempt that put it there; None when that was not ours."""

    target: DeploymentTarget
    found: Mapping[str, Any]
    rollout: Rollout
    record: Deployment | None


def _look(service: PromotionService, cluster: Cluster, target: DeploymentTarget) -> _Side | None:
    found = cluster.get("deployment", target.name, WITH_OWNERS)
    if found is None:
        return None
    rollout = Rollout.of(found)
    return _Side(target, found, rollout, Deployments(service.journal).named(rollout.operation))


def _ran(side: _Side | None) -> bool:
    """Whether what a Deployment runs was deployed well by us."""
    return side is not None and side.record is not None and side.record.state is DeploymentState.DEPLOYED


def _share(stable: _Side | None, canary: _Side | None) -> float | None:
    if canary is None:
        return None
    ready = canary.rollout.ready
    return ready / max(ready + (stable.rollout.ready if stable else 0), 1)


def _wanted(service: PromotionService, family: str, environment: Environment, runs: Running | None) -> list[Running]:
    entries = [entry for entry in service.journal.entries(family) if entry.stage in environment.stages]
    entries.sort(key=lambda entry: environment.stages.index(entry.stage))
    return [Running(str(entry), entry.digest or "", _report(service, family, entry, runs)) for entry in entries]


def _report(service: PromotionService, family: str, entry: Entry, runs: Running | None) -> str:
    """The report of its last move; or that of an earlier one, when a version that came back runs from its old image."""
    moves = service.journal.history(family, version_id=entry.id)
    reports = [str(move.details["report_digest"]) for move in moves if move.is_move and "report_digest" in move.details]
    if runs and runs.gate_report in reports:
        return runs.gate_report
    return next(iter(reports), "")


def _chosen(wanted: list[Running], runs: Running | None) -> Running | None:
    """Of the versions that may run, the one that does; else the first."""
    same = [item for item in wanted if runs and item.digest == runs.digest and item.version == runs.version]
    return next(iter(same or wanted), None)


def _running(rollout: Rollout) -> Running:
    said = rollout.annotations
    return Running(
        f"{said.get(MODEL, 'unknown')} v{said.get(VERSION, '?')}",
        said.get(DIGEST, ""),
        said.get(GATE_REPORT, ""),
        rollout.image,
        said.get(CHALLENGER, ""),
    )


def _interrupted(service: PromotionService, family: str, environment: Environment) -> list[str]:
    attempt = Deployments(service.journal).unfinished(family, environment)
    if attempt is None or attempt.state is DeploymentState.ANALYSING:
        # A canary that is analysed, or held, stands where it was asked to stand.
        return []
    return [f"{attempt} is under way or was interrupted ({attempt.state}): --resume finishes it"]


def _versions(wanted: Running | None, runs: Running | None) -> list[str]:
    if wanted is None or runs is None:
        if wanted is runs:
            return []
        says, does = wanted.version if wanted else "no version", runs.version if runs else "nothing"
        return [f"the registry says {says}, the cluster runs {does}"]
    pairs = [
        ("version", wanted.version, runs.version),
        ("digest", wanted.digest, runs.digest),
        ("gate report", wanted.gate_report, runs.gate_report),
    ]
    return [
        f"{what}: the registry says {said or 'none'}, the cluster runs {ran or 'none'}"
        for what, said, ran in pairs
        if said != ran
    ]


def _side_drift(cluster: Cluster, side: _Side) -> list[str]:
    """Where a Deployment, and what was applied with it, is not what was applied."""
    rollout, place = side.rollout, "" if side.target.track is Track.STABLE else "canary: "
    said = rollout.annotations.get(IMAGE)
    lines = [] if said == rollout.image else [f"image: {said or 'none'} was deployed, the cluster runs {rollout.image}"]
    if rollout.is_paused:
        lines.append("the rollout is paused")
    if not rollout.is_serving:
        lines.append(f"the rollout is not complete: {rollout}")
    lines += [f"{reason}: {message}" for reason, message in rollout.stopped.items()]
    if side.record:
        manifests = render_manifests(
            checkout_path("k8s", "whose manifests are compared"), side.target, side.record.image, side.record.operation
        )
        lines += cluster.differences(manifests)
        lines += foreign_fields(side.found, deployment_in(manifests))
    return [f"{place}{line}" for line in lines]


def _answer_drift(cluster: Cluster, target: DeploymentTarget, expected: Sequence[Running]) -> list[str]:
    """Whether the Service leads to what the Deployments say they run."""
    try:
        said = who_answers(cluster, target)
    except ClusterError as error:
        return [f"the Service leads to nobody who answers: {error}"]
    if said.get("artifact_digest") in {side.digest for side in expected}:
        return []
    runs = f"{said.get('model')} v{said.get('version')} with digest {said.get('artifact_digest')}"
    return [f"the Service leads to {runs}, expected {' or '.join(side.digest or 'none' for side in expected)}"]
