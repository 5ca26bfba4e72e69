"""Write the journal's present state into MLflow: stages, aliases and tags, never leaving Production empty on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from promotion.errors import RegistryBroken, RegistryError, UnknownModel, UnknownVersion
from promotion.journal import Entry, Journal
from promotion.registry import ModelVersion, Registry
from promotion.stages import Stage

STAGE_TAG = "stage"
"""Carries the stage where MLflow cannot store one."""

EVENT_TAG = "promotion.operation"


@dataclass(slots=True)
class _Outcome:
    problems: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def project(
    family: str, models: set[str], journal: Journal, registry: Registry, report: Callable[[str], None]
) -> list[str]:
    """Bring MLflow to the state the journal holds; writes only what differs.

    The caller holds the family's lock, so the state cannot change underneath, and an older queued state is never
    written over a newer one.

    Args:
        family: Whose versions.
        models: Names of the family's registered models.
        journal: Decides.
        registry: Follows.
        report: Told each step as it is done.

    Returns:
        What MLflow still does not show, one line each; empty when it shows everything. Then stages could not be
        written, and aliases and `stage` tags carry the state instead.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    outcome = _Outcome()
    wanted = {(entry.model, entry.number): entry for entry in journal.entries(family)}
    present = {name: versions for name in sorted(models) if (versions := _versions(registry, name)) is not None}
    production = next((entry for entry in wanted.values() if entry.stage is Stage.PRODUCTION), None)
    moves = _stage_moves(wanted, present)
    for version, stage in moves:
        _move(registry, version, stage, outcome, report)
    _write_aliases(family, present, production, journal, registry, outcome, report)
    if production:
        event = journal.arrival(family, Stage.PRODUCTION)
        text = f"{event.operation} by {event.actor} at {event.at:%Y-%m-%dT%H:%M:%SZ}: {event.reason}" if event else ""
        shown = _find(present, production)
        if shown and shown.tags.get(EVENT_TAG) != text:
            registry.set_tag(production.model, production.number, EVENT_TAG, text)
            report("tags written")
    return outcome.problems


def _versions(registry: Registry, name: str) -> list[ModelVersion] | None:
    try:
        return registry.versions(name)
    except UnknownModel:
        return None


def _find(present: dict[str, list[ModelVersion]], entry: Entry) -> ModelVersion | None:
    return next((version for version in present.get(entry.model, []) if version.number == entry.number), None)


def _stage_moves(
    wanted: dict[tuple[str, int], Entry], present: dict[str, list[ModelVersion]]
) -> list[tuple[ModelVersion, Stage]]:
    """What to move, the new Production first: two for a moment are better than none."""
    moves = []
    for versions in present.values():
        for version in versions:
            entry = wanted.get((version.model, version.number))
            if entry and (entry.stage is not version.stage or STAGE_TAG in version.tags):
                moves.append((version, entry.stage))
            elif entry is None and version.stage is Stage.PRODUCTION:
                moves.append((version, Stage.ARCHIVED))
    return sorted(moves, key=lambda move: move[1] is not Stage.PRODUCTION)


def _move(
    registry: Registry, version: ModelVersion, stage: Stage, outcome: _Outcome, report: Callable[[str], None]
) -> None:
    """Set a stage, or, where the store cannot, leave the old one and say the new one in a tag."""
    if version.stage is not stage and not outcome.problems:
        try:
            registry.set_stage(version.model, version.number, stage)
        except RegistryBroken as error:
            outcome.note(f"MLflow could not set the stage of {version} to {stage}: {error}")
        else:
            report(f"MLflow shows {version} in {stage}")
            if STAGE_TAG in version.tags:
                registry.delete_tag(version.model, version.number, STAGE_TAG)
            return
    if version.stage is stage:
        registry.delete_tag(version.model, version.number, STAGE_TAG)
    elif version.tags.get(STAGE_TAG) != stage.value:
        registry.set_tag(version.model, version.number, STAGE_TAG, stage.value)
        report(f"tag {STAGE_TAG}={stage} written on {version} instead of its stage")


def _write_aliases(
    family: str,
    present: dict[str, list[ModelVersion]],
    production: Entry | None,
    journal: Journal,
    registry: Registry,
    outcome: _Outcome,
    report: Callable[[str], None],
) -> None:
    staging = journal.arrival(family, Stage.STAGING)
    previous = journal.previous(family)
    targets = {
        "production": (production.model, production.number) if production else None,
        "staging": (staging.model, staging.number) if staging else None,
        "previous": (previous.model, previous.number) if previous else None,
    }
    try:
        for name in present:
            aliases = registry.model(name).aliases
            for alias, target in targets.items():
                number = target[1] if target and target[0] == name else None
                if number is None and alias in aliases:
                    registry.delete_alias(name, alias)
                elif number is not None and aliases.get(alias) != number:
                    _set_alias(registry, name, alias, number)
                    report(f"alias {name}@{alias} → v{number}")
    except RegistryBroken as error:
        outcome.note(f"MLflow could not write the aliases of {family}: {error}")


def _set_alias(registry: Registry, name: str, alias: str, number: int) -> None:
    try:
        registry.set_alias(name, alias, number)
    except UnknownVersion as error:
        message = f"{name} v{number} is in the journal and no longer in MLflow: {error}"
        raise RegistryError(message) from error
