"""The chain followed row by row: the first and the last event, one digit of a hash, a gap, and checkpoints between."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from promotion.audit.chain_check import Chain, check_newest
from promotion.audit.checkpoints import FORGED, UNKNOWN, UNSIGNED, VALID, Checkpoint
from promotion.audit.findings import AuditFindings
from promotion.errors import ClockSkewed, UsageError
from promotion.journal import clock
from promotion.journal.audit_rows import COLUMNS, EVENT
from promotion.journal.chain import GENESIS, canonical, digest, link_event, moment

AT = "2026-01-01T00:00:00.000000+00:00"
Row = list[Any]


def events(number: int) -> list[Row]:
    """A sound chain of so many events."""
    rows: list[Row] = []
    previous = GENESIS
    for sequence in range(1, number + 1):
        content: list[Any] = [
            sequence,
            "op",
            "churn",
            7,
            "promote",
            "none",
            "production",
            "anna",
            "better",
            None,
            AT,
            "{}",
        ]
        rows.append([100 + sequence, *content, previous, link_event(previous, content)])
        previous = rows[-1][-1]
    return rows


def checkpoint(row: Row, **changes: Any) -> Checkpoint:
    """A checkpoint taken at an event."""
    given = {"journal": "sqlite", "sequence": row[1], "hash": row[-1], "at": AT} | changes
    return Checkpoint(**given)


def followed(*batches: Sequence[Row], judged: Sequence[tuple[Checkpoint, str]] = ()) -> tuple[list[str], Chain]:
    """What is found in these rows, and where the chain has come to."""
    findings = AuditFindings()
    chain = Chain(judged, findings)
    for rows in batches:
        chain.follow(rows)
    chain.finish()
    return [str(finding) for finding in findings.kept], chain


def changed(rows: list[Row], place: int, name: str, value: Any) -> list[Row]:
    """The rows with one value of one of them exchanged."""
    copies = [list(row) for row in rows]
    copies[place][COLUMNS[EVENT].index(name)] = value
    return copies


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_a_sound_chain_is_followed_to_its_end(number: int) -> None:
    """None, one or several events, in one batch or one by one."""
    rows = events(number)
    end = rows[-1][-1] if rows else GENESIS

    for batches in ([rows], [[row] for row in rows]):
        found, chain = followed(*batches)
        assert ([], number, number, end) == (found, chain.sequence, chain.count, chain.hash)


def other(digits: str) -> str:
    """The same with its last digit changed."""
    return digits[:-1] + ("0" if digits[-1] != "0" else "1")


EDITED = "its content is not what its hash was made of: edited"
UNLINKED = "does not follow the event before it: events were inserted, exchanged or edited"


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("hash", 0, other, [(1, EDITED), (2, UNLINKED)]),
        ("hash", 2, other, [(3, EDITED)]),
        ("hash", 2, lambda digits: digits[:12], [(3, EDITED)]),
        ("hash", 2, lambda digits: digits.upper(), [(3, EDITED)]),
        ("hash", 2, lambda _digits: None, [(3, EDITED)]),
        ("previous_hash", 0, other, [(1, UNLINKED), (1, EDITED)]),
        ("previous_hash", 1, other, [(2, UNLINKED), (2, EDITED)]),
        ("previous_hash", 1, lambda digits: digits[:12], [(2, UNLINKED), (2, EDITED)]),
        ("reason", 1, lambda text: text + " ", [(2, EDITED)]),
        ("reason", 1, lambda _text: None, [(2, EDITED)]),
        ("reason", 1, lambda _text: b"\x00", [(2, EDITED)]),
        ("version_id", 0, lambda number: number + 1, [(1, EDITED)]),
        ("gate_report_id", 0, lambda _none: 0, [(1, EDITED)]),
        ("details", 2, lambda _text: "{ }", [(3, EDITED)]),
        ("id", 1, lambda number: number + 1, []),
    ],
)
def test_a_value_that_was_exchanged_is_found(
    name: str, place: int, value: Any, expected: list[tuple[int, str]]
) -> None:
    """Hashes are compared whole; the row's own number says nothing and is not covered."""
    rows = events(3)
    old = rows[place][COLUMNS[EVENT].index(name)]

    found, chain = followed(changed(rows, place, name, value(old)))

    assert [f"event {sequence} (churn, promote by anna): {what}" for sequence, what in expected] == found
    assert 3 == chain.count


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([0, 1, 2, 3, 4], []),
        ([0, 1, 2, 3], []),  # a tail that is cut off shows in a checkpoint alone
        ([1, 2, 3, 4], ["event 1: missing: deleted"]),
        ([0, 2, 3, 4], ["event 2: missing: deleted"]),
        ([0, 3, 4], ["events 2 to 3: missing: deleted"]),
        ([0, 4], ["events 2 to 4: missing: deleted"]),
        ([0, 2, 4], ["event 2: missing: deleted", "event 4: missing: deleted"]),
        ([0, 1, 1, 2], ["event 2: out of place, 3 was expected: inserted"]),
        (
            [0, 2, 1],
            ["event 2: missing: deleted", "event 2: out of place, 4 was expected: inserted"],
        ),
    ],
)
def test_a_gap_is_told_by_its_ends(kept: list[int], expected: list[str]) -> None:
    """One event or several, before the first, twice, or in another order."""
    rows = events(5)

    assert expected == followed([rows[place] for place in kept])[0]


