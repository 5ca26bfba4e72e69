"""Write the journal's present state into MLflow: stages, aliases and tags; Production is never empty on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from promotion.config.policy import Aliases
from promotion.config.printable import as_markdown, printable
from promotion.errors import NotOffered, RegistryBroken, UnknownModel
from promotion.journal.journal import Journal
from promotion.journal.records import Entry, Event, Known, Place, place_of
from promotion.reconcile.aliases import Targets, alias_targets, retired_aliases
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.failures import only_refusals
from promotion.registry.retry import retry_projection
from promotion.registry.stages import Stage

STAGE_TAG = "stage"
"""Carries the stage where MLflow cannot store one."""

OPERATION_TAG = "promotion.operation"
"""Who moved the version in Production, when, why."""

LONGEST_DESCRIPTION = 5000
"""Characters that MLflow's tables have for a description."""

_LONGEST_REASON = 500


def note(move: Event) -> str:
    """One line about a move, as it stands in the version's description, which MLflow shows as Markdown."""
    reason = " ".join(move.reason.split())
    if len(reason) > _LONGEST_REASON:
        reason = f"{reason[:_LONGEST_REASON]}…"
    approver = move.details.get("approver")
    who = as_markdown(f"{move.actor} for {approver}" if approver and approver != move.actor else move.actor)
    waived = move.details.get("override")
    loud = f" (OVERRIDDEN: {', '.join(waived)})" if waived else ""
    return f"{move.at:%Y-%m-%d %H:%M} UTC, {move.to_stage}, {move.action} by {who}{loud}: {as_markdown(reason)}"


def require_projectable(models: Iterable[str], moving: Iterable[Known], registry: Registry, names: Aliases) -> None:
    """Find out, before anything is recorded, whether MLflow would take what is to be projected; writes nothing.

    Removing takes a right of its own, and is asked about only where an alias or a tag will have to go.

    Raises:
        RegistryUnauthorised: Whoever acts is not known.
        RegistryForbidden: Whoever acts may not. A registry that cannot be asked says nothing: MLflow is told later.
        RegistryReadOnly: The store cannot be written.
    """
    places = {place_of(version) for version in moving}
    arriving = {model for model, _ in places}
    for name in sorted(models):
        with only_refusals(), suppress(UnknownModel):
            model = registry.model(name)
            ours = {alias: number for alias, number in model.aliases.items() if alias in names.all}
            leaves = name not in arriving or not places.isdisjoint(
                (name, ours.get(it)) for it in (*names.staging, *names.previous)
            )
            deletes = (bool(ours) and leaves) or any(STAGE_TAG in version.tags for version in model.versions)
            if name in arriving or deletes:
                registry.require_rights(name, deletes=deletes)


