"""Gates on groups of rows: none of them is served badly, and no two of them too differently."""

from __future__ import annotations

import math

from promotion.config.evidence import SliceRule
from promotion.config.family import FamilyConfig
from promotion.gates.evidence import SliceFigure
from promotion.gates.report import Context, Gate, GateResult

_SHOWN = 4


def slice_gates(config: FamilyConfig) -> list[Gate]:
    """One for each rule."""
    return [_gate(rule) for rule in config.gates.slices]


def _gate(rule: SliceRule) -> Gate:
    name = f"{rule.metric} by {rule.column}"
    required = _required(rule)

    def gate(context: Context) -> GateResult:
        if context.evaluation is None:
            why = context.artifact_problem or "it could not be scored"
            return GateResult(name, passed=False, measured="not measured", required=required, why=why)
        figures = [
            each for each in context.evaluation.slices if (each.column, each.metric) == (rule.column, rule.metric)
        ]
        judged = [each for each in figures if each.rows >= rule.minimum_rows]
        few = ", ".join(f"{each.group} ({each.rows} rows)" for each in figures if each.rows < rule.minimum_rows)
        remark = f"not judged, fewer than {rule.minimum_rows} rows: {few}" if few else ""
        if not judged:
            why = f"no group of {rule.column} has {rule.minimum_rows} rows"
            return GateResult(name, passed=False, measured="not measured", required=required, why=why)
        problems = _problems(rule, judged)
        measured = _measured(sorted(judged, key=lambda each: each.value))
        return GateResult(name, not problems, measured, required, "; ".join([*problems, *([remark] if remark else [])]))

    return gate


def _required(rule: SliceRule) -> str:
    bounds = [
        f"≥ {rule.minimum:g} in each group" if rule.minimum is not None else "",
        f"≤ {rule.maximum:g} in each group" if rule.maximum is not None else "",
        f"groups differ by {rule.max_gap:g} at most" if rule.max_gap is not None else "",
    ]
    return " and ".join(filter(None, bounds)) or "measured in each group"


def _problems(rule: SliceRule, judged: list[SliceFigure]) -> list[str]:
    unknown = [each.group for each in judged if not math.isfinite(each.value)]
    if unknown:
        return [f"{rule.metric} of {', '.join(unknown)} is missing or not a finite number"]
    low = min(judged, key=lambda each: each.value)
    high = max(judged, key=lambda each: each.value)
    gap = high.value - low.value
    found = []
    if rule.minimum is not None and low.value < rule.minimum:
        found.append(f"{rule.metric} of {low.group} misses its bound")
    if rule.maximum is not None and high.value > rule.maximum:
        found.append(f"{rule.metric} of {high.group} misses its bound")
    if rule.max_gap is not None and gap > rule.max_gap and not math.isclose(gap, rule.max_gap):
        found.append(f"{low.group} and {high.group} differ by {gap:.4f}")
    return found


def _measured(judged: list[SliceFigure]) -> str:
    """The lowest groups and the highest; all of them stand in the report."""
    left = len(judged) - _SHOWN
    shown = judged if left <= 0 else [*judged[: _SHOWN - 1], judged[-1]]
    return ", ".join(map(_said, shown)) + (f", and {left} more between" if left > 0 else "")


def _said(figure: SliceFigure) -> str:
    if not math.isfinite(figure.value):
        return f"{figure.group} {figure.value}"
    return f"{figure.group} {figure.value:.4f} ({figure.low:.3f} – {figure.high:.3f}, {figure.rows} rows)"
