"""Which candidate is best, and what each is worth: cross-validation, the final fit, and the one look at the test part.

Worker processes import this module, so it imports nothing they do not need.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from promotion.config.family import FamilyConfig
from promotion.data.arrays import FloatArray, IntArray
from promotion.data.datasets import Partition
from promotion.data.splits import Belonging, folds
from promotion.errors import ConfigError
from promotion.evaluation.metrics import intervals, metrics_of, permutation_losses, predicted_class, response_of, scores
from promotion.gates.evidence import Interval

_SHOWN = 300

SelectionProgress = Callable[[str, int, int], None]
"""Told what is going on, how many steps of it are done, and how many there are; what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A candidate fitted on the whole training part and scored on the test part.

    Attributes:
        model: The fitted pipeline.
        train: By metric, on the training part: what the model makes of rows it has learned from.
        test: By metric, on the test part, with its 95 % bootstrap interval.
        pictures: PNG files by name.
    """

    model: Pipeline
    train: Mapping[str, float]
    test: Mapping[str, Interval]
    pictures: Mapping[str, bytes]


def cross_validate(
    config: FamilyConfig, candidates: Mapping[str, Pipeline], part: Partition, progress: SelectionProgress
) -> dict[str, dict[str, FloatArray]]:
    """Score every candidate on every fold of the training part, in parallel; all candidates see the same folds.

    Returns:
        By candidate and metric, one score a fold, shape (folds * repeats,).

    Raises:
        DataError: There are fewer training rows of a class, or groups, or times, than folds.
    """
    drawn = folds(part.train_belonging or Belonging(part.train_target), config)
    classes = len(config.classes)
    tasks = [delayed(_score_fold)(model, part, classes, *fold) for model in candidates.values() for fold in drawn]
    collected = _in_parallel(tasks, "cross-validating", progress)
    size = len(drawn)
    return {
        name: {
            metric: np.array([scored[metric] for scored in collected[index * size : (index + 1) * size]])
            for metric in metrics_of(config.task)
        }
        for index, name in enumerate(candidates)
    }


def _score_fold(
    model: Pipeline, part: Partition, classes: int, learn: NDArray[np.int64], check: NDArray[np.int64]
) -> dict[str, float]:
    fitted = _fitted(model, part.train_features.iloc[learn], part.train_target[learn])
    return _score(fitted, part.train_features.iloc[check], part.train_target[check], classes)


def _fitted(model: Pipeline, features: pd.DataFrame, target: IntArray | FloatArray) -> Pipeline:
    """A fitted copy; what only a fit refuses is a mistake in the file, or in the rows."""
    try:
        return clone(model).fit(features, target)
    except Exception as error:
        kind, summary = type(model.steps[-1][1]).__name__, " ".join(str(error).split())
        raise ConfigError(
            f"candidates: {kind} does not learn {len(target)} rows with its params: {summary[:_SHOWN]}; correct them"
        ) from error


def _score(model: Pipeline, features: pd.DataFrame, target: IntArray | FloatArray, classes: int) -> dict[str, float]:
    return {metric: float(value) for metric, value in scores(target, response_of(model, features, classes)).items()}


def examine(
    config: FamilyConfig, candidates: Mapping[str, Pipeline], part: Partition, progress: SelectionProgress
) -> dict[str, Examined]:
    """Fit each candidate on the training part and score it, once, on the test part."""
    tasks = [delayed(_examine)(config, name, model, part) for name, model in candidates.items()]
    return dict(zip(candidates, _in_parallel(tasks, "fitting and testing", progress), strict=True))


def _examine(config: FamilyConfig, algorithm: str, model: Pipeline, part: Partition) -> Examined:
    from models.training.plots import draw_importance

    title, metric, target = config.model_name(algorithm), config.selection_metric, part.test_target
    classes, seed = len(config.classes), config.split.seed
    fitted = _fitted(model, part.train_features, part.train_target)
    train = _score(fitted, part.train_features, part.train_target, classes)
    response = response_of(fitted, part.test_features, classes)
    test = intervals(target, response, seed)
    importances = permutation_losses(fitted, part.test_features, target, classes=classes, metric=metric, seed=seed)
    pictures = {
        **_pictures(config, title, target, response, test),
        "permutation_importance.png": draw_importance(title, config.features, importances, metric),
    }
    return Examined(fitted, train, test, pictures)


def _pictures(
    config: FamilyConfig, title: str, target: Any, response: FloatArray, test: Mapping[str, Interval]
) -> dict[str, bytes]:
    """What a model answered to the test rows, against what is true."""
    from models.training.plots import draw_confusion_matrix, draw_residuals, draw_roc_curve

    names = config.labels
    if not names:
        column = config.data.columns[config.target.column]
        unit = f"{config.target.column} [{column.unit}]" if column.unit else config.target.column
        return {"residuals.png": draw_residuals(title, target, response, unit)}
    predicted = predicted_class(response, by_class=response.ndim > target.ndim)
    return {
        "roc_curve.png": draw_roc_curve(title, target, response, test["roc_auc"], names),
        "confusion_matrix.png": draw_confusion_matrix(title, target, predicted, names),
    }


def _in_parallel(tasks: list[Any], name: str, progress: SelectionProgress) -> list[Any]:
    """Run delayed calls on all cores, in order; what `progress` raises cancels the rest."""
    results = Parallel(n_jobs=-1, return_as="generator")(tasks)
    collected = []
    try:
        for result in results:
            collected.append(result)
            progress(name, len(collected), len(tasks))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib warns that tasks are cancelled: that is the intention
            results.close()
    return collected