@pytest.mark.parametrize("sequence", ["2", 2.5, None, b"2"])
def test_a_sequence_that_is_no_number_is_out_of_place(sequence: Any) -> None:
    """And does not count: the next one is expected in its place."""
    found, chain = followed(changed(events(3), 1, "sequence", sequence))

    assert f"event {sequence}: out of place, 2 was expected: inserted" == found[0]
    assert [f"event {sequence} (churn, promote by anna): {EDITED}", "event 2: missing: deleted"] == found[1:]
    assert 3 == chain.sequence


@pytest.mark.parametrize(
    ("place", "changes", "standing", "expected"),
    [
        (2, {}, VALID, []),
        (1, {}, VALID, []),
        (0, {}, UNSIGNED, []),
        (1, {"hash": "other"}, VALID, ["another hash"]),
        (1, {"hash": "other"}, UNSIGNED, ["another hash"]),
        (1, {"hash": "short"}, VALID, ["another hash"]),
        (1, {"hash": "0" * 64}, VALID, ["another hash"]),
        (1, {"hash": "f" * 64}, VALID, ["another hash"]),
        (1, {"hash": "other"}, UNKNOWN, ["signed with a key that is not trusted", "another hash"]),
        (1, {}, UNKNOWN, ["signed with a key that is not trusted"]),
        (1, {}, FORGED, ["not what was signed"]),
        (1, {"hash": "other"}, FORGED, ["not what was signed"]),
        (1, {"sequence": 4}, VALID, ["the journal ends at event 3: its tail was cut off"]),
        (1, {"sequence": 0}, VALID, ["event 0 is missing"]),
        (1, {"sequence": 4}, FORGED, ["not what was signed"]),
    ],
)
def test_a_checkpoint_is_held_against_its_event(
    place: int, changes: dict[str, Any], standing: str, expected: list[str]
) -> None:
    """The whole hash at that sequence; one that was forged says nothing of the chain, only of itself."""
    rows = events(3)
    hashes = {"other": other(rows[place][-1]), "short": rows[place][-1][:12]}
    wanted = {name: hashes.get(str(value), value) for name, value in changes.items()}

    found, _ = followed(rows, judged=[(checkpoint(rows[place], **wanted), standing)])

    assert len(expected) == len(found)
    for words, line in zip(expected, found, strict=True):
        assert words in line
        assert line.startswith("checkpoint ")


def test_two_checkpoints_of_one_event_are_both_held_against_it() -> None:
    """In the order they came; a missing event is told for each."""
    rows = events(3)
    good, bad = checkpoint(rows[1]), checkpoint(rows[1], hash=GENESIS)

    found, _ = followed(rows, judged=[(good, VALID), (bad, VALID)])
    what = f"event 2 has another hash ({rows[1][-1][:12]}…) than the one recorded on {AT}"
    assert [f"checkpoint {bad.name} of sqlite: {what}: the chain was rewritten up to there"] == found

    missing, _ = followed([rows[0], rows[2]], judged=[(good, VALID), (bad, VALID)])
    assert [
        "event 2: missing: deleted",
        f"checkpoint {good.name} of sqlite: event 2 is missing",
        f"checkpoint {bad.name} of sqlite: event 2 is missing",
    ] == missing


def test_missing_events_are_told_in_their_order() -> None:
    """Whatever the order of the checkpoints."""
    rows = events(2)
    late = [(checkpoint(rows[0], sequence=number), VALID) for number in (9, 7, 3)]

    found, _ = followed(rows, judged=late)

    assert ["checkpoint 3-", "checkpoint 7-", "checkpoint 9-"] == [line[:13] for line in found]


