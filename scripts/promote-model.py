"""List registered models, promote the best or a named version, show the history, bring MLflow after the journal."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from promotion.approvals.people import actor
from promotion.cli.console import command, echo, talk
from promotion.config.settings import Settings
from promotion.errors import NothingToDo, PromotionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from promotion.config.family import FamilyConfig, FamilyConfigs
    from promotion.registry.contract import ModelVersion
    from promotion.service import Promotion, PromotionPlan, PromotionService

    Say = Callable[[str], None]

LIST_RULE = "=" * 80
HEADING_RULE = "=" * 40


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line; the options are described at `main`."""

    name: str | None
    version: str | None
    action: str | None
    family: str | None
    keep: int
    yes: bool
    at: datetime | None
    limit: int
    reason: str | None
    dry_run: bool
    as_json: bool

    @property
    def say(self) -> Say:
        """Where the documents' output goes: standard output belongs to the data when that was asked for."""
        return talk if self.as_json else echo


@command()
@click.argument("name", required=False)
@click.argument("version", required=False)
@click.option("--list", "action", flag_value="list", help="List the registered models.")
@click.option("--auto", "action", flag_value="auto", help="Promote the best model of the newest training.")
@click.option("--history", "action", flag_value="history", help="Who moved what, when, why.")
@click.option("--reconcile", "action", flag_value="reconcile", help="Finish and adopt: make MLflow and journal agree.")
@click.option(
    "--restore", "action", flag_value="restore", help="Put back what was recorded: undo changes made outside."
)
@click.option("--cleanup", "action", flag_value="cleanup", help="Delete old versions that nothing needs; asks first.")
@click.option("--model", "family", metavar="FAMILY", help="Only this family.")
@click.option(
    "--keep", type=click.IntRange(min=1), default=3, show_default=True, help="With --cleanup: newest versions to keep."
)
@click.option("--yes", is_flag=True, help="With --cleanup: do not ask.")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="With --history: who served then (UTC)."
)
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=1), help="With --history: the newest so many."
)
@click.option("--reason", help="Why; goes into the record.")
@click.option("--dry-run", is_flag=True, help="Run the gates, change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Data on standard output, as JSON.")
def main(**options: Any) -> None:
    """Promote registered models so that exactly one version of a family is in Production.

    NAME promotes the newest version of a registered model, NAME VERSION that one: MLflow's number (3) or the semantic
    version (1.2.0).

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 blocked by a gate, 4 Production moved
    meanwhile, 5 nothing to do, 6 promoted but not shown by MLflow yet (--reconcile finishes).
    """
    asked = Asked(**options)
    if (asked.name is None) == (asked.action is None):
        raise UsageError(
            f"say either NAME [VERSION] or one of {', '.join(f'--{name}' for name in ACTIONS)} (see --help)"
        )
    settings = Settings.from_environment()
    if asked.action == "list":
        _list(settings, asked)
        return
    from promotion.bootstrap import open_promotions

    service = open_promotions(settings, report=talk)
    if asked.family:
        service.require_family(asked.family)
    ACTIONS.get(asked.action or "", _promote_named)(service, asked)


def _say_broken(configs: FamilyConfigs, asked: Asked) -> list[PromotionError]:
    """Name each family whose file cannot be used, in a command about all of them; they are left out of it."""
    broken = [] if asked.family else list(configs.broken.values())
    for family in broken:
        talk(f"❌ left out: {family.summary}", colour="red")
    return [family.error for family in broken]


def _list(settings: Settings, asked: Asked) -> None:
    from promotion.config.family import load_configs
    from promotion.journal.database import Database
    from promotion.journal.journal import Journal
    from promotion.listing import disagreements, model_documents, model_lines
    from promotion.registry.open import open_registry

    configs = load_configs(settings.config_folder)
    models = open_registry(settings).models()
    if family := asked.family:
        config = configs.get(family)
        models = [item for item in models if (configs.owns(family, item.name) if config else item.name == family)]
        if not models and config is None:
            raise UsageError(f"unknown family {family!r}: neither configured nor a registered model")
    journal = Journal(Database(settings.database_url))
    semvers = journal.semantic_versions([(item.model, item.number) for model in models for item in model.versions])
    if asked.as_json:
        echo(json.dumps(model_documents(models, semvers), indent=2))
    else:
        echo("📋 Registered Models:")
        echo(LIST_RULE)
        echo("\n".join(model_lines(models, semvers)))
        if not models:
            trains_here = any(config.trains_here for config in configs.values())
            advice = ": train first (python src/models/train.py)" if trains_here else ""
            talk(f"no registered models at {settings.registry_uri}{advice}")
    _say_broken(configs, asked)
    for line in disagreements(models, journal, configs):
        talk(line, colour="yellow" if line.startswith(("⚠️", "⏳")) else "red")


