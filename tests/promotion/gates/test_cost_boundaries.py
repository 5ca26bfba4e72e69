"""Latency, memory and CPU time: inside, on and outside each bound, not measured, and what is no number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.promotion.gates.cases import a_config, a_context, answer, asked

from promotion.gates import Context
from promotion.gates.cost import is_measured
from promotion.gates.evidence import Measurement

CHEAP = Measurement(latency_p95_ms=1.0, latency_p50_ms=0.5, peak_memory_mb=1.0, cpu_ms_per_request=0.1, requests=200)
RULES: dict[str, Any] = {
    "latency p95": {"latency_p95_ms": 100.0},
    "peak memory": {"peak_memory_mb": 1000.0},
    "CPU": {"cpu": {"share": 0.5, "requests_per_second": 10.0, "cores": 2.0}},
}
FIELDS = {"latency p95": "latency_p95_ms", "peak memory": "peak_memory_mb", "CPU": "cpu_ms_per_request"}


def costing(name: str, value: float) -> Context:
    """A candidate of which one cost is as given; all three are bounded."""
    rules: dict[str, Any] = {key: rule for each in RULES.values() for key, rule in each.items()}
    cost: dict[str, Any] = {FIELDS[name]: value}
    return a_context(a_config(rules), measurement=replace(CHEAP, **cost))


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        ("latency p95", 0.0, True),
        ("latency p95", math.nextafter(100, 0), True),
        ("latency p95", 100.0, True),
        ("latency p95", math.nextafter(100, 101), False),
        ("latency p95", math.nan, False),
        ("latency p95", math.inf, False),
        ("peak memory", 0.0, True),
        ("peak memory", math.nextafter(1000, 0), True),
        ("peak memory", 1000.0, False),
        ("peak memory", math.nextafter(1000, 1001), False),
        ("peak memory", math.nan, False),
        ("peak memory", math.inf, False),
        # 100 ms a request, ten requests a second, two cores: half of them.
        ("CPU", 0.0, True),
        ("CPU", 99.99, True),
        ("CPU", 100.0, False),
        ("CPU", 100.01, False),
        ("CPU", math.nan, False),
        ("CPU", math.inf, False),
    ],
)
def test_a_cost_and_its_bound(name: str, value: float, *, passed: bool) -> None:
    """The latency may reach its bound, memory and CPU stay below theirs; the other two gates do not mind."""
    context = costing(name, value)

    assert passed == answer(context, name).passed
    assert [True, True] == [answer(context, other).passed for other in RULES if other != name]
    assert passed == (not answer(context, name).why)


@pytest.mark.parametrize(
    ("undisturbed", "passed", "why"),
    [
        (100.0, True, "the machine was busy (load 3.5 a core): 60% of the time a processor was "),
        (math.nextafter(100, 101), False, "latency p95 exceeds its limit; the machine was busy (load 3.5 a core): 60%"),
        (math.nan, False, "latency p95 exceeds its limit"),
        (None, False, "latency p95 exceeds its limit"),
    ],
)
def test_a_busy_machine_is_not_the_models_fault(undisturbed: float | None, why: str, *, passed: bool) -> None:
    """What others took of the processor does not count, and is told; a model that is slow by itself is refused."""
    context = costing("latency p95", 250.0)
    assert context.measurement
    busy = replace(context.measurement, undisturbed_p95_ms=undisturbed, waiting=0.6, load=3.5)

    result = answer(replace(context, measurement=busy), "latency p95")

    assert (passed, True) == (result.passed, result.why.startswith(why))
    assert "250.00 ms, 0.10 ms of processor time a request" == result.measured


@pytest.mark.parametrize(
    ("name", "value", "measured", "required", "why"),
    [
        ("latency p95", 100.256, "100.26 ms", "≤ 100 ms", "latency p95 exceeds its limit"),
        ("peak memory", 1000.4, "1000 MB", "< 1000 MB", "peak memory exceeds its limit"),
        ("CPU", 150.0, "75.0%", "< 50% of 2 cores at 10 requests/s", "it needs too much CPU time"),
    ],
)
def test_a_cost_is_said_in_its_unit(name: str, value: float, measured: str, required: str, why: str) -> None:
    """What was measured, what was required and why it is refused."""
    result = answer(costing(name, value), name)

    assert (measured, required, why) == (result.measured, result.required, result.why)


@pytest.mark.parametrize("name", RULES)
def test_what_was_not_measured_is_refused(name: str) -> None:
    """For the first reason that is known."""
    config = a_config(RULES[name])

    for changes, why in (
        ({"measurement_problem": "it crashed", "artifact_problem": "no files"}, "it crashed"),
        ({"artifact_problem": "no files"}, "no files"),
        ({}, "it could not be run"),
    ):
        result = answer(a_context(config, measurement=None, **changes), name)
        assert (False, "not measured", why) == (result.passed, result.measured, result.why)


@pytest.mark.parametrize("name", RULES)
def test_only_what_is_bounded_is_asked_and_measured(name: str) -> None:
    """Each rule brings its own gate; without any, nothing is measured."""
    nothing, one = a_config(), a_config(RULES[name])

    assert not is_measured(nothing)
    assert is_measured(one)
    assert [] == [gate for gate in asked(a_context(nothing)) if gate in RULES]
    assert [name] == [gate for gate in asked(a_context(one)) if gate in RULES]


def test_the_cpu_gate_counts_requests_and_cores() -> None:
    """Twice the requests need twice the share, twice the cores half of it."""
    for rule, passed in (
        ({"share": 0.8, "requests_per_second": 10.0, "cores": 1.0}, True),
        ({"share": 0.8, "requests_per_second": 20.0, "cores": 1.0}, False),
        ({"share": 0.8, "requests_per_second": 20.0, "cores": 2.0}, True),
    ):
        context = a_context(a_config({"cpu": rule}), measurement=replace(CHEAP, cpu_ms_per_request=79.0))
        assert passed == answer(context, "CPU").passed
