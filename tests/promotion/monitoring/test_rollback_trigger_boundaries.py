"""The rollback trigger at its edges: bounds, windows, certainty, and what is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.facts import is_fact
from tests.promotion.monitoring.logs import MODEL, NOON

from promotion.config.policy import Monitoring
from promotion.monitoring.observe.observation import Lately, Observation, Reading, Stretch
from promotion.monitoring.rollback_trigger import Trigger, triggers

MINUTE = timedelta(minutes=1)
NEAR = 1e-6
"""More than rounding, less than anybody would call a difference."""
SURE = Reading(0.5, 0.5, 0.5, 0.9, 500, enough=True, reference_low=0.9, reference_high=0.9)
"""Far below what was promised, without doubt."""


def stretches(values: Sequence[float | None], *, few: Sequence[int] = ()) -> list[Stretch]:
    """Windows of a minute each, the newest ends at noon; those listed in `few` have too few rows."""
    return [
        Stretch(
            NOON - MINUTE * (len(values) - place),
            NOON - MINUTE * (len(values) - place - 1),
            value,
            500,
            place not in few,
        )
        for place, value in enumerate(values)
    ]


def observed(lately: dict[str, Lately]) -> Observation:
    """The version in Production with its newest windows."""
    return Observation(
        "churn",
        MODEL,
        2,
        None,
        "champion",
        is_production=True,
        serves=True,
        since=NOON - MINUTE,
        until=NOON,
        rows=500,
        lately=lately,
    )


def trigger(
    key: str,
    values: Sequence[float | None],
    *,
    few: Sequence[int] = (),
    together: Reading | None = None,
    problem: str | None = None,
    **policy: Any,
) -> Trigger:
    """The one trigger of these windows."""
    promised = together or (SURE if key == "accuracy" else None)
    lately = Lately(stretches(values, few=few), promised, problem)
    (found,) = triggers(observed({key: lately}), Monitoring.model_validate(policy))
    return found


@pytest.mark.parametrize(
    ("key", "value", "fires"),
    [
        ("accuracy", 0.8 + NEAR, False),
        ("accuracy", 0.8, False),
        ("accuracy", 0.8 - NEAR, True),
        ("accuracy", 0.0, True),
        ("accuracy", 1.0, False),
        ("accuracy", None, False),
        ("accuracy", math.nan, False),
        ("error_rate", 0.0, False),
        ("error_rate", 0.05, False),
        ("error_rate", 0.05 + 1e-9, False),
        ("error_rate", 0.05 + 2e-9, True),
        ("error_rate", 0.05 + NEAR, True),
        ("error_rate", 1.0, True),
        ("error_rate", None, False),
        ("error_rate", math.nan, False),
        ("latency", 500.0, False),
        ("latency", 500.0 + 1e-9, False),
        ("latency", 500.0 + 2e-9, True),
        ("latency", 500.0 + NEAR, True),
        ("latency", math.inf, True),
        ("latency", None, False),
        ("latency", math.nan, False),
    ],
)
def test_beyond_its_bound_and_not_on_it(key: str, value: float | None, *, fires: bool) -> None:
    """A billionth more is what adding up leaves behind; what is unknown or no number takes nothing back."""
    found = trigger(key, [value] * 3)

    assert [fires] * 3 == list(found.bad)
    assert fires == found.fires
    assert {"accuracy": 0.1, "error_rate": 0.05, "latency": 500.0}[key] == found.bound


@pytest.mark.parametrize(
    ("values", "few", "of", "needed", "bad", "fires"),
    [
        ([1.0], [], 3, 1, [True], True),
        ([1.0], [], 3, 2, [True], False),
        ([1.0, 1.0], [], 3, 2, [True, True], True),
        ([0.0, 1.0], [], 3, 2, [False, True], False),
        ([1.0, 0.0, 1.0], [], 3, 2, [True, False, True], True),
        ([1.0, 0.0, 1.0], [], 3, 3, [True, False, True], False),
        ([1.0, 1.0, 0.0], [], 3, 2, [True, True, False], False),
        ([1.0, 1.0, 1.0], [2], 3, 2, [True, True, False], False),
        ([1.0, 1.0, 1.0], [0], 3, 2, [False, True, True], True),
        ([1.0, 1.0, 1.0], [0], 3, 3, [False, True, True], False),
        ([1.0, 1.0, 1.0], [0, 1, 2], 3, 1, [False, False, False], False),
        ([1.0, None, 1.0], [], 3, 2, [True, False, True], True),
        ([1.0, 1.0, None], [], 3, 2, [True, True, False], False),
    ],
)
def test_enough_windows_and_the_newest(
    values: list[float | None], few: list[int], of: int, needed: int, bad: list[bool], *, fires: bool
) -> None:
    """Exactly as many as are needed are enough; the newest must be one of them, on rows enough and known."""
    found = trigger("error_rate", values, few=few, sustained={"of": of, "needed": needed})

    assert bad == list(found.bad)
    assert (fires, needed) == (found.fires, found.needed)


@pytest.mark.parametrize(
    ("together", "doubt"),
    [
        (SURE, ""),
        (replace(SURE, value=None), "nothing to compare with"),
        (replace(SURE, high=None), "it may be chance with so few labelled rows"),
        (replace(SURE, high=1.0), "it may be chance with so few labelled rows"),
        (replace(SURE, high=math.nan), "it may be chance with so few labelled rows"),
        (replace(SURE, value=math.nan), "it may be chance with so few labelled rows"),
        (replace(SURE, reference_low=0.0), "it may be chance, the value at promotion is known to ±0.90 only"),
        (replace(SURE, low=0.0), ""),
        (replace(SURE, value=0.9, high=0.9), "it may be chance with so few labelled rows"),
        (replace(SURE, value=0.95, high=0.95), "it may be chance with so few labelled rows"),
    ],
)
def test_a_drop_that_may_be_chance_takes_nothing_back(together: Reading, doubt: str) -> None:
    """All windows together must be sure of it, and say why they are not."""
    found = trigger("accuracy", [0.5] * 3, together=together)

    assert (doubt, not doubt, True) == (found.doubt, found.fires, all(found.bad))
    assert found.text.endswith(f"; {doubt}" if doubt else "UTC")


def test_the_familys_confidence_decides() -> None:
    """A drop of 0.4 on seven labels: their reach is 0.39 at 95 %, fiftyfold strict, and 0.41 at 99 %."""
    together = replace(SURE, high=0.801)

    assert trigger("accuracy", [0.5] * 3, together=together, confidence=0.95).fires
    assert not trigger("accuracy", [0.5] * 3, together=together, confidence=0.99).fires


def test_where_nothing_is_bad_nobody_doubts() -> None:
    """A healthy version has no doubt to tell of."""
    found = trigger("accuracy", [0.9] * 3, together=replace(SURE, value=0.9, high=None))

    assert ("", "", False) == (found.problem, found.doubt, found.fires)


@pytest.mark.parametrize(
    ("lately", "problem"),
    [
        (Lately(stretches([0.5] * 3), SURE, "Prometheus is down"), "Prometheus is down"),
        (Lately(stretches([0.5] * 3), None, None), "no value at promotion is known"),
        (Lately(stretches([0.5] * 3), replace(SURE, reference=None), None), "no value at promotion is known"),
        (Lately([], SURE, None), "not enough data in any window ( rows)"),
        (Lately(stretches([0.5, 0.5], few=[0, 1]), SURE, None), "not enough data in any window (500, 500 rows)"),
        (Lately(stretches([0.5, 0.5], few=[0]), SURE, None), ""),
    ],
)
def test_what_cannot_be_said_says_why(lately: Lately, problem: str) -> None:
    """And fires nothing."""
    (found,) = triggers(observed({"accuracy": lately}), Monitoring.model_validate({"sustained": {"needed": 1}}))

    assert (problem, not problem) == (found.problem, found.fires)
    assert found.text.startswith(f"drop of the accuracy: unknown, {problem}" if problem else "drop of the accuracy bey")


@pytest.mark.parametrize("key", ["error_rate", "latency"])
def test_only_a_drop_needs_a_value_at_promotion(key: str) -> None:
    """A rate and a latency are bad by themselves."""
    found = trigger(key, [1000.0] * 3)

    assert (None, "", True) == (found.reference, found.problem, found.fires)


def test_a_bound_that_is_not_set_is_no_trigger() -> None:
    """Rule absent; and a figure that was not looked at is none either."""
    everything = {key: Lately(stretches([1000.0] * 3), SURE) for key in ("accuracy", "error_rate", "latency")}
    bounds = {"accuracy_drop": 0.1, "error_rate": 0.05, "latency_ms": 500.0}

    def keys(lately: dict[str, Lately], **rollback: float) -> list[str]:
        return [it.key for it in triggers(observed(lately), Monitoring.model_validate({"rollback": rollback}))]

    assert ["accuracy", "error_rate", "latency"] == keys(everything, **bounds)
    assert [] == keys(everything)
    assert ["latency"] == keys(everything, latency_ms=500.0)
    assert ["error_rate"] == keys({"error_rate": everything["error_rate"]}, **bounds)
    assert [] == keys({}, **bounds)


def test_the_reason_is_one_line() -> None:
    """Each figure in its own unit, windows on too few rows as such, and from when to when."""
    assert (
        "error rate beyond 5.0% in 1 of the newest 2 windows, 2 needed: too few, 500, 6.0% of 500, "
        "2026-11-21 11:58:00 to 12:00:00 UTC"
    ) == trigger("error_rate", [0.9, 0.06], few=[0]).text
    assert (
        "latency p95 beyond 500 ms in 1 of the newest 1 windows, 2 needed: 700 ms of 500, "
        "2026-11-21 11:59:00 to 12:00:00 UTC"
    ) == trigger("latency", [700.0]).text
    assert (
        "drop of the accuracy beyond 0.100 in 1 of the newest 1 windows, 2 needed: 0.500 of 500 (0.900 at promotion), "
        "2026-11-21 11:59:00 to 12:00:00 UTC"
    ) == trigger("accuracy", [0.5]).text


def test_windows_of_several_days_name_the_day_they_end() -> None:
    """Eight days must not read as ten hours."""
    long = [replace(it, since=it.since - timedelta(days=8)) for it in stretches([0.9, 0.9])]
    (found,) = triggers(observed({"error_rate": Lately(long)}), Monitoring())

    assert found.text.endswith(", 2026-11-13 11:58:00 to 2026-11-21 12:00:00 UTC")


def test_a_trigger_is_plain_data() -> None:
    """Times as text, and what it comes to."""
    document = trigger("latency", [700.0, 700.0]).as_json()

    assert ("latency", 500.0, None, [True, True], 2, "", "", True) == tuple(
        document[name] for name in ("key", "bound", "reference", "bad", "needed", "problem", "doubt", "fires")
    )
    assert {
        "since": "2026-11-21T11:58:00+00:00",
        "until": "2026-11-21T11:59:00+00:00",
        "value": 700.0,
        "rows": 500,
        "enough": True,
        "failed": None,
        "fault": "",
    } == document["stretches"][0]
    assert document["text"].startswith("latency p95 beyond 500 ms in 2 of")


@pytest.mark.parametrize("kind", [Trigger, Lately, Stretch])
def test_a_trigger_stays_as_it_was_found(kind: type) -> None:
    """And so do its windows."""
    assert is_fact(kind)


@pytest.mark.parametrize(
    ("windows", "doubted"),
    [
        ([(900.0, "one instance"), (900.0, "one instance")], "one instance"),
        ([(900.0, ""), (900.0, "one instance")], "one instance"),
        ([(100.0, "one instance"), (900.0, "")], ""),
        ([(900.0, ""), (900.0, "")], ""),
        ([(100.0, "one instance"), (100.0, "one instance")], ""),
    ],
)
def test_the_fault_of_one_instance_counts_where_its_window_is_bad(
    windows: list[tuple[float, str]], doubted: str
) -> None:
    """It may be the node's; a fault in a window that was well explains nothing of another."""
    seen = [
        replace(it, fault=fault)
        for it, (_, fault) in zip(stretches([value for value, _ in windows]), windows, strict=True)
    ]
    (found,) = triggers(observed({"latency": Lately(seen, None, None)}), Monitoring())

    assert doubted == found.doubt


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 99.0])
def test_without_a_value_at_promotion_no_window_is_bad(value: float) -> None:
    """There is nothing that it could have lost."""
    found = trigger("accuracy", [value] * 3, together=replace(SURE, reference=None))

    assert ([False] * 3, "no value at promotion is known") == (list(found.bad), found.problem)


@pytest.mark.parametrize(
    ("coverage", "said"), [(None, ""), (1.0, ""), (0.999, ", 99.9% of the rows have a label"), (0.0, None)]
)
def test_how_many_rows_have_a_label_is_said_where_not_all_have(coverage: float | None, said: str | None) -> None:
    """Of the accuracy alone: an error rate needs no labels, and goes on without."""
    lately = {
        "accuracy": Lately(stretches([0.5] * 3), SURE, None, coverage),
        "error_rate": Lately(stretches([0.5] * 3), None, None),
    }
    accuracy, errors = triggers(observed(lately), Monitoring())

    assert (coverage, None) == (accuracy.coverage, errors.coverage)
    assert errors.fires
    assert (said is not None) is accuracy.fires
    assert (f"(0.900 at promotion{said})" in accuracy.text) is accuracy.fires
