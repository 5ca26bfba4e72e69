"""Train a family's candidates, choose one by cross-validation, and register all of them so that one is the best.

The order of the writes is what keeps a crash harmless: nothing is tagged best before every candidate is registered.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests  # silences a warning of its own; imported in the background, the foreground's filters would undo that

from models.candidates import build_candidates
from models.datasets import load_dataset, split
from models.evaluation import FoldComparison, compare_folds
from models.lineage import Commit
from models.recording import CandidateResult, Round, crown
from models.selection import Progress, cross_validate, examine
from models.tracking import connect, quiet, readable_failures
from models.workers import stop_workers
from promotion.config import FamilyConfig
from promotion.settings import Settings


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        family: The family.
        round: UTC timestamp shared by all candidates.
        metric: The selection metric.
        candidates: By cross-validation mean of the selection metric, best first; the first one is tagged.
        comparison: Of first and second over the folds; None with a single candidate.
        rows: Number of rows trained and tested on.
        data_sha256: Digest of the data file.
        commit: Of the code; None outside a git repository.
    """

    family: str
    round: str
    metric: str
    candidates: tuple[CandidateResult, ...]
    comparison: FoldComparison | None
    rows: tuple[int, int]
    data_sha256: str
    commit: Commit | None


def train(config: FamilyConfig, settings: Settings, progress: Progress) -> TrainingResult:
    """Train, choose, log and register the family's candidates.

    Raises:
        ConfigError: A candidate or one of its hyper-parameters does not exist.
        DataError: The data is missing or breaks its contract; training does not start.
        RegistryError: MLflow does not take what was trained; no version of this training is tagged best.
    """
    candidates = build_candidates(config)
    dataset = load_dataset(config, settings.home)
    part = split(dataset, config)
    with ThreadPoolExecutor(max_workers=1) as background:
        # Importing MLflow and opening its store takes seconds; the workers cross-validate meanwhile.
        connection = background.submit(connect, config, settings)

        def step(task: str, done: int, total: int) -> None:
            if connection.done():
                connection.result()  # a store that cannot be used ends the training now, not after the last fold
            progress(task, done, total)

        folds = cross_validate(config, candidates, part, step)
        examined = examine(config, candidates, part, step)
        stop_workers()
        experiment = connection.result()
    training = Round(config, dataset, part, experiment)
    results = []
    with quiet(), readable_failures(settings.tracking_uri):
        for algorithm in candidates:
            results.append(training.log(algorithm, examined[algorithm], folds[algorithm]))
            progress("logging and registering", len(results), len(candidates))
        results.sort(key=lambda result: -float(result.cross_validation[config.selection_metric].mean()))
        crown(config, settings, results[0], training.timestamp)
    return TrainingResult(
        family=config.family,
        round=training.timestamp,
        metric=config.selection_metric,
        candidates=tuple(results),
        comparison=_compare(config, results),
        rows=(len(part.train_target), len(part.test_target)),
        data_sha256=dataset.sha256,
        commit=training.commit,
    )


def _compare(config: FamilyConfig, results: list[CandidateResult]) -> FoldComparison | None:
    if len(results) == 1:
        return None
    first, second = (result.cross_validation[config.selection_metric] for result in results[:2])
    return compare_folds(first, second, config.cross_validation.folds)
