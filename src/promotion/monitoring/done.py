"""Say of a rollback what was done: when, to which version, whether it answers, what is known bad, and what is next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from promotion.journal.journal import Journal
from promotion.journal.records import Event, version_name
from promotion.monitoring.observe.observation import Arrival
from promotion.registry.stages import Stage
from promotion.rollbacks import ACTION, target_beyond_doubt

_TOLD = timedelta(days=7)


def last_rollback(journal: Journal, family: str, arrivals: Sequence[Arrival]) -> str:
    """What was done last, where that was a rollback of the last week; empty otherwise.

    Args:
        journal: May be one in which nothing was ever recorded.
        family: Whose.
        arrivals: When versions were first seen answering.
    """
    event = journal.arrival(family, Stage.PRODUCTION) if journal.exists else None
    if event is None or event.action != ACTION or journal.now() - event.at > _TOLD:
        return ""
    return rollback_text(journal, event, arrivals)


def rollback_text(journal: Journal, event: Event, arrivals: Sequence[Arrival] = ()) -> str:
    """One line about a rollback.

    Args:
        journal: Knows what else is bad.
        event: The move that put a version back into Production.
        arrivals: When versions were first seen answering; what was seen before does not count.
    """
    bad = [str(it) for it in journal.entries(event.family) if it.known_bad]
    serving = journal.production(event.family)
    target = target_beyond_doubt(journal, event.family, serving)[0] if serving else None
    since = [it.at for it in arrivals if (it.model, it.version) == (event.model, event.number) and it.at >= event.at]
    version = version_name(event.model, event.number, event.version)
    parts = [
        f"taken back at {event.at:%Y-%m-%d %H:%M} UTC to {version} by {event.actor}: {event.reason}",
        *([f"answering since {min(since):%H:%M} UTC"] if since else []),
        f"known bad: {', '.join(bad) or 'none'}",
        f"next: find out why; were it to go, too, {target} would come back"
        if target
        else "next: find out why; there is nothing left to go back to",
    ]
    return "; ".join(parts)
