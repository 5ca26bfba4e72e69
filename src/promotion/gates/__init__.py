"""Gates: each asks one question about a candidate and answers with what it measured."""

from __future__ import annotations

from promotion.gates import ab_test, artifact, cost, custom, governance, quality, slices
from promotion.gates.report import (
    APPROVALS,
    ARTIFACT,
    BETTER,
    READY,
    RUNS,
    Context,
    Gate,
    GateReport,
    GateResult,
    evidence_digest,
)
from promotion.registry.stages import Stage

__all__ = [
    "APPROVALS",
    "ARTIFACT",
    "BETTER",
    "READY",
    "RUNS",
    "Context",
    "Gate",
    "GateReport",
    "GateResult",
    "run_gates",
]


def run_gates(family: str, context: Context) -> GateReport:
    """Ask every gate the family's configuration names; none is skipped because another one refused."""
    evaluation = context.evaluation
    results = tuple(gate(context) for gate in _gates(context))
    evidence = evidence_digest(family, context, results)
    if context.config and context.target is Stage.PRODUCTION and not context.is_rollback:
        results += tuple(gate(context) for gate in governance.approvals_gate(context.config, evidence))
    return GateReport(
        family=family,
        candidate=str(context.candidate),
        version=context.entry.version if context.entry else str(context.candidate.number),
        target=context.target,
        production=str(context.production) if context.production else None,
        results=results,
        metrics=dict(evaluation.metrics) if evaluation else {},
        production_metrics=dict(context.production_evaluation.metrics) if context.production_evaluation else {},
        difference=context.difference,
        data_sha256=evaluation.data_sha256 if evaluation else context.data_sha256,
        digest=context.digest,
        evidence=evidence,
        rules=context.rules,
        rule_changes=context.rule_changes,
        registration=context.registered.as_json() if context.registered else None,
        slices=evaluation.slices if evaluation else (),
        invented=context.invented,
    )


def _gates(context: Context) -> list[Gate]:
    """What is asked: integrity always; for a move onwards, all that is known before the comparison; then the rest."""
    config = context.config
    integrity: list[Gate] = [artifact.ready, artifact.present_and_unchanged]
    integrity += artifact.kept_gates(context)
    integrity += [*artifact.signature_gates(config, context), *artifact.scan_gates(context)]
    if context.entry and context.entry.known_bad:
        integrity.append(governance.not_known_bad)
    if config is None:
        return integrity
    transition = governance.transition_gates(config, context)
    sound = [*transition, *integrity]
    # What was received is not loaded on the way back: where it cannot be scored any more, it has served all the same.
    if config.has_contract and context.has_run if context.is_rollback else config.has_holdout:
        sound += [artifact.harmless, artifact.feature_schema, artifact.runs]
    if context.is_rollback:
        return sound
    if not config.has_contract and config.has_holdout:
        sound.append(quality.holdout_is_sound)
    sound += [
        *governance.committed_gates(config),
        *artifact.size_gates(config),
        *artifact.completeness_gates(config),
        *([quality.data_quality] if config.gates.data_quality else []),
        *quality.split_gates(config),
        *quality.threshold_gates(config),
        *cost.cost_gates(config),
        *slices.slice_gates(config),
        *custom.custom_gates(config),
    ]
    if context.target is Stage.STAGING:
        return sound
    return [
        *sound,
        *(quality.better_gates(config) if config.has_holdout else []),
        *governance.staging_gates(config),
        *governance.governance_gates(config),
        *ab_test.ab_test_gates(config),
    ]
