"""List registered models, promote the best or a named version, show the history, bring MLflow after the journal."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import project_environment

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from promotion.console import command, echo, talk
from promotion.errors import ProjectionIncomplete, UsageError
from promotion.people import actor
from promotion.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from promotion.config import FamilyConfig
    from promotion.registry import ModelVersion
    from promotion.service import Plan, Promotion, PromotionService

    Say = Callable[[str], None]

LIST_RULE = "=" * 80
HEADING_RULE = "=" * 40


@command()
@click.argument("name", required=False)
@click.argument("version", required=False, type=click.IntRange(min=1))
@click.option("--list", "action", flag_value="list", help="List the registered models.")
@click.option("--auto", "action", flag_value="auto", help="Promote the best model of the newest training.")
@click.option("--history", "action", flag_value="history", help="Who moved what, when, why.")
@click.option("--reconcile", "action", flag_value="reconcile", help="Finish and adopt: make MLflow and journal agree.")
@click.option("--model", "family", metavar="FAMILY", help="Only this family.")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="With --history: who served then (UTC)."
)
@click.option("--reason", help="Why; goes into the record.")
@click.option("--dry-run", is_flag=True, help="Run the gates, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(
    name: str | None,
    version: int | None,
    action: str | None,
    family: str | None,
    at: datetime | None,
    reason: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Promote registered models so that exactly one version of a family is in Production.

    NAME promotes the newest version of a registered model, NAME VERSION that one.

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 blocked by a gate, 4 Production moved
    meanwhile, 5 nothing to do, 6 promoted but not shown by MLflow yet (--reconcile finishes).
    """
    if (name is None) == (action is None):
        raise UsageError("say either NAME [VERSION] or one of --list, --auto, --history, --reconcile (see --help)")
    settings = Settings.from_environment()
    if action == "list":
        _list(settings, family, as_json=as_json)
        return
    from models.promotions import open_promotions

    service = open_promotions(settings, report=talk)
    if family:
        service.require_family(family)
    if action == "history":
        _history(service, family, at, as_json=as_json)
    elif action == "reconcile":
        _reconcile(service, family, as_json=as_json)
    elif action == "auto":
        _auto(service, family, reason or "best model of the newest training", dry_run=dry_run, as_json=as_json)
    elif name:
        _promote_named(service, name, version, reason or "promoted by hand", dry_run=dry_run, as_json=as_json)


def _list(settings: Settings, family: str | None, *, as_json: bool) -> None:
    from promotion.config import load_configs
    from promotion.database import Database
    from promotion.journal import Journal
    from promotion.listing import disagreements, model_documents, model_lines
    from promotion.registry import open_registry

    configs = load_configs(settings.config_folder)
    models = open_registry(settings).models()
    if family:
        config = configs.get(family)
        models = [model for model in models if (config.owns(model.name) if config else model.name == family)]
        if not models and config is None:
            raise UsageError(f"unknown family {family!r}: neither configured nor a registered model")
    if as_json:
        echo(json.dumps(model_documents(models), indent=2))
    else:
        echo("📋 Registered Models:")
        echo(LIST_RULE)
        echo("\n".join(model_lines(models)))
        if not models:
            talk(f"no registered models at {settings.registry_uri}: train first (python src/models/train.py)")
    for line in disagreements(models, Journal(Database(settings.database_url)), configs):
        talk(line, colour="yellow")


def _history(service: PromotionService, family: str | None, at: datetime | None, *, as_json: bool) -> None:
    from promotion.listing import event_documents, history_lines

    if at:
        moment = at.replace(tzinfo=UTC)
        families = [family] if family else sorted({event.family for event in service.journal.history()})
        events = [event for name in families if (event := service.journal.production_at(name, moment))]
    else:
        events = service.journal.history(family)
    if as_json:
        echo(json.dumps(event_documents(events), indent=2))
        return
    for line in history_lines(events):
        echo(line)
    if not events:
        talk(f"nothing in Production at {at:%Y-%m-%d %H:%M:%S} UTC" if at else "nothing was moved yet")


def _reconcile(service: PromotionService, family: str | None, *, as_json: bool) -> None:
    service.reconcile(family)
    if as_json:
        echo(json.dumps({"exit_code": 0, "message": "MLflow shows what the journal holds"}, indent=2))
    else:
        echo("✅ MLflow shows what the journal holds")


def _auto(service: PromotionService, family: str | None, reason: str, *, dry_run: bool, as_json: bool) -> None:
    from promotion.auto import auto_families, for_each_family

    def act(config: FamilyConfig) -> None:
        _auto_family(service, config, reason, dry_run=dry_run, as_json=as_json)

    for_each_family(auto_families(service.configs, family, talk), act, on_failure=talk)


