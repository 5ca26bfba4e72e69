"""Intervals: what they say at their edges, and that the sequential ones hold however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln

from promotion.evaluation.intervals import (
    is_beyond_bound,
    sequential,
    sequential_difference,
    share_reach,
    wilson,
)

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


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 1, (0.0, 0.0, 0.7935)),
        (1, 1, (1.0, 0.2065, 1.0)),
        (0, 10, (0.0, 0.0, 0.2775)),
        (1, 10, (0.1, 0.0179, 0.4042)),
        (5, 10, (0.5, 0.2366, 0.7634)),
        (9, 10, (0.9, 0.5958, 0.9821)),
        (10, 10, (1.0, 0.7225, 1.0)),
        (81, 263, (0.3080, 0.2553, 0.3662)),
    ],
)
def test_the_score_interval_is_the_published_one(part: int, whole: int, expected: tuple[float, float, float]) -> None:
    """As in tables (81 of 263: Newcombe 1998, Statistics in Medicine 17:857-872)."""
    assert pytest.approx(expected, abs=5e-5) == wilson(part, whole)


@pytest.mark.parametrize(("part", "whole"), [(5, 10), (1, 40), (39, 40), (300, 1000), (0, 10), (10, 10)])
def test_a_reach_is_scaled_to_another_confidence(part: int, whole: int) -> None:
    """At 95 % it is the interval's own; at more it is wider, by what the same number of trials gives."""
    share, low, high = wilson(part, whole)

    assert pytest.approx((share - low, high - share)) == (share_reach(share, low, 0.95), share_reach(share, high, 0.95))
    # 99 %: 2.5758 standard deviations.
    z, scale = 2.5758293, 1 + 2.5758293**2 / whole
    half = z * math.sqrt(share * (1 - share) / whole + (z / (2 * whole)) ** 2) / scale
    middle = (share + z**2 / (2 * whole)) / scale
    if 0 < low and high < 1:
        assert pytest.approx((share - middle + half, middle + half - share)) == (
            share_reach(share, low, 0.99),
            share_reach(share, high, 0.99),
        )


@pytest.mark.parametrize(("share", "end"), [(0.5, 0.5), (0.3, 0.0), (0.3, 1.0), (0.3, -0.1), (0.3, 1.1)])
def test_a_reach_that_is_none_of_a_share_is_scaled_as_it_is(share: float, end: float) -> None:
    """At the ends of what a share can be there is no telling how many trials there were."""
    assert pytest.approx(abs(share - end) * 2.5758293 / 1.9599640) == share_reach(share, end, 0.99)


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, None),
        (6, 100, None),  # at 2 % chance has six or more in 1.5 % of the cases, seven in 0.4 %
        (7, 100, True),
        (100, 100, True),
        (9, 1000, False),
        (10, 1000, None),
        (31, 1000, None),
        (32, 1000, True),
        (4, 4, None),  # however unlikely
        (5, 5, True),
        (0, 100, None),
        (0, 227, None),
        (0, 228, False),  # 0.98 ** 228 is less than a hundredth
    ],
)
def test_a_share_is_beyond_its_bound_or_within_for_certain(part: int, whole: int, expected: bool | None) -> None:
    """By the exact test at 99 %, never on fewer than five; what cannot be told is neither."""
    assert expected is is_beyond_bound(part, whole, 0.02, 0.99)


@pytest.mark.parametrize(("total", "count"), [(30, 100), (1, 10), (9.5, 10), (500, 1000)])
@pytest.mark.parametrize("error", [0.05, 0.001])
def test_the_sequential_ends_are_where_the_ratio_reaches_the_error(total: float, count: int, error: float) -> None:
    """The likelihood of a beta mixture of all means, by that of the end itself, is one in so many."""
    for end in sequential(total, count, error):
        against = betaln(total + 0.5, count - total + 0.5) - betaln(0.5, 0.5)
        itself = total * math.log(end) + (count - total) * math.log(1 - end)
        assert pytest.approx(-math.log(error)) == against - itself


def test_each_group_of_a_difference_spends_half_of_the_error() -> None:
    """Its ends are those of the groups, the one's against the other's."""
    ours, theirs = sequential(30, 100, 0.025), sequential(50, 80, 0.025)

    expected = (30 / 100 - 50 / 80, ours[0] - theirs[1], ours[1] - theirs[0])
    assert pytest.approx(expected) == sequential_difference((30, 100), (50, 80), 0.05)
    for groups in (((0, 0), (3, 10)), ((3, 10), (0, 0)), ((0, 0), (0, 0))):
        assert math.isnan(sequential_difference(*groups, 0.05)[0])
