"""The rehearsal on a family's past: what would have been told and done, in the order of time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.monitoring.logs import (
    DAY,
    NOON,
    Traffic,
    a_watch,
    churn,
    known,
    write_export,
    write_labels,
    write_log,
)

from promotion.errors import UsageError
from promotion.monitoring.observe.log_files import Part, read
from promotion.monitoring.replay import ReplayedAct, replay

ROLLBACK = {"action": "rollback", "rollback": {"accuracy_drop": 0.1, "error_rate": 0.05}}


def rehearsed(folder: Path, traffic: list[Traffic], **monitoring: object) -> list[ReplayedAct]:
    log, labels = write_log(folder / "log.jsonl", traffic), write_labels(folder / "labels.csv", traffic)
    watch = a_watch(log, labels, config=churn(monitoring=monitoring))
    return list(replay(watch, known(write_export(folder / "export")), [], DAY / 2))


def test_a_healthy_past_tells_nobody(tmp_path: Path) -> None:
    """Four days as at promotion."""
    assert [] == rehearsed(tmp_path, [Traffic(2000, since=NOON - 4 * DAY)])


@pytest.mark.parametrize(("action", "said"), [("rollback", "taken back"), ("alert-only", "a person is asked")])
@pytest.mark.system
def test_a_bad_day_is_told_before_the_version_goes(tmp_path: Path, action: str, said: str) -> None:
    """Two good days and two bad ones: the alert with its channels, then the rollback, once."""
    good = Traffic(1000, since=NOON - 4 * DAY, until=NOON - 2 * DAY)
    bad = Traffic(1000, since=NOON - 2 * DAY, accuracy=0.6, seed=2)
    found = rehearsed(tmp_path, [good, bad], **ROLLBACK | {"action": action})
    critical = [it for it in found if it.level == "critical"]
    (back,) = (it for it in found if it.act == "rollback")

    assert min(it.at for it in found) > NOON - 2 * DAY
    assert ("told", ["pagerduty", "slack", "email"]) == (critical[0].act, list(critical[0].channels))
    assert critical[0].at <= back.at < NOON
    assert back.text.startswith(f"{said}")
    assert "drop of the accuracy beyond 0.100" in back.text


def test_what_ended_is_over(tmp_path: Path) -> None:
    """A day of slow answers."""
    slow = Traffic(600, since=NOON - 4 * DAY, until=NOON - 3 * DAY, latency=900.0)
    found = rehearsed(tmp_path, [slow, Traffic(1500, since=NOON - 3 * DAY, seed=2)])

    assert [("told", "warning"), ("over", None)] == [(it.act, it.level) for it in found]
    assert timedelta(0) < found[1].at - found[0].at <= 3 * DAY


def test_what_comes_and_goes_is_told_as_rarely_as_the_monitor_tells_it(tmp_path: Path) -> None:
    """Slow every third day: told, over, told once more, and from then on one alert that lasts, as it comes back."""
    days = [NOON - place * DAY for place in range(15, 0, -1)]
    traffic = [
        Traffic(400, since=since, until=since + DAY, latency=20.0 if place % 3 else 900.0, seed=place)
        for place, since in enumerate(days)
    ]
    found = rehearsed(tmp_path, traffic, cool_down="4d")

    assert ["told", "over", "told"] == [it.act for it in found if it.text.startswith("latency")]


def test_the_log_is_read_once_however_often_is_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And rows stamped later than now are looked at by nobody."""
    traffic = [Traffic(300, since=NOON - 2 * DAY), Traffic(20, since=NOON + 30 * DAY, until=NOON + 31 * DAY, seed=2)]
    opened: list[Part] = []

    def counted(part: Part, *columns: Any) -> Any:
        opened.append(part)
        return read(part, *columns)

    monkeypatch.setattr("promotion.monitoring.replay.read", counted)
    watch = a_watch(write_log(tmp_path / "log.jsonl", traffic), write_labels(tmp_path / "labels.csv", traffic))

    found = list(replay(watch, known(write_export(tmp_path / "export")), [], DAY / 4))

    assert 1 == len(opened)
    assert [it for it in found if it.at > NOON + DAY] == []


def test_a_log_without_rows_cannot_be_rehearsed(tmp_path: Path) -> None:
    """Said in one line."""
    with pytest.raises(UsageError, match="no row of 'churn' to rehearse on"):
        rehearsed(tmp_path, [])
