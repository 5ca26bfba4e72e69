"""Move a version from stage to stage if its gates let it, and work off what follows a promotion."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

import json
from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.errors import ProjectionIncomplete, UsageError
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.registry.contract import ModelVersion
    from promotion.service import Mover, Promotion, PromotionPlan, PromotionService

FROM_STAGES = [stage.status for stage in Stage]
TO_STAGES = [Stage.STAGING.status, Stage.PRODUCTION.status, Stage.ARCHIVED.status]


@command()
@click.option("--model-name", required=True, metavar="NAME", help="Registered model, or a family that has just one.")
@click.option("--version", required=True, metavar="VERSION", help="Semantic version (1.2.0) or MLflow's number.")
@click.option("--from-stage", required=True, type=click.Choice(FROM_STAGES, case_sensitive=False), help="Where it is.")
@click.option("--to-stage", required=True, type=click.Choice(TO_STAGES, case_sensitive=False), help="Where it goes.")
@click.option("--approver", required=True, metavar="WHO", help="The person who answers for the move.")
@click.option("--reason", help="Why; goes into the record. Required with --override-gates.")
@click.option("--override-gates", is_flag=True, help="Break the glass: move it although gates refuse.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(
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
    from promotion.bootstrap import open_promotions
    from promotion.service import Mover

    service = open_promotions(Settings.from_environment(), report=talk)
    candidate = service.candidate(service.registered_model(model_name), version)
    service.synchronise(service.family(candidate.model))
    before, target = Stage.parse(from_stage), Stage.parse(to_stage)
    mover = Mover(actor(), reason or f"{before} to {target}", approver, override_gates)
    if target is Stage.ARCHIVED:
        _archive(service, candidate, before, mover, as_json=as_json)
        return
    plan = service.check(candidate, target, from_stage=before)
    _say_checked(plan, mover)
    _finish(service, service.promote(plan, mover), as_json=as_json)


def _archive(service: PromotionService, candidate: ModelVersion, before: Stage, mover: Mover, *, as_json: bool) -> None:
    from promotion.rollback import archive

    unprojected = archive(service, candidate, mover, from_stage=before)
    message = f"{candidate} is in {Stage.ARCHIVED}"
    if unprojected:
        raise ProjectionIncomplete(
            f"{message} in the journal, but {unprojected}; run python scripts/promote-model.py --reconcile when MLflow "
            "is well again"
        )
    echo(json.dumps({"exit_code": 0, "message": message}) if as_json else f"✅ {message}")


def _say_checked(plan: PromotionPlan, mover: Mover) -> None:
    from promotion.listing import gate_lines

    for line in gate_lines(plan.report):
        talk(line)
    if mover.override and plan.report.refusals:
        names = ", ".join(gate.name for gate in plan.report.refusals)
        talk(f"🚨 GATES OVERRIDDEN by {mover.person}: {names}. Why: {mover.reason}", colour="red")


def _finish(service: PromotionService, promotion: Promotion, *, as_json: bool) -> None:
    """Say what moved, work off the checklist where it went into Production."""
    from promotion.checklist import ItemOutcome, after_promotion, checklist_document
    from promotion.monitoring.alerts.announcements import announcer

    plan = promotion.plan
    items = (
        after_promotion(service, promotion, announcer(service.journal, service.configs))
        if promotion.to is Stage.PRODUCTION
        else []
    )
    message = f"{plan.candidate} ({plan.report.version}) is in {promotion.to}"
    document = promotion.as_json() | {"checklist": checklist_document(items)}
    if not as_json:
        echo(f"✅ {message}")
        if document["archived"]:
            echo(f"   {plan.production} is in {Stage.ARCHIVED}")
        if items:
            echo("Post-promotion tasks:")
        for item in items:
            echo(str(item))
    for item in items:
        if item.outcome is ItemOutcome.FAILED:
            talk(f"{item.task}: {item.detail}", colour="red")
    promotion.require_shown(**document)
    if as_json:
        echo(json.dumps({"exit_code": 0, "message": message, **document}, default=str))


if __name__ == "__main__":
    main()
