"""The drift's figures on counts that can be reckoned by hand: smoothing, chance, certainty, and no rows at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from promotion.monitoring.drift.classes import Bins, Unseen
from promotion.monitoring.drift.comparison import (
    compare_distributions,
    expected_by_chance,
    homogeneity_p_value,
    population_stability_index,
    unknown,
)
from promotion.monitoring.observe.observation import Bin, Drift


def counts(*numbers: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of each class."""
    return np.array(numbers, dtype=np.int64)


def by_hand(reference: list[float], live: list[float]) -> float:
    """The index of shares that are smoothed already."""
    return sum((q - p) * math.log(q / p) for p, q in zip(reference, live, strict=True))


@pytest.mark.parametrize(
    ("reference", "live", "expected"),
    [
        (counts(50, 50), counts(50, 50), 0.0),
        (counts(1, 1), counts(100, 100), 0.0),
        (counts(7), counts(9), 0.0),
        # Half a row more in each class: 1.5 and 0.5 of two, against the same turned round.
        (counts(1, 0), counts(0, 1), by_hand([0.75, 0.25], [0.25, 0.75])),
        (counts(3, 0), counts(3, 4), by_hand([3.5 / 4, 0.5 / 4], [3.5 / 8, 4.5 / 8])),
        (counts(0, 0), counts(3, 0), by_hand([0.5, 0.5], [3.5 / 4, 0.5 / 4])),
    ],
)
def test_half_a_row_is_added_to_every_class(reference: Any, live: Any, expected: float) -> None:
    """A class that one side never saw counts, and the index stays finite; it is the same from either side."""
    assert pytest.approx(expected, abs=1e-15) == population_stability_index(reference, live)
    assert pytest.approx(expected, abs=1e-15) == population_stability_index(live, reference)


@pytest.mark.parametrize(
    ("reference", "live", "expected"),
    [
        (counts(100), counts(50), 0.0),
        (counts(60, 40), counts(30, 20), 1 / 100 + 1 / 50),
        (counts(60, 20, 20), counts(50, 0, 0), 2 * (1 / 100 + 1 / 50)),
        (counts(1, 0), counts(1, 0), 2.0),
        (counts(0, 0), counts(0, 0), 2.0),
        (counts(0, 0), counts(4, 0), 1.25),
        (counts(4, 0), counts(0, 0), 1.25),
    ],
)
def test_what_chance_adds(reference: Any, live: Any, expected: float) -> None:
    """(classes - 1) (1 / m + 1 / n); without rows it is reckoned as with one."""
    assert pytest.approx(expected, abs=1e-15) == expected_by_chance(reference, live)


def pearson(table: list[list[int]]) -> float:
    """The test's p-value by the book: no correction for continuity."""
    found = np.array(table, dtype=np.float64)
    expected = found.sum(axis=1, keepdims=True) * found.sum(axis=0) / found.sum()
    statistic = float(((found - expected) ** 2 / expected).sum())
    return float(chi2.sf(statistic, (found.shape[0] - 1) * (found.shape[1] - 1)))


@pytest.mark.parametrize(
    ("reference", "live", "expected"),
    [
        (counts(60, 40), counts(50, 50), pearson([[60, 40], [50, 50]])),
        (counts(60, 40, 0), counts(50, 50, 0), pearson([[60, 40], [50, 50]])),
        (counts(60, 40, 1), counts(50, 50, 0), pearson([[60, 40, 1], [50, 50, 0]])),
        (counts(1, 0), counts(0, 1), pearson([[1, 0], [0, 1]])),
        (counts(10, 10), counts(10, 10), 1.0),
        (counts(10, 0), counts(9, 0), 1.0),
        (counts(0, 0), counts(9, 1), 1.0),
        (counts(9, 1), counts(0, 0), 1.0),
        (counts(0, 0), counts(0, 0), 1.0),
    ],
)
def test_how_sure_it_is(reference: Any, live: Any, expected: float) -> None:
    """Pearson's test on the classes that either side saw; one class or no rows are no difference."""
    assert pytest.approx(expected, abs=1e-12) == homogeneity_p_value(reference, live)


