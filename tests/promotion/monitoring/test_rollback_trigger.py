"""When the triggers of the automatic way back fire: in which windows, on how many rows, of which version."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.monitoring.logs import (
    MODEL,
    NOON,
    Traffic,
    a_watch,
    churn,
    known,
    write_export,
    write_labels,
    write_log,
)
from tests.promotion.monitoring.receivers import free_port

from promotion.config.policy import Monitoring
from promotion.monitoring.observe.observation import Lately, Observation, Reading, Stretch
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.rollback_trigger import Trigger, triggers

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
GOOD, BAD = 0.02, 0.08


def seen(key: str, values: list[float | None], *, rows: int = 500, **changes: Any) -> Observation:
    """The version in Production with these values in its newest windows, None for one on too few rows."""
    stretches = [
        Stretch(
            NOON - MINUTE * (len(values) - place),
            NOON - MINUTE * (len(values) - place - 1),
            0.5 if value is None else value,
            rows,
            value is not None,
        )
        for place, value in enumerate(values)
    ]
    promoted = changes.pop("promoted", Reading(0.9, None, None, 0.9, rows, enough=True))
    known_values = [value for value in values if value is not None]
    together = None
    if key == "accuracy" and promoted is not None:
        mean = sum(known_values) / len(known_values)
        together = replace(promoted, value=mean, low=mean - 0.02, high=mean + 0.02)
    return Observation(
        "churn",
        MODEL,
        2,
        "1.2.0",
        "champion",
        is_production=True,
        serves=True,
        since=NOON - HOUR,
        until=NOON,
        rows=rows,
        lately={key: Lately(stretches, together, changes.pop("problem", None))},
        **changes,
    )


def only(observation: Observation, **policy: Any) -> Trigger:
    (trigger,) = triggers(observation, Monitoring.model_validate(policy))
    return trigger


@pytest.mark.parametrize(
    ("values", "fires"),
    [
        ([BAD, BAD, BAD], True),
        ([GOOD, BAD, BAD], True),
        ([BAD, None, BAD], True),  # a window without rows enough is neither good nor bad
        ([BAD, GOOD, BAD], True),
        ([BAD], False),
        ([GOOD, GOOD, BAD], False),  # one bad window is noise
        ([BAD, BAD, GOOD], False),  # it is over
        ([BAD, BAD, None], False),
        ([None, None, None], False),
        ([0.05, 0.05, 0.05], False),  # at the bound is not beyond it
        ([], False),
    ],
)
def test_a_trigger_fires_when_enough_windows_are_bad_and_the_newest_is(
    values: list[float | None], *, fires: bool
) -> None:
    """Two of three by default."""
    assert fires == only(seen("error_rate", values)).fires


@pytest.mark.parametrize(
    ("key", "value", "fires"),
    [
        ("accuracy", 0.80, False),  # 0.90 - 0.80 is exactly 0.10, to people
        ("accuracy", 0.799, True),
        ("error_rate", 0.051, True),
        ("latency", 500.0, False),
        ("latency", 501.0, True),
    ],
)
def test_the_documented_bounds(key: str, value: float, *, fires: bool) -> None:
    """Accuracy drops by more than 10 %, absolute; error rate beyond 5 %; response time beyond 500 ms."""
    assert fires == only(seen(key, [value] * 3)).fires


def test_windows_and_bounds_are_the_families_own() -> None:
    """`sustained` and `rollback` of its file; a bound that is not set is no trigger."""
    everything = {"sustained": {"window": "1h", "of": 3, "needed": 3}, "rollback": {"error_rate": 0.01}}

    assert not only(seen("error_rate", [0.0, GOOD, GOOD]), **everything).fires
    assert only(seen("error_rate", [GOOD, GOOD, GOOD]), **everything).fires
    assert [] == triggers(seen("latency", [900.0] * 3), Monitoring.model_validate(everything))
    with pytest.raises(ValueError, match="needed is 4, but only 3 windows"):
        Monitoring.model_validate({"sustained": {"needed": 4}})


def test_what_cannot_be_said_is_said_and_fires_nothing() -> None:
    """No value at promotion, no rows, no Prometheus: each in words."""
    no_promise = only(seen("accuracy", [0.1, 0.1, 0.1], promoted=None))
    too_few = only(seen("error_rate", [None, None], rows=7))
    blind = only(seen("latency", [], problem="Prometheus does not answer"))

    assert [False] * 3 == [it.fires for it in (no_promise, too_few, blind)]
    assert "drop of the accuracy: unknown, no value at promotion is known" == no_promise.text
    assert "error rate: unknown, not enough data in any window (7, 7 rows)" == too_few.text
    assert "latency p95: unknown, Prometheus does not answer" == blind.text


def test_a_drop_from_a_value_known_from_few_rows_takes_nothing_back() -> None:
    """The accuracy at promotion was measured on sixty rows: a drop of 0.12 may be chance, one of 0.25 is not."""
    promoted = Reading(0.9, None, None, 0.9, 500, enough=True, reference_low=0.79, reference_high=0.96)
    doubtful, sure = (only(seen("accuracy", [value] * 3, promoted=promoted)) for value in (0.78, 0.65))

    assert [False, True] == [doubtful.fires, sure.fires]
    assert doubtful.text.endswith("it may be chance, the value at promotion is known to ±0.11 only")


def counted(failed: list[int], requests: int, fault: str = "") -> Observation:
    """Failed requests in the newest windows, as Prometheus counts them."""
    observation = seen("error_rate", [number / requests for number in failed], rows=requests)
    stretches = [
        replace(it, failed=number, enough=requests >= 200, fault=fault)
        for it, number in zip(observation.lately["error_rate"].stretches, failed, strict=True)
    ]
    return replace(observation, lately={"error_rate": Lately(stretches)})


@pytest.mark.parametrize(
    ("failed", "requests", "fires"),
    [
        ([40, 40, 40], 40, True),  # at any traffic
        ([0, 40, 40], 40, True),
        ([4, 4, 4], 4, False),
        ([1, 1, 1], 33, False),  # 3 %
        ([11, 11, 11], 200, False),  # 5.5 % of 200 may be 5 %
        ([60, 60, 60], 600, True),
    ],
)
def test_failures_are_evidence_when_chance_does_not_explain_them(
    failed: list[int], requests: int, *, fires: bool
) -> None:
    """By the exact binomial test of each window."""
    assert fires == only(counted(failed, requests)).fires


def test_one_bad_instance_takes_no_version_back() -> None:
    """The trigger says whose fault it is."""
    trigger = only(counted([100] * 3, 1000, fault="1 of 10 instances alone: 10.0.0.5 failed 100 of 100 requests"))

    assert not trigger.fires
    assert trigger.text.endswith("; 1 of 10 instances alone: 10.0.0.5 failed 100 of 100 requests")


def test_the_reason_holds_the_measured_figures() -> None:
    """Every window's figure and rows, the bound, the value at promotion, and when."""
    assert (
        "drop of the accuracy beyond 0.100 in 2 of the newest 3 windows, 2 needed: 0.880 of 500, 0.700 of 500, "
        "0.600 of 500 (0.900 at promotion), 2026-11-21 11:57:00 to 12:00:00 UTC"
    ) == only(seen("accuracy", [0.88, 0.70, 0.60])).text


