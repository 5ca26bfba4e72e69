"""Validate a registered version and move it to Staging; move a reviewed one to Production."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from promotion.approvals.people import actor
from promotion.cli.console import AS_JSON, REASON, command, echo, echo_json, promotions, talk
from promotion.config.settings import Settings
from promotion.errors import UsageError
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from promotion.config.family import FamilyConfig
    from promotion.registry.contract import ModelVersion
    from promotion.service import Move, Mover, PromotionPlan, PromotionService

    Say = Callable[[str], None]


@command()
@click.option("--model-name", "--model", default="rossmann-ensemble", show_default=True, help="A registered model.")
@click.option("--version", help="MLflow's number or the semantic version; by default the newest that fits.")
@click.option("--threshold", type=float, help="Another bound on the metric; a looser one needs --reason.")
@click.option("--no-auto-promote", is_flag=True, help="Validate only; the version stays where it is.")
@click.option("--promote-to-production", is_flag=True, help="Move the version in Staging to Production.")
@click.option("--force", is_flag=True, help="Bring an archived one back although a rollback was a short while ago.")
@click.option("--approver", help="Who answers for it; by default whoever runs this.")
@REASON
@AS_JSON
def validate_command(
    *,
    model_name: str,
    version: str | None,
    threshold: float | None,
    no_auto_promote: bool,
    promote_to_production: bool,
    force: bool,
    approver: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Validate the newest version in stage None on the holdout rows and move it to Staging if it is good enough.

    With --promote-to-production the version in Staging goes to Production and the one there is archived; naming an
    archived --version brings that one back, which is recorded as a rollback. One from stage None goes where the
    family's gates.staging does not ask for Staging first.

    Exit codes: 0 done, 1 failed and nothing moved, 2 usage or configuration, 3 refused, 4 Production moved meanwhile,
    5 nothing to do, 6 moved but not shown by MLflow yet.
    """
    if promote_to_production and no_auto_promote:
        raise UsageError("--no-auto-promote belongs to validation, not to --promote-to-production")
    if force and not (promote_to_production and (reason or "").strip()):
        raise UsageError("--force goes with --promote-to-production and --reason: why back again so soon?")
    from promotion.evaluation.validation import model_of, newest_in
    from promotion.move import usual_reason
    from promotion.service import Mover

    settings = Settings.from_environment()
    service = promotions()
    model, config = model_of(service, model_name)
    config, waived = _bounded(config, threshold, reason)
    service.configs = service.configs.with_family(config)
    say = talk if as_json else echo
    source, target = (Stage.STAGING, Stage.PRODUCTION) if promote_to_production else (Stage.NONE, Stage.STAGING)
    service.synchronise(config.family)
    candidate = service.candidate(model, version) if version else newest_in(service, model, source)
    stage = service.stage_of(candidate)
    mover = Mover(actor(), reason or usual_reason(stage, target), approver, waived=waived)
    if waived:
        talk(f"🚨 THRESHOLD WAIVED by {mover.person}: {waived[0]}. Why: {mover.reason}", colour="red")
    if promote_to_production:
        if stage is Stage.ARCHIVED and threshold is not None:
            raise UsageError(f"{candidate} is archived: bringing it back asks for no threshold; leave --threshold out")
        moved = _promote(service, candidate, stage, mover, say, force=force)
    else:
        plan = _validate(service, settings, config, candidate, say)
        if no_auto_promote:
            _stay(service, plan, mover, as_json=as_json)
            return
        moved = _stage(service, plan, mover, say)
    moved.require_shown(**moved.as_json())
    if as_json:
        echo_json({"exit_code": 0, **moved.as_json()})


def _bounded(config: FamilyConfig, threshold: float | None, reason: str | None) -> tuple[FamilyConfig, tuple[str, ...]]:
    """The family with the bound asked for, and what that waives."""
    from promotion.evaluation.validation import with_threshold

    if threshold is None:
        return config, ()
    bounded, looser = with_threshold(config, threshold)
    if looser and not reason:
        raise UsageError(f"--threshold {threshold:g} is looser than configured ({looser}): say why with --reason")
    return bounded, (looser,) if looser else ()


def _validate(
    service: PromotionService, settings: Settings, config: FamilyConfig, candidate: ModelVersion, say: Say
) -> PromotionPlan:
    """Score the version on the holdout, say what came out, and keep it in its run."""
    from promotion.evaluation.validation import bound_text, remember
    from promotion.listing import gate_lines
    from promotion.registration import receive

    if config.has_holdout:
        say(f"Loading model version {candidate.number}...")
        say("Evaluating on holdout validation set...")
    receive(service, candidate)
    plan = service.check(candidate, Stage.STAGING)
    report = plan.report
    bounds = config.gates.thresholds
    measured = {metric: f"{value:.4f}" for metric, value in report.metrics.items()}
    measured |= {gate.name: gate.measured for gate in report.results if gate.name in bounds}
    for metric in bounds or measured:
        say(f"Validation {_label(metric)}: {measured[metric]}")
    missed = [gate.name for gate in report.refusals if gate.name in bounds]
    if len(bounds) == 1:
        (needed,) = (bound_text(bound) for bound in bounds.values())
    else:
        needed = ", ".join(f"{_label(metric)} {bound_text(bound)}" for metric, bound in bounds.items())
    if bounds:
        say(f"✗ Performance misses threshold ({needed})" if missed else f"✓ Performance meets threshold ({needed})")
    talk(*gate_lines(report))
    if config.has_holdout:
        remember(settings, candidate, report.metrics, report.data_sha256)
    return plan


def _stage(service: PromotionService, plan: PromotionPlan, mover: Mover, say: Say) -> Move:
    if plan.report.passed:
        say("Promoting to Staging...")
    else:
        say(f"✗ Model version {plan.candidate.number} stays in {plan.candidate.stage}")
    moved = service.promote(plan, mover)
    say(f"✓ Model version {plan.candidate.number} promoted to Staging")
    return moved


def _stay(service: PromotionService, plan: PromotionPlan, mover: Mover, *, as_json: bool) -> None:
    """End a validation that was asked not to move anything."""
    from promotion.service import refusal

    service.keep_report(plan, mover.actor)
    if not plan.report.passed:
        raise refusal(plan)
    if as_json:
        echo_json({"exit_code": 0, "report": plan.report.as_json()})
    else:
        echo(f"✓ Model version {plan.candidate.number} may go to Staging; it stays in {plan.candidate.stage}")


def _promote(
    service: PromotionService, candidate: ModelVersion, stage: Stage, mover: Mover, say: Say, *, force: bool
) -> Move:
    """Let a version serve, or bring an archived one back; says what is done once it is, and not before."""
    from promotion.listing import gate_lines
    from promotion.move import enter_production

    def checked(plan: PromotionPlan) -> None:
        say(f"Loading {'registered' if stage is Stage.NONE else stage} model (version {candidate.number})...")
        talk(*gate_lines(plan.report))
        if not plan.report.passed:
            return
        if plan.production:
            say(f"Archiving current Production model (version {plan.production.number})...")
        say(f"Promoting version {candidate.number} to Production...")

    moved = enter_production(service, candidate, mover, checked, force=force)
    say(f"✓ Model version {candidate.number} is now in Production")
    if moved.before:
        say(f"✓ Previous Production model (version {moved.before.number}) archived")
    return moved


def _label(metric: str) -> str:
    """A metric as the console writes it: abbreviations in capitals, words as they are."""
    return {"roc_auc": "ROC-AUC", "rmspe": "RMSPE", "f1": "F1"}.get(metric, metric)
