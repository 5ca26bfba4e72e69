"""A family of which rows, events and MLflow say different things: what is told of it, and the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from promotion.config.family import FamilyConfig
from promotion.errors import Quarantined
from promotion.journal.records import Change, Entry, Known, place_of
from promotion.reconcile.outside_changes import GONE
from promotion.registry.stages import Stage

_PROMOTE = "python scripts/promote-model.py"
_REGISTRY = "python mlops/registry"


@dataclass(frozen=True, slots=True)
class Unsettled:
    """What was changed outside, in the same words for every command that reads.

    Attributes:
        family: Whose versions.
        lines: What was found, one line each; empty when everything agrees.
        config: The family's rules; None when it has none.
        by_hand: Versions whose row SQL changed, each with the stage that was recorded.
        is_ambiguous: Whether MLflow shows more than one version in Production.
        known_bad: Versions that somebody wants to serve and that must not serve again.
        changes: The moves that would bring the journal to what MLflow shows.
        elsewhere: Registered models whose versions are recorded under another family, with that family's name.
    """

    family: str
    lines: Sequence[str]
    config: FamilyConfig | None = None
    by_hand: Sequence[tuple[Entry, Stage]] = ()
    is_ambiguous: bool = False
    known_bad: Sequence[Entry] = ()
    changes: Sequence[Change] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def moved(self) -> bool:
        """Whether a version is elsewhere than recorded, not an alias alone."""
        return bool(self.by_hand or self.changes)

    @property
    def gone(self) -> list[Change]:
        """The versions that somebody deleted from MLflow: nothing brings them back, so that is recorded as it is."""
        return [change for change in self.changes if change.found == GONE]

    @property
    def is_emptied(self) -> bool:
        """Whether SQL took the version out of Production and put none in its place."""
        served = any(was is Stage.PRODUCTION for _, was in self.by_hand)
        return served and not any(entry.stage is Stage.PRODUCTION for entry, _ in self.by_hand)

    @property
    def is_quarantined(self) -> bool:
        """Whether nothing is taken over: people have to agree first, or nobody can have meant it."""
        is_governed = self.config is not None and self.config.approvals is not None
        is_placed = bool(self.by_hand) or len(self.changes) > len(self.gone)
        return bool(self.elsewhere) or self.is_emptied or bool(self.known_bad) or (is_governed and is_placed)

    def __str__(self) -> str:
        """One line for whoever looks: what was found and what to do."""
        how = "changed outside by SQL" if self.by_hand else "changed outside"
        what = f"{how}: {'; '.join(self.lines)}; {self.advice}"
        if self.is_emptied:
            return f"❌ {self.family}: NO PRODUCTION: {what}"
        return f"🔒 {self.family}: QUARANTINED: {what}" if self.is_quarantined else f"⚠️ {self.family}: {what}"

    def error(self) -> Quarantined:
        """The refusal of a command that needs the family settled."""
        state = (
            "has NO PRODUCTION" if self.is_emptied else "is quarantined" if self.is_quarantined else "is not settled"
        )
        return Quarantined(f"{self.family!r} {state}: {'; '.join(self.lines)}; {self.advice}", found=list(self.lines))

    def steps(self, version: Known) -> list[str]:
        """What to type for a version that every gate lets through, although the family is not settled."""
        if self.elsewhere:
            return [self.advice]
        is_theirs = place_of(version) in {
            *(place_of(entry) for entry, _ in self.by_hand if entry.stage is Stage.PRODUCTION),
            *(place_of(change.version) for change in self.changes if change.to is Stage.PRODUCTION),
        }
        if is_theirs and not self.known_bad:
            return [self._reconcile]
        restore = f"{_PROMOTE} --restore --model {self.family} --reason WHY"
        label = next((entry.version for entry, _ in self.by_hand if entry.number == version.number), version.number)
        return [restore, f"{_PROMOTE} {version.model} {label}"]

    @property
    def _reconcile(self) -> str:
        named = " --approver WHO" if self.config and self.config.access.production is not None else ""
        return f"{_PROMOTE} --reconcile --model {self.family}{named}"

    @property
    def advice(self) -> str:
        """Each way out as a command that can be typed."""
        if self.elsewhere:
            return _where_it_belongs(self.family, self.elsewhere)
        restore = f"{_PROMOTE} --restore --model {self.family} --reason WHY puts back what was recorded"
        reconcile = self._reconcile
        if self.is_emptied:
            return f"{_effect(self.by_hand)}; {restore}; {_intended(self.by_hand)}"
        if self.known_bad:
            return f"{_why_bad(self.known_bad)}; {restore}; {_lifted(self.known_bad)}"
        if self.is_quarantined:
            return f"export and deploy refuse; once every approval is given, {reconcile} ratifies it; {restore}"
        if not (self.is_ambiguous or self.moved):
            return f"{reconcile} points the aliases where they belong"
        over = (
            f"export and deploy refuse; {reconcile} takes over the one that was moved there last"
            if self.is_ambiguous
            else f"the next promotion, or {reconcile}, takes it over"
        )
        return f"{over}; {restore}"


def hand_lines(by_hand: Sequence[tuple[Entry, Stage]]) -> list[str]:
    """What somebody changed by SQL, one line a version."""
    return [f"{entry}: its row says {entry.stage}, the events say {recorded}" for entry, recorded in by_hand]


def _where_it_belongs(family: str, elsewhere: Mapping[str, str]) -> str:
    """A family is what its versions, approvals and rules are recorded under: no file takes them over."""
    others = sorted(set(elsewhere.values()))
    files = " and ".join(f"config/{other}.yaml (family: {other})" for other in others)
    return (
        f"nothing moves under {family!r}: its rules belong into {files}, where its past is; "
        f"a file that claims {', '.join(sorted(elsewhere))} otherwise must not"
    )


def _effect(by_hand: Sequence[tuple[Entry, Stage]]) -> str:
    left = next(entry for entry, was in by_hand if was is Stage.PRODUCTION)
    return (
        f"the statement that archives took {left} out and none put another version in (without BEGIN and COMMIT the "
        "one that promotes is refused by one_production_per_family; a misspelt version matches no row)"
    )


def _intended(by_hand: Sequence[tuple[Entry, Stage]]) -> str:
    """How the version that was meant comes into Production, every gate asked; its name where the rows give it away."""
    old = next(entry for entry, was in by_hand if was is Stage.PRODUCTION)
    meant = [(entry, was) for entry, was in by_hand if was is not Stage.PRODUCTION]
    version, stage = (meant[0][0].version, meant[0][1].status) if len(meant) == 1 else ("VERSION", "staging")
    return (
        f"{_REGISTRY}/promote_model.py --model-name {old.model} --version {version} --from-stage {stage} "
        "--to-stage production --approver WHO puts the one that was meant there, if every gate lets it"
    )


def _why_bad(entries: Sequence[Entry]) -> str:
    return "; ".join(f"{entry} is known bad ({entry.known_bad}) and is not taken over" for entry in entries)


def _lifted(entries: Sequence[Entry]) -> str:
    entry = entries[0]
    return (
        f"if the mark was wrong, {_REGISTRY}/known_bad.py {entry.model} {entry.version} --lift --reason WHY lifts it, "
        "and it is promoted as any other version"
    )
