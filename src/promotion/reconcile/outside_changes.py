"""Recognise what happened in MLflow behind the journal's back, and what a first look at a registry finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from promotion.journal.records import Change, Entry, Known, Place, place_of
from promotion.reconcile.aliases import moved_line
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

GONE = "no longer in MLflow"
"""Why a version leaves that nobody can put back."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What MLflow shows against what the journal holds.

    Attributes:
        changes: Moves that bring the journal to MLflow's state, with one version in Production at most. Each says what
            MLflow shows of its version.
        lines: What to tell people, one line each; also what moves nothing, such as an alias that leads nowhere.
        productions: Every version that MLflow shows in Production.
        known_bad: Versions that MLflow wants to serve and that must not serve again.
    """

    changes: Sequence[Change]
    lines: Sequence[str]
    productions: Sequence[ModelVersion] = ()
    known_bad: Sequence[Entry] = ()

    @property
    def is_ambiguous(self) -> bool:
        """Whether MLflow shows more than one version in Production."""
        return len(self.productions) > 1


def compare_with_mlflow(
    entries: Sequence[Entry],
    versions: Sequence[ModelVersion],
    promoted: tuple[str, Place] | None,
    staged: tuple[str, Place] | None = None,
) -> Difference:
    """Find the moves made outside the journal.

    Of several versions that MLflow shows in Production, the one moved there last is taken at its word; the others
    leave. An alias of Production that points elsewhere counts as a promotion when no stage was moved.

    Args:
        entries: What the journal holds for the family.
        versions: Every version MLflow shows in the family's registered models.
        promoted: An alias of Production that does not point at the journal's, and where it points.
        staged: An alias of Staging that a person moved, and where it points.
    """
    known = {place_of(entry): entry for entry in entries}
    held = {place: entry.stage for place, entry in known.items()}
    shown = {place_of(version): version for version in versions}
    wanted = {place: version.stage for place, version in shown.items()}
    current = next((entry for entry in entries if entry.stage is Stage.PRODUCTION), None)
    productions = [shown[place] for place in sorted(shown) if shown[place].stage is Stage.PRODUCTION]
    places = [place_of(version) for version in productions]
    newcomers = [place for place in places if current is None or place != place_of(current)]
    serving = max(newcomers, key=lambda place: (shown[place].updated_at, place), default=None)
    lines = [production_line(productions, current)] if len(productions) > 1 else []
    if promoted and promoted[1] not in newcomers:
        lines.append(moved_line(*promoted, shown, Stage.PRODUCTION, current))
        if serving is None and promoted[1] in shown:
            serving = promoted[1]
            newcomers = [serving]
    if serving:
        others = [place for place, stage in wanted.items() if stage is Stage.PRODUCTION and place != serving]
        wanted |= dict.fromkeys(others, Stage.ARCHIVED)
        wanted[serving] = Stage.PRODUCTION
    if staged and Stage.PRODUCTION not in {wanted.get(staged[1], Stage.PRODUCTION), held.get(staged[1])}:
        if wanted[staged[1]] is not Stage.STAGING:
            last_staged = next((entry for entry in reversed(entries) if entry.stage is Stage.STAGING), None)
            lines.append(moved_line(*staged, shown, Stage.STAGING, last_staged))
        wanted[staged[1]] = Stage.STAGING
    by_alias = {place: alias for alias, place in filter(None, (promoted, staged))}
    changes = [
        Change(shown[place], stage, found=_found(shown[place], stage, serving, productions, by_alias))
        for place, stage in sorted(wanted.items(), key=lambda item: item[1] is Stage.PRODUCTION)
        if stage is not held.get(place, Stage.NONE)
    ]
    lines += [
        f"{change.version}: MLflow shows {shown[place].stage}, the journal {held.get(place, Stage.NONE)}"
        for change in changes
        if shown[place := place_of(change.version)].stage is not held.get(place, Stage.NONE)
    ]
    for entry in entries:
        if entry.stage in {Stage.PRODUCTION, Stage.STAGING} and place_of(entry) not in shown:
            lines.append(f"{entry} was in {entry.stage} and is no longer in MLflow")
            changes.insert(0, Change(entry, Stage.ARCHIVED, found=GONE))
    bad = [known[place] for place in newcomers if place in known and known[place].known_bad]
    return Difference(changes, lines, productions, bad)


def production_line(shown: Iterable[Known], held: Entry | None) -> str:
    """Which versions MLflow shows in Production and which one the journal holds, in the words of every command."""
    *others, last = [str(version) for version in shown] or ["no version"]
    names = f"{', '.join(others)} and {last}" if others else last
    return f"MLflow shows {names} in Production, the journal holds {held or 'none'}"


def _found(
    version: ModelVersion,
    to: Stage,
    serving: Place | None,
    productions: Sequence[ModelVersion],
    by_alias: Mapping[Place, str],
) -> str:
    """What MLflow shows of a version that moves, where that is not simply the stage it goes to."""
    if version.stage is to:
        return ""
    if place_of(version) == serving or to is Stage.STAGING:
        return f"{version.stage}, with the alias {by_alias[place_of(version)]}"
    names = " and ".join(str(each) for each in productions)
    winner = "{} v{}".format(*serving) if serving else "another version"
    if len(productions) > 1:
        return f"{version.stage}: MLflow showed {names} in Production, {winner} was moved there last and serves alone"
    return f"{version.stage}: {winner} serves in its place"
