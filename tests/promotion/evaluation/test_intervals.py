"""Intervals: what they say at their edges, and that the sequential ones hold however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from promotion.evaluation.intervals import sequential, sequential_difference, wilson

LOOKS = range(10, 301, 10)


def test_without_values_anything_is_possible() -> None:
    """Nothing seen excludes nothing."""
    assert sequential(0, 0, 0.05) == (0.0, 1.0)
    difference, low, high = sequential_difference((0, 0), (3, 10), 0.05)
    assert math.isnan(difference)
    assert (low, high) == pytest.approx((-0.8145, 0.9453), abs=0.15)


@pytest.mark.parametrize(("total", "end"), [(0, 0), (400, 1)])
def test_none_and_all_leave_one_end_open(total: int, end: int) -> None:
    """Not one failure among 400 does not prove that there are none, but that they are few."""
    ends = sequential(total, 400, 0.05)

    assert ends[end] == end
    assert abs(ends[1 - end] - end) == pytest.approx(0.016, abs=0.002)


def test_looking_often_costs_width() -> None:
    """It holds at every look, so it is wider than an interval for one look; less error is wider still."""
    _, low, high = wilson(30, 100)
    wide, wider = sequential(30, 100, 0.05), sequential(30, 100, 0.005)

    assert wider[0] < wide[0] < low < 0.3 < high < wide[1] < wider[1]


@pytest.mark.parametrize("kind", ["shares", "means"])
@pytest.mark.system
def test_peeking_does_not_make_the_error_larger(kind: str) -> None:
    """Of many sequences that are looked at 30 times, few ever leave the truth out; Wilson's leaves out far more."""
    random = np.random.default_rng(7)
    values = random.random((200, 300)) < 0.3 if kind == "shares" else random.beta(3, 7, (200, 300))
    totals = np.cumsum(values, axis=1)

    def missed(bounds: list[tuple[float, float]]) -> bool:
        return any(not low <= 0.3 <= high for low, high in bounds)

    ever = sum(missed([sequential(row[look - 1], look, 0.05) for look in LOOKS]) for row in totals)
    assert ever <= 200 * 0.05
    if kind == "shares":
        peeked = sum(missed([wilson(int(row[look - 1]), look)[1:] for look in LOOKS]) for row in totals[:40])
        assert peeked > 40 * 0.15


def test_a_difference_is_found_and_an_equal_pair_is_not() -> None:
    """Twelve of a hundred against two is more; six against five may be chance."""
    difference, low, high = sequential_difference((120, 1000), (20, 1000), 0.05)
    assert difference == pytest.approx(0.1)
    assert 0 < low < difference < high
    _, low, high = sequential_difference((60, 1000), (50, 1000), 0.05)
    assert low < 0 < high
