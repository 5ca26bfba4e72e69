"""Gates on how good a version is: thresholds on its metrics, and the comparison with the champion."""

from __future__ import annotations

import math
from collections.abc import Sequence

from promotion.config.evidence import is_error
from promotion.config.explain import nearest
from promotion.config.family import FamilyConfig
from promotion.config.policy import BetterThanProduction, Threshold
from promotion.gates.evidence import Evaluation
from promotion.gates.report import BETTER, Context, Gate, GateResult
from promotion.journal.records import Entry

_SHOWN = 12
_FITS = {"≥": float.__ge__, "≤": float.__le__, "<": float.__lt__}


def threshold_gates(config: FamilyConfig) -> list[Gate]:
    """One gate for each bounded metric: measured here, or the trainer's figure."""
    return [_threshold_gate(metric, threshold) for metric, threshold in config.gates.thresholds.items()]


def better_gates(config: FamilyConfig) -> list[Gate]:
    """The comparison on the selection metric, and one for each other metric that may not fall."""
    rule = config.gates.better_than_production
    return [
        _better_gate(config.selection_metric, rule),
        *(_not_lower_gate(metric, loss) for metric, loss in rule.also.items()),
    ]


def data_quality(context: Context) -> GateResult:
    """The data the version is judged by keeps its contract and is fit to learn from."""
    return _sound("data quality", context.data_problems, "contract kept, checks passed")


def is_split_asked(config: FamilyConfig) -> bool:
    """Whether a version needs evidence that it does not know the test rows: the file says so, or declares a split."""
    asked = config.gates.split == "sound" or config.split.groups is not None or config.split.time is not None
    return asked and config.has_contract and not config.is_forecast


def split_gates(config: FamilyConfig) -> list[Gate]:
    """The candidate was trained on the other side of the split, and no row has a companion there."""
    return [_split_is_sound] if is_split_asked(config) else []


def _split_is_sound(context: Context) -> GateResult:
    return _sound("split", context.split_problems, "test rows unknown to the model")


def holdout_is_sound(context: Context) -> GateResult:
    """The rows that versions are scored on are those of the family's file, with a target that can be learned."""
    measured = f"sha256 {str(context.data_sha256)[:_SHOWN]}"
    return _sound("holdout", context.holdout_problems, "rows with the target", measured)


def _sound(name: str, problems: Sequence[str], required: str, measured: str = "") -> GateResult:
    found = measured or (f"{len(problems)} problems" if problems else "no problems")
    return GateResult(name, not problems, found, required, "; ".join(problems))


def _threshold_gate(metric: str, threshold: Threshold) -> Gate:
    required = " and ".join(f"{sign} {bound:g}" for sign, bound in threshold.bounds)
    told = _logged if threshold.source == "run" else _scored
    whose = " (the trainer's figure)" if threshold.source == "run" else ""

    def gate(context: Context) -> GateResult:
        value, problem = told(metric, context)
        if value is None or not math.isfinite(value):
            measured = "not measured" if value is None else f"{value}{whose}"
            why = problem or f"{metric} is missing or not a finite number"
            return GateResult(metric, passed=False, measured=measured, required=required, why=why)
        passed = all(_FITS[sign](float(value), float(bound)) for sign, bound in threshold.bounds)
        why = "" if passed else f"{metric} misses its bound"
        return GateResult(metric, passed, f"{value:.4f}{whose}", required, why)

    return gate


def _scored(metric: str, context: Context) -> tuple[float | None, str]:
    """A metric as it was measured here, and why there is none where more can be said than that."""
    if context.config and not context.config.has_holdout:
        return None, (
            "the family's file has no section data or holdout, so there are no rows to measure it on; "
            "`from: run` beside the bound takes the trainer's figure"
        )
    return (context.evaluation.metrics.get(metric), "") if context.evaluation else (None, context.artifact_problem)


def _logged(metric: str, context: Context) -> tuple[float | None, str]:
    """A metric as the trainer logged it in the version's run, and why there is none."""
    run = context.candidate.run_id
    if context.run_metrics is None:
        where = f"its run {run} is not in MLflow" if run else "it was registered without a run"
        return (
            None,
            f"{where}, so that there is no trainer's figure; log the metrics in a run and register it from there",
        )
    if metric not in context.run_metrics:
        near = nearest(metric, context.run_metrics)
        return None, f"run {run} has no metric {metric}{near or '; log it there'}"
    return context.run_metrics[metric], f"{metric} is no finite number in run {run}"


def _better_gate(metric: str, rule: BetterThanProduction) -> Gate:
    strict = rule.policy == "strictly_greater"
    gain = f" by more than {rule.minimum_gain:g}" if rule.minimum_gain else ""
    lower = is_error(metric)
    required = (
        f"{metric} {'<' if lower else '>'} Production{gain}"
        if strict
        else f"{metric} not worse than Production by {rule.margin:g}"
    )

    def gate(context: Context) -> GateResult:
        if context.production is None:
            return _nothing_to_beat(BETTER)
        difference = context.difference
        if difference is None or context.evaluation is None or context.production_evaluation is None:
            why = context.production_problem or context.artifact_problem or "it could not be scored"
            return GateResult(BETTER, passed=False, measured="not compared", required=required, why=why)
        measured = (
            f"{context.evaluation.metrics[metric]:.4f} against {context.production_evaluation.metrics[metric]:.4f} "
            f"({difference.value:+.4f}, 95 % {difference.low:+.4f} … {difference.high:+.4f})"
        )
        gained, worst = (-difference.value, -difference.high) if lower else (difference.value, difference.low)
        decisive = gained if strict else worst
        passed = math.isfinite(decisive) and (
            _exceeds(gained, rule.minimum_gain) if strict else not _exceeds(-worst, rule.margin)
        )
        why = "" if passed else _not_better(context.production, context.evaluation)
        return GateResult(BETTER, bool(passed), measured, required, why)

    return gate


def _not_lower_gate(metric: str, loss: float) -> Gate:
    lower = is_error(metric)
    sign, direction = ("≤", "+") if lower else ("≥", "−")
    required = f"{sign} Production {direction} {loss:g}" if loss else f"{sign} Production"
    name = f"{metric} kept"

    def gate(context: Context) -> GateResult:
        if context.production is None:
            return _nothing_to_beat(name)
        ours, theirs = (
            (scored.metrics.get(metric, math.nan) if scored else math.nan)
            for scored in (context.evaluation, context.production_evaluation)
        )
        lost = ours - theirs if lower else theirs - ours
        passed = math.isfinite(lost) and not _exceeds(lost, loss)
        why = "" if passed else f"{metric} is worse than what {context.production} reaches on the same rows"
        return GateResult(name, passed, f"{ours:.4f} against {theirs:.4f}", required, why)

    return gate


def _nothing_to_beat(name: str) -> GateResult:
    return GateResult(name, passed=True, measured="no Production yet", required="first version: thresholds only")


def _exceeds(value: float, bound: float) -> bool:
    """Whether a difference is beyond a bound: 0.91 - 0.90 is 0.010000000000000009 to a computer, and 0.01 to people."""
    return value > bound and not math.isclose(value, bound)


def _not_better(production: Entry, evaluation: Evaluation) -> str:
    return f"{production} stays: it does at least as well on the same {evaluation.rows} rows"
