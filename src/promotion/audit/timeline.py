"""Whether time ran forward along the chain: which events are dated before an earlier one, or in the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from promotion.audit.findings import AuditFindings
from promotion.journal import clock
from promotion.journal.audit_rows import COLUMNS, EVENT, Row
from promotion.journal.chain import detail, moment
from promotion.journal.periods import DatedEvent

_SEQUENCE, _FAMILY, _ACTION, _ACTOR, _AT, _DETAILS = (
    COLUMNS[EVENT].index(name) for name in ("sequence", "family", "action", "actor", "at", "details")
)
_REHEARSED = detail(clock.MARK)


class DateCheck:
    """Follows the dates of events in the order of the chain.

    What was recorded in a rehearsal says itself that its date means nothing; it is counted and passed over.

    Attributes:
        rehearsed: How many events were recorded in a rehearsal.
    """

    def __init__(self, findings: AuditFindings) -> None:
        self._findings = findings
        self._last = ""
        self.rehearsed = 0

    def follow(self, rows: Sequence[Row], now: datetime) -> None:
        """Go on with events in the order of their sequence; `now` is the time after they were read."""
        # The spelling is always the same, so that text is ordered as time is; there may be millions.
        last, latest = self._last, moment(now + clock.TOLERANCE)
        for row in rows:
            at = row[_AT]
            if not isinstance(at, str) or _REHEARSED in str(row[_DETAILS]):
                self.rehearsed += isinstance(at, str)
                continue
            if at < last and apart(at, last):
                self._add(
                    row, f"dated {_shown(at)}, but recorded after what is dated {_shown(last)}: time ran backwards"
                )
            if at > latest:
                self._add(row, f"dated {_shown(at)}, which is yet to come: it is {_shown(moment(now))}")
            last = at
        self._last = last

    def _add(self, row: Row, what: str) -> None:
        where = f"event {row[_SEQUENCE]} ({row[_FAMILY]}, {row[_ACTION]} by {row[_ACTOR]})"
        self._findings.add("event", where, what)


@dataclass(frozen=True, slots=True)
class Misdated:
    """An event whose date cannot be right.

    Attributes:
        sequence: Its place in the chain.
        after: The date of the last event before it whose date may be right; None when there is none.
        before: That of the first event after it, or the present time.
    """

    sequence: int
    after: datetime | None
    before: datetime


def misdated(events: Sequence[DatedEvent], now: datetime) -> list[Misdated]:
    """The events whose dates were set by hand, lie in the future, or do not fit into the order of the chain.

    Where time runs backwards between two events, the later dates before are wrong or the earlier ones after: fewer
    mistakes are likelier, so the shorter row of them is told, and both where they are as long.
    """
    wrong = {event.sequence for event in events if event.is_rehearsed or event.at > now + clock.TOLERANCE}
    sound = [event for event in events if event.sequence not in wrong]
    for index in range(1, len(sound)):
        if sound[index].at < sound[index - 1].at - clock.TOLERANCE:
            wrong |= _shorter(sound, index)
    found: list[Misdated] = []
    after: datetime | None = None
    waiting: list[int] = []
    for event in events:
        if event.sequence in wrong:
            waiting.append(event.sequence)
            continue
        found += [Misdated(sequence, after, event.at) for sequence in waiting]
        after, waiting = event.at, []
    return found + [Misdated(sequence, after, now) for sequence in waiting]


def _shorter(events: Sequence[DatedEvent], index: int) -> set[int]:
    """Of the later dates up to a break and the earlier ones from there on, those that are fewer."""
    before, after = events[index - 1].at, events[index].at
    first = index
    while first and events[first - 1].at > after + clock.TOLERANCE:
        first -= 1
    end = index
    while end < len(events) and events[end].at < before - clock.TOLERANCE:
        end += 1
    later, earlier = events[first:index], events[index:end]
    chosen = [*(later if len(later) <= len(earlier) else ()), *(earlier if len(earlier) <= len(later) else ())]
    return {event.sequence for event in chosen}


def apart(earlier: str, later: str) -> bool:
    """Whether two dates are further apart than clocks may be."""
    try:
        return abs(datetime.fromisoformat(later) - datetime.fromisoformat(earlier)) > clock.TOLERANCE
    except ValueError:
        return True


def _shown(at: str) -> str:
    try:
        return f"{datetime.fromisoformat(at).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except ValueError:
        return at
