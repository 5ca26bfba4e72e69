"""The gate on an A/B test: its bounds, and what does not count as one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.promotion.factories import an_entry
from tests.promotion.gates.cases import a_config, a_context, answer, asked

from promotion.gates.report import GateResult
from promotion.registry.stages import Stage

NAME = "A/B test"
PRODUCTION = an_entry("tiny-forest", 1, Stage.PRODUCTION)


def says(rule: dict[str, Any], found: dict[str, Any] | None, **changes: Any) -> GateResult:
    """What the gate says of a test against Production."""
    context = a_context(a_config({"ab_test": rule}), production=PRODUCTION, ab_test=found)
    return answer(context, NAME) if not changes else answer(a_context(context.config, ab_test=found, **changes), NAME)


def a_test(**changes: Any) -> dict[str, Any]:
    """A test whose challenger is better, on a thousand keys an arm."""
    return {
        "metric": "accuracy",
        "champion": ["tiny-forest", 1],
        "challenger": ["tiny-forest", 2],
        "champion_keys": 1000,
        "challenger_keys": 1000,
        "low": 0.01,
        "high": 0.09,
    } | changes


@pytest.mark.parametrize(
    ("rule", "low", "passed"),
    [
        ({"policy": "better"}, math.nextafter(0.0, 1.0), True),
        ({"policy": "better"}, 0.0, False),
        ({"policy": "not_worse", "margin": 0.02}, -0.02, True),
        ({"policy": "not_worse", "margin": 0.02}, math.nextafter(-0.02, -1.0), False),
        ({"policy": "not_worse", "margin": 0.0}, 0.0, True),
        ({"policy": "better"}, math.nan, False),
        ({"policy": "not_worse"}, math.nan, False),
    ],
)
def test_the_lower_end_decides(rule: dict[str, Any], low: float, *, passed: bool) -> None:
    """Not the difference that was measured."""
    assert says(rule, a_test(low=low)).passed is passed


@pytest.mark.parametrize(
    ("keys", "passed"), [((1000, 1000), True), ((999, 5000), False), ((5000, 999), False), ((0, 0), False)]
)
def test_each_arm_needs_its_keys(keys: tuple[int, int], *, passed: bool) -> None:
    """The smaller one counts."""
    result = says({"minimum_keys": 1000}, a_test(champion_keys=keys[0], challenger_keys=keys[1]))

    assert result.passed is passed
    assert passed or f"{min(keys)} keys in the smaller arm" in result.why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "no A/B test of it is recorded: promotion ab-test tiny --labels FILE"),
        (a_test(champion=["tiny-forest", 7]), "it was against tiny-forest v7, Production is tiny-forest v1"),
        (a_test(champion=["other", 1]), "it was against other v1"),
        (a_test(metric="recall"), "it compared recall, not accuracy"),
    ],
)
def test_what_is_no_test_against_production_does_not_count(found: dict[str, Any] | None, why: str) -> None:
    """Production may have moved since."""
    result = says({}, found)

    assert not result.passed
    assert why in result.why


def test_a_first_version_has_nothing_to_be_compared_with() -> None:
    """As with the comparison on held-out rows."""
    context = a_context(a_config({"ab_test": {}}))

    assert (True, "no Production yet") == (answer(context, NAME).passed, answer(context, NAME).measured)


@pytest.mark.parametrize("changes", [{"target": Stage.STAGING}, {"is_rollback": True}])
def test_only_the_way_to_production_is_asked(changes: dict[str, Any]) -> None:
    """Neither Staging nor a way back."""
    assert NAME not in asked(a_context(a_config({"ab_test": {}}), production=PRODUCTION, **changes))


def test_without_the_key_nobody_asks() -> None:
    """A gate whose key is absent is not asked."""
    assert NAME not in asked(a_context(a_config({}), production=PRODUCTION))
