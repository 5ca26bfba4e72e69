"""Where a rollback goes and when it waits, decided on a record that a test writes event by event."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.promotion.factories import START, a_family, a_version, an_entry

from promotion import rollbacks
from promotion.errors import GateRefused, UnknownVersion
from promotion.journal import clock
from promotion.journal.records import Entry, Event
from promotion.registry.stages import Stage
from promotion.rollbacks import (
    _predecessor,
    _require_calm,
    _require_served,
    served_before,
    target_beyond_doubt,
)

HOUR = timedelta(hours=1)
PRODUCTION, ARCHIVED, STAGING, NONE = Stage.PRODUCTION, Stage.ARCHIVED, Stage.STAGING, Stage.NONE


class Record:
    """A journal, and a service over it, of one family.

    Attributes:
        events: Newest first.
        bad: Numbers of versions that are known bad.
        gone: Numbers that MLflow has no more.
        incidents: By number.
        said: What was reported.
    """

    def __init__(self, *events: Event, hours: float | None = None) -> None:
        self.events = list(events)
        self.bad: set[int] = set()
        self.gone: set[int] = set()
        self.incidents: dict[int, list[Any]] = {}
        self.said: list[str] = []
        self.unknown: set[int] = set()
        config = None if hours is None else a_family(rollback={"cool_down_hours": hours})
        self.configs = {} if config is None else {"tiny": config}

    @property
    def journal(self) -> Any:
        """What is asked of the journal."""
        return SimpleNamespace(history=self._history, entry=self.entry, now=lambda: START)

    @property
    def service(self) -> Any:
        """What is asked of the service."""
        registry = SimpleNamespace(version=self._version)
        return SimpleNamespace(journal=self.journal, configs=self.configs, report=self.said.append, registry=registry)

    def entry(self, model: str, number: int) -> Entry | None:
        """A version as the journal knows it."""
        known_bad = "slow" if number in self.bad else None
        return None if number in self.unknown else an_entry(model, number, known_bad=known_bad)

    def _version(self, model: str, number: int) -> Any:
        if number in self.gone:
            raise UnknownVersion(f"{model} has no version {number}")
        return a_version(model, number)

    def _history(self, family: str, *, since: Any = None, version_id: int | None = None) -> list[Event]:
        assert "tiny" == family
        return [
            event
            for event in self.events
            if (since is None or event.at >= since) and version_id in {None, event.number}
        ]


def event(
    number: int,
    left: Stage,
    came: Stage,
    action: str = "promote",
    *,
    ago: timedelta = HOUR,
    operation: str = "",
    **details: Any,
) -> Event:
    """What happened to a version; the sequence falls with its age, in seconds."""
    sequence = 10**6 - int(ago.total_seconds())
    return Event(
        sequence,
        sequence,
        operation or f"{action} {ago}",
        "tiny",
        "tiny-linear",
        number,
        str(number),
        action,
        left,
        came,
        "anna",
        "it is slow",
        None,
        START - ago,
        details,
        "",
    )


def rolled_back(ago: timedelta = HOUR, to: int = 1, **details: Any) -> list[Event]:
    """From version 2 to another one."""
    moved: dict[str, Any] = {"action": "rollback", "ago": ago, "operation": f"back {ago}"}
    return [event(to, ARCHIVED, PRODUCTION, **moved, **details), event(2, PRODUCTION, ARCHIVED, **moved, **details)]


@pytest.mark.parametrize(
    ("hours", "ago", "waits"),
    [
        (None, timedelta(hours=23, minutes=59), True),
        (None, timedelta(hours=24), True),
        (None, timedelta(hours=24, seconds=1), False),
        (2.0, timedelta(hours=2), True),
        (2.0, timedelta(hours=2, seconds=1), False),
        (0.0, timedelta(), False),
        (0.5, timedelta(minutes=30), True),
        (0.5, timedelta(minutes=31), False),
    ],
)
def test_so_long_a_second_rollback_waits(hours: float | None, ago: timedelta, *, waits: bool) -> None:
    """A day, or what the family says; with none it never does."""
    record = Record(*rolled_back(ago), hours=hours)
    if not waits:
        _require_calm(record.service, "tiny", an_entry("tiny-linear", 3))
        return

    with pytest.raises(GateRefused) as caught:
        _require_calm(record.service, "tiny", an_entry("tiny-linear", 3))

    said = str(caught.value)
    assert f"was rolled back at {START - ago:%Y-%m-%d %H:%M} UTC already (it is slow)" in said
    assert f"within {24.0 if hours is None else hours:g} hours" in said
    assert "--model-name tiny-linear --to-version 3 --reason WHY --force" in said


@pytest.mark.parametrize(
    ("events", "waits"),
    [
        ([], False),
        ([event(1, ARCHIVED, PRODUCTION, "promote")], False),
        (rolled_back(), True),
        (rolled_back(deployment="op"), False),
        (rolled_back(**cast("dict[str, Any]", clock.MARK)), False),
        # Older ones count where the newest does not.
        ([*rolled_back(HOUR, deployment="op"), *rolled_back(2 * HOUR)], True),
    ],
)
def test_what_begins_the_waiting(events: list[Event], *, waits: bool) -> None:
    """A rollback that was no rehearsal and undid no failed deployment."""
    if waits:
        with pytest.raises(GateRefused, match="--model-name tiny --reason WHY --force"):
            _require_calm(Record(*events).service, "tiny")
    else:
        _require_calm(Record(*events).service, "tiny")


PROMOTED = event(3, NONE, PRODUCTION, ago=HOUR / 2)


@pytest.mark.parametrize(
    ("between", "pair", "waits"),
    [
        ([], (1, 3), True),
        ([PROMOTED], (1, 3), False),
        ([PROMOTED], (1, 2), True),
        ([PROMOTED], (2, 1), True),
        ([PROMOTED], (2, 3), False),
        ([event(3, NONE, STAGING, ago=HOUR / 2)], (1, 3), True),
        ([event(3, PRODUCTION, PRODUCTION, "approve", ago=HOUR / 2)], (1, 3), True),
        ([event(3, PRODUCTION, ARCHIVED, ago=HOUR / 2)], (1, 3), True),
    ],
)
def test_a_promotion_in_between_ends_the_waiting(between: list[Event], pair: tuple[int, int], *, waits: bool) -> None:
    """Unless it would go back and forth between the same two; what is no promotion into Production ends nothing."""
    record = Record(*between, *rolled_back())
    target, leaving = (an_entry("tiny-linear", number) for number in pair)
    if waits:
        with pytest.raises(GateRefused):
            _require_calm(record.service, "tiny", target, leaving)
    else:
        _require_calm(record.service, "tiny", target, leaving)


def test_a_promotion_before_it_ends_nothing() -> None:
    """Nor does the rollback's own move into Production."""
    record = Record(*rolled_back(), event(3, NONE, PRODUCTION, ago=2 * HOUR))

    with pytest.raises(GateRefused):
        _require_calm(record.service, "tiny", an_entry("tiny-linear", 3), an_entry("tiny-linear", 1))


