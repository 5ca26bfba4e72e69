"""The time, the system's or a rehearsal's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.promotion.factories import a_journal, a_version, promote

from promotion.errors import UsageError
from promotion.journal import clock
from promotion.journal.database import Database
from promotion.journal.journal import Journal


def test_without_a_rehearsal_it_is_now() -> None:
    """The system's clock, in UTC."""
    assert not clock.is_set()
    assert abs(datetime.now(UTC) - clock.now()) < timedelta(seconds=5)
    assert UTC == clock.now().tzinfo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T09:30:00", datetime(2026, 12, 1, 9, 30, tzinfo=UTC)),
        ("2026-12-01T09:30:00+02:00", datetime(2026, 12, 1, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_rehearsal_sets_it(monkeypatch: pytest.MonkeyPatch, text: str, expected: datetime) -> None:
    """A time without zone is UTC, one with a zone is converted."""
    monkeypatch.setenv(clock.VARIABLE, text)

    assert clock.is_set()
    assert expected == clock.now()


def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named with an example."""
    monkeypatch.setenv(clock.VARIABLE, "next week")
    with pytest.raises(UsageError, match=r"^PROMOTION_CLOCK is 'next week': expected a time such as 2026-"):
        clock.now()


def test_what_is_recorded_under_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An auditor tells a rehearsal from the real thing by the event itself."""
    journal = a_journal(tmp_path)
    promote(journal, "churn", a_version(number=1))
    monkeypatch.setenv(clock.VARIABLE, "2030-01-01")
    promote(journal, "churn", a_version(number=2))

    rehearsed, _, real = journal.history("churn")

    assert ("set by hand", 2030) == (rehearsed.details["clock"], rehearsed.at.year)
    assert "clock" not in real.details


def test_a_shared_journal_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL, which a team shares, nobody makes days pass."""
    database = Database("postgresql://anna@db/journal")
    Journal(database)
    monkeypatch.setenv(clock.VARIABLE, "2030-01-01")
    with pytest.raises(UsageError, match="PROMOTION_CLOCK is for rehearsals on a journal of their own"):
        Journal(database)
