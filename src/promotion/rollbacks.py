"""How a version goes: back to the one that served before it, or, as a rejected candidate, aside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from promotion.config.policy import Rollback
from promotion.errors import GateRefused, NothingToDo, ProductionMoved, UnknownModel, UnknownVersion
from promotion.journal import clock
from promotion.journal.journal import Journal
from promotion.journal.monitoring import last_critical
from promotion.journal.records import Authority, Change, Entry, Event, Known, Place, place_of
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.service import Move, Mover, PromotionPlan, PromotionService

ACTION = "rollback"
"""What the record calls it."""


def roll_back(
    service: PromotionService,
    name: str,
    to_version: int | str | Entry | None,
    mover: Mover,
    *,
    force: bool = False,
    keep_version_good: bool = False,
    deployment: str | None = None,
    on_checked: Callable[[PromotionPlan], None] = lambda _plan: None,
) -> Move:
    """Put a version back into Production that served there before, proven to run before anything moves.

    The family's list of who may promote is not asked: whoever may run commands may take a bad version back. It
    raises as `promotion.api.rollback` does.

    Args:
        service: Moves versions.
        name: The registered model, or the family.
        to_version: Which version; None for the one that served before the present one and is not known bad.
        mover: Who asks, and why; the reason becomes what is known against the version that leaves.
        force: Whether to go on although the family was rolled back a short while ago.
        keep_version_good: Whether nothing is held against the version that leaves: something else had failed.
        deployment: The failed deployment that is undone: the version that leaves never served, so that this is no
            going back and forth.
        on_checked: Told what the gates found.
    """
    family = service.require_family(name)
    service.synchronise(family)
    leaving = service.journal.production(family)
    target = _predecessor(service, family, leaving) if to_version is None else _named(service, name, to_version)
    if leaving and place_of(target) == place_of(leaving):
        raise NothingToDo(f"{leaving} is in {Stage.PRODUCTION} already: nothing to do")
    _require_served(service, family, target)
    if not force:
        _require_calm(service, family, target, leaving)
    plan = service.check(target, is_rollback=True)
    on_checked(plan)
    if (plan.production and plan.production.id) != (leaving and leaving.id):
        now = plan.production or "no version"
        raise ProductionMoved(f"{now} is in Production of {family!r} now, not {leaving or 'none'}: nothing moved")
    if not plan.report.passed:
        raise service.refuse(plan, mover)
    return service.commit(
        plan,
        mover,
        action=ACTION,
        known_bad=None if keep_version_good else mover.reason,
        details=({"forced": True} if force else {}) | ({"deployment": deployment} if deployment else {}),
    )


def archive(service: PromotionService, version: ModelVersion, mover: Mover, *, from_stage: Stage | None = None) -> Move:
    """Put a version aside that is not in Production: a candidate that was rejected.

    Raises:
        GateRefused: It is in Production, or not where the caller says.
        NothingToDo: It is archived already.
    """
    family = service.family(version.model)
    with service.journal.family_lock(family):
        stage = _recorded_stage(service, version)
        if stage is Stage.ARCHIVED:
            raise NothingToDo(f"{version} is in {stage} already: nothing to do")
        if stage is Stage.PRODUCTION:
            raise GateRefused(
                f"{version} serves in Production and does not leave it without a successor: promote another version, "
                f"or python mlops/registry/rollback_model.py --model-name {version.model} --reason WHY"
            )
        if from_stage is not None and stage is not from_stage:
            raise GateRefused(f"{version} is in {stage}, not in {from_stage}: nothing moved")
        service.require_rights(family, version)
        return _put_aside(service, family, Change(version, Stage.ARCHIVED), stage, "archive", mover)


def withdraw(service: PromotionService, version: Known, mover: Mover) -> Move:
    """Mark a version as known bad, for the mover's reason, and put it aside; Production ends empty where it served."""
    family = service.family(version.model)
    with service.journal.family_lock(family):
        stage = _recorded_stage(service, version)
        to = Stage.NONE if stage is Stage.NONE else Stage.ARCHIVED
        return _put_aside(service, family, Change(version, to, known_bad=mover.reason), stage, "withdraw", mover)


def _recorded_stage(service: PromotionService, version: Known) -> Stage:
    entry = service.journal.entry(version.model, version.number)
    return entry.stage if entry else Stage.NONE


def _put_aside(service: PromotionService, family: str, change: Change, stage: Stage, action: str, mover: Mover) -> Move:
    """Record that a version leaves its stage without a successor, and tell MLflow."""
    current = service.journal.production(family)
    operation = service.journal.move(
        family,
        [change],
        Authority(action, mover.actor, mover.reason, approver=mover.approver),
        expected_production=current.id if current else None,
    )
    if stage is Stage.PRODUCTION:
        service.report(
            f"⚠️ {family!r} has NO PRODUCTION now: {change.version} was withdrawn, and nothing may take its place"
        )
    elif stage is not change.to:
        service.report(f"journal: {change.version} is in {change.to}")
    unprojected = service.follow(family)
    return Move(family, change.version, stage, change.to, action, operation, before=current, unprojected=unprojected)


