"""What runs in the cluster against what the registry says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from promotion.delivery.deployments import Deployments
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.manifests import DIGEST, GATE_REPORT, IMAGE, MODEL, VERSION
from promotion.delivery.kubernetes.objects import Rollout
from promotion.delivery.records import DeploymentTarget, Environment, Track
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
    """

    version: str
    digest: str
    gate_report: str
    image: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Both sides, and where they differ.

    Attributes:
        target: Where was looked.
        registry: The version that should run; None when none is in its stage.
        cluster: What runs; None when nothing does.
        canary: What a canary runs.
        rollout: How far the rollout is.
        drift: What differs, one line each.
    """

    target: DeploymentTarget
    registry: Running | None
    cluster: Running | None
    canary: Running | None
    rollout: str
    drift: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The status as plain data."""
        document = asdict(self)
        return document | {"target": str(self.target), "drift": list(self.drift)}


def status(service: PromotionService, cluster: Cluster, family: str, environment: Environment) -> Status:
    """Compare; changes nothing.

    Raises:
        ClusterError: The cluster cannot be asked.
    """
    target = DeploymentTarget(family, environment)
    found = cluster.get("deployment", target.name)
    beside = cluster.get("deployment", DeploymentTarget(family, environment, Track.CANARY).name)
    rollout = Rollout.of(found) if found else None
    runs = _running(rollout) if rollout else None
    chosen = _chosen(_wanted(service, family, environment, runs), runs)
    drift = [*service.outside_changes(family), *_interrupted(service, family, environment)]
    drift += _versions(chosen, runs)
    if rollout:
        drift += _manifest_drift(rollout)
    return Status(
        target=target,
        registry=chosen,
        cluster=runs,
        canary=_running(Rollout.of(beside)) if beside else None,
        rollout=str(rollout) if rollout else "nothing runs",
        drift=tuple(drift),
    )


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
    )


def _interrupted(service: PromotionService, family: str, environment: Environment) -> list[str]:
    attempt = Deployments(service.journal).unfinished(family, environment)
    return [f"{attempt} is under way or was interrupted ({attempt.state}): --resume finishes it"] if attempt else []


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


def _manifest_drift(rollout: Rollout) -> list[str]:
    said = rollout.annotations.get(IMAGE)
    lines = [] if said == rollout.image else [f"image: {said or 'none'} was deployed, the cluster runs {rollout.image}"]
    if not rollout.is_serving:
        lines.append(f"the rollout is not complete: {rollout}")
    lines += [f"{reason}: {message}" for reason, message in rollout.stopped.items()]
    return lines
