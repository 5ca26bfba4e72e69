"""What a model is worth on rows it has not seen: metrics, their intervals, and honest differences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t

from models.datasets import load_dataset, split
from promotion.config import FamilyConfig
from promotion.errors import PromotionError
from promotion.evidence import Evaluation, Interval

METRICS = ("roc_auc", "accuracy", "precision", "recall", "f1")
RESAMPLES = 2000
SHUFFLES = 5
CONFIDENCE = 0.95
# scikit-learn's predict() gives an exact tie to the first class, hence "above" and not "at least".
DECISION_THRESHOLD = 0.5
# Numbers held at once while resampling: 16 MB an array, whatever the number of rows.
_BLOCK = 2_000_000

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def scores(target: IntArray, probability: FloatArray) -> dict[str, FloatArray]:
    """Every metric, along the last axis.

    ROC-AUC is the Mann-Whitney statistic of the ranks, ties counted half (Hanley & McNeil 1982, Radiology 143:29-36).
    A metric whose denominator is zero is 0, as with scikit-learn's `zero_division=0`; ROC-AUC is then NaN.

    Args:
        target: 0 or 1, shape (..., rows).
        probability: Of the positive class, shape (..., rows).

    Returns:
        Arrays of shape (...), dimensionless, by the names in `METRICS`.
    """
    positive = target == 1
    predicted = probability > DECISION_THRESHOLD
    positives = positive.sum(axis=-1)
    negatives = positive.shape[-1] - positives
    true_positives = (positive & predicted).sum(axis=-1)
    rank_sum = (rankdata(probability, axis=-1) * positive).sum(axis=-1)
    precision = _ratio(true_positives, predicted.sum(axis=-1))
    recall = _ratio(true_positives, positives)
    return {
        "roc_auc": _ratio(rank_sum - positives * (positives + 1) / 2, positives * negatives, empty=math.nan),
        "accuracy": np.asarray((positive == predicted).mean(axis=-1)),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * precision * recall, precision + recall),
    }


def intervals(target: IntArray, probability: FloatArray, seed: int) -> dict[str, Interval]:
    """Every metric with its stratified percentile-bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    Args:
        target: 0 or 1, shape (rows,).
        probability: Of the positive class, shape (rows,).
        seed: Of the resampling.
    """
    drawn = [scores(target[rows], probability[rows]) for rows in _resamples(target, seed)]
    return {
        name: _interval(float(value), np.concatenate([block[name] for block in drawn]))
        for name, value in scores(target, probability).items()
    }


def paired_difference(target: IntArray, first: FloatArray, second: FloatArray, metric: str, seed: int) -> Interval:
    """First minus second with its paired stratified bootstrap interval: both are scored on the same drawn rows.

    Args:
        target: 0 or 1, shape (rows,).
        first: Probability of the positive class by one model, shape (rows,).
        second: The same by the other model.
        metric: One of `METRICS`.
        seed: Of the resampling.
    """
    drawn = [
        scores(target[rows], first[rows])[metric] - scores(target[rows], second[rows])[metric]
        for rows in _resamples(target, seed)
    ]
    value = scores(target, first)[metric] - scores(target, second)[metric]
    return _interval(float(value), np.concatenate(drawn))


@dataclass(frozen=True, slots=True)
class FoldComparison:
    """Two candidates compared over the same cross-validation folds.

    Attributes:
        difference: Mean of first minus second, with its 95 % interval.
        p_value: Two-sided, of no difference.
    """

    difference: Interval
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the folds tell the two apart at the 5 % level."""
        return self.p_value < 1 - CONFIDENCE


def compare_folds(first: FloatArray, second: FloatArray, folds: int) -> FoldComparison:
    """Corrected resampled t-test of two candidates over repeated cross-validation.

    Folds share training rows, so their scores are not independent and a plain t-test finds differences that are not
    there. Nadeau & Bengio (2003, Machine Learning 52:239-281) scale the variance by 1/J + n_test/n_train; for
    repeated k-fold see Bouckaert & Frank (2004, PAKDD, LNCS 3056:3-12).

    Args:
        first: One score a fold, shape (J,).
        second: The same folds, shape (J,).
        folds: k of the k-fold: n_test/n_train is 1/(k - 1).
    """
    differences = first - second
    mean = float(differences.mean())
    error = math.sqrt((1 / differences.size + 1 / (folds - 1)) * float(differences.var(ddof=1)))
    freedom = differences.size - 1
    if error == 0:
        return FoldComparison(Interval(mean, mean, mean), p_value=float(mean == 0))
    margin = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return FoldComparison(
        Interval(mean, mean - margin, mean + margin), p_value=float(2 * t.sf(abs(mean) / error, freedom))
    )