@pytest.mark.parametrize(
    ("rows", "minimum", "enough"), [(9, 10, False), (10, 10, True), (11, 10, True), (0, 1, False), (1, 1, True)]
)
def test_rows_are_enough_from_the_minimum_on(rows: int, minimum: int, *, enough: bool) -> None:
    """Live rows, whatever the reference has; with a reference or without."""
    drift = compare_distributions("x", "feature", texts(500), counts(rows, 0, 0), minimum_rows=minimum)

    assert (rows, 500, enough) == (drift.rows, drift.reference_rows, drift.enough)
    assert Drift("x", "prediction", None, 0.0, None, rows, 0, enough=enough, bins=()) == unknown(
        "x", "prediction", rows, minimum_rows=minimum
    )


def texts(*numbers: int) -> Bins:
    """Classes named a, b, …, with so many reference rows."""
    return Bins(counts(*numbers, 0, 0), texts=tuple("abcd"[: len(numbers)]))


def test_classes_that_nobody_saw_are_left_out() -> None:
    """Half a row in each of them would look like agreement; the others keep their shares and labels."""
    drift = compare_distributions("x", "feature", texts(30, 0, 0, 10), counts(0, 0, 20, 20, 0, 0), minimum_rows=1)
    seen = (counts(30, 0, 10), counts(0, 20, 20))

    assert [Bin("a", 0.75, 0.0), Bin("c", 0.0, 0.5), Bin("d", 0.25, 0.5)] == drift.bins
    assert (population_stability_index(*seen), expected_by_chance(*seen), homogeneity_p_value(*seen)) == (
        drift.psi,
        drift.by_chance,
        drift.p_value,
    )
    assert ("x", "feature", 40, 40) == (drift.name, drift.of, drift.rows, drift.reference_rows)


def test_rare_codes_are_compared_together() -> None:
    """The test needs five expected rows in a class; what either side holds less of is one."""
    bins, live = texts(90, 8, 1, 3), counts(80, 4, 3, 1, 2, 0)

    assert [[90, 8, 4], [80, 4, 6]] == [side.tolist() for side in bins.comparable(live)]