@pytest.mark.parametrize(
    ("events", "served"),
    [
        ([], False),
        ([event(1, NONE, STAGING)], False),
        ([event(1, NONE, PRODUCTION)], True),
        ([event(1, PRODUCTION, ARCHIVED)], True),
        ([event(1, PRODUCTION, PRODUCTION, "approve")], False),
        ([event(2, NONE, PRODUCTION)], False),
    ],
)
def test_only_what_served_is_a_version_to_go_back_to(events: list[Event], *, served: bool) -> None:
    """Whether it came into Production or left it; what was said of it there is no move."""
    record = Record(*events)
    if served:
        _require_served(record.service, "tiny", a_version("tiny-linear", 1))
        record.unknown = {1}
    with pytest.raises(GateRefused, match="never served in Production"):
        _require_served(record.service, "tiny", a_version("tiny-linear", 1))


HISTORY = [
    event(3, PRODUCTION, ARCHIVED, ago=HOUR),
    event(2, PRODUCTION, ARCHIVED, ago=2 * HOUR),
    event(3, PRODUCTION, ARCHIVED, ago=3 * HOUR),
    event(5, STAGING, ARCHIVED, ago=4 * HOUR),
    event(6, PRODUCTION, PRODUCTION, "approve", ago=5 * HOUR),
    event(1, PRODUCTION, STAGING, ago=6 * HOUR),
    event(4, NONE, PRODUCTION, ago=7 * HOUR),
]


