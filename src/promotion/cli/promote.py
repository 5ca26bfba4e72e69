"""Promote the best of the newest training, or a named version, if the gates allow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from promotion.approvals.people import actor
from promotion.cli.console import (
    AS_JSON,
    COUNT,
    MOMENT,
    ONLY_FAMILY,
    REASON,
    command,
    echo,
    echo_json,
    promotions,
    say_unsettled,
    talk,
)
from promotion.cli.registry import (
    ALIASES,
    APPROVER,
    EVERY_VERSION,
    SEMVER,
    cleanup_command,
    history_command,
    list_command,
    reconcile_command,
    restore_command,
    say_broken,
)
from promotion.errors import NothingToDo, PromotionError, UsageError

if TYPE_CHECKING:
    from promotion.config.family import FamilyConfig
    from promotion.registry.contract import ModelVersion
    from promotion.service import Move, PromotionPlan, PromotionService

    Say = Callable[..., None]

HEADING_RULE = "=" * 40
ACTIONS: dict[str, click.Command | None] = {
    "list": list_command,
    "auto": None,
    "history": history_command,
    "reconcile": reconcile_command,
    "restore": restore_command,
    "cleanup": cleanup_command,
}
"""What this command does under an option; all but --auto are verbs of their own."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What moves, and how it is said; the options are described at `promote_command`."""

    name: str | None
    version: str | None
    family: str | None
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
@ONLY_FAMILY
@EVERY_VERSION
@SEMVER
@ALIASES
@click.option("--keep", type=COUNT, default=3, show_default=True, help="With --cleanup: newest versions to keep.")
@click.option("--yes", is_flag=True, help="With --cleanup: do not ask.")
@click.option("--at", type=MOMENT, help="With --history: who served then (UTC).")
@click.option("--limit", default=100, show_default=True, type=COUNT, help="With --history: the newest so many.")
@REASON
@APPROVER
@click.option("--dry-run", is_flag=True, help="Run the gates, change nothing.")
@AS_JSON
def promote_command(action: str | None, **options: Any) -> None:
    """Promote registered models so that exactly one version of a family is in Production.

    NAME promotes the newest version of a registered model, NAME VERSION that one: MLflow's number (3) or the semantic
    version (1.2.0).

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 blocked by a gate, 4 Production moved
    meanwhile, 5 nothing to do, 6 promoted but not shown by MLflow yet (--reconcile finishes).
    """
    asked = options["every_version"] or options["semver"] or options["aliases"]
    if asked and action is None and options["name"] is None:
        action = "list"
    if asked and action != "list":
        raise UsageError("--all, --semver and --aliases say what is listed, and go with --list alone")
    if (options["name"] is None) == (action is None):
        raise UsageError(
            f"say either NAME [VERSION] or one of {', '.join(f'--{name}' for name in ACTIONS)} (see --help)"
        )
    if verb := ACTIONS.get(action or "auto"):
        given = {parameter.name: options[parameter.name] for parameter in verb.params if parameter.name in options}
        click.get_current_context().invoke(verb, **given)
        return
    wish = Wish(**{name: options[name] for name in Wish.__slots__})
    service = promotions(wish.family)
    if action == "auto":
        _auto(service, wish)
    else:
        _promote_named(service, wish)


def _auto(service: PromotionService, wish: Wish) -> None:
    from promotion.auto import auto_families, for_each_family, how_to_begin

    broken = say_broken(service.configs, wish.family)
    families = auto_families(service.configs, wish.family, talk)

    def act(config: FamilyConfig) -> None:
        # Of several families one that was never trained is a line, not a page of headings.
        if len(families) > 1 and not any(config.owns(model.name) for model in service.registry.models()):
            raise NothingToDo(f"no version is registered: {how_to_begin(config)}")
        _auto_family(service, config, wish)

    for_each_family(families, act, talk, broken)


