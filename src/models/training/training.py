"""Train a family's candidates, choose one by cross-validation, and register them so that one is the best.

The order of the writes is what keeps a crash harmless: nothing is tagged best before every candidate is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests  # silences a warning of its own; imported in the background, the foreground's filters would undo that

from models.data.sources import describe_invention, make_missing
from models.training.candidates import build_candidates
from models.training.folds import FoldComparison, compare_folds
from models.training.parameters import with_params_file
from models.training.recording import CandidateResult, Round, crown, log_candidate
from models.training.selection import SelectionProgress, cross_validate, examine
from models.training.workers import stop_workers
from promotion.bootstrap import open_journal
from promotion.config.commit import Commit
from promotion.config.evidence import is_error
from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.config.training import ParameterValue
from promotion.data.arrays import FloatArray
from promotion.data.datasets import load_dataset, split_dataset
from promotion.data.leakage import leaks
from promotion.data.sentinels import sentinels
from promotion.errors import ConfigError
from promotion.registry.semver import require_semantic
from promotion.registry.tracking import connect, quiet, readable_failures


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training did.

    Attributes:
        family: The family.
        task: Its kind of learning problem.
        round: UTC timestamp shared by all candidates.
        semver: Semantic version of what was registered.
        metric: The selection metric.
        candidates: Those registered, by cross-validation mean of the selection metric, best first; the first is tagged.
        others: Those only cross-validated, where the winner alone is registered: by algorithm and metric, one
            score a fold, shape (folds * repeats,), best first.
        params: Hyper-parameters of the best one, as configured.
        train: By metric, what the best one makes of the rows it has learned from.
        comparison: Of first and second over the folds; None with a single candidate.
        classes: What the classes 0, 1, ... mean; none of a regression.
        rows: Number of rows trained and tested on.
        data_sha256: Digest of the data file.
        commit: Of the code; None outside a git repository.
        warnings: What suggests that test rows are known from the training rows, or that a number stands for no value.
        invented: Says so if a generator invented the rows; empty for real data.
    """

    family: str
    task: str
    round: str
    semver: str
    metric: str
    candidates: tuple[CandidateResult, ...]
    others: Mapping[str, Mapping[str, FloatArray]]
    params: Mapping[str, ParameterValue]
    train: Mapping[str, float]
    comparison: FoldComparison | None
    classes: tuple[str, ...]
    rows: tuple[int, int]
    data_sha256: str
    commit: Commit | None
    warnings: tuple[str, ...]
    invented: str


def train(
    config: FamilyConfig, settings: Settings, progress: SelectionProgress, *, semver: str | None = None
) -> TrainingResult:
    """Train, choose, log and register the family's candidates.

    Where the registered model's name is plain, only the winner is fitted on the whole training part, examined on the
    test part and registered.

    Args:
        config: The family.
        settings: Where data and stores are; a missing file that the configuration can generate is written first.
        progress: Told what is going on.
        semver: Semantic version of what is registered; the next minor one by default.

    Raises:
        ConfigError: A candidate or one of its hyper-parameters does not exist, in the family's file or its params file;
            or the family foretells sales.
        DataError: The data is missing or breaks its contract; training does not start.
        RegistryError: MLflow does not take what was trained; no version of this training is tagged best.
    """
    if config.is_forecast:
        option = f" --model {config.family}"
        raise ConfigError(f"{config.at('task')}: foretells sales: python src/models/train_ensemble.py{option}")
    config = with_params_file(config, settings.home)
    journal = open_journal(settings, {config.family: config})
    journal.prepare()
    if semver is not None:
        journal.require_free(config.family, require_semantic(semver))
    candidates = build_candidates(config)
    make_missing(config, settings.home)
    dataset = load_dataset(config, settings.home)
    part = split_dataset(dataset, config)
    with ThreadPoolExecutor(max_workers=1) as background:
        # Importing MLflow and opening its store takes seconds; the workers cross-validate meanwhile.
        connection = background.submit(connect, config, settings)

        def step(task: str, done: int, total: int) -> None:
            if connection.done():
                connection.result()  # a store that cannot be used ends the training now, not after the last fold
            progress(task, done, total)

        folds = cross_validate(config, candidates, part, step)
        means = {name: float(folds[name][config.selection_metric].mean()) for name in candidates}
        ranking = sorted(candidates, key=means.__getitem__, reverse=not is_error(config.selection_metric))
        registered = ranking if config.registers_every_candidate else ranking[:1]
        examined = examine(config, {name: candidates[name] for name in registered}, part, step)
        stop_workers()
        experiment = connection.result()
    training = Round(config, dataset.sha256, experiment)
    others = {name: folds[name] for name in ranking if name not in registered}
    results = []
    with quiet(), readable_failures(settings.tracking_uri):
        for algorithm in registered:
            candidate = examined[algorithm], folds[algorithm]
            results.append(log_candidate(training, config, (dataset, part), algorithm, *candidate, others))
            progress("logging and registering", len(results), len(registered))
        given = training.register(journal, results, semver)
        crown(config, settings, journal, results[0])
    return TrainingResult(
        family=config.family,
        task=config.task,
        round=training.timestamp,
        semver=given,
        metric=config.selection_metric,
        candidates=tuple(results),
        others=others,
        params=config.candidates[ranking[0]].params,
        train=examined[ranking[0]].train,
        comparison=_compare(config, [folds[name][config.selection_metric] for name in ranking]),
        classes=tuple(config.classes),
        rows=(len(part.train_target), len(part.test_target)),
        data_sha256=dataset.sha256,
        commit=training.commit,
        warnings=(*leaks(dataset, config), *sentinels(dataset, config)),
        invented=describe_invention(config, dataset.sha256),
    )


def _compare(config: FamilyConfig, scores: list[FloatArray]) -> FoldComparison | None:
    if len(scores) == 1:
        return None
    return compare_folds(scores[0], scores[1], config.cross_validation.folds)
