"""What a person may do with a version: stage it, let it serve, bring it back, put it aside; each by the same rules."""

from __future__ import annotations

from collections.abc import Callable

from promotion.errors import NothingToDo, ProductionOccupied, UsageError
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
    service: PromotionService,
    version: ModelVersion,
    mover: Mover,
    on_checked: Checked = lambda _plan: None,
    *,
    force: bool = False,
) -> Move:
    """Let a version serve, or bring an archived one back, recorded as a rollback; raises as `promotion.api.promote`.

    Args:
        service: Moves versions.
        version: Which.
        mover: Who answers for it, and why.
        on_checked: Told what the gates found.
        force: Whether to go on although the family was rolled back a short while ago.
    """
    stage = service.stage_of(version)
    if stage is Stage.ARCHIVED:
        return roll_back(service, version.model, str(version.number), mover, force=force, on_checked=on_checked)
    if force:
        raise UsageError(f"--force brings a version back sooner, and {version} is in {stage}: leave it out")
    # From elsewhere the family's own rules say whether it may.
    plan = service.check(version, from_stage=stage if stage is Stage.STAGING else None)
    on_checked(plan)
    return service.promote(plan, mover)


def move(
    service: PromotionService,
    version: ModelVersion,
    target: Stage,
    mover: Mover,
    *,
    archive_existing: bool = True,
    comes_back: bool = True,
) -> Move:
    """Move a version to any stage it may enter; raises as `promotion.api.promote`.

    Args:
        service: Moves versions; has been synchronised with MLflow.
        version: Which.
        target: Staging, Production or Archived.
        mover: Who answers for it, and why.
        archive_existing: Whether the version in Production may be archived for this one.
        comes_back: Whether an archived version enters Production as a rollback, and not as a promotion.
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
        moved = (
            enter_production(service, version, mover) if comes_back else service.promote(service.check(version), mover)
        )
    moved.require_shown(**moved.as_json())
    return moved
