"""Alert thresholds at their edges: on the bound, just beyond it, without a bound, and what is no number."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import pytest
from tests.facts import is_fact
from tests.promotion.monitoring.logs import DAY, MODEL, NOON

from promotion.config.policy import AlertBounds, Levels, Monitoring
from promotion.monitoring.finding import Finding, worst
from promotion.monitoring.observe.observation import Drift, Observation, Quality, Reading, Service
from promotion.monitoring.performance_thresholds import doubt, is_sure, unjudged_findings
from promotion.monitoring.thresholds import judge

NEAR = 1e-6
"""More than rounding, less than anybody would call a difference."""
HEALTHY = "healthy"


def observed(**changes: Any) -> Observation:
    """A version about which nothing is wrong and nothing unknown."""
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


def certain(value: float | None, reference: float | None = 0.9, **changes: Any) -> Reading:
    """A figure that many rows gave."""
    return replace(Reading(value, value, value, reference, 10_000, enough=True), **changes)


def found(observation: Observation, key: str, **policy: Any) -> Finding | None:
    """What is said of one check."""
    findings = [it for it in judge(observation, Monitoring(**policy)) if it.key == key]
    assert len(findings) <= 1
    return findings[0] if findings else None


def level(observation: Observation, key: str, **policy: Any) -> str | None:
    """How bad it is: a level, None when that cannot be said, or healthy."""
    finding = found(observation, key, **policy)
    return HEALTHY if finding is None else finding.level


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accuracy", 0.9 + NEAR, HEALTHY),
        ("accuracy", 0.9, HEALTHY),
        ("accuracy", 0.9 - NEAR, "info"),
        ("accuracy", 0.88, "info"),
        ("accuracy", 0.88 - NEAR, "warning"),
        ("accuracy", 0.85, "warning"),
        ("accuracy", 0.85 - NEAR, "critical"),
        ("accuracy", 0.0, "critical"),
        ("accuracy", math.nan, None),
        ("accuracy", -math.inf, None),
        ("accuracy", None, None),
        ("f1", 0.88, HEALTHY),
        ("f1", 0.88 - NEAR, "info"),
        ("f1", 0.0, "info"),
        ("f1", math.nan, None),
        ("rmspe", 0.9, HEALTHY),
        ("rmspe", 0.9 + NEAR, "info"),
        ("rmspe", 0.92, "info"),
        ("rmspe", 0.92 + NEAR, "warning"),
        ("rmspe", 0.95, "warning"),
        ("rmspe", 0.95 + NEAR, "critical"),
        ("rmspe", math.nan, None),
        ("rmspe", 0.5, HEALTHY),
        ("mae", 99.0, HEALTHY),
        ("mae", None, HEALTHY),
    ],
)
def test_a_loss_counts_beyond_its_bound(name: str, value: float | None, expected: str | None) -> None:
    """Accuracy 0.02 and 0.05, RMSPE likewise upwards; another metric never is more than information, MAE nothing."""
    assert expected == level(observed(metrics={name: certain(value)}), name)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"enough": False, "rows": 99}, "accuracy: not enough data, 99 labelled rows, 100 needed"),
        ({"value": None}, "accuracy: the 10,000 labelled rows cannot tell it"),
        ({"value": math.nan}, "accuracy: the 10,000 labelled rows cannot tell it"),
        ({"reference": None}, "accuracy: nothing to compare with, no value at promotion is known"),
        ({"reference": math.nan}, "accuracy: nothing to compare with, no value at promotion is known"),
    ],
)
def test_what_cannot_be_said_is_no_all_clear(changes: dict[str, Any], text: str) -> None:
    """Too few rows, no value, nothing to compare with, or no number: no level, and the reason."""
    finding = found(observed(metrics={"accuracy": replace(certain(0.5), **changes)}), "accuracy")

    assert finding is not None
    assert (None, text, 0.02) == (finding.level, finding.text, finding.bound)


def test_without_a_bound_a_drop_is_a_fluctuation() -> None:
    """Rule absent: neither a warning nor critical, and of another metric nothing at all."""
    silent = {"critical": AlertBounds(), "warning": AlertBounds()}
    observation = observed(metrics={"accuracy": certain(0.1), "f1": certain(0.1), "rmspe": certain(9.9)})

    assert "info" == level(observation, "accuracy", **silent)
    assert HEALTHY == level(observation, "f1", **silent)
    assert "info" == level(observation, "rmspe", rmspe_rise=Levels())
    assert "warning" == level(observation, "accuracy", critical=AlertBounds(), warning=AlertBounds(accuracy_drop=0.5))
    assert "critical" == level(observation, "accuracy", critical=AlertBounds(accuracy_drop=0.5), warning=AlertBounds())
    assert "info" == level(observation, "rmspe", rmspe_rise=Levels(info=5.0))


def test_a_finding_names_the_bound_that_was_crossed() -> None:
    """The worst one, or the first for what has no level; and since when the labels count."""
    policy: dict[str, Any] = {"critical": AlertBounds(accuracy_drop=0.2), "warning": AlertBounds(accuracy_drop=0.1)}
    since = NOON - DAY * 8

    for value, expected, bound, words in (
        (0.65, "critical", 0.2, "; critical beyond 0.2"),
        (0.75, "warning", 0.1, "; warning beyond 0.1"),
        (0.85, "info", 0.1, "; a minor fluctuation"),
    ):
        observation = observed(metrics={"accuracy": certain(value)}, labelled_since=since)
        finding = found(observation, "accuracy", **policy)
        assert finding is not None
        assert (expected, bound, since) == (finding.level, finding.bound, finding.since)
        assert finding.text == (
            f"accuracy {value:.3f} on 10,000 labelled rows, {0.9 - value:.3f} below 0.900 at promotion{words}"
        )
    rising = found(observed(metrics={"rmspe": certain(1.0)}), "rmspe")
    assert rising is not None
    assert "rmspe 1.000 on 10,000 labelled rows, 0.100 above 0.900 at promotion; critical beyond 0.05" == rising.text
    unsure = found(observed(metrics={"accuracy": certain(0.6, high=1.0)}), "accuracy", **policy)
    assert unsure is not None
    assert (None, 0.2, NOON - DAY) == (unsure.level, unsure.bound, unsure.since)


WIDTH = NormalDist().inv_cdf(0.995) / NormalDist().inv_cdf(0.975)
"""How much wider a 99 % interval is than a 95 % one."""


@pytest.mark.parametrize(
    ("reach", "reference_reach", "loss", "sure"),
    [
        (0.1, None, 0.1 * WIDTH + NEAR, True),
        (0.1, None, 0.1 * WIDTH - NEAR, False),
        (0.03, 0.04, 0.05 * WIDTH + NEAR, True),
        (0.03, 0.04, 0.05 * WIDTH - NEAR, False),
        (0.0, None, 0.0, False),
        (0.0, None, NEAR, True),
        (math.inf, None, 1.0, False),
        (math.nan, None, 1.0, False),
        (0.0, math.nan, 1.0, False),
        (0.0, None, math.nan, False),
    ],
)
def test_a_difference_is_sure_beyond_the_reach_of_both(
    reach: float, reference_reach: float | None, loss: float, *, sure: bool
) -> None:
    """Reaches add up as squares and are scaled from 95 % to the confidence, towards the other value on either side."""
    falling = Reading(0.5, None, 0.5 + reach, 0.5, 1, enough=True)
    rising = Reading(0.5, 0.5 - reach, None, 0.5, 1, enough=True)
    if reference_reach is not None:
        falling = replace(falling, reference_low=0.5 - reference_reach)
        rising = replace(rising, reference_high=0.5 + reference_reach)

    assert sure == is_sure(falling, loss, 0.99, rising=False)
    assert sure == is_sure(rising, loss, 0.99, rising=True)


def test_without_an_interval_nothing_is_sure() -> None:
    """Nor without a value on either side; the end that looks away does not matter."""
    lopsided = Reading(0.5, 0.5, None, 0.9, 1, enough=True)

    assert not is_sure(lopsided, 0.4, 0.99, rising=False)
    assert is_sure(lopsided, 0.4, 0.99, rising=True)
    assert not is_sure(replace(lopsided, value=None), 0.4, 0.99, rising=True)
    assert not is_sure(replace(lopsided, reference=None), 0.4, 0.99, rising=True)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_more_confidence_asks_for_more(confidence: float) -> None:
    """At 95 % the interval itself decides."""
    scale = NormalDist().inv_cdf((1 + confidence) / 2) / NormalDist().inv_cdf(0.975)
    reading = Reading(0.5, None, 0.6, 0.9, 1, enough=True)

    assert is_sure(reading, 0.1 * scale + NEAR, confidence, rising=False)
    assert not is_sure(reading, 0.1 * scale - NEAR, confidence, rising=False)


def test_the_larger_doubt_is_told() -> None:
    """Whichever side is known less; at equal reach it is the live rows."""
    few = "it may be chance with so few labelled rows"

    def reading(promotion: float) -> Reading:
        return Reading(0.5, 0.25, 0.75, 0.5, 1, enough=True, reference_low=0.5 - promotion, reference_high=None)

    assert few == doubt(reading(0.25), rising=False)
    assert few == doubt(reading(0.125), rising=False)
    assert "it may be chance, the value at promotion is known to ±0.38 only" == doubt(reading(0.375), rising=False)
    assert few == doubt(reading(0.375), rising=True)


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [
        (0.8, 0.9, HEALTHY),
        (1.0, 0.9, HEALTHY),
        (0.4, 0.3, HEALTHY),  # 0.10000000000000003 to a computer
        (0.4 + NEAR, 0.3, "warning"),
        (0.8 - NEAR, 0.9, "warning"),
        (0.5, 0.9, "warning"),
        (0.5, 0.1, "warning"),
        (0.1, 0.1, HEALTHY),
        (None, 0.9, None),
        (math.nan, 0.9, None),
        (0.5, None, HEALTHY),
        (0.5, math.nan, HEALTHY),
    ],
)
def test_the_meaning_of_a_prediction_may_change_by_a_tenth(
    value: float | None, reference: float | None, expected: str | None
) -> None:
    """In either direction; without a value at promotion nobody knows of a change."""
    observation = observed(concept={"yes": certain(value, reference)}, labelled_since=NOON - DAY * 2)
    finding = found(observation, "concept:yes")

    assert expected == (HEALTHY if finding is None else finding.level)
    if finding is not None:
        assert (0.1, NOON - DAY * 2, 10_000) == (finding.bound, finding.since, finding.rows)


def test_a_check_that_can_say_nothing_does_not_silence_the_next() -> None:
    """Of predictions, metrics and services alike."""
    changed = certain(0.5, 0.9)
    concept = {"a": certain(None), "b": certain(0.5, None), "c": changed}
    metrics = {"mae": certain(1.0), "f1": certain(None), "accuracy": certain(0.5)}
    service = Service(None, 0.5, 1.0, 10_000, "prometheus", enough=True)
    slow = Service(900.0, None, 1.0, 10_000, "prometheus", enough=True)

    assert "warning" == level(observed(concept=concept), "concept:c")
    assert "critical" == level(observed(metrics=metrics), "accuracy")
    assert "critical" == level(observed(service=service), "error_rate")
    assert "warning" == level(observed(service=slow), "latency")
    assert "warning" == level(observed(service=slow), "latency", critical=AlertBounds())


def test_a_change_of_meaning_must_be_sure_too() -> None:
    """On few rows it may be chance, in the direction in which it changed; too few say nothing."""
    falling = certain(0.5, 0.9, low=0.5, high=0.9)
    rising = certain(0.5, 0.1, low=0.1, high=0.5)

    assert [HEALTHY, HEALTHY] == [level(observed(concept={"yes": it}), "concept:yes") for it in (falling, rising)]
    assert "warning" == level(observed(concept={"yes": replace(falling, low=0.1, high=0.5)}), "concept:yes")
    few = found(observed(concept={"yes": certain(0.5, enough=False, rows=7)}), "concept:yes")
    assert few is not None
    assert (None, "share of positives among rows predicted 'yes': not enough data, 7 labelled rows") == (
        few.level,
        few.text,
    )
    told = found(observed(concept={"yes": certain(0.5)}), "concept:yes")
    assert told is not None
    assert (
        "share of positives among rows predicted 'yes' is 0.500 on 10,000 labelled rows, at promotion 0.900; "
        "warning beyond 0.1"
    ) == told.text


@pytest.mark.parametrize(
    ("rate", "latency", "expected"),
    [
        (0.0, 0.0, {}),
        (0.02, 200.0, {}),
        (0.02 + 1e-9, 200.0 + 1e-9, {}),
        (0.02 + 2e-9, 200.0 + 2e-9, {"error_rate": None, "latency": "warning"}),
        (0.0201, 200.0, {"error_rate": None}),  # as chance may have it at 2 %
        (0.0233, 200.0, {"error_rate": None}),
        (0.0234, 200.0, {"error_rate": "critical"}),  # the first that the test knows
        (0.02, 200.0 + NEAR, {"latency": "warning"}),
        (1.0, 1e9, {"error_rate": "critical", "latency": "warning"}),
        (None, None, {"error_rate": None, "latency": None}),
        (math.nan, math.nan, {"error_rate": None, "latency": None}),
        (0.0, math.inf, {"latency": "warning"}),
    ],
)
def test_the_service_and_its_bounds(rate: float | None, latency: float | None, expected: dict[str, Any]) -> None:
    """On the bound it is well, beyond it not; what is unknown or no number is unknown."""
    service = Service(latency, rate, 1.0, 10_000, "prometheus", enough=True)

    assert expected == {it.key: it.level for it in judge(observed(service=service), Monitoring())}


def test_what_is_said_of_a_service() -> None:
    """Figures, requests and bounds; what is unknown says why, what nobody bounds is not asked."""
    slow = observed(service=Service(250.0, 0.5, 1.0, 10_000, "prometheus", enough=True))
    assert [
        "error rate 50.00% over 10,000 requests; critical beyond 2.00%",
        "latency p95 250 ms over 10,000 requests; warning beyond 200 ms",
    ] == [it.text for it in judge(slow, Monitoring())]
    few = observed(service=Service(250.0, 0.5, 1.0, 7, "prometheus", enough=False))
    assert ["error rate: not enough data, 7 requests, 200 needed"] == [
        it.text for it in judge(few, Monitoring()) if it.key == "error_rate"
    ]
    blind = observed(service=Service(source="prometheus", problem="it is down"))
    assert [
        ("the service cannot be watched: it is down", 0),
        ("error rate: unknown, it is down", 0),
        ("latency p95: unknown, it is down", 0),
    ] == [(it.text, it.rows) for it in judge(blind, Monitoring())]
    nothing = observed(service=Service())
    assert ["error rate: unknown, nothing was measured", "latency p95: unknown, nothing was measured"] == [
        it.text for it in judge(nothing, Monitoring())
    ]
    assert [] == judge(slow, Monitoring(critical=AlertBounds(), warning=AlertBounds()))
    assert [0.02, 200.0] == [it.bound for it in judge(slow, Monitoring())]
    both: dict[str, Any] = {
        "critical": AlertBounds(error_rate=0.9, latency_ms=900.0),
        "warning": AlertBounds(error_rate=0.1, latency_ms=100.0),
    }
    assert [("warning", 0.1), ("warning", 100.0)] == [(it.level, it.bound) for it in judge(slow, Monitoring(**both))]
    assert [(None, 0.1), (None, 100.0)] == [(it.level, it.bound) for it in judge(nothing, Monitoring(**both))]


def moved(psi: float | None, p_value: float | None = 0.0, **changes: Any) -> Drift:
    """A distribution that moved so far."""
    return replace(Drift("x", "feature", psi, 0.0, p_value, 10_000, 1000, enough=True), **changes)


@pytest.mark.parametrize(
    ("drift", "expected"),
    [
        (moved(0.1), HEALTHY),
        (moved(0.1 + NEAR), "info"),
        (moved(0.25), "info"),
        (moved(0.25 + NEAR), "warning"),
        (moved(99.0), "warning"),
        (moved(0.3, by_chance=0.2), HEALTHY),
        (moved(0.3, by_chance=0.2 - NEAR), "info"),
        (moved(0.3, p_value=0.001), "warning"),
        (moved(0.3, p_value=0.001 + NEAR), None),
        (moved(None), None),
        (moved(0.3, p_value=None), None),
        (moved(math.nan), None),
        (moved(0.3, p_value=math.nan), None),
        (moved(math.inf), "warning"),
        (moved(0.3, enough=False), None),
        (moved(0.0, enough=False), None),
    ],
)
def test_a_distribution_and_its_bounds(drift: Drift, expected: str | None) -> None:
    """Its size without what chance adds, and its certainty; on the bound it has not drifted."""
    assert expected == level(observed(drift=[drift]), "drift:x")


@pytest.mark.parametrize(("tests", "expected"), [(1, "warning"), (10, "warning"), (11, None), (100, None)])
def test_many_features_ask_for_more_certainty(tests: int, expected: str | None) -> None:
    """Bonferroni: of p = 0.0001 ten tests are as sure as one of 0.001, and eleven are not."""
    others = [moved(0.0, 1.0, name=f"other{number}") for number in range(tests - 1)]

    assert expected == level(observed(drift=[moved(0.3, 0.0001), *others]), "drift:x")


def test_what_is_said_of_a_drift() -> None:
    """Its size, how much of it is chance where that is worth saying, and why it is not sure or not known."""
    texts: list[tuple[Drift, str, float | None]] = [
        (
            moved(0.3),
            "x drifted: population stability index 0.30 over 10,000 rows; warning beyond 0.25",
            0.25,
        ),
        (
            moved(0.31, by_chance=0.01),
            "x drifted: population stability index 0.31, 0.01 of it by chance over 10,000 rows; warning beyond 0.25",
            0.25,
        ),
        (
            moved(0.4, by_chance=0.02),
            "x drifted: population stability index 0.40, 0.02 of it by chance over 10,000 rows; warning beyond 0.25",
            0.25,
        ),
        (
            moved(0.3, by_chance=0.0099),
            "x drifted: population stability index 0.30 over 10,000 rows; warning beyond 0.25",
            0.25,
        ),
        (
            moved(0.3, 0.0025),
            "x drifted: population stability index 0.30 over 10,000 rows; too few to be sure (p = 0.0025)",
            0.1,
        ),
        (moved(0.3, enough=False, rows=7), "drift of x: not enough data, 7 rows, 200 needed", 0.1),
        (moved(None, None), "drift of x: unknown, there is no reference of this version", 0.1),
    ]
    for drift, text, bound in texts:
        finding = found(observed(drift=[drift]), "drift:x")
        assert finding is not None
        unweighted = "; its importance is not known" if finding.text.startswith("x") else ""
        assert (text + unweighted, bound, 0.0) == (finding.text, finding.bound, finding.reference)


def test_a_family_without_bounds_or_without_drift_hears_of_none() -> None:
    """Rule absent, rule false, and a rule of its own."""
    far = observed(drift=[moved(99.0)])

    assert HEALTHY == level(far, "drift:x", psi=Levels())
    assert HEALTHY == level(far, "drift:x", drift=False)
    assert "critical" == level(far, "drift:x", psi=Levels(critical=98.0, warning=1.0))
    assert "warning" == level(far, "drift:x", psi=Levels(critical=99.5, warning=98.0))
    unknown = found(observed(drift=[moved(None)]), "drift:x", psi=Levels())
    assert unknown is not None
    assert unknown.bound is None


def values(**changes: Any) -> Quality:
    """A feature with as many missing values as at training, none of them odd."""
    return replace(Quality("x", 0.25, 0.25, 0.0, 10_000, enough=True), **changes)


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (values(), {}),
        (values(missing=0.3125), {"missing:x": "warning"}),
        (values(missing=0.25 + 0.05 - NEAR), {}),
        (values(missing=0.25 + 0.05 + NEAR), {"missing:x": "warning"}),
        (values(missing=0.55, reference_missing=0.5), {}),  # 0.050000000000000044 to a computer
        (values(missing=0.0), {}),
        (values(missing=0.05, reference_missing=None), {}),
        (values(missing=0.05 + NEAR, reference_missing=None), {"missing:x": "warning"}),
        (values(missing=0.05, reference_missing=0.0), {}),
        (values(out_of_range=0.01), {}),
        (values(out_of_range=0.01 + NEAR), {"out_of_range:x": "warning"}),
        (values(out_of_range=1.0, missing=1.0), {"missing:x": "warning", "out_of_range:x": "warning"}),
        (values(out_of_range=1.0, enough=False), {"missing:x": None, "out_of_range:x": None}),
    ],
)
def test_values_and_their_bounds(quality: Quality, expected: dict[str, Any]) -> None:
    """Missing ones may rise by 0.05, one in a hundred may be out of range."""
    assert expected == {it.key: it.level for it in judge(observed(quality=[quality]), Monitoring())}


def test_what_is_said_of_values() -> None:
    """The share, the rows, what it was at training where that is known, and the bound."""
    bad = values(missing=0.5, out_of_range=0.5)
    unknown = values(missing=0.5, reference_missing=None)
    few = values(enough=False, rows=7)

    def told(quality: Quality) -> list[tuple[str, float | None]]:
        return [(it.text, it.bound) for it in judge(observed(quality=[quality]), Monitoring())]

    assert [
        ("share of x missing: 50.0% of 10,000 rows, at training 25.0%", 0.05),
        ("share of x outside the allowed range: 50.0% of 10,000 rows", 0.01),
    ] == told(bad)
    assert [("share of x missing: 50.0% of 10,000 rows", 0.05)] == told(unknown)
    assert [
        ("share of x missing: not enough data, 7 rows, 200 needed", 0.05),
        ("share of x outside the allowed range: not enough data, 7 rows, 200 needed", 0.01),
    ] == told(few)


@pytest.mark.parametrize(
    ("serves", "is_production", "expected"),
    [
        (True, True, HEALTHY),
        (True, False, "warning"),
        (True, None, HEALTHY),
        (False, False, HEALTHY),
        (False, True, HEALTHY),
    ],
)
def test_who_answers_is_in_production(expected: str, *, serves: bool, is_production: bool | None) -> None:
    """A family the journal knows nothing of is no disagreement."""
    assert expected == level(observed(serves=serves, is_production=is_production), "stage")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], None),
        ([None], None),
        (["info", None], "info"),
        (["info", "warning"], "warning"),
        (["warning", "critical", "info"], "critical"),
    ],
)
def test_the_worst_of_some_findings(levels: list[Any], expected: str | None) -> None:
    """Critical, warning, info, none."""
    findings = [Finding("x", it, "x", None, None, None, NOON, 0, "") for it in levels]

    assert expected == worst(findings)


def test_findings_come_worst_first_and_unknown_last() -> None:
    """In the order of the checks where they are equally bad."""
    observation = observed(
        metrics={"accuracy": certain(None), "f1": certain(0.1), "rmspe": certain(9.0)},
        drift=[moved(0.3)],
        quality=[values(missing=1.0)],
        service=Service(20.0, 0.5, 1.0, 10_000, "prometheus", enough=True),
    )

    assert [
        *[("critical", "rmspe"), ("critical", "error_rate")],
        *[("warning", "drift:x"), ("warning", "missing:x")],
        *[("info", "f1"), (None, "accuracy")],
    ] == [(it.level, it.key) for it in judge(observation, Monitoring())]


@pytest.mark.parametrize("kind", [Finding, Observation, Reading, Drift, Quality, Service])
def test_a_finding_stays_as_it_was_found(kind: type) -> None:
    """And so does what it was found in."""
    assert is_fact(kind)


THREE = Levels(info=0.1, warning=0.25, critical=0.5)


@pytest.mark.parametrize(
    ("importance", "expected", "bound"),
    [
        (1.0, "critical", 0.5),
        (0.5, "critical", 0.5),  # of two features it is as important as any
        (0.4, "warning", 0.5),
        (0.2, "info", 0.5),
        (0.01, "info", 0.5),
    ],
)
def test_a_drift_weighs_what_its_feature_weighs(importance: float, expected: str, bound: float) -> None:
    """The bound that was crossed stays in sight; what weighs too little for any level is worth knowing."""
    others = [moved(0.0, 1.0, name="other")]
    finding = found(observed(drift=[moved(0.6, importance=importance), *others]), "drift:x", psi=THREE)

    assert finding is not None
    assert (expected, bound) == (finding.level, finding.bound)
    words = f"beyond 0.5; {expected} only, by its importance it weighs {0.6 * importance * 2:.2f}"
    assert (expected != "critical") is (words in finding.text), finding.text


@pytest.mark.parametrize("changes", [{"p_value": 1.0}, {"enough": False}, {"psi": None}, {"rows": 0}])
def test_a_drift_without_a_level_names_the_first_bound(changes: dict[str, Any]) -> None:
    """Of three levels that which is crossed first, also where chance may be the reason or nothing is known."""
    finding = found(observed(drift=[replace(moved(0.6), **changes)]), "drift:x", psi=THREE)

    assert finding is not None
    assert (None, 0.1) == (finding.level, finding.bound)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], HEALTHY),
        ([0.2], HEALTHY),
        ([0.9, 0.9], HEALTHY),
        ([0.9, 0.8], HEALTHY),
        ([0.9, 0.8 - NEAR], "warning"),
        ([0.5, 0.95, 0.9], "warning"),
        ([0.9, None], HEALTHY),
        ([0.9, math.nan], HEALTHY),
    ],
)
def test_groups_that_are_apart(values: list[float | None], expected: str) -> None:
    """The worst against the best, whoever was so at promotion; nothing of one group alone, or on the bound."""
    groups = {
        f"c={place}": observed(rows=100 + place, metrics={"accuracy": certain(value, None)})
        for place, value in enumerate(values)
    }
    finding = found(observed(groups=groups), "fairness:c:accuracy", segments=["c"], fairness=Levels(warning=0.1))

    assert expected == (HEALTHY if finding is None else finding.level)
    if finding is not None:
        read = [value for value in values if value is not None]
        assert (max(read) - min(read), 0.0, 0.1) == (finding.value, finding.reference, finding.bound)
        assert f"accuracy of c={read.index(min(read))} is" in finding.text


def test_of_one_bound_another_metric_hears_as_well() -> None:
    """As information, whichever level it is of."""
    for bounds in (
        {"critical": AlertBounds(accuracy_drop=0.5), "warning": AlertBounds()},
        {"critical": AlertBounds(), "warning": AlertBounds(accuracy_drop=0.5)},
    ):
        assert "info" == level(observed(metrics={"f1": certain(0.3)}), "f1", **bounds)
        assert HEALTHY == level(observed(metrics={"f1": certain(0.4)}), "f1", **bounds)
    both = found(observed(metrics={"f1": certain(0.3)}), "f1")
    assert both is not None
    assert ("info", 0.02) == (both.level, both.bound)


FEW, TOO_FEW = "not enough data, 99 labelled rows, 100 needed", {"enough": False, "rows": 99}


@pytest.mark.parametrize(
    ("changes", "seen", "why"),
    [
        ({}, {}, None),
        (TOO_FEW, {}, FEW),
        (TOO_FEW, {"labels_due": False}, None),
        (TOO_FEW, {"metrics": {}}, None),
        ({"value": None}, {}, "the 10,000 labelled rows cannot tell it"),
        ({"value": math.nan}, {}, "the 10,000 labelled rows cannot tell it"),
        ({"reference": None}, {}, "no value at promotion is known"),
        ({"reference": math.nan}, {}, "no value at promotion is known"),
        ({}, {"stray_labels": "labels of other rows"}, "labels of other rows"),
        ({}, {"stray_labels": "labels of other rows", "serves": False}, None),
        ({}, {"coverage": 0.3, "label_bias": "positives only"}, "positives only"),
    ],
)
def test_nobody_knows_how_good_it_is_although_labels_are_due(
    changes: dict[str, Any], seen: dict[str, Any], why: str | None
) -> None:
    """A warning with the reason; nothing where labels are not due yet, or everything is known."""
    given = {"metrics": {"f1": certain(None), "accuracy": replace(certain(0.9), **changes)}, "labels_due": True} | seen
    found = list(unjudged_findings(observed(**given), Monitoring()))

    assert (why is not None) is bool(found)
    for finding in found:
        assert ("labels", "warning") == (finding.key, finding.level)
        assert str(why) in finding.text


@pytest.mark.parametrize(
    ("newest", "said"),
    [
        (NOON - DAY * 3, "the newest label is 3 days old"),
        (NOON, "the newest label is less than a day old"),
        # A day of rows, for whose labels three more are waited.
        (None, "no label in 4 days"),
    ],
)
def test_how_long_nobody_knew_is_told(newest: Any, said: str) -> None:
    """Since the newest label, else since the rows began for which labels are waited."""
    seen = observed(metrics={"accuracy": certain(0.9, **TOO_FEW)}, labels_due=True, labelled_until=newest)
    (finding,) = unjudged_findings(seen, Monitoring(label_delay=DAY * 3))

    assert finding.text.endswith(f"; {said}")


def test_a_group_is_judged_as_all_rows_are() -> None:
    """By its name; of one without evidence nothing is said, and nothing of a group that is well."""
    groups = {
        "c=1": observed(drift=[moved(0.3)]),
        "c=2": observed(drift=[moved(0.3, enough=False)]),
        "c=3": observed(drift=[moved(0.0)]),
    }
    findings = judge(observed(groups=groups), Monitoring(segments=["c"]))

    assert [("c=1:drift:x", "warning")] == [(it.key, it.level) for it in findings]
    assert findings[0].text.startswith("c=1: x drifted: ")
