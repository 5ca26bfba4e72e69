"""The comparison of two candidates over shared folds: by hand, on the level, without spread, and what is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from tests.facts import is_fact

from models.training.folds import FoldComparison, compare_folds
from promotion.gates.evidence import Interval


def by_hand(differences: list[float], folds: int) -> tuple[float, float, float]:
    """Mean, half width of the 95 % interval and p-value, with the variance scaled by 1/J + 1/(k - 1)."""
    number = len(differences)
    mean = sum(differences) / number
    variance = sum((each - mean) ** 2 for each in differences) / (number - 1)
    error = math.sqrt((1 / number + 1 / (folds - 1)) * variance)
    return (
        mean,
        float(stats.t.ppf(0.975, number - 1)) * error,
        float(2 * stats.t.sf(abs(mean) / error, number - 1)),
    )


@pytest.mark.parametrize("folds", [2, 5, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_folds_that_share_rows_are_less_certain(folds: int, sign: int) -> None:
    """The interval and the p-value of the corrected test, not of the plain one, in both directions."""
    differences = [sign * each for each in (0.01, 0.03, 0.02, 0.05, 0.0, 0.04)]
    first = np.array(differences) + 0.5

    found = compare_folds(first, np.full(6, 0.5), folds)

    mean, margin, p_value = by_hand(differences, folds)
    assert pytest.approx((mean, mean - margin, mean + margin)) == (
        found.difference.value,
        found.difference.low,
        found.difference.high,
    )
    assert pytest.approx(p_value) == found.p_value
    assert found.p_value > float(stats.ttest_1samp(differences, 0.0).pvalue)


@pytest.mark.parametrize(
    ("p_value", "significant"),
    [(0.0, True), (0.049, True), (1 - 0.95, False), (0.051, False), (1.0, False), (math.nan, False)],
)
def test_a_difference_is_significant_below_the_level(p_value: float, *, significant: bool) -> None:
    """Not on it, and what is no number is nothing."""
    assert significant == FoldComparison(Interval(0.1, 0.0, 0.2), p_value).is_significant


@pytest.mark.parametrize(("difference", "significant"), [(0.0, False), (0.25, True), (-0.25, True)])
def test_without_spread_any_difference_is_certain(difference: float, *, significant: bool) -> None:
    """Equal scores in every fold are no difference at all."""
    found = compare_folds(np.full(4, 0.5 + difference), np.full(4, 0.5), 2)

    assert Interval(difference, difference, difference) == found.difference
    assert significant == found.is_significant


def test_a_score_that_is_no_number_tells_nothing_apart() -> None:
    """NaN in one fold is NaN in all that follows from it."""
    found = compare_folds(np.array([0.9, math.nan, 0.9]), np.full(3, 0.5), 3)

    assert math.isnan(found.p_value)
    assert not found.is_significant
    assert is_fact(FoldComparison)
