"""Time along the chain: what runs backwards or lies ahead is found, and what clocks are apart is forgiven."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.promotion.factories import START

from promotion.audit.findings import AuditFindings
from promotion.audit.timeline import DateCheck, misdated
from promotion.journal.audit_rows import COLUMNS, EVENT
from promotion.journal.chain import moment
from promotion.journal.periods import DatedEvent

NOW = START + timedelta(days=300)


def _row(sequence: int, seconds: float, details: str = "{}") -> list[object]:
    values = {"sequence": sequence, "at": moment(START + timedelta(seconds=seconds)), "details": details}
    return [values.get(name, "x") for name in COLUMNS[EVENT]]


def _found(*rows: list[object]) -> list[str]:
    findings = AuditFindings()
    check = DateCheck(findings)
    for row in rows:  # each in a page of its own
        check.follow([row], START + timedelta(hours=1))
    return [str(finding) for finding in findings.kept]


@pytest.mark.parametrize(("back", "count"), [(0, 0), (60, 0), (60.000001, 1), (86_400, 1)])
def test_time_that_runs_backwards_is_found(back: float, count: int) -> None:
    """Once for each time, with both dates; a minute may pass while one waits for another's commit."""
    found = _found(_row(1, 0), _row(2, 100), _row(3, 100 - back), _row(4, 101))

    assert count == len(found)
    if back == 86_400:
        assert (
            "event 3 (x, x by x): dated 2025-12-31 00:01:40 UTC, but recorded after what is dated "
            "2026-01-01 00:01:40 UTC: time ran backwards"
        ) == found[0]


@pytest.mark.parametrize(("ahead", "count"), [(60, 0), (60.000001, 1)])
def test_a_date_that_is_yet_to_come_is_found(ahead: float, count: int) -> None:
    """By the clock of the reading."""
    assert count == len(_found(_row(1, 0), _row(2, 3600 + ahead)))


def test_a_rehearsals_dates_say_nothing() -> None:
    """Neither their own nor against those of others."""
    rehearsed = _row(2, 10_000_000, '{"clock":"set by hand","model":"churn"}')

    assert [] == _found(_row(1, 0), rehearsed, _row(3, 1))
    assert 1 == len(_found(_row(1, 100), rehearsed, _row(3, 0)))


def test_what_is_no_date_does_not_end_the_audit() -> None:
    """SQLite stores anything anywhere."""
    odd = _row(2, 0)
    odd[COLUMNS[EVENT].index("at")] = "0"

    assert 1 == len(_found(_row(1, 0), odd))


def _misdated(*days: float, rehearsed: int = -1) -> list[tuple[int, float | None, float]]:
    """Of events that are dated some days after the start: which are told, and between which days they were made."""
    events = [DatedEvent(number, START + timedelta(days=day), number == rehearsed) for number, day in enumerate(days)]
    return [
        (found.sequence, None if found.after is None else (found.after - START).days, (found.before - START).days)
        for found in misdated(events, NOW)
    ]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((), []),
        ((0, 1, 1, 2), []),
        ((0, 9, 1, 2), [(1, 0, 1)]),
        ((4, 5, 1, 6), [(2, 5, 6)]),
        ((0, 5, 1, 6), [(1, 0, 6), (2, 0, 6)]),
        ((0, 9, 10, 1, 2, 3), [(1, 0, 1), (2, 0, 1)]),
        ((0, 1, 400), [(2, 1, 300)]),
        ((9, 1, 2), [(0, None, 1)]),
    ],
)
def test_the_likelier_mistake_is_told(days: tuple[float, ...], expected: list[tuple[int, float | None, float]]) -> None:
    """A clock ahead, one behind, either; with the dates between which it was recorded, the present as an end."""
    assert expected == _misdated(*days)


def test_a_rehearsed_event_is_always_told() -> None:
    """Where it lies in the chain says when it was recorded."""
    assert [(1, 0, 2)] == _misdated(0, 200, 2, rehearsed=1)
