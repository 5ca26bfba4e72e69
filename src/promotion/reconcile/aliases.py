"""Which aliases follow the journal in MLflow, where each belongs, and which of them somebody moved by hand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from promotion.config.policy import Aliases
from promotion.journal.journal import Journal
from promotion.journal.records import Entry, Event, Place, place_of
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

Targets = Mapping[str, Place | None]
"""Where each alias belongs; None for nowhere."""


def alias_targets(family: str, journal: Journal, names: Aliases, present: Collection[Place]) -> dict[str, Place | None]:
    """Where each alias belongs; nowhere when its version is not among those that MLflow has."""
    found: list[tuple[Sequence[str], Entry | Event | None]] = [
        (names.production, journal.arrival(family, Stage.PRODUCTION)),
        (names.staging, journal.arrival(family, Stage.STAGING)),
        (names.previous, journal.previous(family, may_be_bad=False)),
    ]
    return {
        alias: place if version and (place := place_of(version)) in present else None
        for aliases, version in found
        for alias in aliases
    }


def retired_aliases(family: str, journal: Journal, names: Aliases) -> set[str]:
    """What the aliases were called when the last two versions came into Production, and no more are.

    They were ours: left behind, they would lead whoever still loads by them to a version that does not serve.
    """
    recorded = [journal.rules(digest) or {} for digest in journal.rules_of_arrivals(family, limit=2)]
    known = [Aliases.model_validate(sections.get("aliases", {})) for sections in recorded]
    return {alias for before in known for alias in before.all} - set(names.all)


def moved_alias(
    aliases: Mapping[str, Mapping[str, int]], names: Sequence[str], held: Collection[Place]
) -> tuple[str, Place] | None:
    """The first of the named aliases that points elsewhere than where it may; None when none does."""
    places = ((alias, (model, found[alias])) for alias in names for model, found in aliases.items() if alias in found)
    return next((item for item in places if item[1] not in held), None)


def alias_lines(aliases: Mapping[str, Mapping[str, int]], targets: Targets, present: Collection[Place]) -> list[str]:
    """The aliases of ours that point elsewhere than they should, one line each; one that is missing is no news."""
    lines = []
    for model, found in sorted(aliases.items()):
        for alias, number in sorted(found.items()):
            if alias not in targets or (target := targets[alias]) == (model, number):
                continue
            belongs = "{} v{}".format(*target) if target else "no version"
            gone = "" if (model, number) in present else ", which MLflow does not have"
            lines.append(f"alias {alias} of {model} points at v{number}{gone}; it belongs to {belongs}")
    return lines


def moved_line(alias: str, target: Place, shown: Mapping[Place, ModelVersion], stage: Stage, held: Entry | None) -> str:
    """That an alias says otherwise than the journal, in the words of every command."""
    model, number = target
    where = f"v{number} ({shown[target].stage})" if target in shown else f"v{number}, which MLflow does not have"
    return f"alias {alias} of {model} points at {where}, the journal holds {held or 'none'} in {stage}"


def may_point_elsewhere(
    aliases: Mapping[str, Mapping[str, int]],
    names: Aliases,
    held: Mapping[Stage, Collection[Place]],
    previous: Place | None,
) -> bool:
    """Whether any alias of a family is not where the journal would have it, as far as a listing can tell."""
    staged = held.get(Stage.STAGING, ())
    allowed: Iterable[tuple[Sequence[str], Collection[Place]]] = (
        (names.production, held.get(Stage.PRODUCTION, ())),
        # Of several in Staging only one is the newest, which takes a closer look.
        (names.staging, staged if len(staged) == 1 else ()),
        (names.previous, [previous] if previous else ()),
    )
    return any(moved_alias(aliases, own, places) for own, places in allowed)
