"""Metrics of whatever a task is about, by name, with paired intervals: ours, and any scorer of scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from promotion.data.arrays import FloatArray, IntArray
from promotion.errors import UsageError
from promotion.evaluation.metrics import CONFIDENCE, LOSSES, NUMBER_METRICS, r2, scores
from promotion.evaluation.received.predictions import Answers
from promotion.gates.evidence import Interval

_RESAMPLES, _FEWEST = 1000, 200
# Rows drawn in all while resampling: what a large holdout gains in rows it gives back in resamples.
_DRAWN = 20_000_000
_TINY = 1e-15
_REGRESSION = (*NUMBER_METRICS, "pinball")
_BY_PROBABILITY = ("roc_auc", "average_precision", "log_loss", "brier")
_BY_CLASS = ("accuracy", "precision", "recall", "f1", "mcc")

Value = Callable[[Any, Answers], float]
"""Of the targets and the answers to the same rows."""


@dataclass(frozen=True, slots=True)
class Score:
    """A metric.

    Attributes:
        name: By which it is asked for.
        value: Computes it.
        by_row: Of a mean over the rows: what each contributes; resampling is then a matter of sums.
        ending: What the mean becomes, such as its root.
        most: How often it is computed while resampling, at most.
        needs_probability: Whether an answered class is not enough.
    """

    name: str
    value: Value
    by_row: Callable[[Any, Answers], FloatArray] | None = None
    ending: Callable[[float], float] = float
    most: int = _RESAMPLES
    needs_probability: bool = False


def score_of(name: str, task: str, classes: int) -> Score:
    """The metric of a name.

    Args:
        name: One of ours, or a scorer's name in scikit-learn (`neg_median_absolute_error`, of which more is better).
        task: `regression`, or of classes.
        classes: How many.

    Raises:
        UsageError: There is no such metric, or it does not measure the task.
    """
    if task == "regression":
        if found := _numeric(name):
            return found
    elif name in (*_BY_PROBABILITY, *_BY_CLASS):
        return _classifying(name, classes)
    from sklearn.metrics import get_scorer_names

    if name not in get_scorer_names():
        known = ", ".join(default_scores(task))
        raise UsageError(f"unknown metric {name!r} for {task}: expected one of {known}, or a scorer of scikit-learn")
    return _scorer(name, task, classes)


def default_scores(task: str) -> tuple[str, ...]:
    """What is measured of every model of a task."""
    return _REGRESSION if task == "regression" else (*_BY_CLASS, *_BY_PROBABILITY)


def difference(
    score: Score, target: Any, first: Answers, second: Answers, *, seed: int, groups: IntArray | None
) -> Interval:
    """First minus second with a paired percentile-bootstrap interval: the same drawn rows for both.

    Args:
        score: What is compared.
        target: Of each row.
        first: Answers by one model.
        second: By the other.
        seed: Of the resampling.
        groups: What is drawn instead of rows: all of a group's rows come together.
    """
    return _resampled(_two(score, target, first, second), target, _draws(target, seed, groups, score.most))


def interval(score: Score, target: Any, answers: Answers, *, seed: int, groups: IntArray | None) -> Interval:
    """A metric with its percentile-bootstrap interval (Efron & Tibshirani 1993, chapter 13)."""
    return _resampled(_one(score, target, answers), target, _draws(target, seed, groups, score.most))


def _one(score: Score, target: Any, answers: Answers) -> Callable[[IntArray], float]:
    if score.by_row is None:
        return lambda rows: score.value(target[rows], answers.at(rows))
    losses = score.by_row(target, answers)
    return lambda rows: score.ending(float(losses[rows].mean()))


def _two(score: Score, target: Any, first: Answers, second: Answers) -> Callable[[IntArray], float]:
    ours, theirs = _one(score, target, first), _one(score, target, second)
    return lambda rows: ours(rows) - theirs(rows)


def _resampled(value: Callable[[IntArray], float], target: Any, draws: Iterator[IntArray]) -> Interval:
    point = value(np.arange(len(target)))
    drawn = np.array([value(rows) for rows in draws])
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not math.isfinite(point):
        return Interval(point, math.nan, math.nan)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(point, float(low), float(high))


def _draws(target: Any, seed: int, groups: IntArray | None, most: int) -> Iterator[IntArray]:
    """Row numbers drawn with replacement: groups where there are some, else rows, of classes within each class."""
    random = np.random.default_rng(seed)
    count = int(np.clip(_DRAWN // max(1, len(target)), _FEWEST, most))
    if groups is not None:
        members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
        for _ in range(count):
            yield np.concatenate([members[place] for place in random.integers(0, len(members), len(members))])
        return
    is_class = np.issubdtype(np.asarray(target).dtype, np.integer)
    strata = [np.flatnonzero(target == value) for value in np.unique(target)] if is_class else [np.arange(len(target))]
    for _ in range(count):
        yield np.concatenate([random.choice(rows, rows.size) for rows in strata])


def _numeric(name: str) -> Score | None:
    quantile = 0.5
    if name.startswith("pinball_"):
        try:
            quantile = float(name.removeprefix("pinball_"))
        except ValueError:
            return None
        name_of = "pinball"
    else:
        name_of = name
    if name_of == "r2":
        return Score(name, _r2)
    by_row: dict[str, Callable[[Any, FloatArray], FloatArray]] = {
        **LOSSES,
        "rmse": LOSSES["mse"],
        "rmspe": lambda target, answered: ((target - answered) / np.where(target == 0, np.nan, target)) ** 2,
        "pinball": lambda target, answered: np.maximum(
            quantile * (target - answered), (quantile - 1) * (target - answered)
        ),
    }
    if (loss := by_row.get(name_of)) is None or not 0 < quantile < 1:
        return None
    ending: Callable[[float], float] = math.sqrt if name_of in {"rmse", "rmspe"} else float

    def rows(target: Any, answers: Answers) -> FloatArray:
        return np.asarray(loss(target, np.asarray(answers.predicted, dtype=np.float64)), dtype=np.float64)

    return Score(name, lambda target, answers: ending(float(rows(target, answers).mean())), rows, ending)


def _r2(target: FloatArray, answers: Answers) -> float:
    return float(r2(target, np.asarray(answers.predicted, dtype=np.float64)))


def _classifying(name: str, classes: int) -> Score:
    if name == "accuracy":
        return _mean(name, lambda target, answers: (target == answers.predicted).astype(np.float64))
    if name in {"log_loss", "brier"}:
        return _mean(name, partial(_loss, name, classes), needs_probability=True)
    if name == "mcc":
        return Score(name, _mcc)
    if name == "average_precision":
        return Score(name, partial(_average_precision, classes), needs_probability=True)
    return Score(name, partial(_by_metrics, name, classes), needs_probability=name == "roc_auc")


def _mean(name: str, by_row: Callable[[Any, Answers], FloatArray], *, needs_probability: bool = False) -> Score:
    return Score(
        name,
        lambda target, answers: float(by_row(target, answers).mean()),
        by_row,
        needs_probability=needs_probability,
    )


def _loss(name: str, classes: int, target: IntArray, answers: Answers) -> FloatArray:
    chances = _by_class(answers.probability, classes)
    truth = np.eye(classes)[target]
    lost: FloatArray
    if name == "log_loss":
        lost = -np.log(np.clip((chances * truth).sum(axis=1), _TINY, 1))
    else:
        lost = ((chances - truth) ** 2).sum(axis=1) / (2 if classes == 2 else 1)  # noqa: PLR2004  # as usual for two
    return lost


def _by_class(probability: FloatArray | None, classes: int) -> FloatArray:
    assert probability is not None  # noqa: S101  # whoever needs probabilities is asked with some
    return np.stack([1 - probability, probability], axis=1) if classes == 2 else probability  # noqa: PLR2004


def _mcc(target: IntArray, answers: Answers) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(target, answers.predicted))


def _average_precision(classes: int, target: IntArray, answers: Answers) -> float:
    from sklearn.metrics import average_precision_score

    truth = np.eye(classes)[target]
    chosen = slice(1, 2) if classes == 2 else slice(None)  # noqa: PLR2004  # of two the positive one
    return float(average_precision_score(truth[:, chosen], _by_class(answers.probability, classes)[:, chosen]))


def _by_metrics(name: str, classes: int, target: IntArray, answers: Answers) -> float:
    """One of `METRICS`, from probabilities where there are some, else from certainty."""
    if classes == 2 and name != "roc_auc":  # noqa: PLR2004  # of two the positive one
        found, true = answers.predicted == 1, target == 1
        right, sought = int((found & true).sum()), int(true.sum())
        bottom = {"precision": int(found.sum()), "recall": sought, "f1": (int(found.sum()) + sought) / 2}[name]
        return right / bottom if bottom else 0.0
    if name == "roc_auc" and answers.probability is not None:
        return float(scores(target, answers.probability)[name])
    # A class that no row is of counts as wrong for all: a row of zeros would be an answer of the first.
    chances = np.zeros((len(target), classes + 1))
    chances[np.arange(len(target)), np.where(answers.predicted < 0, classes, answers.predicted)] = 1
    every = scores(target, chances)[name] * (classes + 1) / classes
    return float(every)


def _scorer(name: str, task: str, classes: int) -> Score:
    from sklearn.metrics import get_scorer

    scorer = get_scorer(name)

    def value(target: Any, answers: Answers) -> float:
        return float(scorer(_stand_in(task, classes, answers), np.arange(len(target)).reshape(-1, 1), target))

    asked = str(getattr(scorer, "_response_method", ""))
    return Score(name, value, most=_FEWEST, needs_probability=task != "regression" and "predict_proba" in asked)


def _stand_in(task: str, classes: int, answers: Answers) -> Any:
    """A fitted estimator whose answers are known."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    def predict(_self: Any, rows: IntArray) -> Any:
        return answers.predicted[rows[:, 0]]

    def predict_proba(_self: Any, rows: IntArray) -> FloatArray:
        return _by_class(answers.probability, classes)[rows[:, 0]]

    kind = RegressorMixin if task == "regression" else ClassifierMixin
    methods: dict[str, Any] = {"predict": predict, "__sklearn_is_fitted__": lambda _self: True}
    if answers.probability is not None:
        methods["predict_proba"] = predict_proba
    known = type("_KnownAnswers", (kind, BaseEstimator), {**methods, "classes_": np.arange(classes)})
    return known()


def measurable(names: Iterable[str], task: str, classes: int, answers: Answers) -> list[Score]:
    """Those of the metrics that these answers allow."""
    found = [score_of(name, task, classes) for name in dict.fromkeys(names)]
    return [score for score in found if not score.needs_probability or answers.probability is not None]
