"""Candidate and champion on the same test rows: what a reviewer compares before a person's name goes under it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from promotion.config.evidence import is_error
from promotion.config.family import FamilyConfig
from promotion.data.arrays import FloatArray, IntArray
from promotion.data.datasets import Partition
from promotion.evaluation.intervals import wilson
from promotion.evaluation.metrics import intervals, paired_differences, predicted_class
from promotion.gates.evidence import Interval
from promotion.pages.charts import Bar, Chart, Series
from promotion.review.findings import Measure

SHOWN_ROWS = 20
# Below this many rows in a bin its share of positives says next to nothing.
_BIN_ROWS = 12
_BINS = 10
_ROLES = ("candidate", "production")
_NAMES = {"candidate": "candidate", "production": "Production"}


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """A confusion matrix.

    Attributes:
        role: `candidate` or `production`.
        counts: By true class, then by answered class.
    """

    role: str
    counts: Sequence[Sequence[int]]

    @property
    def cells(self) -> list[list[tuple[int, float]]]:
        """Each count with its share of the true class."""
        return [[(count, count / sum(row) if sum(row) else 0.0) for count in row] for row in self.counts]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A row to which the two give different answers.

    Attributes:
        row: Of the data file, the first below its header is 1.
        inputs: Name and value of each feature, as text.
        actual: True class.
        candidate: Answered class and its probability.
        production: Answered class and its probability.
        right: Who is right: `candidate`, `production` or nobody (empty).
        distance: Half the sum of the absolute differences of the probabilities over all classes, 0 to 1.
    """

    row: int
    inputs: Sequence[tuple[str, str]]
    actual: str
    candidate: tuple[str, float]
    production: tuple[str, float]
    right: str
    distance: float


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Everything compared on one set of rows.

    Attributes:
        rows: How many.
        classes: What the classes mean; none where a number is predicted.
        metrics: One a metric.
        curves: ROC curves: of the positive class, or of each class against the rest. Of numbers: residuals, and how
            often an error is how large.
        calibration: The same for calibration; none of numbers.
        matrices: One a model.
        disagreements: The most contentious first, at most `SHOWN_ROWS`.
        disagreeing: How many rows get different answers; None without Production.
        right: Of these, how many each answers correctly.
    """

    rows: int
    classes: Sequence[str]
    metrics: Sequence[Measure]
    curves: Sequence[Chart]
    calibration: Sequence[Chart]
    matrices: Sequence[ConfusionMatrix]
    disagreements: Sequence[Disagreement]
    disagreeing: int | None
    right: tuple[int, int]


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """The rows that both answer.

    Attributes:
        classes: What the classes mean.
        target: Class of each row; -1 for none of them.
        features: The cells of some rows, by position; the index holds each row's number, from 0.
        units: Of the features, by name.
    """

    classes: Sequence[str]
    target: IntArray
    features: Callable[[IntArray], pd.DataFrame]
    units: Mapping[str, str]


def compare_classifiers(
    config: FamilyConfig, part: Partition, candidate: FloatArray, production: FloatArray | None
) -> SideBySide:
    """Hold two models against each other on the test rows of a contract.

    Args:
        config: The family.
        part: Its test rows.
        candidate: The candidate's probabilities, see `promotion.evaluation.holdout.probability_of`.
        production: The champion's; None when there is none to compare with.
    """
    target = np.asarray(part.test_target, dtype=np.int64)
    units = {name: config.data.columns[name].unit or "" for name in config.features}
    rows = ComparedRows(config.labels, target, lambda places: part.test_features.iloc[places], units)
    metrics = measures_of(config, target, candidate, production)
    return compare_probabilities(rows, metrics, candidate, production)


def compare_probabilities(
    rows: ComparedRows, metrics: Sequence[Measure], candidate: FloatArray, production: FloatArray | None
) -> SideBySide:
    """Hold the probabilities of two models against each other.

    Args:
        rows: What both answered.
        metrics: Of both.
        candidate: Of the positive class of two, shape (rows,), or of each class, shape (rows, classes).
        production: Likewise; None when there is none to compare with.
    """
    target = rows.target
    both = {"candidate": candidate} | ({"production": production} if production is not None else {})
    is_binary = candidate.ndim == 1
    whole = {role: np.column_stack([1 - each, each]) if is_binary else each for role, each in both.items()}
    answers = {role: predicted_class(each, by_class=not is_binary) for role, each in both.items()}
    examined = [1] if is_binary else list(range(len(rows.classes)))
    disagreements, disagreeing, right = _disagreements(rows, whole, answers)
    return SideBySide(
        rows=len(target),
        classes=rows.classes,
        metrics=metrics,
        curves=[_roc(rows, whole, index) for index in examined],
        calibration=[_calibration(rows, whole, index) for index in examined],
        matrices=[ConfusionMatrix(role, _confusion(target, each, len(rows.classes))) for role, each in answers.items()],
        disagreements=disagreements,
        disagreeing=disagreeing if production is not None else None,
        right=right,
    )


def measures_of(
    config: FamilyConfig, target: IntArray | FloatArray, candidate: FloatArray, production: FloatArray | None
) -> list[Measure]:
    """Every metric of both on the test rows of a contract.

    Args:
        config: The family; its selection metric decides.
        target: Class of each row, or its number.
        candidate: What the candidate answers, see `promotion.evaluation.metrics.response_of`.
        production: The champion's; None when there is none to compare with.
    """
    seed, theirs, gains = config.split.seed, {}, {}
    if production is not None:
        theirs = intervals(target, production, seed)
        gains = paired_differences(target, candidate, production, seed)
    return [
        measure_of(config, name, found, theirs.get(name), gains.get(name))
        for name, found in intervals(target, candidate, seed).items()
    ]


def measure_of(
    config: FamilyConfig, name: str, ours: Interval, theirs: Interval | None, gain: Interval | None
) -> Measure:
    """A metric of both, read as the family reads it."""
    return Measure(name, ours, theirs, gain, lower_is_better=is_error(name), decides=name == config.selection_metric)


def _roc(rows: ComparedRows, whole: dict[str, FloatArray], index: int) -> Chart:
    from sklearn.metrics import roc_auc_score, roc_curve

    positive = rows.target == index
    series, areas = [], []
    for role, probability in whole.items():
        false_positives, true_positives, _ = roc_curve(positive, probability[:, index])
        series.append(
            Series(role, [(float(x), float(y)) for x, y in zip(false_positives, true_positives, strict=True)])
        )
        areas.append(f"{_NAMES[role]} {roc_auc_score(positive, probability[:, index]):.4f}")
    area = f"Area under the curve: {', '.join(areas)}."
    name = rows.classes[index]
    return Chart(
        title=f"ROC, {name}",
        x_label="False positive rate",
        y_label="True positive rate",
        series=series,
        description=f"ROC curves for {name}: true positive rate against false positive rate. {area}",
        note=f"{area} Dotted: guessing.",
    )


def _calibration(rows: ComparedRows, whole: dict[str, FloatArray], index: int) -> Chart:
    positive = rows.target == index
    series, briers = [], []
    for role, probability in whole.items():
        given = probability[:, index]
        points, bars = _bins(positive, given)
        series.append(Series(role, points, marks=True, bars=bars))
        briers.append(f"{_NAMES[role]} {float(np.mean((given - positive) ** 2)):.4f}")
    brier = f"Brier score (lower is better): {', '.join(briers)}."
    name = rows.classes[index]
    return Chart(
        title=f"Calibration, {name}",
        x_label="Mean probability given",
        y_label="Share that came true",
        series=series,
        description=f"Calibration of the probability of {name}. {brier}",
        note=f"{brier} Dotted: as often as promised; bars: 95 % Wilson intervals of the shares.",
    )


def _bins(positive: np.ndarray, given: FloatArray) -> tuple[list[tuple[float, float]], list[Bar]]:
    """Mean probability and share of positives of each bin, and the share's interval."""
    points, bars = [], []
    for rows in bins_of(given):
        place = float(given[rows].mean())
        share, low, high = wilson(int(positive[rows].sum()), int(rows.sum()))
        points.append((place, share))
        bars.append(Bar(place, low, high))
    return points, bars


