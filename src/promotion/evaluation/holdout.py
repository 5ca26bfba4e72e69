"""Score and measure a version on its family's test split: the evaluator of every table of classes or numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promotion.config.family import FamilyConfig
from promotion.data.arrays import FloatArray, IntArray
from promotion.data.datasets import feature_schema_hash, load_dataset, split_dataset
from promotion.errors import PromotionError
from promotion.evaluation.cost import measure
from promotion.evaluation.metrics import metrics_of, paired_difference, predicted_class, response_of, scores
from promotion.evaluation.received.predictions import Answers
from promotion.evaluation.signature import data_problems, schema_problems
from promotion.evaluation.slices import slice_figures
from promotion.gates.evidence import Evaluation, Interval, Measurement, SliceFigure

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ScoredModel:
    """One model as it was scored; its answers stay with it for paired comparisons."""

    metrics: Mapping[str, float]
    rows: int
    data_sha256: str
    answers: Any
    slices: tuple[SliceFigure, ...] = ()


def paired_answers(candidate: Evaluation, production: Evaluation, data_sha256: str) -> tuple[Any, Any]:
    """What two models answered to the same rows.

    Raises:
        PromotionError: They were not scored on these rows.
    """
    if not (isinstance(candidate, ScoredModel) and isinstance(production, ScoredModel)) or not (
        candidate.data_sha256 == production.data_sha256 == data_sha256
    ):
        raise PromotionError("the two models were not scored on the same rows: evaluate both again")
    return candidate.answers, production.answers


class ContractEvaluator:
    """What evaluators of families share whose columns have a contract; see `promotion.gates.evidence.Evaluator`."""

    def __init__(self, config: FamilyConfig, home: Path) -> None:
        self._config = config
        self._home = home

    @property
    def feature_hash(self) -> str:
        """Fingerprint of the feature view."""
        return feature_schema_hash(self._config)

    def holdout_problems(self) -> list[str]:
        """None: rows that break their contract are not read at all."""
        return []

    def schema_problems(self, artifact: Path) -> list[str]:
        """Where the signature of the model under `artifact` differs from the family's features."""
        return schema_problems(self._config, artifact)


class HoldoutEvaluator(ContractEvaluator):
    """Scores model artifacts on one family's test split."""

    def evaluate(self, artifact: Path) -> ScoredModel:
        """Load the model under `artifact` and score it on the test rows; raises as `Evaluator.evaluate`."""
        from promotion.evaluation.loading import load_artifact

        features, target, data_sha256 = self._holdout
        classes = len(self._config.classes)
        response = response_of(load_artifact(artifact), features, classes)
        metrics = {name: float(value) for name, value in scores(target, response).items()}
        chosen = predicted_class(response, by_class=response.ndim > 1)
        answers = Answers(chosen, response) if classes else Answers(response)
        slices = slice_figures(
            self._config.gates.slices, features, target, answers, task=self._config.task, classes=classes
        )
        return ScoredModel(metrics, len(target), data_sha256, response, slices)

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production on the same rows: point estimate and paired bootstrap interval.

        Raises:
            PromotionError: The two were not scored by this evaluator on the same data, or the metric is unknown.
        """
        _, target, data_sha256 = self._holdout
        if metric not in (metrics := metrics_of(self._config.task)):
            known = ", ".join(metrics)
            raise PromotionError(f"unknown metric {metric!r}: expected one of {known}")
        ours, theirs = paired_answers(candidate, production, data_sha256)
        return paired_difference(target, ours, theirs, metric, self._config.split.seed)

    @property
    def data_sha256(self) -> str:
        """Digest of the data file."""
        return self._holdout[2]

    def split_problems(self, trained: Mapping[str, Any]) -> list[str]:
        """Another split or other rows than the version was trained with, and companions across the split."""
        from promotion.data.leakage import leaks

        dataset = load_dataset(self._config, self._home)
        return [*_other_training(self._config, dataset.sha256, trained), *leaks(dataset, self._config)]

    def load(self, artifact: Path) -> None:
        """Load the model under `artifact` and do nothing with it; raises as `evaluate` does for the artifact."""
        from promotion.evaluation.loading import load_artifact

        load_artifact(artifact)

    def measure(self, artifact: Path) -> Measurement:
        """What one-row requests cost with the model under `artifact`; see `promotion.evaluation.cost`."""
        return measure(artifact, self._holdout[0])

    def data_problems(self) -> list[str]:
        """What is wrong with the family's data."""
        return data_problems(self._config, self._home)

    @cached_property
    def _holdout(self) -> tuple[Any, IntArray | FloatArray, str]:
        dataset = load_dataset(self._config, self._home)
        part = split_dataset(dataset, self._config)
        return part.test_features, part.test_target, dataset.sha256


def _other_training(config: FamilyConfig, sha256: str, trained: Mapping[str, Any]) -> Iterator[str]:
    then, rows = trained.get("split"), trained.get("data_sha256")
    known = "so that its training rows may be among the test rows: train again"
    if then != config.split.recorded():
        how = (
            f"it was trained with split {_written(then)}" if isinstance(then, Mapping) else "its split is not recorded"
        )
        yield f"{how}, the family's is {_written(config.split.recorded())}, {known}"
    elif rows != sha256:
        yield f"it was trained on other rows (sha256 {str(rows)[:_SHOWN]}, now {sha256[:_SHOWN]}), {known}"


def _written(split: Mapping[str, Any]) -> str:
    """A split as a family's file writes it."""
    return f"{{{', '.join(f'{name}: {value}' for name, value in split.items())}}}"
