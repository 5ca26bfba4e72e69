"""Gates: each asks one question about a candidate and answers with what it measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promotion.config import BetterThanProduction, FamilyConfig, Threshold
from promotion.evidence import Evaluation, Interval
from promotion.journal import Entry
from promotion.registry import ModelVersion


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer.

    Attributes:
        name: The gate.
        passed: Whether the candidate may pass.
        measured: What was found, as text for people.
        required: What was expected, as text for people.
        why: One sentence when refused.
    """

    name: str
    passed: bool
    measured: str
    required: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The evidence gathered for one candidate.

    Attributes:
        config: The family's configuration; None for a registered model without one.
        candidate: The version that wants to move.
        digest: sha256 of its artifact now; None when there is no artifact.
        artifact_problem: Why there is no artifact.
        recorded_digest: The digest the journal recorded earlier, if any.
        evaluation: The candidate scored now.
        production: The version in Production.
        production_evaluation: Production scored now on the same rows.
        difference: Candidate minus Production on the selection metric.
        production_problem: Why Production could not be scored.
    """

    config: FamilyConfig | None
    candidate: ModelVersion
    digest: str | None = None
    artifact_problem: str = ""
    recorded_digest: str | None = None
    evaluation: Evaluation | None = None
    production: Entry | None = None
    production_evaluation: Evaluation | None = None
    difference: Interval | None = None
    production_problem: str = ""


Gate = Callable[[Context], GateResult]


@dataclass(frozen=True, slots=True)
class GateReport:
    """The answers of all gates, every refusal included."""

    family: str
    candidate: str
    production: str | None
    results: tuple[GateResult, ...]
    metrics: Mapping[str, float]
    production_metrics: Mapping[str, float]
    difference: Interval | None
    data_sha256: str | None
    digest: str | None

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(result.passed for result in self.results)

    @property
    def refusals(self) -> list[GateResult]:
        """The gates that said no."""
        return [result for result in self.results if not result.passed]

    @property
    def only_not_better(self) -> bool:
        """Whether the candidate is sound in itself and merely does not beat Production."""
        return [result.name for result in self.refusals] == [BETTER]

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "passed": self.passed}


READY = "version ready"
ARTIFACT = "artifact present"
BETTER = "better than Production"


def run_gates(family: str, context: Context) -> GateReport:
    """Ask every gate the family's configuration names; none is skipped because another one refused."""
    evaluation = context.evaluation
    return GateReport(
        family=family,
        candidate=str(context.candidate),
        production=str(context.production) if context.production else None,
        results=tuple(gate(context) for gate in _gates(context.config)),
        metrics=dict(evaluation.metrics) if evaluation else {},
        production_metrics=dict(context.production_evaluation.metrics) if context.production_evaluation else {},
        difference=context.difference,
        data_sha256=evaluation.data_sha256 if evaluation else None,
        digest=context.digest,
    )


def _gates(config: FamilyConfig | None) -> list[Gate]:
    gates: list[Gate] = [_ready, _artifact]
    if config is None:
        return gates
    gates += [_threshold_gate(metric, threshold) for metric, threshold in config.gates.thresholds.items()]
    gates.append(_better_gate(config.selection_metric, config.gates.better_than_production))
    return gates


def _ready(context: Context) -> GateResult:
    status = context.candidate.status
    passed = status == "READY"
    return GateResult(READY, passed, status, "READY", "" if passed else "its registration has not finished or failed")


def _artifact(context: Context) -> GateResult:
    if context.digest is None:
        return GateResult(ARTIFACT, passed=False, measured="none", required="files", why=context.artifact_problem)
    measured = f"sha256 {context.digest[:12]}"
    if context.recorded_digest not in {None, context.digest}:
        required = f"sha256 {str(context.recorded_digest)[:12]}"
        why = "the artifact changed after the journal recorded it"
        return GateResult(ARTIFACT, passed=False, measured=measured, required=required, why=why)
    return GateResult(ARTIFACT, passed=True, measured=measured, required="files")


def _threshold_gate(metric: str, threshold: Threshold) -> Gate:
    bounds = []
    if threshold.minimum is not None:
        bounds.append(f"≥ {threshold.minimum:g}")
    if threshold.maximum is not None:
        bounds.append(f"≤ {threshold.maximum:g}")
    required = " and ".join(bounds)

    def gate(context: Context) -> GateResult:
        value = context.evaluation.metrics.get(metric) if context.evaluation else None
        if value is None or not math.isfinite(value):
            measured = "not measured" if value is None else str(value)
            why = f"{metric} is missing or not a finite number"
            return GateResult(metric, passed=False, measured=measured, required=required, why=why)
        passed = (threshold.minimum is None or value >= threshold.minimum) and (
            threshold.maximum is None or value <= threshold.maximum
        )
        return GateResult(metric, passed, f"{value:.4f}", required, "" if passed else f"{metric} misses its bound")

    return gate


def _better_gate(metric: str, rule: BetterThanProduction) -> Gate:
    strict = rule.policy == "strictly_greater"

    def gate(context: Context) -> GateResult:
        if context.production is None:
            return GateResult(
                BETTER, passed=True, measured="no Production yet", required="first version: thresholds only"
            )
        required = f"{metric} > Production" if strict else f"{metric} not worse than Production by {rule.margin:g}"
        difference = context.difference
        if difference is None or context.evaluation is None or context.production_evaluation is None:
            why = context.production_problem or context.artifact_problem or "it could not be scored"
            return GateResult(BETTER, passed=False, measured="not compared", required=required, why=why)
        measured = (
            f"{context.evaluation.metrics[metric]:.4f} against {context.production_evaluation.metrics[metric]:.4f} "
            f"({difference.value:+.4f}, 95 % {difference.low:+.4f} … {difference.high:+.4f})"
        )
        passed = difference.value > 0 if strict else difference.low >= -rule.margin
        why = "" if passed else _not_better(context.production, context.evaluation)
        return GateResult(BETTER, bool(passed), measured, required, why)

    return gate


def _not_better(production: Entry, evaluation: Evaluation) -> str:
    return f"{production} stays: it does at least as well on the same {evaluation.rows} rows"
