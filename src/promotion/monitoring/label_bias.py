"""Whether labelled rows look like all rows of their period: positives only, or complaints, say nothing of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from promotion.data.arrays import FloatArray, IntArray
from promotion.monitoring.drift.comparison import homogeneity_p_value

NEARLY_ALL = 0.95
"""Share of labelled rows from which on the others cannot hide much, whatever they are."""
# Two distributions are looked at in every run: how unlikely chance must be as the reason.
_P_VALUE = 0.0005
# Total variation distance. What a share of 0.05 moves, moves an accuracy by less than that.
_DISTANCE = 0.05
# Labels of the older half of a period are late and fine; those of one hour of a day say little of the day.
_ARRIVAL_DISTANCE = 0.6
_TENTHS = np.linspace(0, 1, 11)[1:-1]


def label_bias(labelled: Sequence[Any], everything: Sequence[Any], names: Sequence[str], steps: int = 24) -> str:
    """In which way the labelled rows differ from all rows of their period; empty where they look alike.

    What is compared is what every row has: the predicted class, the probability or the predicted number by tenths of
    all rows, and when it arrived. A choice by the label itself shows in them as far as the model is any good.

    Args:
        labelled: Of the labelled rows: times, predicted classes or numbers, probabilities; arrays of shape (rows,).
        everything: The same of all rows, the labelled ones among them.
        names: Of the classes; none of a regression.
        steps: Into how many steps the period is cut to compare when rows arrived.
    """
    times, chosen, figures = zip(labelled, everything, strict=True)
    some, rows = map(len, times)
    if not some or some >= NEARLY_ALL * rows:
        return ""
    if names:
        ours, all_rows = (_by_class(part, len(names)) for part in chosen)
        if _differs(ours, all_rows):
            return _said("predicted", [repr(name) for name in [*names, "another class"]], ours, all_rows)
    # As precise as all rows' are kept, or a value could lie on one side of an edge here and on the other there.
    answers = [np.asarray(part, dtype=np.float32) for part in figures]
    if (given := answers[1][~np.isnan(answers[1])]).size:
        edges = np.unique(np.quantile(given, _TENTHS)).astype(np.float64)
        ours, all_rows = (_counts(part, edges) for part in answers)
        if _differs(ours, all_rows):
            words = "probability" if names else "prediction"
            return _said(words, _between(edges), ours, all_rows)
    edges = np.linspace(times[1].min(), times[1].max(), steps + 1)[1:-1]
    ours, all_rows = (_counts(part, edges) for part in times)
    if _distance(ours, all_rows) > _ARRIVAL_DISTANCE:
        without = all_rows[ours == 0].sum() / all_rows.sum()
        return f"{without:.0%} of the rows arrived when none was labelled" if without else "most came in a short time"
    return ""


def group_bias(groups: Sequence[str], labelled: IntArray, everything: IntArray) -> str:
    """Which group has more of the labelled rows than of all; empty where each has about its share.

    Args:
        groups: Names of one segment's groups.
        labelled: Labelled rows of each, shape (groups,).
        everything: All rows of each, likewise.
    """
    if not labelled.sum() or not _differs(labelled, everything):
        return ""
    return _said("the group", groups, labelled, everything)


def _by_class(chosen: IntArray, classes: int) -> IntArray:
    """Rows by predicted class; those of a class the family does not have last."""
    chosen = chosen.astype(np.int32)
    return np.bincount(np.where((chosen >= 0) & (chosen < classes), chosen, classes), minlength=classes + 1)


def _counts(values: Any, edges: FloatArray) -> IntArray:
    """Rows between the edges; those without a value last."""
    numbers = np.asarray(values, dtype=np.float64)
    place = np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))
    return np.bincount(place, minlength=len(edges) + 2)


def _differs(labelled: IntArray, everything: IntArray) -> bool:
    """By more than chance, and by enough to matter: with many rows everything differs a little."""
    if _distance(labelled, everything) <= _DISTANCE:
        return False
    return homogeneity_p_value(everything - labelled, labelled) < _P_VALUE


def _distance(labelled: IntArray, everything: IntArray) -> float:
    shares = (part / part.sum() for part in (labelled, everything))
    return float(np.abs(next(shares) - next(shares)).sum() / 2)


def _said(what: str, labels: Sequence[str], labelled: IntArray, everything: IntArray) -> str:
    """The class that is most over-represented, in words."""
    ours, all_rows = labelled / labelled.sum(), everything / everything.sum()
    place = int((ours - all_rows).argmax())
    return f"{what} {labels[place]} is {ours[place]:.0%} of them and {all_rows[place]:.0%} of all"


def _between(edges: FloatArray) -> list[str]:
    ends = [f"{edge:.3g}" for edge in edges]
    inner = [f"{low} to {high}" for low, high in pairwise(ends)]
    return [f"below {ends[0]}", *inner, f"from {ends[-1]}", "none"]