def served_before(journal: Journal, family: str, leaving: Entry | None) -> list[Entry]:
    """The versions that served in Production before the present one, the one that left it last first."""
    found: dict[Place, Entry] = {}
    for event in journal.history(family):
        key = place_of(event)
        if event.from_stage is Stage.PRODUCTION and event.is_move and key not in found:
            entry = journal.entry(*key)
            if entry and (leaving is None or entry.id != leaving.id):
                found[key] = entry
    return list(found.values())


def target_beyond_doubt(journal: Journal, family: str, leaving: Entry | None) -> tuple[Entry | None, str]:
    """The version to go back to without asking a person: the last that served, is not known bad, and not in doubt.

    Returns:
        None where there is none; and each version that is passed over, with what stands against it.
    """
    doubted: list[str] = []
    for entry in served_before(journal, family, leaving):
        if entry.known_bad:
            continue
        why = _critical_incident(journal, entry) or last_critical(journal, family, entry)
        if not why:
            return entry, "; ".join(doubted)
        doubted.append(f"{entry} is passed over: {why}")
    return None, "; ".join(doubted)


def _critical_incident(journal: Journal, entry: Entry) -> str:
    for incident in Reviews(journal).incidents(entry=entry):
        if incident.severity == "critical" and not incident.is_void:
            return f"critical incident {incident.id} of {incident.opened_at:%Y-%m-%d}: {incident.summary}"
    return ""


def _predecessor(service: PromotionService, family: str, leaving: Entry | None) -> ModelVersion:
    """The version that served before; what is known bad is passed over, what was deleted is not: a person decides."""
    known = served_before(service.journal, family, leaving)
    for entry in known:
        if entry.known_bad:
            service.report(f"{entry} is passed over: known bad: {entry.known_bad}")
            continue
        try:
            return service.registry.version(entry.model, entry.number)
        except (UnknownModel, UnknownVersion) as error:
            others = ", ".join(f"{other.model} {other.version}" for other in known if other is not entry) or "none"
            raise GateRefused(
                f"{entry} served before, but MLflow has it no more; name another one with --to-version "
                f"(others that served: {others})"
            ) from error
    bad = f" that is not known bad ({len(known)} are)" if known else ""
    raise GateRefused(
        f"no version of {family!r} served before{bad}: there is nothing to go back to; promote a fixed one"
    )


def _named(service: PromotionService, name: str, to_version: int | str | Entry) -> ModelVersion:
    if isinstance(to_version, Entry):
        return service.registry.version(to_version.model, to_version.number)
    return service.candidate(service.registered_model(name), to_version)


def _require_served(service: PromotionService, family: str, target: ModelVersion) -> None:
    entry = service.journal.entry(target.model, target.number)
    moves = service.journal.history(family, version_id=entry.id) if entry else []
    if not any(Stage.PRODUCTION in {event.from_stage, event.to_stage} for event in moves if event.is_move):
        raise GateRefused(
            f"{target} never served in Production, so it is no version to go back to; "
            f"python mlops/registry/promote_model.py --model-name {target.model} promotes it"
        )


def _require_calm(
    service: PromotionService, family: str, target: Known | None = None, leaving: Known | None = None
) -> None:
    """Refuse a rollback soon after another one, unless a promotion lay between and these are not the same two."""
    config = service.configs.get(family)
    hours = (config.rollback if config else Rollback()).cool_down_hours
    recent = service.journal.history(family, since=service.journal.now() - timedelta(hours=hours)) if hours else []
    last = next((event for event in recent if _starts_cool_down(event)), None)
    if last is None:
        return
    same = {place_of(version) for version in (target, leaving) if version}
    moved = {place_of(event) for event in recent if event.operation == last.operation}
    promoted = any(
        event.is_move and event.to_stage is Stage.PRODUCTION and event.action != ACTION
        for event in recent
        if event.sequence > last.sequence
    )
    if promoted and same != moved:
        return
    named = f"{target.model} --to-version {target.number}" if target else family
    raise GateRefused(
        f"{family!r} was rolled back at {last.at:%Y-%m-%d %H:%M} UTC already ({last.reason}): a second rollback "
        f"within {hours:g} hours goes back and forth; find out what is wrong, or "
        f"python mlops/registry/rollback_model.py --model-name {named} --reason WHY --force"
    )


def _starts_cool_down(event: Event) -> bool:
    """Whether an event is a rollback that was no rehearsal, and undid no failed deployment."""
    return event.action == ACTION and "deployment" not in event.details and clock.counts(event.details)
