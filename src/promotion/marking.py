"""What is held against a version: a mark that keeps it from serving again, set or lifted by a person, for a reason."""

from __future__ import annotations

from promotion.errors import GateRefused, NothingToDo
from promotion.journal.records import Authority
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

MARKED, LIFTED = "known bad", "known bad lifted"
"""What the record calls it."""


def mark_known_bad(service: PromotionService, version: ModelVersion, mover: Mover) -> str:
    """Hold the mover's reason against a version that does not serve; returns what MLflow does not show of that yet.

    Raises:
        GateRefused: It serves in Production: a rollback marks it and puts another one in its place.
        NothingToDo: The same is known against it already.
    """
    return _write(service, version, mover, known_bad=mover.reason)


def lift_known_bad(service: PromotionService, version: ModelVersion, mover: Mover) -> str:
    """Take the mark from a version that turned out to be innocent; returns what MLflow does not show of that yet.

    Raises:
        NothingToDo: Nothing is known against it.
    """
    return _write(service, version, mover, known_bad=None)


def _write(service: PromotionService, version: ModelVersion, mover: Mover, *, known_bad: str | None) -> str:
    family = service.family(version.model)
    with service.journal.family_lock(family):
        entry = service.journal.entry(version.model, version.number)
        held = entry.known_bad if entry else None
        if held == known_bad:
            raise NothingToDo(
                f"{version} is {f'known bad already ({held})' if held else 'not known bad'}: nothing to do"
            )
        if known_bad and entry and entry.stage is Stage.PRODUCTION:
            raise GateRefused(
                f"{entry} serves in Production: python mlops/registry/rollback_model.py --model-name {entry.model} "
                "--reason WHY takes it back and marks it"
            )
        action = MARKED if known_bad else LIFTED
        authority = Authority(action, mover.actor, mover.reason, details={"was": held} if held else {})
        service.journal.mark(family, version, authority, known_bad=known_bad)
        # An alias never points at what is known bad.
        return service.follow(family)