@pytest.mark.parametrize(
    ("leaving", "unknown", "expected"),
    [(None, set(), [3, 2, 1]), (4, set(), [3, 2, 1]), (3, set(), [2, 1]), (2, {3}, [1]), (None, {1, 2, 3}, [])],
)
def test_who_served_before_the_last_one_first(leaving: int | None, unknown: set[int], expected: list[int]) -> None:
    """Each once, by when it left Production last; not the one that leaves now, nor one that the journal lost."""
    record = Record(*HISTORY)
    record.unknown = unknown
    found = served_before(record.journal, "tiny", an_entry("tiny-linear", leaving) if leaving else None)

    assert expected == [entry.number for entry in found]


@pytest.mark.parametrize(
    ("bad", "doubt", "incidents", "target", "doubted"),
    [
        (set(), {}, {}, 3, []),
        ({3}, {}, {}, 2, []),
        ({3, 2, 1}, {}, {}, None, []),
        (set(), {3: "critical alert"}, {}, 2, ["tiny-linear v3"]),
        (set(), {3: "x", 2: "x", 1: "x"}, {}, None, ["tiny-linear v3", "tiny-linear v2", "tiny-linear v1"]),
        (set(), {}, {3: ("critical", False)}, 2, ["tiny-linear v3"]),
        (set(), {}, {3: ("critical", True)}, 3, []),
        (set(), {}, {3: ("major", False)}, 3, []),
        ({3}, {3: "x"}, {}, 2, []),
        (set(), {2: "x"}, {}, 3, []),
    ],
)
def test_nobody_is_asked_only_where_there_is_no_doubt(
    bad: set[int],
    doubt: dict[int, str],
    incidents: dict[int, tuple[str, bool]],
    target: int | None,
    doubted: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known bad ones are passed over in silence; a critical alert or incident that stands is said."""
    record = Record(*HISTORY)
    record.bad = bad

    def reviews(_journal: Any) -> Any:
        def told(entry: Entry) -> list[Any]:
            severity, is_void = incidents.get(entry.number, ("minor", False))
            return [SimpleNamespace(id=7, severity=severity, is_void=is_void, opened_at=START, summary="wrong answers")]

        return SimpleNamespace(incidents=told)

    monkeypatch.setattr(rollbacks, "Reviews", reviews)
    monkeypatch.setattr(rollbacks, "last_critical", lambda _journal, _family, entry: doubt.get(entry.number, ""))

    found, why = target_beyond_doubt(record.journal, "tiny", None)

    assert target == (found.number if found else None)
    assert doubted == [part.split(" is passed over: ")[0] for part in why.split("; ") if part]
    assert bool(incidents and doubted) is (f"critical incident 7 of {START:%Y-%m-%d}: wrong answers" in why)


def test_the_predecessor_is_the_newest_that_is_not_known_bad() -> None:
    """Passed over ones are said; one that MLflow lost is a person's decision, with the others to choose from."""
    record = Record(*HISTORY)
    assert 3 == _predecessor(record.service, "tiny", None).number
    record.bad = {3}
    assert 2 == _predecessor(record.service, "tiny", None).number
    assert ["tiny-linear v3 is passed over: known bad: slow"] == record.said
    record.gone = {2}
    with pytest.raises(GateRefused, match=r"\(others that served: tiny-linear 1\.2\.0, tiny-linear 1\.0\.0\)"):
        _predecessor(record.service, "tiny", None)
    record.bad = {1, 2, 3}
    with pytest.raises(GateRefused, match=r"no version of 'tiny' served before that is not known bad \(3 are\)"):
        _predecessor(record.service, "tiny", None)
    alone = Record(HISTORY[0])
    alone.gone = {3}
    with pytest.raises(GateRefused, match=r"\(others that served: none\)"):
        _predecessor(alone.service, "tiny", None)
    with pytest.raises(GateRefused, match="no version of 'tiny' served before: there is nothing to go back to"):
        _predecessor(cast("Any", Record().service), "tiny", None)
