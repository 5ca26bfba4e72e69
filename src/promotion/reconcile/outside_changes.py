"""Recognise what happened in MLflow behind the journal's back, and what a first look at a registry finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from promotion.journal.records import Change, Entry, Known
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage


@dataclass(frozen=True, slots=True)
class Difference:
    """What MLflow shows against what the journal holds.

    Attributes:
        changes: Moves that bring the journal to MLflow's state, with one version in Production at most.
        lines: What to tell people, one line each.
    """

    changes: Sequence[Change]
    lines: Sequence[str]


def compare_with_mlflow(
    entries: Sequence[Entry], versions: Sequence[ModelVersion], production_alias: tuple[str, int] | None
) -> Difference:
    """Find the moves made outside the journal.

    Of several versions that MLflow shows in Production, the one moved there last is taken at its word; the others
    become Archived. A `production` alias that points elsewhere counts as a promotion when no stage was moved.

    Args:
        entries: What the journal holds for the family.
        versions: Every version MLflow shows in the family's registered models.
        production_alias: Model and version that an alias `production` points at, when it is not the journal's.
    """
    held = {(entry.model, entry.number): entry.stage for entry in entries}
    shown = {(version.model, version.number): version for version in versions}
    wanted = {key: version.stage for key, version in shown.items()}
    lines: list[str] = []
    current = next((key for key, stage in held.items() if stage is Stage.PRODUCTION), None)
    newcomers = [key for key, stage in wanted.items() if stage is Stage.PRODUCTION and key != current]
    champion = max(newcomers, key=lambda key: (shown[key].updated_at, key), default=None)
    if champion is None and production_alias in shown:
        champion = production_alias
    if champion:
        wanted |= dict.fromkeys(_others_in_production(wanted, champion), Stage.ARCHIVED)
        wanted[champion] = Stage.PRODUCTION
        lines += [
            f"{shown[key]} is in Production too; it was moved there earlier and becomes Archived"
            for key in newcomers
            if key != champion
        ]
    changes = [
        Change(shown[key], stage)
        for key, stage in sorted(wanted.items(), key=lambda item: item[1] is Stage.PRODUCTION)
        if stage is not held.get(key, Stage.NONE)
    ]
    lines += [
        f"{change.version}: MLflow shows {change.to}, the journal {held.get(_key(change.version), Stage.NONE)}"
        for change in changes
    ]
    for entry in entries:
        if entry.stage is Stage.PRODUCTION and _key(entry) not in shown:
            lines.append(f"{entry} was in Production and is no longer in MLflow")
            changes.insert(0, Change(entry, Stage.ARCHIVED))
    return Difference(changes, lines)


def _key(version: Known) -> tuple[str, int]:
    return version.model, version.number


def _others_in_production(stages: Mapping[tuple[str, int], Stage], champion: tuple[str, int]) -> list[tuple[str, int]]:
    return [key for key, stage in stages.items() if stage is Stage.PRODUCTION and key != champion]


def production_alias(aliases: Mapping[str, Mapping[str, int]], current: Entry | None) -> tuple[str, int] | None:
    """Where an alias `production` points, when that is not the journal's Production.

    Args:
        aliases: Of each registered model, its aliases.
        current: The journal's Production.
    """
    targets = [(model, found["production"]) for model, found in aliases.items() if "production" in found]
    return next((target for target in targets if current is None or target != (current.model, current.number)), None)
