"""Gates on what a version costs to run: latency, memory and CPU time, measured now in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from promotion.config.family import FamilyConfig
from promotion.config.policy import Cpu
from promotion.gates.evidence import Measurement
from promotion.gates.report import Context, Gate, GateResult


def cost_gates(config: FamilyConfig) -> list[Gate]:
    """A gate for each bound the family sets."""
    rules = config.gates
    gates: list[Gate] = []
    if (latency := rules.latency_p95_ms) is not None:
        gates.append(
            _gate(
                "latency p95", lambda cost: (cost.latency_p95_ms, f"{cost.latency_p95_ms:.2f} ms"), latency, "≤", "ms"
            )
        )
    if (memory := rules.peak_memory_mb) is not None:
        gates.append(
            _gate("peak memory", lambda cost: (cost.peak_memory_mb, f"{cost.peak_memory_mb:.0f} MB"), memory, "<", "MB")
        )
    if rules.cpu is not None:
        gates.append(_cpu_gate(rules.cpu))
    return gates


def is_measured(config: FamilyConfig) -> bool:
    """Whether any of the family's gates needs a measurement."""
    rules = config.gates
    return any(rule is not None for rule in (rules.latency_p95_ms, rules.peak_memory_mb, rules.cpu))


def _gate(name: str, value: Callable[[Measurement], tuple[float, str]], limit: float, sign: str, unit: str) -> Gate:
    required = f"{sign} {limit:g} {unit}"

    def gate(context: Context) -> GateResult:
        if context.measurement is None:
            return _not_measured(name, required, context)
        number, measured = value(context.measurement)
        passed = number <= limit if sign == "≤" else number < limit
        return GateResult(name, passed, measured, required, "" if passed else f"{name} exceeds its limit")

    return gate


def _cpu_gate(rule: Cpu) -> Gate:
    required = f"< {rule.share:.0%} of {rule.cores:g} cores at {rule.requests_per_second:g} requests/s"

    def gate(context: Context) -> GateResult:
        if context.measurement is None:
            return _not_measured("CPU", required, context)
        share = context.measurement.cpu_ms_per_request / 1000 * rule.requests_per_second / rule.cores
        passed = share < rule.share
        return GateResult("CPU", passed, f"{share:.1%}", required, "" if passed else "it needs too much CPU time")

    return gate


def _not_measured(name: str, required: str, context: Context) -> GateResult:
    why = context.measurement_problem or context.artifact_problem or "it could not be run"
    return GateResult(name, passed=False, measured="not measured", required=required, why=why)
