"""Put the Production version's image on Kubernetes, watch it, and take cluster and registry back if it fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import AS_JSON, command, echo, echo_json, promotions
from promotion.config.settings import Settings
from promotion.errors import PromotionError, UsageError

if TYPE_CHECKING:
    from promotion.delivery.canary.records import AnalysisPlan, LiveLabels
    from promotion.delivery.checks import DeploymentPlan
    from promotion.delivery.deploy import Deployer
    from promotion.delivery.records import Deployment, DeploymentTarget, Image
    from promotion.delivery.status import Status


@command()
@click.option("--model", "family", required=True, metavar="FAMILY", help="The family whose version is deployed.")
@click.option(
    "--environment",
    type=click.Choice(["staging", "production"]),
    required=True,
    help="production takes the version in Production; staging the one in Staging, too.",
)
@click.option("--image", "reference", metavar="REF", help="What build-image.py made: NAME:TAG or NAME@sha256:DIGEST.")
@click.option("--canary", is_flag=True, help="Beside the stable pods, for a share of the requests.")
@click.option("--shadow", metavar="VERSION", help="This version scores the same rows beside it, and answers nobody.")
@click.option("--ab", "split", metavar="VERSION", help="This version answers a share of the keys.")
@click.option("--percent", type=click.FloatRange(0, 50, min_open=True), help="The share of --ab, at most 50.")
@click.option("--challenger-image", metavar="REF", help="Image of that version; by default what it ran from last.")
@click.option("--analyse", is_flag=True, help="Let a canary decide with evidence: go on, stay, or be taken back.")
@click.option("--steps", metavar="PERCENT,…", help="A canary's shares, with --analyse; 10,25,50,100 by default.")
@click.option(
    "--step-timeout",
    type=click.FloatRange(min=1),
    default=1800,
    show_default=True,
    help="Seconds after which a step without enough evidence stays where it is.",
)
@click.option(
    "--minimum-requests",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="How many requests a canary has to answer at each step.",
)
@click.option("--timeout", type=click.FloatRange(min=1), default=300, show_default=True, help="Seconds for a rollout.")
@click.option("--export", type=click.Path(path_type=Path), help="Export folder; build/export/FAMILY by default.")
@click.option("--context", metavar="NAME", help="Context of the kubeconfig; the current one by default.")
@click.option("--dry-run", is_flag=True, help="Check, and show what would change; nothing is applied.")
@click.option("--status", "is_status", is_flag=True, help="Compare what runs with what the registry says.")
@click.option("--resume", "is_resuming", is_flag=True, help="Finish a deployment that was interrupted.")
@click.option("--abort", "is_aborting", is_flag=True, help="Take back a canary or what is interrupted, blaming nobody.")
@AS_JSON
def deploy_command(
    *,
    family: str,
    environment: str,
    reference: str | None,
    canary: bool,
    shadow: str | None,
    split: str | None,
    percent: float | None,
    challenger_image: str | None,
    analyse: bool,
    steps: str | None,
    step_timeout: float,
    minimum_requests: int,
    timeout: float,
    export: Path | None,
    context: str | None,
    dry_run: bool,
    is_status: bool,
    is_resuming: bool,
    is_aborting: bool,
    as_json: bool,
) -> None:
    """Deploy an image: check its labels, apply, wait for the rollout, ask the server, record.

    When the version itself fails, cluster and registry go back together and it is known bad; when something around it
    fails, only the cluster goes back. A deployment that was interrupted is finished first. A canary with --analyse is
    compared with the stable pods at each step.

    With --shadow or --ab a second version runs in the same pods; deployed again without, it is gone.

    Exit codes: 0 done, or with --status equal; 1 failed and taken back, or the cluster is out of reach; 2 usage or
    configuration; 3 refused, a canary that is held, or with --status different; 4 Production moved meanwhile; 5 it
    runs already.
    """
    others = (dry_run, is_status, is_resuming, is_aborting)
    if sum(others) > 1:
        raise UsageError("--dry-run, --status, --resume and --abort exclude each other")
    if reference is None and not any(others[1:]):
        raise UsageError("--image is missing: which image? python scripts/build-image.py prints its name")
    version = _challenger(shadow, split, percent, challenger_image)
    _require_room(version, canary=canary, is_other=any(others[1:]))
    from promotion.delivery.bootstrap import open_deployer
    from promotion.delivery.records import DeploymentTarget, Environment, Track

    plan = _analysis(steps, step_timeout, minimum_requests, canary=canary, analyse=analyse)
    settings = Settings.from_environment()
    service = promotions()
    target = DeploymentTarget(
        service.require_family(family), Environment(environment), Track.CANARY if canary else Track.STABLE
    )
    deployer = open_deployer(settings, service, target.environment, actor=actor(), context=context, seconds=timeout)
    folder = export or settings.home / "build" / "export" / family
    if is_status:
        _status(deployer, target, as_json=as_json)
        return
    deployer.require_time(target.environment)
    deployer.labels = _labels(settings, deployer, family, folder) if plan or is_resuming else None
    if is_aborting:
        _undone(deployer.abort(family, target.environment), as_json=as_json)
    elif is_resuming:
        _say(deployer.resume(family, target.environment, folder), as_json=as_json)
    else:
        image = _image(deployer, target, reference or "")
        if version:
            image = _challenged(deployer, image, version, percent, challenger_image)
        if dry_run:
            _plan(deployer, deployer.check(target, image, folder), as_json=as_json)
        else:
            _say(deployer.deploy(target, image, folder, plan), as_json=as_json)


def _analysis(steps: str | None, seconds: float, requests: int, *, canary: bool, analyse: bool) -> AnalysisPlan | None:
    """The analysis that is asked for; nothing that is missing is waited for later."""
    if analyse and not canary:
        raise UsageError("--analyse is about a canary: add --canary")
    if steps is not None and not analyse:
        raise UsageError("--steps is about an analysis: add --analyse, since a step is left on evidence alone")
    from promotion.delivery.canary.records import DEFAULT_STEPS, AnalysisPlan

    written = steps if steps is not None else ",".join(map(str, DEFAULT_STEPS))
    return AnalysisPlan.of(written, seconds, requests) if analyse else None


def _labels(settings: Settings, deployer: Deployer, family: str, export: Path) -> LiveLabels | None:
    """Labels for a canary's analysis, where the family's file names them."""
    from promotion.cli.monitoring.sources import SOURCE, log_source
    from promotion.monitoring.ab_test.canary_labels import CanaryLabels

    try:
        config = deployer.service.configs.get(family)
        if config is None or config.monitoring_policy.labels is None:
            return None
        return CanaryLabels.of(settings, config, log_source(settings, config, os.environ.get(SOURCE)), export)
    except PromotionError as error:
        deployer.service.report(f"going on without labels: {error}")
        return None


def _challenger(shadow: str | None, split: str | None, percent: float | None, image: str | None) -> str | None:
    version = shadow or split
    if (shadow and split) or (split is None) != (percent is None) or (image and not version):
        raise UsageError("expected --shadow VERSION, or --ab VERSION with --percent; with either --challenger-image")
    return version


def _require_room(version: str | None, *, canary: bool, is_other: bool) -> None:
    if version and (canary or is_other):
        raise UsageError("--shadow and --ab go with --image, and not with --canary, --status, --resume or --abort")


def _image(deployer: Deployer, target: DeploymentTarget, reference: str) -> Image:
    from promotion.delivery.images import read_image

    return deployer.known_image(target, reference) or read_image(reference)


def _challenged(
    deployer: Deployer, champion: Image, version: str, percent: float | None, reference: str | None
) -> Image:
    from promotion.delivery.challengers import with_challenger
    from promotion.delivery.images import read_image

    given = read_image(reference) if reference else None
    return with_challenger(deployer.service, champion, version, percent, given)


def _say(deployment: Deployment, *, as_json: bool) -> None:
    message = f"{deployment.version} runs as {deployment.target}: {deployment.image.reference}"
    if not as_json:
        echo(f"✅ {message}")
        return
    document = {
        "exit_code": 0,
        "message": message,
        "operation": deployment.operation,
        "state": deployment.state.value,
        "target": str(deployment.target),
        "image": deployment.image.as_json(),
        "replaced": deployment.predecessor.image if deployment.predecessor else None,
    }
    echo_json(document)


def _undone(attempt: Deployment, *, as_json: bool) -> None:
    message = f"{attempt} is given up"
    if as_json:
        echo_json({"exit_code": 0, "message": message, **attempt.outcome()})
    else:
        echo(f"✅ {message}")


def _plan(deployer: Deployer, plan: DeploymentPlan, *, as_json: bool) -> None:
    difference = deployer.difference(plan)
    message = f"{plan.entry} would run as {plan.target}: {plan.image.reference}"
    running = plan.running.image if plan.running else None
    if as_json:
        document = {"message": message, "running": running, "image": plan.image.as_json(), "difference": difference}
        echo_json({"exit_code": 0, **document})
        return
    echo(f"📋 {message}")
    echo(f"   now: {running or 'nothing'}")
    for line in difference.splitlines():
        echo(line)


def _status(deployer: Deployer, target: DeploymentTarget, *, as_json: bool) -> None:
    from promotion.delivery.errors import ClusterDiffers
    from promotion.delivery.status import status

    found = status(deployer.service, deployer.cluster, target.family, target.environment)
    if found.drift:
        message = f"{found.target}: {'; '.join(found.drift)}"
        if not as_json:
            _sides(found)
            for line in found.drift:
                echo(f"⚠️ {line}")
        raise ClusterDiffers(message, **found.as_json())
    if as_json:
        echo_json({"exit_code": 0, "message": f"{found.target}: cluster and registry agree", **found.as_json()})
        return
    _sides(found)
    echo(f"✅ {found.target}: cluster and registry agree")


def _sides(found: Status) -> None:
    for name, side in (("registry", found.registry), ("cluster", found.cluster), ("canary", found.canary)):
        if side is None and name == "canary":
            continue
        share = f", {found.share:.0%} of the pods" if name == "canary" and found.share is not None else ""
        echo(f"{name:<9} {side.version if side else 'nothing'}{share}")
        if side:
            echo(f"   digest      {side.digest or 'none'}")
            echo(f"   gate report {side.gate_report or 'none'}")
            if side.image:
                echo(f"   image       {side.image}")
            if side.challenger:
                echo(f"   challenger  {side.challenger}")
    if found.analysis:
        echo(f"analysis  {found.analysis}")
    echo(f"rollout   {found.rollout}")
