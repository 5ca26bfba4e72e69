"""What a training says about itself: the table of candidates, a verdict in plain words, and both as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from models.training.training import TrainingResult
from promotion.data.arrays import FloatArray
from promotion.gates.evidence import Interval

_SHOWN = ("roc_auc", "accuracy", "f1", "rmse", "mae", "r2")
_BINARY = 2


def describe_training(result: TrainingResult) -> Iterator[str]:
    """The table and the verdict, line by line."""
    yield from _table(result)
    yield ""
    yield from _verdict(result)


def describe_comparison(result: TrainingResult) -> str | None:
    """Say in one sentence whether first and second differ; None with a single candidate."""
    if result.comparison is None:
        return None
    first, second = [*(candidate.algorithm for candidate in result.candidates), *result.others][:2]
    difference = result.comparison.difference
    test = (
        f"difference {difference.value:+.4f}, 95 % interval {difference.low:+.4f} to {difference.high:+.4f}, "
        f"p = {result.comparison.p_value:.2g}, corrected resampled t-test (Nadeau & Bengio 2003)"
    )
    if result.comparison.is_significant:
        return f"{first} is better than {second}: {test}."
    return f"{first} and {second} do not differ measurably: {test}; the order of the two may be chance."


def as_json(result: TrainingResult) -> dict[str, Any]:
    """The whole result as plain data."""
    return {
        "family": result.family,
        "round": result.round,
        "semver": result.semver,
        "selection_metric": result.metric,
        "train_rows": result.rows[0],
        "test_rows": result.rows[1],
        "data_sha256": result.data_sha256,
        "warnings": list(result.warnings),
        "git_commit": result.commit.sha if result.commit else None,
        "git_dirty": result.commit.dirty if result.commit else None,
        "comparison": describe_comparison(result),
        "candidates": [
            {
                "algorithm": candidate.algorithm,
                "model": candidate.model,
                "version": candidate.number,
                "run_id": candidate.run_id,
                "best_model": rank == 0,
                "cross_validation": _folds_as_json(candidate.cross_validation),
                "test": {metric: asdict(interval) for metric, interval in candidate.test.items()},
            }
            for rank, candidate in enumerate(result.candidates)
        ],
        "not_registered": [
            {"algorithm": algorithm, "cross_validation": _folds_as_json(folds)}
            for algorithm, folds in result.others.items()
        ],
    }


def _table(result: TrainingResult) -> Iterator[str]:
    measured = result.candidates[0].test
    others = [metric for metric in _SHOWN if metric in measured and metric != result.metric][:2]
    head = ["", "candidate", f"CV {result.metric}", f"test {result.metric} (95 % interval)", *others, "registered as"]
    rows = [
        [
            "🏆" if rank == 0 else "",
            candidate.algorithm,
            _spread(candidate.cross_validation[result.metric]),
            _bounded(candidate.test[result.metric]),
            *(f"{candidate.test[metric].value:.4f}" for metric in others),
            f"{candidate.model} v{candidate.number}",
        ]
        for rank, candidate in enumerate(result.candidates)
    ]
    rows += [
        ["", algorithm, _spread(folds[result.metric]), "not tested", *("–" for _ in others), "not registered"]
        for algorithm, folds in result.others.items()
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(1, len(head))]
    for marker, *cells in [head, *rows]:
        # The trophy is one character and two columns wide.
        padding = marker + " " * (3 - 2 * len(marker))
        yield padding + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _verdict(result: TrainingResult) -> Iterator[str]:
    best, count = result.candidates[0], len(result.candidates)
    folds = best.cross_validation[result.metric].size
    learned, examined = result.rows
    if count + len(result.others) > 1:
        yield f"Chosen by the mean {result.metric} of {folds} cross-validation folds on {learned} training rows;"
        yield f"the {examined} test rows were used once, after the choice, for the test columns."
    else:
        yield f"Cross-validated in {folds} folds on {learned} training rows; the {examined} test rows were used once."
    if len(result.classes) > _BINARY:
        yield (
            f"Of the {len(result.classes)} classes each is held against the rest; "
            "roc_auc, precision, recall and f1 are the plain means over them."
        )
    if sentence := describe_comparison(result):
        yield sentence
    versions = f"{count} versions" if count > 1 else "1 version"
    yield ""
    yield f"✅ Registered {versions} as {result.semver}; {best.model} v{best.number} is tagged best_model=true."


def _folds_as_json(folds: Mapping[str, FloatArray]) -> dict[str, dict[str, float]]:
    return {
        metric: {"mean": float(scores.mean()), "std": float(scores.std(ddof=1))} for metric, scores in folds.items()
    }


def _spread(scores: FloatArray) -> str:
    return f"{scores.mean():.4f} ± {scores.std(ddof=1):.4f}"


def _bounded(interval: Interval) -> str:
    return f"{interval.value:.4f} ({interval.low:.3f} – {interval.high:.3f})"
