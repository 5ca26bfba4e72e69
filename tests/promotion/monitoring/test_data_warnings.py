"""Log and labels are judged themselves: what does not come in as it should is a warning that says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.monitoring.logs import (
    DAY,
    MODEL,
    NOON,
    Traffic,
    a_watch,
    churn,
    known,
    write_export,
    write_labels,
)

from promotion.config.policy import DataBounds, Monitoring
from promotion.monitoring.data_flaws import labels_in_runs, silence
from promotion.monitoring.observe.counting import Answerer, Count, CountingPlan, Tally
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.observe.prometheus import Trend
from promotion.monitoring.observe.watch import KnownVersion
from promotion.monitoring.thresholds import judge

Change = Callable[[list[str]], list[str]]
LIVE = NOON - timedelta(days=30)


def said(observation: Observation, policy: Monitoring | None = None) -> dict[str, str]:
    found = judge(observation, policy or Monitoring())
    return {it.key.removeprefix("data:"): it.text for it in found if it.key.startswith("data:")}


def seen(
    folder: Path,
    lines: list[str],
    labels: Path | None = None,
    who: KnownVersion | None = None,
    policy: dict[str, Any] | None = None,
) -> tuple[Observation, dict[str, str]]:
    log = folder / "log.jsonl"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    export = write_export(folder / "export")
    config = churn(monitoring={"data": policy}) if policy else churn()
    observation = observe(a_watch(log, labels, config=config), who or known(export, live_since=LIVE))[0]
    return observation, said(observation, config.monitoring_policy)


def written(traffic: Traffic) -> list[str]:
    return [json.dumps(line) for line in traffic.lines]


def with_times(change: Callable[[str], Any]) -> Change:
    return lambda lines: [json.dumps(it | {"time": change(it["time"])}) for it in map(json.loads, lines)]


@pytest.mark.parametrize(
    ("change", "name", "parts"),
    [
        (lambda lines: [*lines, *lines[:40]], "repeated_rows", "40 of 540 rows"),
        (lambda lines: [*lines, *(['{"time": "no'] * 20)], "unreadable_lines", "20 of 520 lines"),
        (with_times(lambda _time: 1795262400.5), "unreadable_lines", "is a number, an epoch perhaps"),
        (with_times(lambda time: time.removesuffix("Z")), "local_times", "500 of 500 rows"),
        (with_times(lambda time: time.replace("11-21", "11-22")), "future_rows", "stamped later than now"),
    ],
)
def test_a_flaw_of_the_log_is_named(tmp_path: Path, change: Change, name: str, parts: str) -> None:
    """With how many of how many, and one of them."""
    _, found = seen(tmp_path, change(written(Traffic(500))))

    assert parts in found[name]


def test_a_sound_log_and_sound_labels_say_nothing(tmp_path: Path) -> None:
    """Nor do a few odd lines among many, which chance and restarts leave behind."""
    traffic = Traffic(2000)
    labels = write_labels(tmp_path / "labels.csv", [traffic], "gone-1,0,1", "gone-2,0,maybe", "soon,0,")
    observation, found = seen(tmp_path, [*written(traffic), "half a li", "", written(traffic)[0]], labels)

    assert ({}, 2000) == (found, observation.rows)


def test_a_row_that_is_logged_twice_counts_once(tmp_path: Path) -> None:
    """Also its label and its latency; rows of one request with positions of their own are no repetition."""
    traffic = Traffic(300)
    labels = write_labels(tmp_path / "labels.csv", [traffic])
    batch = [json.dumps(traffic.lines[0] | {"request_id": "batch", "row": place}) for place in range(50)]
    observation, found = seen(tmp_path, [*written(traffic) * 3, *batch], labels)

    assert (350, 300) == (observation.rows, observation.labelled)
    assert found["repeated_rows"].startswith("600 of 950 rows repeat")


def test_one_id_on_all_rows_is_named(tmp_path: Path) -> None:
    """Of a client that sends the same id each time; rows without any id are all counted."""
    one = [json.dumps(line | {"request_id": "default"}) for line in Traffic(300).lines]
    none = [json.dumps(line | {"request_id": ""}) for line in Traffic(300).lines]

    assert "'default' alone 300 times" in seen(tmp_path, [*written(Traffic(200, seed=3)), *one])[1]["repeated_rows"]
    assert 300 == seen(tmp_path, none)[0].rows


def test_a_family_may_say_how_many_labels_must_match(tmp_path: Path) -> None:
    """With an id of each side; by default one that does is enough: a file may hold the labels of years."""
    traffic = Traffic(500)
    lines = [f"urn:{request},0,1" for request, _, _ in traffic.labels]
    labels = write_labels(tmp_path / "labels.csv", [], *lines, f"{traffic.labels[0][0]},0,1")
    text = seen(tmp_path, written(traffic), labels, policy={"unmatched_labels": 0.5})[1]["unmatched_labels"]

    assert "500 of 501 labels" in text
    assert "'urn:champion-2-1-201200-0/0', a row 'champion-2-1-201200-0/0'" in text
    assert {} == seen(tmp_path, written(traffic), labels)[1]


def test_labels_of_no_class_and_labels_that_differ_are_told(tmp_path: Path) -> None:
    """With one of them."""
    traffic = Traffic(300)
    odd = [f"x{place},0,perhaps" for place in range(20)]
    twice = [f"{request},0,{1 - label}" for request, _, label in traffic.labels[:20]]
    found = seen(tmp_path, written(traffic), write_labels(tmp_path / "labels.csv", [traffic], *odd, *twice))[1]

    assert "such as 'perhaps'" in found["unknown_labels"]
    assert found["conflicting_labels"].startswith("20 of 300")


@pytest.mark.system
def test_a_file_of_labels_that_shrank_is_told(tmp_path: Path) -> None:
    """Against the most that an earlier run found; a file that lost a tenth rolls on."""
    traffic = Traffic(300)
    labels = write_labels(tmp_path / "labels.csv", [traffic])
    export = write_export(tmp_path / "export")
    first, _ = seen(tmp_path, written(traffic), labels)
    earlier = labels_in_runs([{}, json.loads(json.dumps(first.as_json()))])

    assert 300 == earlier
    for before, is_told in ((1000, True), (330, False), (0, False)):
        who = replace(known(export, live_since=LIVE), labels=before)
        assert is_told is ("shrunken_labels" in seen(tmp_path, written(traffic), labels, who)[1])


@pytest.mark.parametrize("prefix", ["2026-11-21T10:00:00.123456789Z stdout F ", "2026-11-21T10:00:00+01:00 stdout F "])
def test_what_a_container_runtime_wrote_down_is_read(tmp_path: Path, prefix: str) -> None:
    """Long lines in pieces; talk on the standard error is no row."""
    lines = [prefix + line for line in written(Traffic(300))]
    head, tail = lines[-1][:200], lines[-1][200:]
    pieces = [head.replace(" F ", " P ", 1), prefix + tail, prefix.replace("stdout", "stderr") + "started"]
    observation, found = seen(tmp_path, [*lines[:-1], *pieces])

    assert (300, 0, {}) == (observation.rows, observation.left_out.bad_lines, found)


def test_no_traffic_is_told_once_it_is_due(tmp_path: Path) -> None:
    """Of a version that is in Production for a whole window; drift has too few rows then, not no reference."""
    old = written(Traffic(50, since=NOON - 9 * DAY, until=NOON - 8 * DAY))
    observation, found = seen(tmp_path, old)
    young = known(write_export(tmp_path / "export"), live_since=NOON - timedelta(hours=2))

    assert found["silence"] == "no row in 1d: no traffic, or the log does not arrive"
    assert {"not enough data, no rows"} == {
        it.text.partition(": ")[2] for it in judge(observation, Monitoring()) if it.key.startswith("drift:")
    }
    assert {} == seen(tmp_path, old, who=young)[1]
    assert {} == seen(tmp_path, old, policy={"silence": "7d"})[1]


@pytest.mark.parametrize(
    ("since", "until", "policy", "is_told"),
    [
        (24, 3, {}, True),
        (24, 1, {}, False),
        (14, 3, {}, False),  # by day only: nobody knows yet whether it goes on
        (14, 3, {"silence": "2h"}, True),
        (24, 3, {"silence": "4h"}, False),
    ],
)
def test_a_log_that_ended_is_told(
    tmp_path: Path, since: int, until: int, policy: dict[str, str], is_told: bool
) -> None:
    """After traffic that never paused, or after what the family tolerates."""
    traffic = Traffic(600, since=NOON - timedelta(hours=since), until=NOON - timedelta(hours=until))
    _, found = seen(tmp_path, written(traffic), policy=policy)

    assert is_told is ("silence" in found)


def test_lines_that_cannot_be_read_are_no_silence_of_the_log(tmp_path: Path) -> None:
    """Who looks for traffic or a lost log looks in the wrong place."""
    _, found = seen(tmp_path, with_times(lambda _: 1.7e9)(written(Traffic(50))))

    assert found["silence"] == "no row in 1d: none of the log's 50 lines can be read"


def test_spans_are_written_as_in_the_familys_file(tmp_path: Path) -> None:
    """Of a log that ended: how steadily it came before."""
    _, found = seen(tmp_path, written(Traffic(600, since=NOON - DAY, until=NOON - timedelta(hours=3))))

    assert found["silence"].endswith(" rows in each 1h before")


@pytest.mark.parametrize(
    ("rows", "throughput", "failed", "is_told"),
    [(50, 0.01, 0.0, True), (50, 0.01, 1.0, False), (50, 0.0, None, False), (2, 1.0, 0.0, False)],
)
def test_requests_without_rows_are_proof(rows: int, throughput: float, failed: float | None, *, is_told: bool) -> None:
    """Whatever the traffic was before; requests that failed leave no row, and a log may be a sample."""
    plan = CountingPlan("churn", {}, {}, 2, NOON - DAY, NOON, NOON - DAY, 24)
    tally = Tally.empty(plan, None)
    tally.rows[3], tally.last = rows, round((NOON - timedelta(hours=20)).timestamp() * 1e6)
    asked = Trend([None] * 24, [failed] * 24, [throughput] * 24)
    text = silence(Count({Answerer("champion", MODEL, 2): tally}), plan, asked, tolerated=None, due_since=LIVE)

    assert is_told is text.endswith("the log does not arrive")


def test_bounds_are_the_familys(tmp_path: Path) -> None:
    """Of each share."""
    lines = [*written(Traffic(500)), *(["no"] * 20)]

    assert "unreadable_lines" in seen(tmp_path, lines)[1]
    assert {} == seen(tmp_path, lines, policy={"unreadable_lines": 0.1})[1]
    assert 0.01 == DataBounds().unreadable_lines
