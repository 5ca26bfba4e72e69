"""Drift: its size, its certainty, and the classes both are counted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from tests.promotion.monitoring.test_thresholds_boundaries import observed

from promotion.config.policy import Monitoring
from promotion.export.documents import value_histogram
from promotion.monitoring.drift.classes import FAR, Bins, Unseen
from promotion.monitoring.drift.comparison import (
    compare_distributions,
    expected_by_chance,
    homogeneity_p_value,
    population_stability_index,
)
from promotion.monitoring.observe.observation import Drift
from promotion.monitoring.thresholds import judge


def measured(reference: np.ndarray, live: np.ndarray) -> Drift:
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, 11)))
    bins = Bins.measured(edges, np.histogram(reference, edges)[0])
    return compare_distributions("x", "feature", bins, bins.count(live), minimum_rows=200)


def is_alarm(drift: Drift) -> bool:
    seen = observed(drift=[drift] * 13)
    return any(finding.level for finding in judge(seen, Monitoring()))


@pytest.mark.parametrize("rows", [100, 200, 1000, 100_000])
def test_equal_distributions_raise_no_alarm(rows: int) -> None:
    """A reference of 242 rows, as small as real ones are, thirteen features, a few runs."""
    random = np.random.default_rng(rows)
    found = [measured(random.normal(size=242), random.normal(size=rows)) for _ in range(13 * (5 if rows < 1e4 else 1))]

    assert 0 == sum(is_alarm(drift) for drift in found)


@pytest.mark.parametrize("rows", [200, 1000, 100_000])
def test_a_shift_of_a_standard_deviation_is_found(rows: int) -> None:
    """At once, and on two hundred rows already."""
    random = np.random.default_rng(rows)

    assert is_alarm(measured(random.normal(size=242), random.normal(1, size=rows)))


def test_a_tiny_shift_of_very_many_rows_is_certain_and_no_drift() -> None:
    """The p-value alone would alarm for ever."""
    random = np.random.default_rng(3)
    drift = measured(random.normal(size=50_000), random.normal(0.06, size=200_000))

    assert drift.p_value is not None
    assert drift.p_value < 1e-6
    assert not is_alarm(drift)


def test_the_index_is_the_published_formula() -> None:
    """Sum of (q - p) ln(q / p) by hand, on counts large enough for half a row not to matter."""
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.3, 0.3])
    counts = [np.round(shares * 1e9).astype(np.int64) for shares in (p, q)]

    assert pytest.approx(0.2 * np.log(2) + 0.2 * np.log(5 / 3), abs=1e-6) == population_stability_index(*counts)


def test_the_index_by_chance_is_what_chance_gives() -> None:
    """On average over many draws, to a few percent."""
    random = np.random.default_rng(5)
    shares = np.full(10, 0.1)
    drawn = [
        population_stability_index(random.multinomial(500, shares), random.multinomial(800, shares))
        for _ in range(1000)
    ]
    expected = expected_by_chance(np.full(10, 50), np.full(10, 80))

    assert pytest.approx(expected, rel=0.05) == np.mean(drawn)


def test_the_reference_is_a_sample_too() -> None:
    """The same difference is less certain against fewer reference rows; without rows nothing is certain."""
    live = np.array([600, 400])

    assert homogeneity_p_value(np.array([5000, 5000]), live) < 1e-6 < homogeneity_p_value(np.array([50, 50]), live)
    assert 1.0 == homogeneity_p_value(np.array([50, 50]), np.array([0, 0]))
    assert 1.0 == homogeneity_p_value(np.array([50, 0]), np.array([70, 0]))


def test_values_are_counted_as_the_reference_was() -> None:
    """Lower edges belong to their class, the last class has both; what lies outside, and far outside, counts apart."""
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    values = np.array([0.0, 0.5, 1.0, 2.0, 3.9, 4.0])
    bins = Bins.measured(edges, np.histogram(values, edges)[0], missing=0.25)

    inner = np.histogram(values, edges)[0].tolist()
    assert [0, 0, *inner, 0, 0, 0] == bins.count(values).tolist()
    assert [0, 0, 2, 1, 3, 0, 0, 2] == bins.counts.tolist()
    assert [1, 1, 0, 0, 0, 1, 1, 1] == bins.count(np.array([-9.0, -1.0, 5.0, 99.0, np.nan])).tolist()
    assert ["< 0", "0 – 1", "1 – 2", "2 – 4", "> 4", "missing"] == bins.grouped(bins.counts, 1)[2]


def test_codes_that_training_never_saw_are_a_class_of_their_own() -> None:
    """So are missing ones."""
    bins = Bins.coded({"0": 10, "2": 30})

    assert [1, 2, 1, 1] == bins.count(np.array([0, 2, 2, 7, np.nan])).tolist()
    assert ["0", "2", "other", "missing"] == bins.grouped(bins.counts, 1)[2]
    assert [10, 30, 0, 0] == bins.counts.tolist()


def test_a_constant_column_that_varies_is_drift() -> None:
    """A histogram with one edge would swallow it."""
    bins = Bins.measured([3.0, 3.0], [500])
    drift = compare_distributions("x", "feature", bins, bins.count(np.full(500, 4.0)), minimum_rows=200)

    assert is_alarm(drift)


def test_a_column_that_was_always_missing_can_be_compared() -> None:
    """It has no edges at all."""
    bins = Bins.measured([], [], missing=1.0)

    assert [0, 1] == bins.counts.tolist()
    assert [2, 1] == bins.count(np.array([1.0, 2.0, np.nan])).tolist()


def test_without_live_rows_there_is_no_index() -> None:
    """Unknown, and not enough."""
    drift = compare_distributions(
        "x", "feature", Bins.coded({"0": 5, "1": 5}), np.zeros(4, dtype=np.int64), minimum_rows=1
    )

    assert (None, None, False) == (drift.psi, drift.p_value, drift.enough)


@pytest.mark.parametrize(
    ("what", "reference", "live", "change"),
    [
        ("top decile", 242, 200, lambda x: np.where(x >= np.quantile(x, 0.9), 10 * x, x)),
        ("top decile", 20_000, 100_000, lambda x: np.where(x >= np.quantile(x, 0.9), 10 * x, x)),
        ("2 % of the values", 242, 1000, lambda x: np.where(np.arange(len(x)) % 50 == 0, 12 * x, x)),
        ("2 % of the values", 20_000, 100_000, lambda x: np.where(np.arange(len(x)) % 50 == 0, 12 * x, x)),
        ("rounding", 1000, 1000, lambda x: np.round(x / 15) * 15),
    ],
)
def test_tails_and_shapes_that_leave_most_deciles_alone_are_found(
    what: str, reference: int, live: int, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A unit mixed up now and then, an overflow, a rounding: the share of no decile need change."""
    random = np.random.default_rng(reference + live)
    found = value_histogram(random.normal(50, 10, reference))
    bins = Bins.measured(found["edges"], found["counts"])
    values = change(random.normal(50, 10, live))

    assert is_alarm(compare_distributions("x", "feature", bins, bins.count(values), minimum_rows=200)), what


