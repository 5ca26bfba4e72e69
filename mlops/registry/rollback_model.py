"""Take the version in Production back: the one that served before it returns, proven to run first."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import project_environment

import json
from typing import TYPE_CHECKING

import click

from promotion.console import command, echo, talk
from promotion.errors import UsageError
from promotion.people import actor
from promotion.settings import Settings
from promotion.stages import Stage

if TYPE_CHECKING:
    from promotion.service import Plan, Promotion, PromotionService


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

    The version that leaves is known bad from then on. A check that fails afterwards does not undo the rollback and does
    not change the exit code.

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 refused, 4 Production moved meanwhile,
    5 it is in Production already, 6 moved but not shown by MLflow yet (promote-model.py --reconcile finishes).
    """
    if not reason.strip():
        raise UsageError("--reason says nothing: why is the version taken back?")
    from models.promotions import open_promotions
    from promotion.rollback import rollback
    from promotion.service import Mover

    service = open_promotions(Settings.from_environment(), report=talk)
    promotion = rollback(
        service,
        model_name,
        to_version,
        Mover(actor(), reason),
        force=force,
        keep_version_good=keep_version_good,
        on_checked=_say_checked,
    )
    _finish(service, promotion, reason=None if keep_version_good else reason, as_json=as_json)


def _say_checked(plan: Plan) -> None:
    from promotion.listing import gate_lines

    for line in gate_lines(plan.report):
        talk(line)


def _finish(service: PromotionService, promotion: Promotion, *, reason: str | None, as_json: bool) -> None:
    """Say what moved, and how the version does that is back."""
    from promotion.afterwards import Outcome, after_rollback, checklist_document

    plan = promotion.plan
    items = after_rollback(service, promotion)
    message = f"{plan.candidate} ({plan.report.version}) is back in {promotion.to}"
    document = promotion.as_json() | {
        "left": str(plan.production) if plan.production else None,
        "known_bad": bool(plan.production and reason),
        "checklist": checklist_document(items),
    }
    if not as_json:
        echo(f"✅ {message}")
        if plan.production:
            echo(f"   {plan.production} is in {Stage.ARCHIVED}" + (f", known bad: {reason}" if reason else ""))
        echo("Rollback validation:")
        for item in items:
            echo(str(item))
    for item in items:
        if item.outcome is Outcome.FAILED:
            talk(f"{item.task}: {item.detail}", colour="red")
    promotion.require_shown(**document)
    if as_json:
        echo(json.dumps({"exit_code": 0, "message": message, **document}, default=str))


if __name__ == "__main__":
    main()
