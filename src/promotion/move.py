"""What a person may do with a version: stage it, let it serve, bring it back, put it aside; each by the same rules."""

from __future__ import annotations

from collections.abc import Callable

from promotion.errors import GateRefused, NothingToDo, ProductionOccupied, UsageError
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.rollbacks import archive, roll_back
from promotion.service import Move, Mover, PromotionPlan, PromotionService

Checked = Callable[[PromotionPlan], None]
"""Told what the gates found, before anything moves."""


def usual_reason(now: Stage, target: Stage) -> str:
    """What the record says, of a refusal too, when nobody gave a reason.

    After a rollback it also stands against the version that left.
    """
    if target is Stage.PRODUCTION:
        return "taken back, no reason given" if now is Stage.ARCHIVED else "manual review"
    return "automated validation" if target is Stage.STAGING else "put aside, no reason given"


def enter_production(
    service: PromotionService, version: ModelVersion, mover: Mover, on_checked: Checked = lambda _plan: None
) -> Move:
    """Let a staged version serve, or bring an archived one back, which is recorded as a rollback.

    Args:
        service: Moves versions.
        version: Which.
        mover: Who answers for it, and why.
        on_checked: Told what the gates found.

    Raises:
        GateRefused: It was never validated, or a gate said no: the message has what was measured.
        NothingToDo: It serves already.
        ProductionMoved: Production changed since the check.
        PromotionError: Something failed before the commit; nothing moved.
    """
    stage = service.stage_of(version)
    if stage is Stage.NONE:
        is_configured = service.family(version.model) in service.configs
        first = (
            f"python src/models/validate_model.py --model-name {version.model} --version {version.number}"
            if is_configured
            else f'promote_model("{version.model}", {version.number}, "Staging")'
        )
        raise GateRefused(f"{version} was not validated: it is in stage None; validate first: {first}")
    if stage is Stage.ARCHIVED:
        return roll_back(service, version.model, str(version.number), mover, on_checked=on_checked)
    plan = service.check(version, from_stage=Stage.STAGING)
    on_checked(plan)
    return service.promote(plan, mover)


def move(
    service: PromotionService,
    version: ModelVersion,
    target: Stage,
    mover: Mover,
    *,
    archive_existing: bool = True,
    staged_first: bool = True,
) -> Move:
    """Move a version to any stage it may enter.

    Args:
        service: Moves versions; has been synchronised with MLflow.
        version: Which.
        target: Staging, Production or Archived.
        mover: Who answers for it, and why.
        archive_existing: Whether the version in Production may be archived for this one.
        staged_first: Whether only a version in Staging may enter Production, or, as a rollback, an archived one.

    Raises:
        UsageError: The target is None: no version becomes unvalidated again.
        ProductionOccupied: Another version serves and must not be archived.
        GateRefused: A gate said no, or Production would end empty.
        NothingToDo: It is there already.
        ProductionMoved: Production changed since the check.
        ProjectionIncomplete: It moved, but MLflow does not show it yet.
        PromotionError: Something failed before the commit; nothing moved.
    """
    before = service.stage_of(version)
    if before is target:
        raise NothingToDo(f"{version} is in {target} already: nothing to do")
    if target is Stage.NONE:
        raise UsageError(
            f"{version} is in {before} and does not go back to None: what was validated stays on record; "
            f'to put it aside, say stage="{Stage.ARCHIVED}"'
        )
    if target is Stage.ARCHIVED:
        moved = archive(service, version, mover)
    elif target is Stage.STAGING:
        moved = service.promote(service.check(version, target), mover)
    else:
        serving = service.journal.production(service.family(version.model))
        if serving and not archive_existing:
            raise ProductionOccupied(
                f"{serving} serves in Production of {service.family(version.model)!r}, and archive_existing=False "
                f"keeps it there: {version} stays in {before}; archive_existing=True archives {serving}"
            )
        enter = enter_production if staged_first else _promote
        moved = enter(service, version, mover)
    moved.require_shown(**moved.as_json())
    return moved


def _promote(service: PromotionService, version: ModelVersion, mover: Mover) -> Move:
    return service.promote(service.check(version), mover)
