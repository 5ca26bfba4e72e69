"""The gate that asks for an A/B test on live requests: against what is in Production now, and large enough."""

from __future__ import annotations

from promotion.config.family import FamilyConfig
from promotion.config.policy import AbTestRule
from promotion.gates.report import Context, Gate, GateResult

ACTION = "ab test"
"""Of the event that keeps what a look at an A/B test found."""

_NAME = "A/B test"


def ab_test_gates(config: FamilyConfig) -> list[Gate]:
    """One, where the family's file asks for it."""
    return [] if config.gates.ab_test is None else [_gate(config.gates.ab_test)]


def _gate(rule: AbTestRule) -> Gate:
    bound = "> 0" if rule.policy == "better" else f"≥ {-rule.margin:g}"
    required = f"{rule.metric} gained {bound}, ≥ {rule.minimum_keys} keys an arm"

    def gate(context: Context) -> GateResult:
        if context.production is None:
            return GateResult(_NAME, passed=True, measured="no Production yet", required=required)
        measured, why = _judged(rule, context)
        return GateResult(_NAME, not why, measured, required, why)

    return gate


def _judged(rule: AbTestRule, context: Context) -> tuple[str, str]:
    """What was measured, and why that does not pass."""
    found, production = context.ab_test, context.production
    if not found:
        family = context.config.family if context.config else "NAME"
        return "none", f"no A/B test of it is recorded: promotion ab-test {family} --labels FILE --log LOG"
    low, high, keys = found["low"], found["high"], min(found["champion_keys"], found["challenger_keys"])
    measured = f"{found['metric']} {low:+.4f} to {high:+.4f}, {keys} keys"
    model, number = found["champion"]
    if production and (model, number) != (production.model, production.number):
        return measured, f"it was against {model} v{number}, Production is {production}: test against that"
    if found["metric"] != rule.metric:
        return measured, f"it compared {found['metric']}, not {rule.metric}"
    if keys < rule.minimum_keys:
        return measured, f"{keys} keys in the smaller arm: go on, and look again"
    # Not "low is smaller": what is no number passes nothing.
    passed = low > 0 if rule.policy == "better" else low >= -rule.margin
    return measured, "" if passed else "the interval does not exclude that it is worse: go on, or keep the champion"
