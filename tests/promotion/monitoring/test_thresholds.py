"""What an observation comes to: levels, absolute drops, and what is neither an alarm nor an all-clear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.promotion.monitoring.logs import DAY, MODEL, NOON

from promotion.config.policy import Levels, Monitoring
from promotion.monitoring.finding import worst
from promotion.monitoring.observe.observation import Drift, FailingInstance, Observation, Quality, Reading, Service
from promotion.monitoring.thresholds import judge

POLICY = Monitoring()


def seen(**changes: Any) -> Observation:
    given: dict[str, Any] = {
        "family": "churn",
        "model": MODEL,
        "version": 2,
        "semver": None,
        "role": "champion",
        "is_production": True,
        "serves": True,
        "since": NOON - DAY,
        "until": NOON,
        "rows": 10_000,
        "service": Service(20.0, 0.0, 1.0, 10_000, "prometheus", enough=True),
    }
    return Observation(**(given | changes))


def reading(value: float | None, reference: float | None = 0.9, rows: int = 10_000, width: float = 0.002) -> Reading:
    low, high = (None, None) if value is None else (value - width, value + width)
    return Reading(value, low, high, reference, rows, enough=rows >= POLICY.minimum_labels)


def levels(observation: Observation, policy: Monitoring = POLICY) -> dict[str, str | None]:
    return {finding.key: finding.level for finding in judge(observation, policy)}


@pytest.mark.parametrize(
    ("accuracy", "level"),
    [
        (0.92, "healthy"),
        (0.9, "healthy"),
        (0.89, "info"),
        (0.88, "info"),
        (0.879, "warning"),
        (0.85, "warning"),
        (0.849, "critical"),
    ],
)
def test_a_drop_is_absolute_and_counts_beyond_its_bound(accuracy: float, level: str) -> None:
    """From 0.90: down to 0.88 is minor, below it a warning, below 0.85 critical; 5 % of 0.90 would be 0.855."""
    found = levels(seen(metrics={"accuracy": reading(accuracy)}))

    assert ({} if level == "healthy" else {"accuracy": level}) == found


@pytest.mark.parametrize(("rate", "level"), [(0.0, None), (0.02, None), (0.024, "critical"), (1.0, "critical")])
def test_an_error_rate_beyond_two_percent_is_critical(rate: float, level: str | None) -> None:
    """On the bound is not beyond it; what chance explains is neither, see below."""
    service = Service(20.0, rate, 1.0, 10_000, "prometheus", enough=True)

    assert ({"error_rate": level} if level else {}) == levels(seen(service=service))


def test_a_latency_beyond_200_ms_is_a_warning() -> None:
    """However slow: the guidelines know no critical latency."""
    assert {"latency": "warning"} == levels(seen(service=Service(900.0, 0.0, 1.0, 10_000, "prometheus", enough=True)))


def test_too_few_labels_are_neither_an_alarm_nor_an_all_clear() -> None:
    """A terrible accuracy on 99 rows has no level, and is not absent either."""
    assert {"accuracy": None} == levels(seen(metrics={"accuracy": reading(0.1, rows=99)}))
    assert {"accuracy": None} == levels(seen(metrics={"accuracy": reading(0.95, rows=99)}))


def test_a_drop_that_may_be_chance_has_no_level() -> None:
    """0.06 below promotion, and the interval reaches back to it."""
    assert {"accuracy": None} == levels(seen(metrics={"accuracy": reading(0.84, rows=120, width=0.065)}))


def test_a_drop_from_a_value_that_few_rows_gave_has_no_level() -> None:
    """61 held-out rows once gave 0.885: a thousand live rows at 0.85 do not say that anything got worse."""
    lucky = replace(reading(0.85, 0.885), reference_low=0.80, reference_high=0.95)
    (finding,) = judge(seen(metrics={"accuracy": lucky}), POLICY)

    assert finding.level is None
    assert "the value at promotion is known to ±0.08 only" in finding.text
    assert {"accuracy": "critical"} == levels(
        seen(metrics={"accuracy": replace(lucky, value=0.7, low=0.69, high=0.71)})
    )


def test_another_metric_is_worth_a_word_only() -> None:
    """The thresholds name the accuracy; a lost F1 is information."""
    assert {"f1": "info"} == levels(seen(metrics={"accuracy": reading(0.9), "f1": reading(0.5)}))


def test_a_rising_error_is_worse() -> None:
    """An RMSPE of 0.10 became 0.13, 0.16; a falling one is no finding."""
    assert {"rmspe": "warning"} == levels(seen(metrics={"rmspe": reading(0.13, 0.10)}))
    assert {"rmspe": "critical"} == levels(seen(metrics={"rmspe": reading(0.16, 0.10)}))
    assert {} == levels(seen(metrics={"rmspe": reading(0.05, 0.10)}))


def test_without_a_value_at_promotion_there_is_nothing_to_say() -> None:
    """Neither good nor bad."""
    assert {"accuracy": None} == levels(seen(metrics={"accuracy": reading(0.2, None)}))


def test_an_unknown_service_is_not_a_healthy_one() -> None:
    """Nobody was asked: no level. Somebody was, and did not answer: people must hear that nobody watches."""
    nobody = seen(service=Service(problem="PROMETHEUS_URL is not set"))
    silent = seen(service=Service(source="prometheus", problem="Prometheus at http://p does not answer"))

    assert {"error_rate": None, "latency": None} == levels(nobody)
    assert {"metrics": "warning", "error_rate": None, "latency": None} == levels(silent)


def test_few_requests_are_not_enough() -> None:
    """Two of ten requests failing says nothing yet, nor does a slow one."""
    service = Service(900.0, 0.2, 0.1, 10, "prometheus", enough=False)

    assert {"error_rate": None, "latency": None} == levels(seen(service=service))


@pytest.mark.parametrize(
    ("failed", "requests", "level"),
    [
        (40, 40, "critical"),  # evidence at any traffic
        (5, 5, "critical"),
        (4, 4, None),  # one client's retries
        (6, 200, None),  # 3 % against 2 %: chance explains it
        (12, 200, "critical"),
        (210, 10_000, None),
    ],
)
def test_failures_count_when_chance_does_not_explain_them(failed: int, requests: int, level: str | None) -> None:
    """By the exact binomial test against the bound, whatever `minimum_rows` says; otherwise it cannot be told."""
    service = Service(20.0, failed / requests, 1.0, requests, "prometheus", enough=requests >= POLICY.minimum_rows)

    assert level == levels(seen(service=service)).get("error_rate", "healthy")


def test_one_bad_instance_is_not_the_versions_fault() -> None:
    """One of ten fails everything: critical all the same, and it says which one."""
    pod = [FailingInstance("10.0.0.5:8000", 100, 100), FailingInstance("10.0.0.6:8000", 100, 1)]
    service = Service(20.0, 0.101, 1.0, 1000, "prometheus", enough=True, instances=10, failing=pod)
    (finding,) = judge(seen(service=service), POLICY)

    assert "critical" == finding.level
    assert finding.text.endswith(
        "1 of 10 instances alone: 10.0.0.5:8000 failed 100 of 100 requests, the others 1 of 900: "
        "look at the instance, not at the version"
    )
    everywhere = [FailingInstance(f"10.0.0.{place}:8000", 100, 10) for place in range(10)]
    (finding,) = judge(seen(service=replace(service, failing=everywhere)), POLICY)
    assert "alone" not in finding.text


def drift(psi: float | None, p_value: float | None = 0.0, by_chance: float = 0.0, rows: int = 10_000) -> Drift:
    return Drift("x", "feature", psi, by_chance, p_value, rows, 1000, enough=rows >= POLICY.minimum_rows)


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (drift(0.05), "healthy"),
        (drift(0.15), "info"),
        (drift(0.30), "warning"),
        (drift(0.30, by_chance=0.25), "healthy"),
        (drift(0.30, p_value=0.2), None),
        (drift(0.05, p_value=0.0, rows=10_000_000), "healthy"),
        (drift(3.0, rows=199), None),
        (drift(None, None), None),
    ],
)
def test_drift_needs_a_size_and_a_certainty(found: Drift, level: str | None) -> None:
    """A tiny shift of millions of rows is none, however small its p; a large one of a few rows is none yet."""
    expected = {} if level == "healthy" else {"drift:x": level}

    assert expected == levels(seen(drift=[found]))


@pytest.mark.parametrize(
    ("importance", "psi", "level", "words"),
    [
        (None, 0.30, "warning", "its importance is not known"),
        (0.25, 0.30, "warning", "25.0% of what moves the model's answers"),
        (0.90, 0.30, "warning", "90.0% of what moves the model's answers"),
        (0.90, 0.15, "info", "info beyond 0.1"),
        (0.125, 0.30, "info", "info only, by its importance it weighs 0.15"),
        (0.125, 0.60, "warning", "warning beyond 0.25"),
        (0.0, 99.0, "info", "info only, by its importance it weighs 0.00; 0.0% of what moves the model's answers"),
    ],
)
def test_a_drift_weighs_as_its_feature_does(importance: float | None, psi: float, level: str, words: str) -> None:
    """Of four features one that counts less than a quarter weighs less, and none weighs more."""
    others = [replace(drift(0.0), name=f"other{number}") for number in range(3)]

    (finding,) = judge(seen(drift=[replace(drift(psi), importance=importance), *others]), POLICY)

    assert (level, "drift:x", psi) == (finding.level, finding.key, finding.value)
    assert words in finding.text


@pytest.mark.parametrize(("importance", "level"), [(None, "warning"), (0.002, "warning"), (0.0009, "info")])
def test_values_never_seen_count_unless_the_model_does_not_use_them(importance: float | None, level: str) -> None:
    """How answers move among the values of training says nothing of values beyond these."""
    found = replace(drift(0.0), unseen=0.05, unseen_p_value=0.0, importance=importance)

    assert {"drift:x": level} == levels(seen(drift=[found, *[drift(0.0)] * 3]))


def test_a_family_may_leave_drift_alone_or_call_it_critical() -> None:
    """`drift: false`, and a bound of its own."""
    observation = seen(drift=[drift(0.9)])

    assert {} == levels(observation, Monitoring(drift=False))
    assert {"drift:x": "critical"} == levels(observation, Monitoring(psi=Levels(critical=0.5)))


def test_more_missing_values_and_values_out_of_range_are_warnings() -> None:
    """Missing ones count as far as they are more than at training."""
    bad = Quality("x", missing=0.30, reference_missing=0.10, out_of_range=0.02, rows=500, enough=True)
    good = Quality("c", missing=0.12, reference_missing=0.10, out_of_range=0.01, rows=500, enough=True)

    assert {"missing:x": "warning", "out_of_range:x": "warning"} == levels(seen(quality=[bad, good]))


def test_a_changed_meaning_of_a_prediction_is_concept_drift() -> None:
    """Among the rows called positive fewer are; the accuracy alone may hide it."""
    found = levels(seen(concept={"yes": reading(0.7, 0.9), "no": reading(0.12, 0.1)}))

    assert {"concept:yes": "warning"} == found


def test_a_version_that_answers_without_being_in_production_is_told() -> None:
    """The cluster and the journal disagree; an earlier version of the window is no such case."""
    assert {"stage": "warning"} == levels(seen(is_production=False))
    assert {} == levels(seen(is_production=False, serves=False))
    assert {} == levels(seen(is_production=None))


def test_the_worst_comes_first() -> None:
    """Critical, warning, info, then what could not be said."""
    found = judge(
        seen(
            metrics={"accuracy": reading(0.5), "f1": reading(0.5), "recall": reading(0.5, rows=1)},
            service=Service(900.0, 0.0, 1.0, 10_000, "prometheus", enough=True),
        ),
        POLICY,
    )

    assert ["critical", "warning", "info", None] == [finding.level for finding in found]
    assert "critical" == worst(found)
    assert worst([found[-1]]) is None


def test_a_finding_says_what_how_bad_and_against_what() -> None:
    """One line for a person, plain data for a machine."""
    finding = judge(seen(metrics={"accuracy": reading(0.8)}), POLICY)[0]

    assert (
        "accuracy 0.800 on 10,000 labelled rows, 0.100 below 0.900 at promotion; critical beyond 0.05" == finding.text
    )
    assert (0.8, 0.9, 0.05, 10_000) == (finding.value, finding.reference, finding.bound, finding.rows)
    assert "2026-11-20T12:00:00+00:00" == finding.as_json()["since"]