def test_a_hash_starts_from_nothing_but_zeros() -> None:
    """As long as a SHA-256."""
    assert 64 * "0" == GENESIS
    assert 64 == len(link_event(GENESIS, [])) == len(digest({}))


def test_a_moment_has_its_microseconds() -> None:
    """The next one is another moment, in whatever zone; one without a zone is the machine's own time."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert "2026-01-01T12:00:00.000001+00:00" == moment(noon + timedelta(microseconds=1))
    assert moment(noon) == moment(noon.astimezone(timezone(timedelta(hours=-11))))
    assert "2025-12-31T23:59:59.999999+00:00" == moment(datetime(2026, 1, 1, tzinfo=UTC) - timedelta(microseconds=1))


def test_the_same_content_is_spelt_in_one_way() -> None:
    """Keys sorted, no spaces; what JSON does not know is text."""
    assert '{"a":[1,2],"b":null}' == canonical({"b": None, "a": [1, 2]})
    assert '"2026-01-01"' == canonical(datetime(2026, 1, 1, tzinfo=UTC).date())


@pytest.mark.parametrize(
    ("text", "is_set", "expected"),
    [
        ("", False, None),
        ("2026-12-01T00:00:00+00:00", True, datetime(2026, 12, 1, tzinfo=UTC)),
        ("2026-12-01T00:00:00-12:00", True, datetime(2026, 12, 1, 12, tzinfo=UTC)),
        ("2026-12-01T23:59:59.999999", True, datetime(2026, 12, 1, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_the_clock_and_its_variable(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: datetime | None, *, is_set: bool
) -> None:
    """An empty one is not set; a zone is converted, none is UTC."""
    monkeypatch.setenv(clock.VARIABLE, text)

    assert is_set == clock.is_set()
    assert UTC == clock.now().tzinfo
    if expected:
        assert expected == clock.now()
    else:
        assert timedelta() <= datetime.now(UTC) - clock.now() + timedelta(seconds=1) < timedelta(seconds=5)


@pytest.mark.parametrize("text", ["nan", "inf", "0", " ", "2026-13-01", "2026-02-30", "12:00"])
def test_what_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Rather than taken for now."""
    monkeypatch.setenv(clock.VARIABLE, text)

    assert clock.is_set()
    with pytest.raises(UsageError, match="expected a time such as"):
        clock.now()


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([], []),
        ([0], []),
        ([3, 4], []),
        ([1, 2, 3], []),
        ([1, 3], ["event 3: missing: deleted"]),
        ([2, 2], ["event 3: out of place, 4 was expected: inserted"]),
    ],
)
def test_the_end_of_a_chain_is_followed_from_where_it_begins(kept: list[int], expected: list[str]) -> None:
    """Whatever came before is taken as it is said."""
    findings = AuditFindings()
    check_newest([events(5)[place] for place in kept], findings)

    assert expected == [str(finding) for finding in findings.kept]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("apart", "is_skewed"),
    [
        (timedelta(), False),
        (timedelta(seconds=59, microseconds=999_999), False),
        (timedelta(seconds=60), False),
        (timedelta(seconds=60, microseconds=1), True),
        (timedelta(days=1), True),
    ],
)
def test_clocks_may_be_a_minute_apart(apart: timedelta, sign: int, *, is_skewed: bool) -> None:
    """In either direction; beyond it nothing moves, and both times are told."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    reading = clock.ClockReading(noon, noon + sign * apart)

    assert is_skewed is bool(reading.skew)
    if not is_skewed:
        reading.require_agreement()
        return
    with pytest.raises(ClockSkewed, match=f"{apart.total_seconds():,.0f} s apart, more than 60"):
        reading.require_agreement()
    assert f"says {reading.local:%Y-%m-%d %H:%M:%S} UTC, the database's 2026-01-01 12:00:00 UTC" in reading.skew


def test_what_a_rehearsal_recorded_counts_in_rehearsals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And everything else in both."""
    monkeypatch.delenv(clock.VARIABLE, raising=False)
    assert [True, True, False, False] == [
        clock.counts(details) for details in ({}, {"cause": "alert"}, clock.MARK, clock.MARK | {"cause": "alert"})
    ]
    monkeypatch.setenv(clock.VARIABLE, "2030-01-01")
    assert clock.counts({})
    assert clock.counts(clock.MARK)