def test_an_export_of_ten_classes_shows_tails_too() -> None:
    """Smallest and largest stand in every export: its first and last edge."""
    random = np.random.default_rng(4)
    live = random.normal(50, 10, 1000)

    assert is_alarm(measured(random.normal(50, 10, 500), np.where(live > 60, 10 * live, live)))


def test_values_rounded_to_single_precision_are_not_beyond() -> None:
    """A third of the reference being the largest, all of them would be."""
    reference = np.concatenate([np.linspace(0, 0.1, 200), np.full(100, 0.1)])

    assert not is_alarm(measured(reference, reference.astype(np.float32).astype(np.float64)))


@pytest.mark.parametrize(("new", "is_told"), [(0, False), (4, False), (12, True)])
def test_codes_never_seen_are_tested_exactly(new: int, *, is_told: bool) -> None:
    """Against 242 rows: four of 200 may be chance, twelve are not. Missing ones are another matter."""
    bins = Bins.coded({"0": 150, "1": 92})
    live = np.array([124 - new, 76, new, 0])

    assert is_told == is_alarm(compare_distributions("x", "feature", bins, live, minimum_rows=200))


def test_new_codes_among_many_rare_ones_are_expected() -> None:
    """A code that occurs once tells that there are others."""
    random = np.random.default_rng(11)
    shares = (1 / np.arange(1.0, 200)) / (1 / np.arange(1.0, 200)).sum()
    drawn, counts = random.multinomial(242, shares), random.multinomial(100_000, shares)
    seen = drawn > 0
    bins = Bins.coded({str(code): int(drawn[code]) for code in np.flatnonzero(seen)})
    live = np.array([*counts[seen], counts[~seen].sum(), 0])

    assert live[-2] > 5_000
    assert not is_alarm(compare_distributions("x", "feature", bins, live, minimum_rows=200))


def test_the_chance_of_unseen_values_is_the_published_formula() -> None:
    """The outermost k of m + n values in order are all live ones: C(n, k) / C(m + n, k); of two ends one may not be."""
    one_end = Unseen(beyond=3, rows=10, reference=20, alone=0)
    far = replace(one_end, beyond=1, far=1)

    assert pytest.approx(comb(10, 3) / comb(30, 3)) == one_end.p_value
    assert pytest.approx(2 * comb(10, FAR) / comb(30, FAR)) == far.p_value
    assert 1.0 == Unseen(0, 10, 20, 1).p_value
    assert 1.0 == Unseen(3, 10, 1, 1).p_value


@pytest.mark.parametrize("classes", [3, 200])
def test_few_classes_and_many_are_counted_alike(classes: int) -> None:
    """A class holds its lower edge, a code is itself; NaN is missing, whatever the number of classes."""
    values = np.array([0.0, 0.5, 1.0, classes - 1.0, classes + 0.25, -1.0, np.nan])
    measured = Bins.measured(np.arange(classes + 1.0), np.ones(classes))
    coded = Bins.coded({str(code): 1 for code in range(classes)})

    assert [2, 2, 3, classes + 1, classes + 2, 1, classes + 4] == measured.places(values).tolist()
    assert [0, classes, 1, classes - 1, classes, classes, classes + 1] == coded.places(values).tolist()
