"""Gates on what a version costs to run: latency, memory and CPU time, measured now in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from promotion.config.family import FamilyConfig
from promotion.config.policy import Cpu
from promotion.gates.evidence import Measurement
from promotion.gates.report import Context, Gate, GateResult

_NOTICED = 0.05
"""A smaller share of a request's time spent waiting for a processor is not worth a word."""


def cost_gates(config: FamilyConfig) -> list[Gate]:
    """A gate for each bound the family sets."""
    rules = config.gates
    gates: list[Gate] = []
    if (latency := rules.latency_p95_ms) is not None:
        gates.append(_latency_gate(latency))
    if (memory := rules.peak_memory_mb) is not None:
        gates.append(_memory_gate(memory))
    if rules.cpu is not None:
        gates.append(_cpu_gate(rules.cpu))
    return gates


def is_measured(config: FamilyConfig) -> bool:
    """Whether any of the family's gates needs a measurement."""
    rules = config.gates
    return any(rule is not None for rule in (rules.latency_p95_ms, rules.peak_memory_mb, rules.cpu))


def _latency_gate(limit: float) -> Gate:
    """The model is in time; that others had the processor is not held against it."""

    def judge(cost: Measurement) -> tuple[bool, str, str]:
        measured, why = f"{cost.latency_p95_ms:.2f} ms", ""
        if cost.load is not None:
            measured += f", {cost.cpu_ms_per_request:.2f} ms of processor time a request"
        passed = cost.latency_p95_ms <= limit
        if not passed:
            passed = cost.undisturbed_p95_ms is not None and cost.undisturbed_p95_ms <= limit
            why = "" if passed else "latency p95 exceeds its limit"
            if cost.undisturbed_p95_ms is not None and cost.load is not None and cost.waiting > _NOTICED:
                why += (
                    f"{'; ' if why else ''}the machine was busy (load {cost.load:.1f} a core): {cost.waiting:.0%} of "
                    f"the time a processor was waited for, without that {cost.undisturbed_p95_ms:.2f} ms"
                )
        return passed, measured, why

    return _gate("latency p95", f"≤ {limit:g} ms", judge)


def _memory_gate(limit: float) -> Gate:
    def judge(cost: Measurement) -> tuple[bool, str, str]:
        passed = cost.peak_memory_mb < limit
        return passed, f"{cost.peak_memory_mb:.0f} MB", "" if passed else "peak memory exceeds its limit"

    return _gate("peak memory", f"< {limit:g} MB", judge)


def _cpu_gate(rule: Cpu) -> Gate:
    def judge(cost: Measurement) -> tuple[bool, str, str]:
        share = cost.cpu_ms_per_request / 1000 * rule.requests_per_second / rule.cores
        passed = share < rule.share
        return passed, f"{share:.1%}", "" if passed else "it needs too much CPU time"

    required = f"< {rule.share:.0%} of {rule.cores:g} cores at {rule.requests_per_second:g} requests/s"
    return _gate("CPU", required, judge)


def _gate(name: str, required: str, judge: Callable[[Measurement], tuple[bool, str, str]]) -> Gate:
    """What a bound says of a measurement: whether it is kept, what was measured, and why it does not pass."""

    def gate(context: Context) -> GateResult:
        if context.measurement is None:
            why = context.measurement_problem or context.artifact_problem or "it could not be run"
            return GateResult(name, passed=False, measured="not measured", required=required, why=why)
        passed, measured, why = judge(context.measurement)
        return GateResult(name, passed, measured, required, why)

    return gate
