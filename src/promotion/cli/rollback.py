"""Move a version from stage to stage if its gates let it, or take the one in Production back; then the checklist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import AS_JSON, MODEL_NAME, VERSION, command, echo, echo_json, promotions, say_done, talk
from promotion.config.settings import Settings
from promotion.errors import UsageError
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.checklist import Item
    from promotion.delivery.rollback import TakenBack
    from promotion.registry.contract import ModelVersion
    from promotion.service import Move, Mover, PromotionPlan, PromotionService

FROM_STAGES = [stage.status for stage in Stage]
TO_STAGES = [Stage.STAGING.status, Stage.PRODUCTION.status, Stage.ARCHIVED.status]


@command()
@click.option("--model-name", "--model", required=True, metavar="NAME", help="Registered model, or family.")
@click.option("--to-version", metavar="VERSION", help="Semantic version (1.1.0) or MLflow's number; else the last one.")
@click.option("--reason", required=True, help="Why; goes into the record, and stands against the version that leaves.")
@click.option("--force", is_flag=True, help="Although the family was rolled back a short while ago.")
@click.option("--keep-version-good", is_flag=True, help="Something else had failed: the version may serve again.")
@AS_JSON
def rollback_command(
    *, model_name: str, to_version: str | None, reason: str, force: bool, keep_version_good: bool, as_json: bool
) -> None:
    """Put the version back that served in Production before, and check that it serves well.

    Where the family was deployed to Production's cluster, the cluster follows, with the image it ran before. The
    version that leaves is known bad from then on. A check that fails afterwards does not undo the rollback and does not
    change the exit code.

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 refused, 4 Production moved meanwhile,
    5 it is in Production already, 6 moved but not shown by MLflow yet (promote-model.py --reconcile finishes), or not
    run by the cluster yet (the line says how to finish).
    """
    if not reason.strip():
        raise UsageError("--reason says nothing: why is the version taken back?")
    from promotion.delivery.bootstrap import take_production_back
    from promotion.service import Mover

    service, mover = promotions(), Mover(actor(), reason)
    options = {"force": force, "keep_version_good": keep_version_good, "on_checked": _say_gates}
    taken = take_production_back(Settings.from_environment(), service, model_name, to_version, mover, **options)
    _say_taken_back(service, taken, reason=None if keep_version_good else reason, as_json=as_json)


def _say_taken_back(service: PromotionService, taken: TakenBack, *, reason: str | None, as_json: bool) -> None:
    """Say what moved, and how the version does that is back."""
    from promotion.checklist import after_rollback, checklist_document
    from promotion.monitoring.alerts.announcements import announcer

    move = taken.move
    items = after_rollback(service, move, announcer(service.journal, service.configs))
    message = f"{move.version} ({move.semver}) is back in {move.to}"
    document = move.as_json() | {
        "left": str(move.before) if move.before else None,
        "known_bad": bool(move.before and reason),
        "cluster": taken.deployment.image.reference if taken.deployment else None,
        "checklist": checklist_document(items),
    }
    if not as_json:
        echo(f"✅ {message}")
        if move.before:
            echo(f"   {move.before} is in {Stage.ARCHIVED}" + (f", known bad: {reason}" if reason else ""))
        if taken.deployment:
            echo(f"   {taken.deployment.target} runs {taken.deployment.image.reference}")
    _say_checklist("Rollback validation:", items, as_json=as_json)
    move.require_shown(**document)
    taken.require_followed(**document)
    if as_json:
        echo_json({"exit_code": 0, "message": message, **document})


@command()
@click.argument("name")
@click.argument("version")
@click.option("--lift", is_flag=True, help="Take the mark away: the version turned out to be innocent.")
@click.option("--reason", required=True, help="Why; goes into the record, and without --lift stands against it.")
@AS_JSON
def known_bad_command(*, name: str, version: str, lift: bool, reason: str, as_json: bool) -> None:
    """Mark VERSION of the registered model NAME as known bad, so that it does not serve again, or lift the mark.

    It moves nothing. After --lift the version may be promoted, with every gate asked. What serves in Production is
    taken back instead, by rollback_model.py, which marks it.

    Exit codes: 0 done, 1 failed and nothing changed, 2 usage or configuration, 3 it serves in Production, 5 it is as
    asked already, 6 recorded but not shown by MLflow yet (promote-model.py --reconcile finishes).
    """
    if not reason.strip():
        raise UsageError("--reason says nothing: why?")
    from promotion.errors import ProjectionIncomplete
    from promotion.marking import lift_known_bad, mark_known_bad
    from promotion.service import Mover

    service = promotions()
    marked = service.candidate(service.registered_model(name), version)
    unprojected = (lift_known_bad if lift else mark_known_bad)(service, marked, Mover(actor(), reason))
    message = f"{marked} is {'not known bad any more' if lift else 'known bad'}: {reason}"
    document = {"model": marked.model, "version": marked.number, "known_bad": not lift}
    if unprojected:
        raise ProjectionIncomplete(f"{message}; but {unprojected}", **document)
    say_done(message, as_json=as_json, **document)


@command()
@MODEL_NAME
@VERSION
@click.option("--from-stage", required=True, type=click.Choice(FROM_STAGES, case_sensitive=False), help="Where it is.")
@click.option("--to-stage", required=True, type=click.Choice(TO_STAGES, case_sensitive=False), help="Where it goes.")
@click.option("--approver", required=True, metavar="WHO", help="The person who answers for the move.")
@click.option("--reason", help="Why; goes into the record. Required with --override-gates.")
@click.option("--override-gates", is_flag=True, help="Break the glass: move it although gates refuse.")
@AS_JSON
def move_command(
    *,
    model_name: str,
    version: str,
    from_stage: str,
    to_stage: str,
    approver: str,
    reason: str | None,
    override_gates: bool,
    as_json: bool,
) -> None:
    """Promote a version to Staging or Production, or put a candidate aside (archived).

    A task of the checklist that fails does not undo the promotion and does not change the exit code.

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 blocked by a gate, 4 Production moved
    meanwhile, 5 it is there already, 6 moved but not shown by MLflow yet (promote-model.py --reconcile finishes).
    """
    if override_gates and not (reason or "").strip():
        raise UsageError("--override-gates needs --reason: why the gates do not count this time")
    if not approver.strip():
        raise UsageError("--approver needs the name of a person")
    from promotion.registration import receive
    from promotion.service import Mover

    service = promotions()
    candidate = service.candidate(service.registered_model(model_name), version)
    before, target = Stage.parse(from_stage), Stage.parse(to_stage)
    mover = Mover(actor(), reason or f"{before} to {target}", approver, override_gates)
    service.settle_for(service.family(candidate.model), actor=mover.actor, reason=mover.reason)
    if target is Stage.ARCHIVED:
        _archive(service, candidate, before, mover, as_json=as_json)
        return
    receive(service, candidate)
    plan = service.check(candidate, target, from_stage=before)
    _say_gates(plan)
    if mover.override and plan.report.refusals:
        names = ", ".join(gate.name for gate in plan.report.refusals)
        talk(f"🚨 GATES OVERRIDDEN by {mover.person}: {names}. Why: {mover.reason}", colour="red")
    _say_moved(service, service.promote(plan, mover), as_json=as_json)


def _archive(service: PromotionService, candidate: ModelVersion, before: Stage, mover: Mover, *, as_json: bool) -> None:
    from promotion.rollbacks import archive

    archive(service, candidate, mover, from_stage=before).require_shown()
    say_done(f"{candidate} is in {Stage.ARCHIVED}", as_json=as_json)


def _say_gates(plan: PromotionPlan) -> None:
    from promotion.listing import gate_lines

    talk(*gate_lines(plan.report))


def _say_checklist(title: str, items: Sequence[Item], *, as_json: bool) -> None:
    from promotion.checklist import ItemOutcome

    for line in () if as_json or not items else (title, *map(str, items)):
        echo(line)
    for item in items:
        if item.outcome is ItemOutcome.FAILED:
            talk(f"{item.task}: {item.detail}", colour="red")


def _say_moved(service: PromotionService, move: Move, *, as_json: bool) -> None:
    """Say what moved, work off the checklist where it went into Production."""
    from promotion.checklist import after_promotion, checklist_document
    from promotion.monitoring.alerts.announcements import announcer

    items = (
        after_promotion(service, move, announcer(service.journal, service.configs))
        if move.to is Stage.PRODUCTION
        else []
    )
    message = f"{move.version} ({move.semver}) is in {move.to}"
    document = move.as_json() | {"checklist": checklist_document(items)}
    if not as_json:
        echo(f"✅ {message}")
        if document["archived"]:
            echo(f"   {move.before} is in {Stage.ARCHIVED}")
    _say_checklist("Post-promotion tasks:", items, as_json=as_json)
    move.require_shown(**document)
    if as_json:
        echo_json({"exit_code": 0, "message": message, **document})