# From a log


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


def looked(
    tmp_path: Path, export: Path, traffic: list[Traffic], *, live_since: Any = NOON - HOUR * 48, **watch: Any
) -> Observation:
    """What is seen of the version in Production, number 2."""
    log, labels = write_log(tmp_path / "log.jsonl", traffic), write_labels(tmp_path / "labels.csv", traffic)
    given = known(export, live_since=live_since)
    return next(it for it in observe(a_watch(log, labels, **watch), given) if it.lately)


def accuracy(observation: Observation) -> Trigger:
    return next(it for it in triggers(observation, Monitoring()) if it.key == "accuracy")


def test_a_sudden_drop_is_seen_in_the_newest_labelled_windows(tmp_path: Path, export: Path) -> None:
    """A day of good answers does not hide two bad hours; the windows have as many labels as one needs."""
    good = Traffic(1000, until=NOON - HOUR * 2)
    bad = Traffic(400, since=NOON - HOUR * 2, accuracy=0.6, seed=2)
    found = accuracy(looked(tmp_path, export, [good, bad]))

    assert [200, 200, 200] == [it.rows for it in found.stretches]
    assert [False, True, True] == list(found.bad)
    assert found.fires


@pytest.mark.system
def test_windows_are_no_shorter_than_the_familys(tmp_path: Path, export: Path) -> None:
    """With plenty of labels a window is a stretch of time: ten bad seconds are none."""
    good = Traffic(6000, since=NOON - HOUR, until=NOON - timedelta(seconds=10))
    bad = Traffic(200, since=NOON - timedelta(seconds=10), accuracy=0.0, seed=2)
    found = accuracy(looked(tmp_path, export, [good, bad]))

    assert [MINUTE * 5] * 3 == [timedelta(minutes=round((it.until - it.since) / MINUTE)) for it in found.stretches]
    assert not found.fires