def test_classes_are_as_fine_as_the_rows_carry() -> None:
    """Twenty rows on either side, never fewer than tenths; the outer ones and the missing stay apart."""
    bins = Bins.measured(np.arange(101), np.full(100, 10))

    def sizes(rows: int) -> list[int]:
        spread = np.array([0, 0, *np.full(100, rows // 100), 0, 0, 0])
        return [int(size) for size in bins.comparable(spread)[0]]

    assert [20] * 50 == sizes(10_000)
    assert [40] * 25 == sizes(500)
    assert [100] * 10 == sizes(100)


def test_without_live_rows_nothing_is_known() -> None:
    """Neither size nor certainty, and nothing by chance; without a reference there is still something to show."""
    nobody = compare_distributions("x", "feature", texts(3, 1), counts(0, 0, 0, 0), minimum_rows=1)
    assert (None, 0.0, None) == (nobody.psi, nobody.by_chance, nobody.p_value)
    assert [Bin("a", 0.75, 0.0), Bin("b", 0.25, 0.0)] == nobody.bins

    new = compare_distributions("x", "feature", texts(0, 0), counts(1, 3, 0, 0), minimum_rows=1)
    assert (1.0, 0, None) == (new.p_value, new.reference_rows, new.unseen)
    assert [Bin("a", 0.0, 0.25), Bin("b", 0.0, 0.75)] == new.bins


@pytest.mark.parametrize(
    ("edges", "rows", "expected"),
    [
        # The median lies between 1 and 2; far out is four times the farthest from it on that side.
        ([0.0, 1.0, 2.0, 3.0, 10.0], [1, 1, 1, 1], [-3.0, -1e-5, 1.0, 2.0, 3.0, 10.00001, 37.0]),
        ([0.0, 1.0, 2.0, 3.0, 10.0], [1, 1, 2, 1], [-6.0, -1e-5, 1.0, 2.0, 3.0, 10.00001, 34.0]),
        # Half of the values are the smallest, or the greatest: how far is far that way, nobody can tell.
        ([0.0, 1.0, 10.0], [9, 1], [-math.inf, -1e-5, 1.0, 10.00001, 40.0]),
        ([-10.0, -1.0, 0.0], [1, 9], [-37.0, -10.00001, -1.0, 1e-5, 3.0]),
        ([2.0, 4.0], [3], [-math.inf, 2 - 4e-6, 4 + 4e-6, 10.0]),
    ],
)
def test_where_values_are_beyond_and_far_out(edges: list[float], rows: list[int], expected: list[float]) -> None:
    """Beyond by more than single precision rounds away; far by the distance from the median, on either side apart."""
    assert pytest.approx(expected, abs=1e-12) == Bins.measured(edges, rows).cuts.tolist()


@pytest.mark.parametrize(
    ("reference", "live", "together"),
    [
        # Half of both sides are expected on either one: ten rows of a code together are five, nine are fewer.
        ([5, 45], [5, 45], []),
        ([5, 45], [4, 46], [0]),
        ([0, 50], [10, 40], []),
        ([9, 41], [0, 50], [0]),
        # Of a side with a third of the rows: fifteen together are five.
        ([0, 50], [15, 85], []),
        ([0, 50], [14, 86], [0]),
        ([14, 86], [0, 50], [0]),
    ],
)
def test_a_code_is_rare_below_five_expected_rows(reference: list[int], live: list[int], together: list[int]) -> None:
    """On the side that has fewer rows, whichever side the code is on."""
    sides = texts(*reference).comparable(counts(*live, 0, 0))
    kept = [place for place in (0, 1) if place not in together]

    for found, side in zip(sides, (reference, live), strict=True):
        assert [*(side[place] for place in kept), *([side[0]] if together else [])] == found.tolist()


def test_without_any_rows_there_is_nothing_to_compare() -> None:
    """Neither here nor there: no class at all, and no number that is none."""
    assert [[], []] == [side.tolist() for side in texts(0, 0).comparable(counts(0, 0, 0, 0))]


def test_what_lies_outside_is_counted_on_either_side() -> None:
    """Beyond and far beyond, below and above; rows without a value are none of them."""
    bins = Bins.measured([0.0, 1.0, 2.0], [30, 70], missing=0.5)

    assert Unseen(1 + 2 + 64 + 128, 255, 100, alone=1, far=1 + 128) == bins.unseen(
        counts(1, 2, 4, 8 + 16 + 32, 64, 128, 256)
    )
    assert Unseen(0, 0, 100, alone=1) == bins.unseen(counts(0, 0, 0, 0, 0, 0, 256))
    reference, live, labels = bins.grouped(counts(1, 2, 4, 8, 64, 128, 256), 1)
    assert ["< 0", "0 – 1", "1 – 2", "> 2", "missing"] == labels
    assert ([0, 30, 70, 0, 100], [3, 4, 8, 192, 256]) == (reference.tolist(), live.tolist())


@pytest.mark.parametrize(
    ("reference", "others", "alone"),
    [([5, 5], 0, 0), ([1, 5], 0, 1 + 2), ([1, 1], 0, 2 + 3), ([1, 1, 1, 1], 0, 4 + 4), ([5, 1], 7, 1 + 2 + 7)],
)
def test_codes_that_occur_once_tell_how_often_a_new_one_comes(reference: list[int], others: int, alone: int) -> None:
    """With twice their deviation; those that are counted together came one by one."""
    bins = Bins(counts(*reference, others, 9), texts=tuple("abcd"[: len(reference)]))
    live = counts(*[10] * len(reference), 3, 99)

    rows, known = 10 * len(reference) + 3, sum(reference) + others
    assert Unseen(3, rows, known, alone) == bins.unseen(live)


def test_few_rows_are_a_class_each() -> None:
    """Where a tenth of them is less than one; and without live rows a reference alone can be compared."""
    bins = Bins.measured([0.0, 1.0, 2.0, 3.0, 4.0], [1, 1, 1, 1])
    nobody = np.zeros(9, dtype=np.int64)

    assert ["< 0", "0 – 1", "1 – 2", "2 – 3", "3 – 4", "> 4", "missing"] == bins.grouped(nobody, 4)[2]
    assert [[1, 1, 1, 1], [0, 0, 0, 0]] == [side.tolist() for side in bins.comparable(nobody)]
