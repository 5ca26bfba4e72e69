"""How a family's rules changed from one recorded act to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from promotion.journal.reader import JournalReader
from promotion.journal.records import Event, RuleSet
from promotion.registry.stages import Stage
from promotion.rules.changes import Direction, RuleChange, changes_between

SOFTWARE = "promotion-layer"
"""What the version of this package is called among the changes."""

_PROMOTE = "promote"
_KEYS_OF_PEOPLE = frozenset({"signers", "revoked"})


class RuleHistory:
    """Compares the rules that recorded acts stand under; each set is read once."""

    def __init__(self, journal: JournalReader) -> None:
        self._journal = journal
        self._known: dict[str, Mapping[str, Any] | None] = {}

    def changes(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[RuleChange]:
        """What is different between what two acts say of their rules (`rules_of`); nothing where one says nothing."""
        if not was or not now:
            return []
        changed = [] if was["digest"] == now["digest"] else self._compared(was["digest"], now["digest"])
        versions = was.get("software"), now.get("software")
        updated = [] if versions[0] == versions[1] else [RuleChange(SOFTWARE, *versions, Direction.CHANGED)]
        return changed + updated

    def changes_until(self, was: Mapping[str, Any], rules: RuleSet | None) -> list[RuleChange]:
        """The same between an act and rules that need not be kept; nothing where these are unknown."""
        if rules is None:
            return []
        self._known[rules.digest] = rules.sections
        return self.changes(was, rules.as_json())

    def since_promotion(self, rules: RuleSet, model: str) -> list[RuleChange]:
        """What is different from the rules by which the family's last version was promoted; nothing without one.

        Args:
            rules: Those of now.
            model: Registered model of the candidate, which another file may have claimed since.
        """
        first_heard_in = self._journal.homes().get(model, model)
        promoted = self._journal.promotions({rules.family, model, first_heard_in}, limit=1)
        return self.changes_until(rules_of(promoted[0]), rules) if promoted else []

    def since_approval(self, digest: str, rules: RuleSet) -> list[RuleChange]:
        """What is different now from the rules, by their digest, that an approval was given under.

        Whose keys count is left out: each approval's signature is verified again with the present ones.
        """
        self._known[rules.digest] = rules.sections
        found = [] if digest == rules.digest else self._compared(digest, rules.digest)
        return [change for change in found if change.key not in _KEYS_OF_PEOPLE]

    def of_promotions(self, events: Sequence[Event]) -> dict[int, list[RuleChange]]:
        """Of each promotion among events, by its sequence, what is different from the family's promotion before it.

        Whatever was loosened since the family's act before it, where that is among the events, is in it as well:
        whoever promotes twice by loosened rules has put them back in between.
        """
        asked = {event.sequence: event for event in events if is_promotion(event)}
        homes = self._journal.homes() if asked else {}
        names = {homes.get(event.model, event.family) for event in asked.values()}
        made: dict[str, list[Event]] = {}
        for event in reversed(self._journal.promotions(names)) if asked else ():
            made.setdefault(homes.get(event.model, event.family), []).append(event)
        found = {
            after.sequence: self.changes(rules_of(before), rules_of(after))
            for events_of_one in made.values()
            for before, after in pairwise(events_of_one)
            if after.sequence in asked
        }
        last: dict[str, Event] = {}
        for event in sorted(events, key=lambda event: event.sequence):
            home = homes.get(event.model, event.family)
            if is_promotion(event) and home in last:
                known = found.setdefault(event.sequence, [])
                since = self.changes(rules_of(last[home]), rules_of(event))
                known += [change for change in since if change.is_looser and change not in known]
            if rules_of(event) and not _makes_room(event):
                last[home] = event
        return {sequence: changes for sequence, changes in found.items() if changes}

    def _compared(self, was: str, now: str) -> list[RuleChange]:
        old, new = self._sections(was), self._sections(now)
        if old is None or new is None:
            return [RuleChange("rules", was, now, Direction.CHANGED)]
        return changes_between(old, new)

    def _sections(self, digest: str) -> Mapping[str, Any] | None:
        if digest not in self._known:
            self._known[digest] = self._journal.rules(digest)
        return self._known[digest]


def rules_of(event: Event) -> Mapping[str, Any]:
    """What an event says of its rules; empty for one from before they were recorded."""
    stated = event.details.get("rules")
    return stated if isinstance(stated, Mapping) else {}


def is_promotion(event: Event) -> bool:
    """Whether it let a version serve because the gates did."""
    return event.action == _PROMOTE and event.is_move and event.to_stage is Stage.PRODUCTION


def _makes_room(event: Event) -> bool:
    """Whether it is the other half of a promotion: the version that leaves."""
    return event.action == _PROMOTE and event.is_move and not is_promotion(event)


def changes_line(changes: Sequence[RuleChange]) -> str:
    """What changed since the last promotion, in one line."""
    return f"rules changed since the last promotion: {'; '.join(map(str, changes))}"
