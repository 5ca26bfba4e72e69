"""Bounds to begin with: those that a version's own figures just keep, each for its owner to decide."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from promotion.config.evidence import is_error
from promotion.onboarding.draft import DECIDE, scalar

REGRESSION, BINARY, MULTICLASS = "regression", "binary-classification", "multiclass-classification"
MEASURED = {
    REGRESSION: ("rmse", "mae", "mape", "r2"),
    BINARY: ("roc_auc", "accuracy", "precision", "recall", "f1", "average_precision", "log_loss", "brier"),
    MULTICLASS: ("accuracy", "precision", "recall", "f1", "log_loss"),
}
"""What is measured here of each task, the default of `selection_metric` first."""
_WORD = r"(?<![a-z0-9])(?:{})(?![a-z0-9])"
_ERRORS = re.compile(_WORD.format("rmse|mse|mae|mape|rmspe|rmsle|loss|logloss|brier|error|deviance"))
_GOOD = re.compile(_WORD.format("accuracy|acc|auc|f1|precision|recall|r2|mcc|ap|score"))
_NUMBERS = re.compile(_WORD.format("rmse|mse|mae|mape|rmspe|rmsle|r2"))
_SHOWN = 12
_SMALL = 10


def number_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Those of a run's metrics that only a regression has, by name."""
    return [name for name in sorted(metrics) if _NUMBERS.search(name.lower())]


def run_bounds(metrics: Mapping[str, float]) -> Iterator[str]:
    """The lines that bound what the trainer measured."""
    bounds = [_run_bound(name, value) for name, value in sorted(metrics.items())[:_SHOWN]]
    is_ruled = any(is_known for is_known, _ in bounds)
    mark = "" if is_ruled else "# "
    yield ""
    if is_ruled:
        yield "# The trainer's figures, as the version's run has them; nothing is scored here without a holdout."
    else:
        yield f"# {DECIDE} its run has no metric of which it is known whether more is better: which bound must it keep?"
    yield f"{mark}gates:"
    yield f"{mark}  thresholds:"
    yield from (f"{mark if is_known else '# '}    {line}" for is_known, line in bounds)
    if not bounds:
        yield f"{mark}    accuracy: {{minimum: 0.8, from: run}}"
    if len(metrics) > _SHOWN:
        yield f"#     and {len(metrics) - _SHOWN} metrics more"


def holdout_bounds(metrics: Mapping[str, float], task: str) -> Iterator[str]:
    """The lines that bound what will be measured here; the run's figures are where to begin."""
    found = {name: _like(name, metrics) for name in MEASURED[task]}
    told = {name: value for name, value in found.items() if value is not None}
    yield ""
    if not told:
        name = MEASURED[task][0]
        yield f"# {DECIDE} the run of this version measured nothing that is measured here: which bound must it keep?"
        yield "# gates:"
        yield "#   thresholds:"
        yield f"#     {name}: {{{_side(is_error(name))}: 0.8}}"
        return
    yield "gates:"
    yield "  thresholds:   # measured here, on every row of the holdout"
    for name, value in told.items():
        yield f"    {name}: {{{_kept(value, is_error(name))}}}   # {DECIDE} the trainer measured {value:.4g}"
    yield f"  better_than_production: {{policy: not_worse, margin: {_margin(told)}}}   # {DECIDE} how much may be lost?"


def _run_bound(name: str, value: float) -> tuple[bool, str]:
    """Whether more of a metric is known to be better or worse, and the bound that this version just keeps."""
    less_is_better = _ERRORS.search(name.lower()) is not None
    is_known = less_is_better or _GOOD.search(name.lower()) is not None
    question = (
        f"how {'much' if less_is_better else 'little'} may it be?" if is_known else "is more or less of it better?"
    )
    told = f"{DECIDE} {value:.4g} in this version's run; {question}"
    return is_known, f"{scalar(name)}: {{{_kept(value, less_is_better)}, from: run}}   # {told}"


def _kept(value: float, less_is_better: bool) -> str:  # noqa: FBT001  # of the metric
    """The bound that a value just keeps, two digits behind the point of what is small."""
    step = 0.01 if abs(value) < _SMALL else 1.0
    whole = (math.ceil if less_is_better else math.floor)(value / step)
    return f"{_side(less_is_better)}: {f'{whole * step:.2f}' if step < 1 else whole}"


def _side(less_is_better: bool) -> str:  # noqa: FBT001  # of the metric
    return "maximum" if less_is_better else "minimum"


def _margin(told: Mapping[str, float]) -> str:
    """What may be lost against Production to begin with: 0.02 of a share, a fiftieth of an error in its own unit."""
    name, value = next(iter(told.items()))
    return f"{abs(value) / 50:.2g}" if is_error(name) else "0.02"


def _like(name: str, metrics: Mapping[str, float]) -> float | None:
    """The run's figure for a metric of ours: under its name, or one such as `test_roc_auc`."""
    if name in metrics:
        return metrics[name]
    found = [other for other in sorted(metrics) if other.lower().endswith(f"_{name}") and "train" not in other.lower()]
    return metrics[found[0]] if found else None
