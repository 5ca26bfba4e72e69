"""Drift: its size, its certainty, and the classes both are counted on."""

from __future__ import annotations

import numpy as np
import pytest

from promotion.monitoring.observe.drift import (
    compare_distributions,
    expected_by_chance,
    homogeneity_p_value,
    population_stability_index,
)
from promotion.monitoring.observe.observation import Drift
from promotion.monitoring.observe.reference import Bins

LABELS = ["no", "yes"]


def measured(reference: np.ndarray, live: np.ndarray) -> Drift:
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, 11)))
    bins = Bins.measured(edges, np.histogram(reference, edges)[0])
    return compare_distributions("x", "feature", bins.counts, bins.count(live), bins.labels, minimum_rows=200)


def is_alarm(drift: Drift) -> bool:
    assert drift.psi is not None
    assert drift.p_value is not None
    return drift.psi - drift.by_chance > 0.1 and drift.p_value * 13 < 0.001


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
    """Lower edges belong to their class, the last class has both; what lies outside counts for the end."""
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    values = np.array([0.0, 0.5, 1.0, 2.0, 3.9, 4.0])
    bins = Bins.measured(edges, np.histogram(values, edges)[0], missing=0.25)

    assert [*np.histogram(values, edges)[0], 0] == bins.count(values).tolist()
    assert [2, 1, 3, 2] == bins.counts.tolist()
    assert [1, 0, 1, 1] == bins.count(np.array([-9.0, 99.0, np.nan])).tolist()
    assert ["< 1", "1 – 2", "≥ 2", "missing"] == bins.labels


def test_codes_that_training_never_saw_are_a_class_of_their_own() -> None:
    """So are missing ones."""
    bins = Bins.coded({"0": 10, "2": 30})

    assert [1, 2, 1, 1] == bins.count(np.array([0, 2, 2, 7, np.nan])).tolist()
    assert ["0", "2", "other", "missing"] == bins.labels
    assert [10, 30, 0, 0] == bins.counts.tolist()


def test_a_constant_column_that_varies_is_drift() -> None:
    """A histogram with one edge would swallow it."""
    bins = Bins.measured([3.0, 3.0], [500])
    drift = compare_distributions(
        "x", "feature", bins.counts, bins.count(np.full(500, 4.0)), bins.labels, minimum_rows=200
    )

    assert is_alarm(drift)


def test_a_column_that_was_always_missing_can_be_compared() -> None:
    """It has no edges at all."""
    bins = Bins.measured([], [], missing=1.0)

    assert [0, 1] == bins.counts.tolist()
    assert [2, 1] == bins.count(np.array([1.0, 2.0, np.nan])).tolist()


def test_without_live_rows_there_is_no_index() -> None:
    """Unknown, and not enough."""
    drift = compare_distributions("x", "feature", np.array([5, 5]), np.array([0, 0]), LABELS, minimum_rows=1)

    assert (None, None, False) == (drift.psi, drift.p_value, drift.enough)
