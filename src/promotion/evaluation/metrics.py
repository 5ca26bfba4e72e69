"""Metrics of classes and numbers, their bootstrap intervals, two models' difference, what shuffling a column costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from promotion.config.evidence import is_error
from promotion.data.arrays import FloatArray, IntArray, with_cells
from promotion.errors import PromotionError
from promotion.gates.evidence import Interval

METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1")
NUMBER_METRICS = ("rmse", "mae", "mape", "r2")
LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "mse": lambda target, answered: (target - answered) ** 2,
    "mae": lambda target, answered: np.abs(target - answered),
    "mape": lambda target, answered: np.abs(target - answered) / np.maximum(np.abs(target), np.finfo(float).eps),
}
"""What each row contributes to an error that is a mean over the rows, of targets and answered numbers."""
RESAMPLES = 2000
SHUFFLES = 5
CONFIDENCE = 0.95
# scikit-learn's predict() gives an exact tie to the first class, hence "above" and not "at least".
DECISION_THRESHOLD = 0.5
# Rows drawn at once while resampling: 16 MB an array of numbers, whatever the number of rows.
_BLOCK = 2_000_000
_BINARY = 2


def metrics_of(task: str) -> tuple[str, ...]:
    """Names of what every model of a task is measured by."""
    return NUMBER_METRICS if task == "regression" else METRICS


def scores(target: IntArray | FloatArray, answered: FloatArray) -> dict[str, FloatArray]:
    """Every metric, along the axis of the rows: those of numbers for a target of floating point, else of classes.

    ROC-AUC is the Mann-Whitney statistic of the ranks, ties counted half (Hanley & McNeil 1982, Radiology 143:29-36).
    A metric whose denominator is zero is 0, as with scikit-learn's `zero_division=0`; ROC-AUC is then NaN.

    Of several classes each is held against the rest, and every metric but the accuracy is the plain mean over the
    classes (macro average; for ROC-AUC: Provost & Domingos 2000). A binary task is the case where one class, the
    positive one, is looked at.

    Args:
        target: Class of each row, or its number, shape (..., rows).
        answered: Probability of the positive class, shape (..., rows); or of every class, shape (..., rows, classes);
            or the number, shape (..., rows).

    Returns:
        Arrays of shape (...), by the names in `METRICS`, dimensionless; or by those in `NUMBER_METRICS`, of which rmse
        and mae have the target's unit.
    """
    if _is_number(target):
        means = {name: np.asarray(loss(target, answered).mean(axis=-1)) for name, loss in LOSSES.items()}
        found = {**means, "rmse": np.sqrt(means["mse"]), "r2": r2(np.asarray(target, dtype=np.float64), answered)}
        return {name: found[name] for name in NUMBER_METRICS}
    by_class = answered.ndim > target.ndim
    chosen = predicted_class(answered, by_class=by_class)
    ranked = np.moveaxis(answered, -1, 0) if by_class else answered[np.newaxis]
    classes = (np.arange(len(ranked)) if by_class else np.array([1])).reshape(-1, *[1] * target.ndim)
    against_rest = _one_against_rest(target == classes, chosen == classes, ranked)
    values = {name: each.mean(axis=0) for name, each in against_rest.items()}
    values["accuracy"] = np.asarray((target == chosen).mean(axis=-1))
    return {name: values[name] for name in METRICS}


def predicted_class(probability: FloatArray, *, by_class: bool) -> IntArray:
    """The class a model with these probabilities answers, as scikit-learn's `predict` does.

    Args:
        probability: Of the positive class, any shape; or of every class along the last axis.
        by_class: Which of the two.
    """
    if by_class:
        return np.asarray(probability.argmax(axis=-1), dtype=np.int64)
    return np.asarray(probability > DECISION_THRESHOLD, dtype=np.int64)


def r2(target: FloatArray, answered: FloatArray) -> FloatArray:
    """The share of the target's variance that the answers explain, along the last axis; NaN where it has none."""
    spread = ((target - target.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    return 1 - _ratio(LOSSES["mse"](target, answered).sum(axis=-1), spread, empty=math.nan)


def _is_number(target: IntArray | FloatArray) -> bool:
    return bool(np.issubdtype(target.dtype, np.floating))


def _one_against_rest(
    positive: NDArray[np.bool_], predicted: NDArray[np.bool_], ranked: FloatArray
) -> dict[str, FloatArray]:
    positives = positive.sum(axis=-1)
    negatives = positive.shape[-1] - positives
    true_positives = (positive & predicted).sum(axis=-1)
    rank_sum = (rankdata(ranked, axis=-1) * positive).sum(axis=-1)
    precision = _ratio(true_positives, predicted.sum(axis=-1))
    recall = _ratio(true_positives, positives)
    return {
        "roc_auc": _ratio(rank_sum - positives * (positives + 1) / 2, positives * negatives, empty=math.nan),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
    }


def intervals(target: IntArray | FloatArray, answered: FloatArray, seed: int) -> dict[str, Interval]:
    """Every metric with its percentile-bootstrap interval (Efron & Tibshirani 1993, chapter 13), stratified by class.

    Args:
        target: Class of each row, or its number, shape (rows,).
        answered: As in `scores`.
        seed: Of the resampling.
    """
    drawn = [scores(target[rows], answered[rows]) for rows in _resamples(target, seed)]
    return {
        name: _interval(float(value), np.concatenate([block[name] for block in drawn]))
        for name, value in scores(target, answered).items()
    }


def paired_differences(
    target: IntArray | FloatArray, first: FloatArray, second: FloatArray, seed: int
) -> dict[str, Interval]:
    """First minus second, every metric, with paired stratified bootstrap intervals: same drawn rows for both.

    Args:
        target: Class of each row, or its number, shape (rows,).
        first: What one model answers, as in `scores`.
        second: The same by the other model.
        seed: Of the resampling.
    """
    drawn = [_gains(target[rows], first[rows], second[rows]) for rows in _resamples(target, seed)]
    return {
        name: _interval(float(value), np.concatenate([block[name] for block in drawn]))
        for name, value in _gains(target, first, second).items()
    }


def paired_difference(
    target: IntArray | FloatArray, first: FloatArray, second: FloatArray, metric: str, seed: int
) -> Interval:
    """One of `paired_differences`."""
    return paired_differences(target, first, second, seed)[metric]


def _gains(target: IntArray | FloatArray, first: FloatArray, second: FloatArray) -> dict[str, FloatArray]:
    ours, theirs = scores(target, first), scores(target, second)
    return {name: ours[name] - theirs[name] for name in ours}


def response_of(model: Any, features: Any, classes: int) -> FloatArray:
    """What the model says of each row: probabilities as `probability_of`; without classes the number, shape (rows,).

    Raises:
        PromotionError: As `probability_of`.
    """
    if classes:
        return probability_of(model, features, classes)
    answer = _asked(model.predict, features)
    if answer.shape != (len(features),) or not np.isfinite(answer).all():
        raise PromotionError(
            f"the model cannot score the test rows: expected a finite number for each of {len(features)} rows, got "
            f"shape {answer.shape}"
        )
    return answer


def _asked(method: Callable[[Any], Any], features: Any) -> FloatArray:
    try:
        return np.asarray(method(features), dtype=np.float64)
    except Exception as error:
        summary = " ".join(str(error).split())
        raise PromotionError(f"the model cannot score the test rows: {type(error).__name__}: {summary}") from error


def probability_of(model: Any, features: Any, classes: int) -> FloatArray:
    """What the model thinks of each row.

    Args:
        model: Fitted pipeline that takes raw rows.
        features: Data frame, rows × columns.
        classes: Number of classes of the task.

    Returns:
        Probability of the positive class of two, shape (rows,); of every class of more, shape (rows, classes).

    Raises:
        PromotionError: The model has no probabilities, does not take these columns, or answers something not finite.
    """
    answer = _asked(model.predict_proba, features)
    if answer.shape != (len(features), classes) or not np.isfinite(answer).all():
        raise PromotionError(
            f"the model cannot score the test rows: expected finite probabilities of shape ({len(features)}, "
            f"{classes}), got shape {answer.shape}"
        )
    return answer[:, 1] if classes == _BINARY else answer


def permutation_losses(
    model: Any, features: Any, target: IntArray | FloatArray, *, classes: int, metric: str, seed: int
) -> FloatArray:
    """What shuffling one column costs (Breiman 2001, Machine Learning 45:5-32).

    All shuffles of a column are scored in one call, which for a small table is several times as fast as one by one.

    Args:
        model: Fitted pipeline that takes raw rows.
        features: Data frame, rows × columns.
        target: Class of each row, or its number, shape (rows,).
        classes: Number of classes of the task; 0 of a regression.
        metric: One of `scores`.
        seed: Of the shuffling.

    Returns:
        Loss of the metric, of an error its gain, shape (columns, SHUFFLES).
    """
    random = np.random.default_rng(seed)
    orders = np.array([random.permutation(len(target)) for _ in range(SHUFFLES)])
    untouched = scores(target, response_of(model, features, classes))[metric]
    sign = -1.0 if is_error(metric) else 1.0
    whole: Any = np.broadcast_to(target, orders.shape)
    repeated = features.iloc[np.tile(np.arange(len(target)), SHUFFLES)]
    losses = []
    for column in features.columns:
        shuffled = with_cells(repeated, {column: features[column].to_numpy()[orders].ravel()})
        answered = response_of(model, shuffled, classes)
        repeats = answered.reshape(SHUFFLES, len(target), *answered.shape[1:])
        losses.append(sign * (untouched - scores(whole, repeats)[metric]))
    return np.array(losses)


def _ratio(numerator: Any, denominator: Any, empty: float = 0.0) -> FloatArray:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient: FloatArray = np.divide(top, bottom, out=np.full(bottom.shape, empty), where=bottom != 0)
    return quotient


def _resamples(target: IntArray | FloatArray, seed: int) -> Iterator[IntArray]:
    """Row numbers drawn with replacement, of classes within each class, in blocks of shape (resamples, rows)."""
    random = np.random.default_rng(seed)
    whole = [np.arange(target.size)]
    classes = whole if _is_number(target) else [np.flatnonzero(target == value) for value in np.unique(target)]
    size = max(1, _BLOCK // target.size)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        yield np.concatenate([random.choice(rows, (count, rows.size)) for rows in classes], axis=1)


def _interval(value: float, drawn: FloatArray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
