"""Score and measure versions that were trained elsewhere, on every row of the owner's holdout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from promotion.config.family import FamilyConfig
from promotion.errors import PromotionError, UsageError
from promotion.evaluation.cost import THREAD_POOLS
from promotion.evaluation.cost_worker import BLOCK_REQUESTS, timed
from promotion.evaluation.holdout import ScoredModel, paired_answers
from promotion.evaluation.received import predictions as read
from promotion.evaluation.received.columns import missing_columns, typed_rows
from promotion.evaluation.received.flavours import ReceivedModel, describe_model
from promotion.evaluation.received.predictions import Answers
from promotion.evaluation.received.predictor import open_worker
from promotion.evaluation.received.process import ModelWorker
from promotion.evaluation.received.rows import HoldoutFile
from promotion.evaluation.scorers import default_scores, difference, interval, measurable, score_of
from promotion.evaluation.slices import slice_figures
from promotion.gates.evidence import Evaluation, Interval, Measurement

_SEED = 42


class ReceivedEvaluator:
    """Scores models of one family, wherever they come from; see `promotion.gates.evidence.Evaluator`."""

    def __init__(self, config: FamilyConfig, home: Path) -> None:
        self._config = config
        slices = tuple(dict.fromkeys(rule.column for rule in config.gates.slices))
        self._rows = HoldoutFile(config.holdout, home, config.task, slices)

    @property
    def data_sha256(self) -> str:
        """Digest of the holdout."""
        return self._rows.sha256

    def holdout_problems(self) -> list[str]:
        """Why no model can be scored on the holdout."""
        return self._rows.problems

    @property
    def feature_hash(self) -> str:
        """Fingerprint of the holdout's columns but the target."""
        columns = [] if self._rows.problems else sorted(self._rows.features)
        return hashlib.sha256(json.dumps(columns).encode()).hexdigest()

    def schema_problems(self, artifact: Path) -> list[str]:
        """What the signature of the model under `artifact` asks for and the holdout does not have."""
        model = describe_model(artifact, classes=self._tells_classes)
        if model.inputs is None or self._rows.problems:
            return []
        return missing_columns(model.inputs, self._features_of(model))

    def split_problems(self, trained: Mapping[str, Any]) -> list[str]:  # noqa: ARG002  # the protocol's
        """None that could be seen here: what a received model was trained on, only its trainer knows."""
        return []

    def data_problems(self) -> list[str]:
        """What is wrong with the holdout."""
        return self._rows.problems

    def load(self, artifact: Path) -> None:
        """Load the model under `artifact` and do nothing with it."""
        with self._worker(artifact):
            pass

    def evaluate(self, artifact: Path) -> ScoredModel:
        """Score the model under `artifact` on every row; raises as `Evaluator.evaluate`.

        Raises:
            ArtifactRefused: The artifact is not one we load, or runs code and the family's file does not allow that.
            UsageError: A metric is unknown.
        """
        if problems := self._rows.problems:
            raise PromotionError(problems[0])
        wanted = self._wanted()
        answers = self._answers(artifact)
        target = self.target
        found = {
            score.name: score.value(target, answers)
            for score in measurable(wanted, self._config.task, self._classes, answers)
        }
        config = self._config
        slices = slice_figures(
            config.gates.slices, self._rows.beside, target, answers, task=config.task, classes=self._classes
        )
        return ScoredModel(found, self._rows.rows, self._rows.sha256, answers, slices)

    def difference(self, candidate: Evaluation, production: Evaluation, metric: str) -> Interval:
        """Candidate minus Production on the same rows: point estimate and paired bootstrap interval.

        Raises:
            PromotionError: The two were not scored by this evaluator on the same data, or one cannot be measured so.
        """
        ours, theirs = paired_answers(candidate, production, self._rows.sha256)
        if metric not in candidate.metrics.keys() & production.metrics.keys():
            return Interval(np.nan, np.nan, np.nan)
        score = score_of(metric, self._config.task, self._classes)
        return difference(score, self.target, ours, theirs, seed=_SEED, groups=self._rows.groups)

    def interval(self, evaluation: ScoredModel, metric: str) -> Interval:
        """A metric of one model with its bootstrap interval."""
        score = score_of(metric, self._config.task, self._classes)
        return interval(score, self.target, evaluation.answers, seed=_SEED, groups=self._rows.groups)

    def measure(self, artifact: Path) -> Measurement:
        """What one-row requests cost: of the process that scores, measured from outside of it."""
        with self._worker(artifact, variables=dict.fromkeys(THREAD_POOLS, "1")) as (worker, model):
            for rows, count in self._streams(model, most=BLOCK_REQUESTS):
                worker.hold(rows)
                figures = timed(worker.predict_held, range(count), worker.cpu_ns, worker.waited_ns)
                return Measurement(**figures, peak_memory_mb=worker.peak_memory() / 1e6)
        raise PromotionError("there are no rows to measure with")

    def _wanted(self) -> list[str]:
        """The metrics the family asks for, all of them known."""
        config, gates = self._config, self._config.gates
        asked = {
            **{rule.metric: ("gates", "slices") for rule in gates.slices},
            **{name: ("gates", "thresholds", name) for name, bound in gates.thresholds.items() if bound.source is None},
            **{name: ("gates", "better_than_production", "also", name) for name in gates.better_than_production.also},
            config.selection_metric: ("selection_metric",),
        }
        for name, keys in asked.items():
            try:
                score_of(name, config.task, self._classes)
            except UsageError as error:
                raise UsageError(f"{config.at(*keys)}: {error}") from error
        return [*default_scores(config.task), *asked]

    def _answers(self, artifact: Path) -> Answers:
        with self._worker(artifact) as (worker, model):
            found, first = [], 0
            for rows, count in self._streams(model):
                raw = worker.predict(rows, count)
                if self._tells_classes:
                    found.append(read.classes(raw, self._rows.classes, first))
                else:
                    found.append(Answers(read.numbers(raw, first)))
                first += count
        answers = read.joined(found)
        if self._tells_classes:
            read.require_known(answers, raw, self._rows.classes)
        return answers

    def _streams(self, model: ReceivedModel, most: int | None = None) -> Iterator[tuple[bytes, int]]:
        """The rows as the model wants them, chunk by chunk."""
        for chunk in self._rows.chunks() if model.takes_text else self._rows.untyped_chunks():
            frame = chunk.head(most) if most else chunk
            yield typed_rows(frame, model.inputs, self._features_of(model), self._rows.name), len(frame)

    def _features_of(self, model: ReceivedModel) -> list[str]:
        return self._rows.features if model.names_columns else self._rows.plain_features

    @contextmanager
    def _worker(
        self, artifact: Path, variables: dict[str, str] | None = None
    ) -> Iterator[tuple[ModelWorker, ReceivedModel]]:
        model = describe_model(artifact, classes=self._tells_classes)
        with open_worker(self._config, artifact, model, variables) as worker:
            yield worker, model

    @property
    def _tells_classes(self) -> bool:
        return self._config.task != "regression"

    @property
    def rows(self) -> HoldoutFile:
        """The holdout."""
        return self._rows

    @cached_property
    def target(self) -> Any:
        """Of each row its class, a position among the holdout's, or its number."""
        return self._rows.target_classes if self._tells_classes else self._rows.target_numbers

    @property
    def _classes(self) -> int:
        return len(self._rows.classes) if self._tells_classes else 0
