"""Gates on groups of rows: bounds, gaps, groups too small to judge, and groups nobody can judge."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.promotion.factories import Scored
from tests.promotion.gates.cases import a_config, a_context, answer

from promotion.gates import GateResult
from promotion.gates.evidence import SliceFigure

NAME = "recall by x"


def asked(rule: dict[str, Any], *groups: tuple[str, int, float]) -> GateResult:
    """What the gate says of these groups: name, rows, value."""
    config = a_config({"slices": [{"column": "x", "metric": "recall", **rule}]})
    figures = tuple(SliceFigure("x", name, "recall", rows, value, value, value) for name, rows, value in groups)
    other = SliceFigure("x", "c", "accuracy", 100, 0.0, 0.0, 0.0)
    return answer(a_context(config, evaluation=Scored({"roc_auc": 0.9}, slices=(*figures, other))), NAME)


@pytest.mark.parametrize(
    ("rule", "low", "passed"),
    [
        ({"minimum": 0.7}, 0.7, True),
        ({"minimum": 0.7}, math.nextafter(0.7, 0), False),
        ({"maximum": 0.9}, 0.7, True),
        ({"maximum": 0.9}, 0.9, True),
        ({"maximum": 0.9}, math.nextafter(0.9, 1), False),
        ({"max_gap": 0.1}, 0.7, True),
        ({"max_gap": 0.1}, 0.69, False),
        ({"max_gap": 0.1}, 0.91, False),
        ({}, 0.0, True),
        ({}, math.nan, False),
        ({"minimum": 0.0}, math.nan, False),
        ({"maximum": 1.0}, math.inf, False),
        ({"minimum": 0.0}, -math.inf, False),
    ],
)
def test_a_group_and_its_bounds(rule: dict[str, Any], low: float, *, passed: bool) -> None:
    """A bound may be reached, a gap too; what is no finite number keeps none."""
    assert passed == asked(rule, ("a", 30, low), ("b", 30, 0.8)).passed


@pytest.mark.parametrize(("rows", "passed"), [(30, False), (29, True)])
def test_a_group_too_small_is_named_and_not_judged(rows: int, *, passed: bool) -> None:
    """From `minimum_rows` on it counts."""
    found = asked({"minimum": 0.7}, ("a", rows, 0.1), ("b", 30, 0.8))
    assert passed == found.passed
    assert passed == ("not judged, fewer than 30 rows: a (29 rows)" in found.why)


@pytest.mark.parametrize("groups", [(), (("a", 29, 0.9),)])
def test_no_group_to_judge_refuses(groups: tuple[tuple[str, int, float], ...]) -> None:
    """Nothing can be said."""
    found = asked({"minimum": 0.7}, *groups)
    assert (False, "no group of x has 30 rows") == (found.passed, found.why)


def test_what_was_not_scored_has_no_groups() -> None:
    """The reason is the artifact's."""
    config = a_config({"slices": [{"column": "x", "metric": "recall"}]})
    found = answer(a_context(config, evaluation=None, artifact_problem="it crashed"), NAME)
    assert (False, "not measured", "it crashed") == (found.passed, found.measured, found.why)


@pytest.mark.parametrize(("count", "end"), [(4, "g3 0.3000"), (5, "and 1 more between")])
def test_of_many_groups_the_lowest_and_the_highest_are_shown(count: int, end: str) -> None:
    """The report has all of them."""
    found = asked({}, *((f"g{place}", 30, place / 10) for place in range(count)))
    assert end in found.measured
    assert 4 == found.measured.count("30 rows")


def test_each_group_is_shown_the_worst_first() -> None:
    """With its interval and its rows; both sides of a gap are named."""
    found = asked({"minimum": 0.7, "max_gap": 0.05}, ("a", 40, 0.9), ("b", 30, 0.6))
    assert "b 0.6000 (0.600 – 0.600, 30 rows), a 0.9000 (0.900 – 0.900, 40 rows)" == found.measured
    assert "recall of b misses its bound; b and a differ by 0.3000" == found.why
    assert "≥ 0.7 in each group and groups differ by 0.05 at most" == found.required
