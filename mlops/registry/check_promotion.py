"""Say whether a version may be promoted, on what evidence, and what is still missing; nothing is changed."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2] / "src")
    import promotion.cli.environment

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.service import PromotionService


@command()
@click.option("--model-name", required=True, metavar="NAME", help="Registered model, or a family that has just one.")
@click.option("--version", required=True, metavar="VERSION", help="Semantic version (1.2.0) or MLflow's number.")
@click.option(
    "--to-stage",
    type=click.Choice([Stage.STAGING.status, Stage.PRODUCTION.status], case_sensitive=False),
    default=Stage.PRODUCTION.status,
    show_default=True,
    help="Where it wants to go.",
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page for reviewers, HTML.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(model_name: str, version: str, to_stage: str, page: Path | None, as_json: bool) -> None:
    """Check a version against every gate of its family: measured against required, and the next command to type.

    Exit codes: 0 eligible, 1 failed, 2 usage or configuration, 3 not eligible, 5 it is there already.
    """
    from promotion.bootstrap import open_promotions
    from promotion.cli.next_steps import next_steps
    from promotion.listing import gate_lines
    from promotion.service import refusal

    service = open_promotions(Settings.from_environment(), report=talk)
    candidate = service.candidate(service.registered_model(model_name), version)
    family = service.family(candidate.model)
    _say_unsettled(service, family)
    plan = service.check(candidate, Stage.parse(to_stage))
    steps = next_steps(service, plan)
    if page:
        from promotion.review.promotion_page import write_promotion_page

        write_promotion_page(service, plan, page)
        talk(f"wrote {page}")
    if not as_json:
        for line in gate_lines(plan.report):
            echo(line)
        echo("Next:")
        for step in steps:
            echo(f"   {step}")
    if not plan.report.passed:
        error = refusal(plan)
        error.details["next"] = steps
        raise error
    service.require_sound(family)
    message = f"{plan.candidate} ({plan.report.version}) may enter {plan.to}"
    if as_json:
        document = {"exit_code": 0, "message": message, "report": plan.report.as_json(), "next": steps}
        echo(json.dumps(document, default=str))
    else:
        echo(f"✅ {message}")


def _say_unsettled(service: PromotionService, family: str) -> None:
    """What a command that writes would settle first."""
    for line in service.outside_changes(family):
        talk(f"⚠️ {family}: changed outside, not taken over by this check: {line}", colour="yellow")
    for item in service.journal.pending(family):
        talk(
            f"⏳ {family}: a move recorded at {item.created_at:%Y-%m-%d %H:%M:%S} UTC is not shown by MLflow yet; "
            "python scripts/promote-model.py --reconcile finishes it",
            colour="yellow",
        )


if __name__ == "__main__":
    main()