def project(
    family: str,
    models: Iterable[str],
    journal: Journal,
    registry: Registry,
    report: Callable[[str], None],
    names: Aliases,
) -> list[str]:
    """Bring MLflow to the state the journal holds; writes only what differs.

    The caller holds the family's lock, so the state cannot change underneath, and an older queued state is never
    written over a newer one.

    Returns:
        What MLflow still does not show, one line each; empty when it shows everything. Where stages could not be
        written, aliases and `stage` tags carry the state instead.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    projection = _Projection(registry, report)
    shown: dict[str, list[ModelVersion]] = {}
    for name in sorted(models):
        try:
            shown[name] = registry.versions(name)
        except UnknownModel:
            continue
    entries = journal.entries(family)
    for version, stage in _stage_moves(entries, shown):
        projection.move(version, stage)
    present = {place_of(version) for versions in shown.values() for version in versions}
    targets = alias_targets(family, journal, names, present)
    projection.point_aliases(targets | dict.fromkeys(retired_aliases(family, journal, names)), shown)
    if not projection.problems:
        projection.note_reasons(journal.last_moves(family), shown)
    arrival = journal.arrival(family, Stage.PRODUCTION)
    if arrival:
        text = printable(f"{arrival.operation} by {arrival.actor} at {arrival.at:%Y-%m-%dT%H:%M:%SZ}: {arrival.reason}")
        for version in shown.get(arrival.model, []):
            if version.number == arrival.number and version.tags.get(OPERATION_TAG) != text:
                registry.set_tag(version.model, version.number, OPERATION_TAG, text)
    return projection.problems


@dataclass(slots=True)
class _Projection:
    """One run over one family; remembers what MLflow could not take."""

    registry: Registry
    report: Callable[[str], None]
    problems: list[str] = field(default_factory=list)

    def move(self, version: ModelVersion, stage: Stage) -> None:
        """Set a stage, or, where the store cannot, leave the old one and say the new one in a tag.

        After one failure no other stage is touched: the old Production must not leave while the new one cannot enter.
        """
        model, number = version.model, version.number
        if version.stage is not stage and not self.problems:
            try:
                retry_projection(lambda: self.registry.set_stage(model, number, stage))
            except RegistryBroken as error:
                self.problems.append(
                    f"MLflow could not set the stage of {version} to {stage}: {error}; "
                    f"aliases and the tag {STAGE_TAG!r} say it instead (MLFLOW-WORKAROUND.md)"
                )
            else:
                self.report(f"MLflow shows {version} in {stage}")
        is_shown = version.stage is stage or not self.problems
        if is_shown and STAGE_TAG in version.tags:
            self.registry.delete_tag(model, number, STAGE_TAG)
        elif not is_shown and version.tags.get(STAGE_TAG) != stage:
            self.registry.set_tag(model, number, STAGE_TAG, stage.value)
            self.report(f"tag {STAGE_TAG}={stage} written on {version} instead of its stage")

    def note_reasons(self, moves: Iterable[Event], shown: Mapping[str, Sequence[ModelVersion]]) -> None:
        """Add why a person moved a version to its description, below whatever stands there."""
        notes = {place_of(move): note(move) for move in moves if _is_told(move)}
        for version in (version for versions in shown.values() for version in versions):
            line = notes.get(place_of(version))
            if line is None or line in version.description.splitlines():
                continue
            text = f"{version.description.rstrip()}\n\n{line}".lstrip()
            if len(text) > LONGEST_DESCRIPTION:
                self.report(f"the description of {version} is full: why it moved is in the journal only")
                continue
            self.registry.set_description(version.model, version.number, text)

    def point_aliases(self, targets: Targets, models: Iterable[str]) -> None:
        """Let each alias point at its target in one registered model and be absent from the family's others."""
        try:
            for model in models:
                present = self.registry.model(model).aliases
                for alias, target in targets.items():
                    self._point(model, alias, present.get(alias), target)
        except NotOffered:
            # Where stages are shown, a server that is too old for aliases shows all it can.
            self.report("the server offers no aliases: consumers load models:/<name>/Production")
            if self.problems:
                self.problems.append("the server offers no aliases either")
        except RegistryBroken as error:
            self.problems.append(f"MLflow could not write an alias: {error}")

    def _point(self, model: str, alias: str, present: int | None, target: Place | None) -> None:
        if target and target[0] == model:
            if present != target[1]:
                number = target[1]
                retry_projection(lambda: self.registry.set_alias(model, alias, number))
                self.report(f"MLflow shows {model}@{alias} as v{target[1]}")
        elif present is not None:
            self.registry.delete_alias(model, alias)
            self.report(f"MLflow shows {model}@{alias} no more")


def _is_told(move: Event) -> bool:
    """Whether a person gave a reason for this version; one that a successor replaced has none of its own."""
    is_replaced = move.action == "promote" and move.to_stage is Stage.ARCHIVED
    return move.action not in {"genesis", "adopt"} and not is_replaced


def _stage_moves(entries: Iterable[Entry], shown: dict[str, list[ModelVersion]]) -> list[tuple[ModelVersion, Stage]]:
    """What differs, the new Production first: two for a moment are better than none."""
    held = {place_of(entry): entry.stage for entry in entries}
    moves = []
    for version in (version for versions in shown.values() for version in versions):
        stage = held.get(place_of(version))
        if stage is None and version.stage is Stage.PRODUCTION:
            stage = Stage.ARCHIVED
        if stage and (stage is not version.stage or STAGE_TAG in version.tags):
            moves.append((version, stage))
    return sorted(moves, key=lambda move: move[1] is not Stage.PRODUCTION)