def _history(service: PromotionService, asked: Asked) -> None:
    from promotion.listing import event_documents, history_lines

    if asked.at:
        moment = asked.at.replace(tzinfo=UTC)
        families = [asked.family] if asked.family else sorted(service.journal.families())
        events = [event for name in families if (event := service.journal.production_at(name, moment))]
    else:
        events = service.journal.history(asked.family, limit=asked.limit)
    if asked.as_json:
        echo(json.dumps(event_documents(events), indent=2))
        return
    for line in history_lines(events):
        echo(line)
    if len(events) == asked.limit and not asked.at:
        talk(f"the newest {asked.limit}; --limit shows more")
    if not events:
        talk(f"nothing in Production at {asked.at:%Y-%m-%d %H:%M:%S} UTC" if asked.at else "nothing was moved yet")


def _reconcile(service: PromotionService, asked: Asked) -> None:
    from promotion.service import Mover

    broken = _say_broken(service.configs, asked)
    service.reconcile(Mover(actor(), asked.reason or "reconciled"), asked.family)
    if broken:
        raise broken[0]
    if asked.as_json:
        echo(json.dumps({"exit_code": 0, "message": "MLflow shows what the journal holds"}, indent=2))
    else:
        echo("✅ MLflow shows what the journal holds")


def _restore(service: PromotionService, asked: Asked) -> None:
    family = asked.family
    if not family or not asked.reason:
        raise UsageError("--restore puts one family back and goes into the record: say --model FAMILY and --reason WHY")
    family = service.family(family)
    if asked.dry_run:
        found = service.outside_changes(family)
    else:
        found = service.restore(family, actor=actor(), reason=asked.reason)
    for line in found:
        asked.say(f"   found: {line}")
    asked.say(f"✅ {family}: {'nothing changed (dry run)' if asked.dry_run else 'what was recorded is back in place'}")
    if asked.as_json:
        echo(json.dumps({"exit_code": 0, "dry_run": asked.dry_run, "family": family, "found": found}, indent=2))


def _clean_up(service: PromotionService, asked: Asked) -> None:
    from promotion.cleanup import clean_up, cleanup_lines, review_families, verdict_document

    if not (asked.yes or asked.dry_run or sys.stdin.isatty()):
        raise UsageError("--cleanup deletes versions and there is no terminal to ask on: see --dry-run, then add --yes")
    _say_broken(service.configs, asked)
    found = review_families(service, asked.family, asked.keep, synchronise=not asked.dry_run)
    for line in cleanup_lines(found, asked.keep):
        asked.say(line)
    doomed = [verdict for verdict in found if not verdict.kept]
    if not doomed:
        raise NothingToDo("nothing to clean up")
    if not asked.dry_run:
        if not asked.yes and not click.confirm(f"Delete {len(doomed)} versions from MLflow for good?", err=True):
            raise NothingToDo("not confirmed: nothing was deleted")
        doomed = clean_up(service, doomed, asked.keep, actor=actor(), reason=asked.reason or "cleaned up")
    asked.say(f"✅ {len(doomed)} versions {'would be deleted (dry run)' if asked.dry_run else 'deleted from MLflow'}")
    talk("   the journal keeps their record, storage their files: mlflow runs delete, then mlflow gc, frees the space")
    if asked.as_json:
        lists = {"deleted": doomed, "kept": [verdict for verdict in found if verdict.kept]}
        echo(json.dumps({"exit_code": 0, "dry_run": asked.dry_run, **lists}, indent=2, default=verdict_document))


def _auto(service: PromotionService, asked: Asked) -> None:
    from promotion.auto import auto_families, for_each_family

    broken = _say_broken(service.configs, asked)
    families = auto_families(service.configs, asked.family, talk)

    def act(config: FamilyConfig) -> None:
        # Of several families one that was never trained is a line, not a page of headings.
        if len(families) > 1 and not any(config.owns(model.name) for model in service.registry.models()):
            raise NothingToDo(
                f"no version is registered: train first (python src/models/train.py --model {config.family})"
            )
        _auto_family(service, config, asked)

    for_each_family(families, act, talk, broken)


