"""What the version is worth on rows whose label has arrived, beside what it was worth at promotion."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.data.arrays import FloatArray, IntArray
from promotion.evaluation.intervals import DEVIATIONS, wilson
from promotion.gates.evidence import Interval
from promotion.monitoring.observe.observation import Reading

_BINARY = 2


def confusion(chosen: IntArray, label: IntArray, classes: int) -> IntArray:
    """Rows by what they are and what they were taken for.

    Args:
        chosen: Predicted class of each row, shape (rows,).
        label: What it is, shape (rows,).
        classes: Number of classes.

    Returns:
        Shape (classes, classes): label, prediction.
    """
    return np.bincount(label * classes + chosen, minlength=classes * classes).reshape(classes, classes)


def performance_scores(table: NDArray[np.int64]) -> dict[str, FloatArray]:
    """Accuracy, precision, recall and F1; of the positive class of two, else their plain means over the classes.

    A metric whose denominator is zero is 0, as at training.

    Args:
        table: Confusion tables, shape (..., classes, classes): label, prediction.

    Returns:
        Arrays of shape (...), dimensionless.
    """
    right = np.diagonal(table, axis1=-2, axis2=-1)
    of_label, of_prediction = table.sum(axis=-1), table.sum(axis=-2)
    precision, recall = _ratio(right, of_prediction), _ratio(right, of_label)
    by_class = {"precision": precision, "recall": recall, "f1": _ratio(2 * precision * recall, precision + recall)}
    is_binary = table.shape[-1] == _BINARY
    return {
        "accuracy": _ratio(right.sum(axis=-1), table.sum(axis=(-2, -1))),
        **{name: values[..., 1] if is_binary else values.mean(axis=-1) for name, values in by_class.items()},
    }


def roc_auc(label: IntArray, probability: FloatArray) -> tuple[float, float] | None:
    """Area under the ROC curve of two classes, and its standard error.

    The area is the Mann-Whitney statistic of the ranks, the error Hanley & McNeil's (1982, Radiology 143:29-36).

    Args:
        label: 0 or 1, shape (rows,).
        probability: Of class 1, shape (rows,); NaN where it was not logged.

    Returns:
        None where one of the classes is missing.
    """
    known = ~np.isnan(probability)
    positive = label[known] == 1
    _, place, ties = np.unique(probability[known], return_inverse=True, return_counts=True)
    ranks = (ties.cumsum() - (ties - 1) / 2)[place]
    m, n = float(positive.sum()), float((~positive).sum())
    if not m or not n:
        return None
    area = float((ranks[positive].sum() - m * (m + 1) / 2) / (m * n))
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (m - 1) * (first - area**2) + (n - 1) * (second - area**2)) / (m * n)
    return area, math.sqrt(max(variance, 0.0))


def readings(
    chosen: IntArray,
    label: IntArray,
    probability: FloatArray,
    *,
    classes: int,
    reference: Mapping[str, Interval],
    minimum: int,
) -> dict[str, Reading]:
    """Every metric with its 95 % interval.

    The intervals of accuracy, precision and recall are Wilson's, of shares; so is that of F1, which rises with the
    share right / (right + wrong) of the rows that are or were taken for the class. A mean over the classes reaches as
    far as the root of the summed squares. What no row can tell, such as a recall without positives, is not told.
    ROC-AUC needs the probability of the positive class, which the log has of two classes only.

    Args:
        chosen: Predicted class of each labelled row, shape (rows,).
        label: What it is, shape (rows,).
        probability: Of the positive class, shape (rows,); not looked at with more than two classes.
        classes: Number of classes.
        reference: Values at promotion by name.
        minimum: Labelled rows below which a reading is not enough.
    """
    rows, enough = len(label), len(label) >= minimum
    inside = (chosen >= 0) & (chosen < classes)
    # A class the family does not have is wrong whatever the row is; it has no place in the table.
    table = confusion(chosen[inside], label[inside], classes)
    found: dict[str, tuple[float, float, float]] = {}
    if rows:
        found = _by_class(table)
        found["accuracy"] = wilson(int((chosen == label).sum()), rows)
        if classes == _BINARY and (area := roc_auc(label, probability)) is not None:
            reach = DEVIATIONS * area[1]
            found["roc_auc"] = (area[0], max(area[0] - reach, 0.0), min(area[0] + reach, 1.0))
    names = ["accuracy", "precision", "recall", "f1", *(["roc_auc"] if classes == _BINARY else [])]
    return {name: reading(found.get(name), reference.get(name), rows, enough=enough) for name in names}


def _by_class(table: IntArray) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 with their intervals, as `performance_scores`; without what no row tells."""
    right, of_label, of_prediction = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    places = [1] if len(table) == _BINARY else list(range(len(table)))
    found = {}
    for name, whole in (
        ("precision", of_prediction),
        ("recall", of_label),
        ("f1", of_label + of_prediction - right),
    ):
        if whole[places].all():
            shares = np.array([wilson(int(right[place]), int(whole[place])) for place in places])
            if name == "f1":
                shares = 2 * shares / (1 + shares)
            value, low, high = shares.T
            mean, below, above = value.mean(), np.hypot.reduce(value - low), np.hypot.reduce(high - value)
            found[name] = (float(mean), float(mean - below / len(places)), float(mean + above / len(places)))
    return found


