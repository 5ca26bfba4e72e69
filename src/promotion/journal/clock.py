"""What time it is: the system's, or one that a rehearsal on a journal of its own has set."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from promotion.errors import UsageError

VARIABLE = "PROMOTION_CLOCK"
"""Sets the time for everything the journal records and every period it counts, ISO 8601.

It lets a rehearsal pass the days in Staging in a minute. Whatever is recorded under it says so, and a journal on
PostgreSQL, which a team shares, refuses it.
"""


def now() -> datetime:
    """The present time in UTC.

    Raises:
        UsageError: `PROMOTION_CLOCK` is set to something that is no time.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{VARIABLE} is {text!r}: expected a time such as 2026-12-01T09:00:00") from error
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_set() -> bool:
    """Whether a rehearsal has set the clock."""
    return bool(os.environ.get(VARIABLE))
