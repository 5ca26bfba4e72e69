"""What time it is: the shared database's, this machine's where there is none, or one that a rehearsal has set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from promotion.errors import ClockSkewed, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

VARIABLE = "PROMOTION_CLOCK"
"""Sets the time for everything the journal records and every period it counts, ISO 8601.

It lets a rehearsal pass the days in Staging in a minute. Whatever is recorded under it says so and counts in no check
that is made without it, and a journal on PostgreSQL, which a team shares, refuses it.
"""

TOLERANCE = timedelta(seconds=60)
"""How far clocks may be apart, and how much earlier than the event before it an event may be dated.

Whoever waits for another family's commit was told the time before it waited.
"""

MARK = {"clock": "set by hand"}
"""What the details of an event hold that was recorded in a rehearsal."""

VOID = f"in a rehearsal ({VARIABLE} was set), which counts in no check outside one"
"""Why something that was said does not count, for people."""


def now() -> datetime:
    """The present time in UTC, by this machine or by the rehearsal.

    Raises:
        UsageError: `PROMOTION_CLOCK` is set to something that is no time.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return local()
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise UsageError(f"{VARIABLE} is {given!r}: expected a time such as 2026-12-01T09:00:00") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def local() -> datetime:
    """What this machine's clock says, in UTC, rehearsal or not."""
    return datetime.now(UTC)


def is_set() -> bool:
    """Whether a rehearsal has set the clock."""
    return bool(os.environ.get(VARIABLE))


def counts(details: Mapping[str, Any]) -> bool:
    """Whether an event counts now: one of a rehearsal does in rehearsals alone."""
    return is_set() or not MARK.keys() & details.keys()


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What time it is for the journal.

    Attributes:
        now: UTC.
        local: What this machine's clock said when it was asked; `now` itself where there is no other clock.
    """

    now: datetime
    local: datetime

    @property
    def skew(self) -> str:
        """How the two disagree by more than the tolerance, in words; empty when they do not."""
        apart = self.local - self.now
        if abs(apart) <= TOLERANCE:
            return ""
        ours, theirs = (f"{moment:%Y-%m-%d %H:%M:%S} UTC" for moment in (self.local, self.now))
        seconds = f"{abs(apart).total_seconds():,.0f} s apart, more than {TOLERANCE.total_seconds():.0f}"
        return f"this machine's clock says {ours}, the database's {theirs}: {seconds}"

    def require_agreement(self) -> None:
        """Make sure that this machine's clock is right, on which locks, logs, tokens and signatures rely.

        Raises:
            ClockSkewed: It is not.
        """
        if self.skew:
            raise ClockSkewed(f"{self.skew}: nothing moved; set this machine's clock (NTP), then run it again")


def read_time(connection: Connection) -> ClockReading:
    """Ask the database what time it is, where it is one that several machines share."""
    if connection.dialect.name != "postgresql":
        moment = now()
        return ClockReading(moment, moment)
    from sqlalchemy import text  # what scores a model must not hold a database library

    before = local()
    shared: datetime = connection.execute(text("SELECT pg_catalog.clock_timestamp()")).scalar_one()
    after = local()
    # However long the answer took, it was true at one moment in between.
    seen = min(max(shared.astimezone(UTC), before), after)
    return ClockReading(shared.astimezone(UTC), seen)
