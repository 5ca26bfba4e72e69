"""Write the page a reviewer reads before approving a version: candidate against Production, gates, approvals."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
from pathlib import Path

import click

from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.registry.stages import Stage


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
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; reports/promotion/NAME-vNUMBER.html in the home folder by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(model_name: str, version: str, to_stage: str, output: Path | None, *, as_json: bool) -> None:
    """Ask every gate about a version and write what they found as a page; nothing is moved or recorded.

    Exit codes: 0 written, whatever the gates said; 1 failed, 2 usage or configuration, 5 it is there already.
    """
    from promotion.bootstrap import open_promotions
    from promotion.review.promotion_page import default_path, write_promotion_page

    settings = Settings.from_environment()
    service = open_promotions(settings, report=talk)
    plan = service.check(service.candidate(service.registered_model(model_name), version), Stage.parse(to_stage))
    path = output or default_path(settings, plan)
    write_promotion_page(service, plan, path)
    if as_json:
        echo(json.dumps({"exit_code": 0, "page": str(path), "report": plan.report.as_json()}, default=str))
        return
    refused = ", ".join(gate.name for gate in plan.report.refusals)
    verdict = f"may not enter {plan.to}: {refused}" if refused else f"may enter {plan.to}"
    echo(f"📋 {plan.candidate} {verdict}")
    echo(f"✅ {path}")


if __name__ == "__main__":
    main()
