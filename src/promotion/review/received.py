"""Candidate and champion on the owner's holdout, where both were trained elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.evaluation.holdout import ScoredModel
from promotion.evaluation.metrics import NUMBER_METRICS
from promotion.evaluation.received.evaluator import ReceivedEvaluator
from promotion.review.classifiers import agreement, row_table
from promotion.review.findings import Measure, ReviewFindings, better
from promotion.review.regressions import compare_numbers
from promotion.review.side_by_side import ComparedRows, SideBySide, compare_probabilities, measure_of

_CLASS_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc")


def compare_received(config: FamilyConfig, home: Path, candidate: Path, production: Path | None = None) -> SideBySide:
    """Score one version, or two, on every row of the holdout.

    Args:
        config: Their family.
        home: Folder the holdout's path is relative to.
        candidate: The candidate's files.
        production: The champion's; None when there is none to compare with.

    Returns:
        Without curves and matrices where a model says no probabilities.

    Raises:
        PromotionError: The holdout cannot be read, or a model does not answer it.
    """
    evaluator = ReceivedEvaluator(config, home)
    ours = evaluator.evaluate(candidate)
    theirs = evaluator.evaluate(production) if production else None
    metrics = list(_rows(config, evaluator, ours, theirs))
    chance, other = ours.answers.probability, theirs.answers.probability if theirs else None
    classes = [] if config.task == "regression" else config.labels_of(evaluator.rows.classes)
    if not classes:
        champion = np.asarray(theirs.answers.predicted, dtype=np.float64) if theirs else None
        answered = np.asarray(ours.answers.predicted, dtype=np.float64)
        return compare_numbers(evaluator.target, metrics, answered, champion, config.holdout.target)
    if chance is None or (theirs and other is None):
        return SideBySide(ours.rows, classes, metrics, [], [], [], [], None, (0, 0))
    rows = ComparedRows(classes, evaluator.target, evaluator.rows.features_at, {})
    return compare_probabilities(rows, metrics, chance, other)


def review_received(
    config: FamilyConfig, settings: Settings, first: Path, second: Path, names: tuple[str, str]
) -> ReviewFindings:
    """Hold two versions against each other on the holdout.

    Raises:
        PromotionError: As `compare_received`.
    """
    found = compare_received(config, settings.home, first, second)
    checks = [better(measure, names) for measure in found.metrics if measure.decides]
    if found.disagreeing is not None:
        checks.append(agreement(found.rows, found.disagreeing, found.right))
    return ReviewFindings(
        rows=found.rows,
        about=f"rows of the holdout {config.holdout.path.partition('?')[0]}",
        checks=checks,
        measures=found.metrics,
        tables=[row_table(found)] if found.disagreements else [],
    )


def _rows(
    config: FamilyConfig, evaluator: ReceivedEvaluator, ours: ScoredModel, theirs: ScoredModel | None
) -> Iterator[Measure]:
    measured = NUMBER_METRICS if config.task == "regression" else _CLASS_METRICS
    asked = dict.fromkeys((config.selection_metric, *measured))
    for name in asked:
        if name not in ours.metrics or (theirs and name not in theirs.metrics):
            continue
        production = evaluator.interval(theirs, name) if theirs else None
        difference = evaluator.difference(ours, theirs, name) if theirs else None
        yield measure_of(config, name, evaluator.interval(ours, name), production, difference)
