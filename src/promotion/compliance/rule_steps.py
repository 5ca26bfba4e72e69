"""How the rules of each family changed in a month, and what was promoted by looser ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from promotion.compliance.facts import Act
from promotion.config.commit import MODIFIED, UNCOMMITTED
from promotion.journal.journal import Journal
from promotion.journal.periods import Period
from promotion.journal.records import Event, RuleSet
from promotion.rules.changes import Direction, RuleChange
from promotion.rules.history import RuleHistory, is_promotion, rules_of

RulesNow = Callable[[str], RuleSet | None]
"""The rules of a family as they are now; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class RuleStep:
    """Rules that are different from those of the family's act before.

    Attributes:
        family: Whose.
        act: The first act under them; None for the family's file now, under which nothing was done yet, and for what
            came after the month.
        changes: What is different.
        promoted: The promotions of this month that stand under the rules before.
    """

    family: str
    act: Act | None
    changes: Sequence[RuleChange]
    promoted: Sequence[Act] = ()

    @property
    def loosened(self) -> list[RuleChange]:
        """What asks for less."""
        return [change for change in self.changes if change.is_looser]

    @property
    def alerts(self) -> list[str]:
        """What must not be overlooked: that rules were loosened, or a version promoted before they were tightened."""
        if self.loosened and self.act:
            when = f"{self.act.event.action} of {self.act.model} {self.act.version}"
            listed = "; ".join(map(str, self.loosened))
            return [f"{self.family}: rules loosened before the {when}, event {self.act.event.sequence}: {listed}"]
        tightened = [str(change) for change in self.changes if change.direction is Direction.TIGHTER]
        return [
            f"{self.family}: {act.model} {act.version} was promoted by looser rules than those that followed, event "
            f"{act.event.sequence}: {'; '.join(tightened)}"
            for act in (self.promoted if tightened else ())
        ]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "family": self.family,
            "event": self.act.event.sequence if self.act else None,
            "changes": [change.as_json() for change in self.changes],
        }


def rule_steps(journal: Journal, period: Period, acts: Iterable[Act], rules_now: RulesNow) -> list[RuleStep]:
    """Every change of the rules from one recorded act of a family to the next, and to what followed the last one."""
    homes, history = journal.homes(), RuleHistory(journal)

    def home(event: Event) -> str:
        return homes.get(event.model, event.family)

    ruled = sorted((act for act in acts if rules_of(act.event)), key=lambda act: home(act.event))
    before = {home(event): Act(event, None) for event in period.ruled_before()}
    # Of several models of a family, the first act after the end.
    later = {home(event): rules_of(event) for event in reversed(period.ruled_after())}
    found = []
    for family, group in groupby(ruled, key=lambda act: home(act.event)):
        ours = list(group)
        known = [before[family], *ours] if family in before else ours
        found += [
            RuleStep(family, _main(act, ours), changes, _promoted_by(last, ours))
            for last, act in pairwise(known)
            if (changes := history.changes(rules_of(last.event), rules_of(act.event)))
        ]
        end = rules_of(ours[-1].event)
        followed = history.changes(end, later[family]) if family in later else None
        if changes := history.changes_until(end, rules_now(family)) if followed is None else followed:
            found.append(RuleStep(family, None, changes, _promoted_by(ours[-1], ours)))
    return found


def in_no_commit(acts: Iterable[Act]) -> list[Act]:
    """Promotions by rules that are in no commit, though their file lies in a repository."""
    states = {MODIFIED, UNCOMMITTED}
    return [act for act in acts if is_promotion(act.event) and rules_of(act.event).get("state") in states]


def _main(act: Act, acts: Iterable[Act]) -> Act:
    """Of an operation the act that others make room for."""
    together = (it for it in acts if it.event.operation == act.event.operation and it.is_entry)
    return next(together, act)


def _promoted_by(ruled: Act, acts: Iterable[Act]) -> list[Act]:
    """The promotions that stand under the same rules as an act."""
    rules = rules_of(ruled.event)["digest"]
    return [act for act in acts if is_promotion(act.event) and rules_of(act.event)["digest"] == rules]
