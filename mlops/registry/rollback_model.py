"""Take the version in Production back: the one that served before it returns, proven to run first."""

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
from promotion.errors import UsageError
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.delivery.rollback import TakenBack
    from promotion.service import PromotionPlan, PromotionService


@command()
@click.option("--model-name", required=True, metavar="NAME", help="Registered model, or family.")
@click.option("--to-version", metavar="VERSION", help="Semantic version (1.1.0) or MLflow's number; else the last one.")
@click.option("--reason", required=True, help="Why; goes into the record, and stands against the version that leaves.")
@click.option("--force", is_flag=True, help="Although the family was rolled back a short while ago.")
@click.option("--keep-version-good", is_flag=True, help="Something else had failed: the version may serve again.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(
    model_name: str, to_version: str | None, reason: str, force: bool, keep_version_good: bool, as_json: bool
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
    from promotion.bootstrap import open_promotions
    from promotion.delivery.bootstrap import open_deployer
    from promotion.delivery.records import Environment
    from promotion.delivery.rollback import take_back
    from promotion.service import Mover

    settings = Settings.from_environment()
    service = open_promotions(settings, report=talk)
    taken = take_back(
        service,
        lambda opened: open_deployer(settings, opened, Environment.PRODUCTION, actor=actor()),
        model_name,
        to_version,
        Mover(actor(), reason),
        force=force,
        keep_version_good=keep_version_good,
        on_checked=_say_checked,
    )
    _finish(service, taken, reason=None if keep_version_good else reason, as_json=as_json)


def _say_checked(plan: PromotionPlan) -> None:
    from promotion.listing import gate_lines

    for line in gate_lines(plan.report):
        talk(line)


def _finish(service: PromotionService, taken: TakenBack, *, reason: str | None, as_json: bool) -> None:
    """Say what moved, and how the version does that is back."""
    from promotion.checklist import ItemOutcome, after_rollback, checklist_document
    from promotion.monitoring.alerts.announcements import announcer

    promotion, plan = taken.promotion, taken.promotion.plan
    items = after_rollback(service, promotion, announcer(service.journal, service.configs))
    message = f"{plan.candidate} ({plan.report.version}) is back in {promotion.to}"
    document = promotion.as_json() | {
        "left": str(plan.production) if plan.production else None,
        "known_bad": bool(plan.production and reason),
        "cluster": taken.deployment.image.reference if taken.deployment else None,
        "checklist": checklist_document(items),
    }
    if not as_json:
        echo(f"✅ {message}")
        if plan.production:
            echo(f"   {plan.production} is in {Stage.ARCHIVED}" + (f", known bad: {reason}" if reason else ""))
        if taken.deployment:
            echo(f"   {taken.deployment.target} runs {taken.deployment.image.reference}")
        echo("Rollback validation:")
        for item in items:
            echo(str(item))
    for item in items:
        if item.outcome is ItemOutcome.FAILED:
            talk(f"{item.task}: {item.detail}", colour="red")
    promotion.require_shown(**document)
    taken.require_followed(**document)
    if as_json:
        echo(json.dumps({"exit_code": 0, "message": message, **document}, default=str))


if __name__ == "__main__":
    main()