def positive_probability(model: Any, features: Any) -> FloatArray:
    """The model's probability of the positive class, shape (rows,).

    Raises:
        PromotionError: The model has no probabilities, does not take these columns, or answers something not finite.
    """
    try:
        answer = np.asarray(model.predict_proba(features), dtype=np.float64)
    except Exception as error:
        summary = " ".join(str(error).split())
        raise PromotionError(f"the model cannot score the test rows: {type(error).__name__}: {summary}") from error
    if answer.shape != (len(features), 2) or not np.isfinite(answer).all():
        raise PromotionError(
            f"the model cannot score the test rows: expected finite probabilities of shape ({len(features)}, 2), "
            f"got shape {answer.shape}"
        )
    return answer[:, 1]


def permutation_losses(model: Any, features: Any, target: IntArray, metric: str, seed: int) -> FloatArray:
    """What shuffling one column costs (Breiman 2001, Machine Learning 45:5-32).

    All shuffles of a column are scored in one call, which for a small table is several times as fast as one by one.

    Args:
        model: Fitted pipeline that takes raw rows.
        features: Data frame, rows × columns.
        target: 0 or 1, shape (rows,).
        metric: One of `METRICS`.
        seed: Of the shuffling.

    Returns:
        Loss of the metric, shape (columns, SHUFFLES).
    """
    random = np.random.default_rng(seed)
    orders = np.array([random.permutation(len(target)) for _ in range(SHUFFLES)])
    untouched = scores(target, positive_probability(model, features))[metric]
    repeated = features.iloc[np.tile(np.arange(len(target)), SHUFFLES)]
    losses = []
    for column in features.columns:
        shuffled = repeated.assign(**{column: features[column].to_numpy()[orders].ravel()})
        probability = positive_probability(model, shuffled).reshape(SHUFFLES, -1)
        losses.append(untouched - scores(np.broadcast_to(target, probability.shape), probability)[metric])
    return np.array(losses)


@dataclass(frozen=True, slots=True)
class HoldoutEvaluation:
    """One model scored on the family's test rows; its probabilities stay with it for paired comparisons."""

    metrics: Mapping[str, float]
    rows: int
    data_sha256: str
    _probability: FloatArray


class HoldoutEvaluator:
    """Scores model artifacts on one family's test split; see `promotion.evidence.Evaluator`.

    Args:
        config: The family.
        home: Folder the data's path is relative to.
    """

    def __init__(self, config: FamilyConfig, home: Path) -> None:
        self._config = config
        self._home = home

    def evaluate(self, artifact: Path) -> HoldoutEvaluation:
        """Load the model under `artifact` and score it on the test rows.

        Raises:
            DataError: The data is missing or breaks its contract.
            ArtifactRefused: The artifact is not one we load.
            PromotionError: The model does not run on the test rows.
        """
        from models.packaging import load_artifact

        features, target, data_sha256 = self._holdout
        probability = positive_probability(load_artifact(artifact), features)
        metrics = {name: float(value) for name, value in scores(target, probability).items()}
        return HoldoutEvaluation(metrics, len(target), data_sha256, probability)

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production on the same rows: point estimate and paired bootstrap interval.

        Raises:
            PromotionError: The two were not scored by this evaluator on the same data, or the metric is unknown.
        """
        _, target, data_sha256 = self._holdout
        if metric not in METRICS:
            known = ", ".join(METRICS)
            raise PromotionError(f"unknown metric {metric!r}: expected one of {known}")
        if not (isinstance(candidate, HoldoutEvaluation) and isinstance(production, HoldoutEvaluation)) or not (
            candidate.data_sha256 == production.data_sha256 == data_sha256
        ):
            raise PromotionError("the two models were not scored on the same rows: evaluate both again")
        return paired_difference(
            target,
            candidate._probability,  # noqa: SLF001  # ours, and nobody else's business
            production._probability,  # noqa: SLF001
            metric,
            self._config.split.seed,
        )

    @cached_property
    def _holdout(self) -> tuple[Any, IntArray, str]:
        dataset = load_dataset(self._config, self._home)
        part = split(dataset, self._config)
        return part.test_features, np.asarray(part.test_target, dtype=np.int64), dataset.sha256


def _ratio(numerator: Any, denominator: Any, empty: float = 0.0) -> FloatArray:
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient: FloatArray = np.divide(top, bottom, out=np.full(bottom.shape, empty), where=bottom != 0)
    return quotient


def _resamples(target: IntArray, seed: int) -> Iterator[IntArray]:
    """Row numbers drawn with replacement within each class, in blocks of shape (resamples, rows)."""
    random = np.random.default_rng(seed)
    classes = [np.flatnonzero(target == value) for value in (0, 1)]
    size = max(1, _BLOCK // target.size)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        yield np.concatenate([random.choice(rows, (count, rows.size)) for rows in classes if rows.size], axis=1)


def _interval(value: float, drawn: FloatArray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