def _auto_family(service: PromotionService, config: FamilyConfig, asked: Asked) -> None:
    from promotion.auto import metric_tag, promote_best, rehearse_best
    from promotion.service import Mover

    say = asked.say
    label = config.selection_metric.upper().replace("_", "-")

    def found(candidate: ModelVersion) -> None:
        say(f"✅ Found best model: {candidate} ({label}: {metric_tag(candidate, config.selection_metric):.4f})")
        _say_found(candidate, say)

    def checked(plan: PromotionPlan) -> None:
        _say_checked(plan, say, dry_run=asked.dry_run)

    if not asked.as_json:
        _show_registry(service, config, "Before Promotion")
    for line in ["", HEADING_RULE, "🏆 Auto-Promoting Best Model", HEADING_RULE, "", "🔍 Searching for best model..."]:
        say(line)
    if asked.dry_run:
        _say_outside_changes(service, config.family)
        plan = rehearse_best(service, config, found, checked)
        _finish_rehearsal(plan, as_json=asked.as_json)
        return
    mover = Mover(actor(), asked.reason or "best model of the newest training")
    promotion = promote_best(service, config, mover, on_found=found, on_checked=checked)
    _say_promoted(promotion, say)
    if not asked.as_json:
        _show_registry(service, config, "After Promotion")
    _finish_promotion(service, promotion, as_json=asked.as_json)


def _promote_named(service: PromotionService, asked: Asked) -> None:
    from promotion.service import Mover, refusal

    say = asked.say
    candidate = service.candidate(str(asked.name), asked.version)
    family = service.family(candidate.model)
    _say_found(candidate, say)
    if asked.dry_run:
        _say_outside_changes(service, family)
    else:
        service.synchronise(family)
    plan = service.check(candidate)
    _say_checked(plan, say, dry_run=asked.dry_run)
    if not asked.dry_run:
        promotion = service.promote(plan, Mover(actor(), asked.reason or "promoted by hand"))
        _say_promoted(promotion, say)
        _finish_promotion(service, promotion, as_json=asked.as_json)
    elif plan.report.passed:
        _finish_rehearsal(plan, as_json=asked.as_json)
    else:
        raise refusal(plan)


def _say_outside_changes(service: PromotionService, family: str) -> None:
    for line in service.outside_changes(family):
        talk(f"⚠️ {family}: not taken over by this dry run: {line}", colour="yellow")


def _say_found(candidate: ModelVersion, say: Say) -> None:
    say(f"🔍 Looking for model: {candidate.model}")
    say(f"✅ Found version {candidate.number}")
    say(f"   Current stage: {candidate.stage}")


def _say_checked(plan: PromotionPlan, say: Say, *, dry_run: bool) -> None:
    from promotion.listing import gate_lines

    for line in gate_lines(plan.report):
        talk(line)
    if plan.report.passed and not dry_run:
        say("")
        say(f"🚀 Promoting version {plan.candidate.number} to Production...")


def _say_promoted(promotion: Promotion, say: Say) -> None:
    plan = promotion.plan
    say(f"✅ Successfully promoted {plan.candidate} to Production!")
    if plan.production:
        talk(f"   {plan.production} was archived; python scripts/promote-model.py --history tells the story")


def _finish_rehearsal(plan: PromotionPlan, *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps({"exit_code": 0, "dry_run": True, "report": plan.report.as_json()}))
    else:
        echo(f"✅ {plan.candidate} may enter Production (dry run: nothing changed)")


def _finish_promotion(service: PromotionService, promotion: Promotion, *, as_json: bool) -> None:
    _announce(service, promotion)
    promotion.require_shown(**promotion.as_json())
    if as_json:
        echo(json.dumps({"exit_code": 0, **promotion.as_json()}, default=str))


def _announce(service: PromotionService, promotion: Promotion) -> None:
    """Tell the family's channels, where some are set; one that fails does not fail the promotion."""
    from promotion.monitoring.alerts.announcements import announcer

    try:
        announced = announcer(service.journal, service.configs)(promotion)
    except PromotionError as error:
        talk(f"⚠️ nobody was told: {error}", colour="yellow")
        return
    for told in announced.accepted:
        talk(f"📣 told {told}")
    for refused in announced.refused:
        talk(f"⚠️ not told: {refused}; the monitor's next run tries again", colour="yellow")


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


ACTIONS: Mapping[str, Callable[..., None]] = {
    "list": _list,
    "auto": _auto,
    "history": _history,
    "reconcile": _reconcile,
    "restore": _restore,
    "cleanup": _clean_up,
}

if __name__ == "__main__":
    main()
