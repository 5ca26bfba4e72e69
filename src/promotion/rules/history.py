"""How a family's rules changed from one recorded act to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promotion.journal.reader import JournalReader
from promotion.journal.records import Event, RuleSet
from promotion.rules.changes import Direction, RuleChange, changes_between

SOFTWARE = "promotion-layer"
"""What the version of this package is called among the changes."""


_KEYS_OF_PEOPLE = frozenset({"signers", "revoked"})


def rules_of(event: Event | None) -> Mapping[str, Any]:
    """What an event says of its rules; empty for one from before they were recorded."""
    stated = event.details.get("rules") if event else None
    return stated if isinstance(stated, Mapping) else {}


def changes_since_promotion(journal: JournalReader, rules: RuleSet) -> list[RuleChange]:
    """What is different from the rules by which the family's last version was promoted; nothing without one."""
    last = journal.last_promotion(rules.family)
    before = rules_of(last)
    if not before:
        return []
    old = journal.rules(before["digest"])
    changed = changes_between(old, rules.sections) if old and before["digest"] != rules.digest else []
    return changed + _updated(before, rules.as_json())


def rules_since(journal: JournalReader, rules: RuleSet, digest: str) -> list[str]:
    """What is different now from the rules that an approval was given under, one text a key; empty when nothing is.

    Whose keys count is left out: each approval's signature is verified again with the present ones.

    Args:
        journal: Keeps rules.
        rules: Those of now.
        digest: Of the others.
    """
    if digest == rules.digest:
        return []
    old = journal.rules(digest)
    if old is None:
        return ["what they were was not kept"]
    found = changes_between(old, rules.sections)
    return [str(change) for change in found if change.key not in _KEYS_OF_PEOPLE]


def changes_of_events(journal: JournalReader, before: Event | None, after: Event) -> list[RuleChange]:
    """How the rules of two recorded acts differ; nothing where one is from before they were recorded."""
    was, now = rules_of(before), rules_of(after)
    if not was or not now:
        return []
    old, new = ((journal.rules(stated["digest"]) or {}) for stated in (was, now))
    changed = changes_between(old, new) if was["digest"] != now["digest"] else []
    return changed + _updated(was, now)


def _updated(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[RuleChange]:
    versions = was.get("software"), now.get("software")
    return [] if versions[0] == versions[1] else [RuleChange(SOFTWARE, *versions, Direction.CHANGED)]
