"""Metrics of classes, their bootstrap intervals, differences of two models, and what shuffling a column costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from promotion.data.arrays import FloatArray, IntArray
from promotion.errors import PromotionError
from promotion.gates.evidence import Interval

METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1")
RESAMPLES = 2000
SHUFFLES = 5
CONFIDENCE = 0.95
# scikit-learn's predict() gives an exact tie to the first class, hence "above" and not "at least".
DECISION_THRESHOLD = 0.5
# Rows drawn at once while resampling: 16 MB an array of numbers, whatever the number of rows.
_BLOCK = 2_000_000
_BINARY = 2


def scores(target: IntArray, probability: FloatArray) -> dict[str, FloatArray]:
    """Every metric, along the axis of the rows.

    ROC-AUC is the Mann-Whitney statistic of the ranks, ties counted half (Hanley & McNeil 1982, Radiology 143:29-36).
    A metric whose denominator is zero is 0, as with scikit-learn's `zero_division=0`; ROC-AUC is then NaN.

    Of several classes each is held against the rest, and every metric but the accuracy is the plain mean over the
    classes (macro average; for ROC-AUC: Provost & Domingos 2000). A binary task is the case where one class, the
    positive one, is looked at.

    Args:
        target: Class of each row, shape (..., rows).
        probability: Of the positive class, shape (..., rows); or of every class, shape (..., rows, classes).

    Returns:
        Arrays of shape (...), dimensionless, by the names in `METRICS`.
    """
    by_class = probability.ndim > target.ndim
    chosen = predicted_class(probability, by_class=by_class)
    ranked = np.moveaxis(probability, -1, 0) if by_class else probability[np.newaxis]
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


def intervals(target: IntArray, probability: FloatArray, seed: int) -> dict[str, Interval]:
    """Every metric with its stratified percentile-bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    Args:
        target: Class of each row, shape (rows,).
        probability: Of the positive class, shape (rows,); or of every class, shape (rows, classes).
        seed: Of the resampling.
    """
    drawn = [scores(target[rows], probability[rows]) for rows in _resamples(target, seed)]
    return {
        name: _interval(float(value), np.concatenate([block[name] for block in drawn]))
        for name, value in scores(target, probability).items()
    }


def paired_differences(target: IntArray, first: FloatArray, second: FloatArray, seed: int) -> dict[str, Interval]:
    """First minus second, every metric, with paired stratified bootstrap intervals: same drawn rows for both.

    Args:
        target: Class of each row, shape (rows,).
        first: Probability by one model, of the positive class or of every class, as for `intervals`.
        second: The same by the other model.
        seed: Of the resampling.
    """
    drawn = [_gains(target[rows], first[rows], second[rows]) for rows in _resamples(target, seed)]
    return {
        name: _interval(float(value), np.concatenate([block[name] for block in drawn]))
        for name, value in _gains(target, first, second).items()
    }


def paired_difference(target: IntArray, first: FloatArray, second: FloatArray, metric: str, seed: int) -> Interval:
    """One of `paired_differences`."""
    return paired_differences(target, first, second, seed)[metric]


def _gains(target: IntArray, first: FloatArray, second: FloatArray) -> dict[str, FloatArray]:
    ours, theirs = scores(target, first), scores(target, second)
    return {name: ours[name] - theirs[name] for name in METRICS}


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
    try:
        answer = np.asarray(model.predict_proba(features), dtype=np.float64)
    except Exception as error:
        summary = " ".join(str(error).split())
        raise PromotionError(f"the model cannot score the test rows: {type(error).__name__}: {summary}") from error
    if answer.shape != (len(features), classes) or not np.isfinite(answer).all():
        raise PromotionError(
            f"the model cannot score the test rows: expected finite probabilities of shape ({len(features)}, "
            f"{classes}), got shape {answer.shape}"
        )
    return answer[:, 1] if classes == _BINARY else answer


def permutation_losses(
    model: Any, features: Any, target: IntArray, *, classes: int, metric: str, seed: int
) -> FloatArray:
    """What shuffling one column costs (Breiman 2001, Machine Learning 45:5-32).

    All shuffles of a column are scored in one call, which for a small table is several times as fast as one by one.

    Args:
        model: Fitted pipeline that takes raw rows.
        features: Data frame, rows × columns.
        target: Class of each row, shape (rows,).
        classes: Number of classes of the task.
        metric: One of `METRICS`.
        seed: Of the shuffling.

    Returns:
        Loss of the metric, shape (columns, SHUFFLES).
    """
    random = np.random.default_rng(seed)
    orders = np.array([random.permutation(len(target)) for _ in range(SHUFFLES)])
    untouched = scores(target, probability_of(model, features, classes))[metric]
    repeated = features.iloc[np.tile(np.arange(len(target)), SHUFFLES)]
    losses = []
    for column in features.columns:
        shuffled = repeated.assign(**{column: features[column].to_numpy()[orders].ravel()})
        probability = probability_of(model, shuffled, classes)
        repeats = probability.reshape(SHUFFLES, len(target), *probability.shape[1:])
        losses.append(untouched - scores(np.broadcast_to(target, orders.shape), repeats)[metric])
    return np.array(losses)


def _ratio(numerator: Any, denominator: Any, empty: float = 0.0) -> FloatArray:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient: FloatArray = np.divide(top, bottom, out=np.full(bottom.shape, empty), where=bottom != 0)
    return quotient


def _resamples(target: IntArray, seed: int) -> Iterator[IntArray]:
    """Row numbers drawn with replacement within each class, in blocks of shape (resamples, rows)."""
    random = np.random.default_rng(seed)
    classes = [np.flatnonzero(target == value) for value in np.unique(target)]
    size = max(1, _BLOCK // target.size)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        yield np.concatenate([random.choice(rows, (count, rows.size)) for rows in classes], axis=1)


def _interval(value: float, drawn: FloatArray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