def bins_of(answered: FloatArray) -> Iterator[NDArray[np.bool_]]:
    """Which rows are in each of some bins of about equal size, rows with the same answer together."""
    count = max(2, min(_BINS, len(answered) // _BIN_ROWS))
    bins = ((rankdata(answered) - 0.5) / len(answered) * count).astype(np.int64)
    return (bins == number for number in np.unique(bins))


def _confusion(target: IntArray, answered: IntArray, classes: int) -> list[list[int]]:
    from sklearn.metrics import confusion_matrix

    counts: list[list[int]] = confusion_matrix(target, answered, labels=range(classes)).tolist()
    return counts


def _disagreements(
    rows: ComparedRows, whole: dict[str, FloatArray], answers: dict[str, IntArray]
) -> tuple[list[Disagreement], int, tuple[int, int]]:
    if "production" not in answers:
        return [], 0, (0, 0)
    ours, theirs = answers["candidate"], answers["production"]
    distance = np.abs(whole["candidate"] - whole["production"]).sum(axis=1) / 2
    differing = np.flatnonzero(ours != theirs)
    ranked = differing[np.argsort(-distance[differing], kind="stable")]
    shown = []
    target, asked = rows.target, ranked[:SHOWN_ROWS]
    cells = rows.features(asked)
    for place, row in enumerate(asked):
        right = next((role for role in _ROLES if answers[role][row] == target[row]), "")
        said = {
            role: (rows.classes[answers[role][row]], float(whole[role][row, answers[role][row]])) for role in _ROLES
        }
        features = cells.iloc[place]
        shown.append(
            Disagreement(
                row=int(str(features.name)) + 1,
                inputs=[(str(name), _spelt(value, rows.units.get(str(name), ""))) for name, value in features.items()],
                actual=rows.classes[target[row]] if target[row] >= 0 else "another class",
                candidate=said["candidate"],
                production=said["production"],
                right=right,
                distance=float(distance[row]),
            )
        )
    right_of_both = (
        int((ours[differing] == target[differing]).sum()),
        int((theirs[differing] == target[differing]).sum()),
    )
    return shown, len(differing), right_of_both


def _spelt(value: Any, unit: str) -> str:
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "missing"
    return f"{value:g} {unit}" if unit else f"{value:g}"