def _auto_family(service: PromotionService, config: FamilyConfig, reason: str, *, dry_run: bool, as_json: bool) -> None:
    from promotion.auto import metric_tag, promote_best, rehearse_best

    say = talk if as_json else echo
    label = config.selection_metric.upper().replace("_", "-")

    def found(candidate: ModelVersion) -> None:
        say(f"✅ Found best model: {candidate} ({label}: {metric_tag(candidate, config.selection_metric):.4f})")
        _say_found(candidate, say)

    def checked(plan: Plan) -> None:
        _say_checked(plan, say, dry_run=dry_run)

    if not as_json:
        _show_registry(service, config, "Before Promotion")
    for line in ["", HEADING_RULE, "🏆 Auto-Promoting Best Model", HEADING_RULE, "", "🔍 Searching for best model..."]:
        say(line)
    if dry_run:
        _say_outside_changes(service, config.family)
        plan = rehearse_best(service, config, found, checked)
        _finish_rehearsal(plan, as_json=as_json)
        return
    promotion = promote_best(service, config, actor=actor(), reason=reason, on_found=found, on_checked=checked)
    _say_promoted(promotion, say, as_json=as_json)
    if not as_json:
        _show_registry(service, config, "After Promotion")
    _require_projected(promotion)


def _promote_named(
    service: PromotionService, name: str, version: int | None, reason: str, *, dry_run: bool, as_json: bool
) -> None:
    from promotion.service import refusal

    say = talk if as_json else echo
    candidate = service.candidate(name, version)
    _say_found(candidate, say)
    if dry_run:
        _say_outside_changes(service, service.family(name))
    else:
        service.synchronise(service.family(name))
    plan = service.check(candidate)
    _say_checked(plan, say, dry_run=dry_run)
    if not dry_run:
        promotion = service.promote(plan, actor=actor(), reason=reason)
        _say_promoted(promotion, say, as_json=as_json)
        _require_projected(promotion)
    elif plan.report.passed:
        _finish_rehearsal(plan, as_json=as_json)
    else:
        raise refusal(plan)


def _say_outside_changes(service: PromotionService, family: str) -> None:
    for line in service.outside_changes(family):
        talk(f"⚠️ {family}: not taken over by this dry run: {line}", colour="yellow")


def _say_found(candidate: ModelVersion, say: Say) -> None:
    say(f"🔍 Looking for model: {candidate.model}")
    say(f"✅ Found version {candidate.number}")
    say(f"   Current stage: {candidate.stage}")


def _say_checked(plan: Plan, say: Say, *, dry_run: bool) -> None:
    from promotion.listing import gate_lines

    for line in gate_lines(plan.report):
        talk(line)
    if plan.report.passed and not dry_run:
        say("")
        say(f"🚀 Promoting version {plan.candidate.number} to Production...")


def _say_promoted(promotion: Promotion, say: Say, *, as_json: bool) -> None:
    plan = promotion.plan
    say(f"✅ Successfully promoted {plan.candidate} to Production!")
    if plan.production:
        talk(f"   {plan.production} was archived; python scripts/promote-model.py --history tells the story")
    if as_json:
        document = {
            "exit_code": ProjectionIncomplete.exit_code if promotion.unprojected else 0,
            "family": plan.family,
            "model": plan.candidate.model,
            "version": plan.candidate.number,
            "from": plan.candidate.stage.value,
            "to": promotion.to.value,
            "archived": str(plan.production) if plan.production else None,
            "operation": promotion.operation,
            "unprojected": promotion.unprojected,
            "report": plan.report.as_json(),
        }
        echo(json.dumps(document))


def _finish_rehearsal(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"exit_code": 0, "dry_run": True, "report": plan.report.as_json()}))
    else:
        echo(f"✅ {plan.candidate} may enter Production (dry run: nothing changed)")


def _require_projected(promotion: Promotion) -> None:
    if promotion.unprojected:
        raise ProjectionIncomplete(
            f"{promotion.plan.candidate} is in Production in the journal, but {promotion.unprojected}; "
            "run python scripts/promote-model.py --reconcile when MLflow is well again",
        )


def _show_registry(service: PromotionService, config: FamilyConfig, moment: str) -> None:
    from promotion.listing import model_lines

    for line in ["", HEADING_RULE, f"📊 MLflow Model Registry - {moment}", HEADING_RULE]:
        echo(line)
    lines = model_lines([model for model in service.registry.models() if config.owns(model.name)])
    if moment.startswith("Before"):
        # The document prints the first model right below this heading.
        lines = ["", "📋 Registered Models:", *lines[1:]]
    for line in lines:
        echo(line)


if __name__ == "__main__":
    main()