def concept(
    chosen: IntArray,
    label: IntArray,
    *,
    names: Sequence[str],
    reference: Mapping[str, Interval],
    held_out: Mapping[str, int],
    minimum: int,
) -> dict[str, Reading]:
    """Of two classes: share of positives among the rows given each of them, and what it was at promotion.

    When it changes, rows that look the same to the model mean something else now: the concept drifted.

    Args:
        chosen: Predicted class of each labelled row, shape (rows,).
        label: What it is, shape (rows,).
        names: Of the classes.
        reference: Values at promotion by name.
        held_out: Rows these were measured on, by predicted class; empty when that is not known.
        minimum: Labelled rows below which a reading is not enough.

    Returns:
        By class name; empty for more than two classes.
    """
    if len(names) != _BINARY:
        return {}
    before = positives_by_prediction({name: interval.value for name, interval in reference.items()})
    found = {}
    for place, name in enumerate(names):
        rows = label[chosen == place]
        share = wilson(int((rows == 1).sum()), len(rows)) if len(rows) else None
        known = _known(before[place], held_out.get(name, 0))
        found[name] = reading(share, known, len(rows), enough=len(rows) >= minimum)
    return found


def positives_by_prediction(metrics: Mapping[str, float]) -> tuple[float | None, float | None]:
    """Share of positives among rows predicted negative, and positive, as accuracy, precision and recall imply it.

    With precision p, recall r and share of positives x the errors are x r (1 / p - 1) false positives and x (1 - r)
    false negatives; together they are 1 - accuracy, which gives x, and with it the whole confusion table.

    Args:
        metrics: Values by name.
    """
    if not {"accuracy", "precision", "recall"} <= metrics.keys():
        return None, None
    accuracy, precision, recall = (metrics[name] for name in ("accuracy", "precision", "recall"))
    if not precision:
        return None, None
    errors_by_positive = recall * (1 / precision - 1) + (1 - recall)
    if not errors_by_positive:
        return 0.0, precision
    positives = (1 - accuracy) / errors_by_positive
    false_negatives = positives * (1 - recall)
    true_negatives = 1 - positives - positives * recall * (1 / precision - 1)
    negatives = false_negatives + true_negatives
    return (false_negatives / negatives if negatives > 0 else None), precision


def _known(share: float | None, rows: int) -> Interval | None:
    """A share at promotion with its interval; without knowing the rows it is taken as it stands."""
    if share is None:
        return None
    return Interval(*wilson(round(share * rows), rows)) if rows else Interval(share, share, share)


def error_readings(errors: FloatArray, reference: Mapping[str, Interval], minimum: int) -> dict[str, Reading]:
    """Errors of a regression with 95 % intervals of the mean (of the squares, for the root of their mean).

    Args:
        errors: Predicted minus true, shape (rows,); NaN for a prediction that is none.
        reference: Values at promotion by name.
        minimum: Labelled rows below which a reading is not enough.
    """
    rows, found = len(errors), {}
    of: dict[str, tuple[FloatArray, Callable[[Any], Any]]]
    of = {"rmse": (errors**2, np.sqrt), "mae": (np.abs(errors), float)}
    for name, (losses, ending) in of.items():
        value = None
        if rows > 1:
            mean, reach = losses.mean(), DEVIATIONS * losses.std(ddof=1) / np.sqrt(rows)
            low, high = float(ending(max(mean - reach, 0.0))), float(ending(mean + reach))
            value = float(ending(mean)), low, high
        found[name] = reading(value, reference.get(name), rows, enough=rows >= minimum)
    return found


def reading(
    found: tuple[float, float, float] | None, reference: Interval | None, rows: int, *, enough: bool
) -> Reading:
    """A value with the ends of its interval, or none, beside what it was at promotion."""
    value, low, high = found or (None, None, None)
    if reference is None:
        return Reading(value, low, high, None, rows, enough)
    return Reading(value, low, high, reference.value, rows, enough, reference.low, reference.high)


def _ratio(numerator: NDArray[np.int64] | FloatArray, denominator: NDArray[np.int64] | FloatArray) -> FloatArray:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient: FloatArray = np.divide(
        top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom != 0
    )
    return quotient