def test_answers_from_before_the_promotion_do_not_count(tmp_path: Path, export: Path) -> None:
    """Neither those of the version before, nor the bad ones the version gave when it was in Production last."""
    before = Traffic(500, version=1, until=NOON - HOUR, accuracy=0.5)
    formerly = Traffic(500, until=NOON - HOUR, accuracy=0.5, seed=2)
    now = Traffic(150, since=NOON - HOUR, seed=3)
    found = accuracy(looked(tmp_path, export, [before, formerly, now], live_since=NOON - HOUR))

    assert 150 == sum(it.rows for it in found.stretches)
    assert [False] * len(found.bad) == list(found.bad)


def test_rows_from_the_future_do_not_count(tmp_path: Path, export: Path) -> None:
    """A server whose clock is two hours ahead takes nothing back."""
    good = Traffic(500)
    skewed = Traffic(500, since=NOON + HOUR * 2, until=NOON + HOUR * 3, accuracy=0.0, seed=2)
    observation = looked(tmp_path, export, [good, skewed])

    assert 500 == observation.left_out.from_the_future
    assert not accuracy(observation).fires


def test_a_version_that_answers_nothing_is_watched_all_the_same(tmp_path: Path, export: Path) -> None:
    """Its predecessor's rows are the newest, and it is the one that may have to go."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(300, version=1)])
    first, second = observe(a_watch(log), known(export, live_since=NOON - HOUR))

    assert ((1, True, {}), (2, False, 0)) == (
        (first.version, first.serves, first.lately),
        (second.version, second.serves, second.rows),
    )
    assert {"accuracy", "error_rate", "latency"} == set(second.lately)


def test_without_prometheus_errors_and_latency_are_unknown(tmp_path: Path, export: Path) -> None:
    """Not set, or not there; slow rows in the log take nothing back either."""
    slow = [Traffic(1000, latency=2000.0)]
    unset = looked(tmp_path, export, slow)
    away = looked(tmp_path, export, slow, prometheus=f"http://127.0.0.1:{free_port()}")
    policy = Monitoring()

    assert [] == [it.key for each in (unset, away) for it in triggers(each, policy) if it.fires]
    assert ["PROMETHEUS_URL is not set"] * 2 == [it.problem for it in triggers(unset, policy)][1:]
    assert all("does not answer" in it.problem for it in triggers(away, policy)[1:])


def test_windows_before_the_promotion_are_not_asked_for(tmp_path: Path, export: Path) -> None:
    """A version that is new has no window yet."""
    young = looked(tmp_path, export, [Traffic(500)], live_since=NOON - MINUTE, prometheus="http://127.0.0.1:1")

    assert "in Production for less than 300 s" == young.lately["latency"].problem
    assert "no row has a label that was answered since" in str(young.lately["accuracy"].problem)


def test_the_bounds_are_the_documented_ones() -> None:
    """A family without the section is watched all the same."""
    assert churn().monitoring is None
    policy = Monitoring()
    assert (0.10, 0.05, 500.0, "alert-only") == (
        policy.rollback.accuracy_drop,
        policy.rollback.error_rate,
        policy.rollback.latency_ms,
        policy.action,
    )