def _auto_family(service: PromotionService, config: FamilyConfig, wish: Wish) -> None:
    from promotion.auto import metric_tag, promote_best, rehearse_best
    from promotion.service import Mover

    say = wish.say

    def found(candidate: ModelVersion) -> None:
        figure = ""
        if config.trains_here:
            metric = config.selection_metric
            figure = f" ({metric.upper().replace('_', '-')}: {metric_tag(candidate, metric):.4f})"
        say(f"✅ Found best model: {candidate}{figure}")
        _say_found(candidate, say)

    def checked(plan: PromotionPlan) -> None:
        _say_checked(plan, say, dry_run=wish.dry_run)

    if not wish.as_json:
        _show_registry(service, config, "Before Promotion")
    say_unsettled(service, config.family)
    say("", HEADING_RULE, "🏆 Auto-Promoting Best Model", HEADING_RULE, "", "🔍 Searching for best model...")
    if wish.dry_run:
        plan = rehearse_best(service, config, found, checked)
        _finish_rehearsal(plan, as_json=wish.as_json)
        return
    usual = "best model of the newest training" if config.trains_here else "newest version that somebody registered"
    mover = Mover(actor(), wish.reason or usual)
    with _shown_afterwards(service, config, wish):
        move = promote_best(service, config, mover, on_found=found, on_checked=checked)
        _say_promoted(move, say)
    _finish_promotion(service, move, as_json=wish.as_json)


def _promote_named(service: PromotionService, wish: Wish) -> None:
    from promotion.registration import receive
    from promotion.service import Mover, refusal

    say = wish.say
    candidate = service.candidate(str(wish.name), wish.version)
    family = service.family(candidate.model)
    _say_found(candidate, say)
    if wish.dry_run:
        say_unsettled(service, family)
    else:
        service.synchronise(family)
        receive(service, candidate)
    plan = service.check(candidate)
    _say_checked(plan, say, dry_run=wish.dry_run)
    if not wish.dry_run:
        move = service.promote(plan, Mover(actor(), wish.reason or "promoted by hand"))
        _say_promoted(move, say)
        _finish_promotion(service, move, as_json=wish.as_json)
    elif plan.report.passed:
        _finish_rehearsal(plan, as_json=wish.as_json)
    else:
        raise refusal(plan)


def _say_found(candidate: ModelVersion, say: Say) -> None:
    found = f"✅ Found version {candidate.number}", f"   Current stage: {candidate.stage}"
    say(f"🔍 Looking for model: {candidate.model}", *found)


def _say_checked(plan: PromotionPlan, say: Say, *, dry_run: bool) -> None:
    from promotion.listing import gate_lines

    talk(*gate_lines(plan.report))
    if plan.report.passed and not dry_run:
        say("", f"🚀 Promoting version {plan.candidate.number} to Production...")


def _say_promoted(move: Move, say: Say) -> None:
    say(f"✅ Successfully promoted {move.version} to Production!")
    if move.before:
        talk(f"   {move.before} was archived; python scripts/promote-model.py --history tells the story")


def _finish_rehearsal(plan: PromotionPlan, *, as_json: bool) -> None:
    if as_json:
        echo_json({"exit_code": 0, "dry_run": True, "report": plan.report.as_json()})
    else:
        echo(f"✅ {plan.candidate} may enter Production (dry run: nothing changed)")


def _finish_promotion(service: PromotionService, move: Move, *, as_json: bool) -> None:
    _announce(service, move)
    move.require_shown(**move.as_json())
    if as_json:
        echo_json({"exit_code": 0, **move.as_json()})


def _announce(service: PromotionService, move: Move) -> None:
    """Tell the family's channels, where some are set; one that fails does not fail the promotion."""
    from promotion.monitoring.alerts.announcements import announcer

    try:
        announced = announcer(service.journal, service.configs)(move)
    except PromotionError as error:
        talk(f"⚠️ nobody was told: {error}", colour="yellow")
        return
    for told in announced.accepted:
        talk(f"📣 told {told}")
    for refused in announced.refused:
        talk(f"⚠️ not told: {refused}; the monitor's next run tries again", colour="yellow")


@contextmanager
def _shown_afterwards(service: PromotionService, config: FamilyConfig, wish: Wish) -> Iterator[None]:
    """Show the registry as it is then, also where Production stays: the candidate may be in Staging now."""
    kept = None
    try:
        yield
    except NothingToDo as error:
        kept = error
    if not wish.as_json:
        _show_registry(service, config, "After Promotion")
    if kept is not None:
        raise kept


def _show_registry(service: PromotionService, config: FamilyConfig, moment: str) -> None:
    from promotion.listing import model_lines

    echo("", HEADING_RULE, f"📊 MLflow Model Registry - {moment}", HEADING_RULE)
    lines = model_lines([model for model in service.registry.models() if config.owns(model.name)])
    if moment.startswith("Before"):
        # The document prints the first model right below this heading.
        lines = ["", "📋 Registered Models:", *lines[1:]]
    for line in lines:
        echo(line)
