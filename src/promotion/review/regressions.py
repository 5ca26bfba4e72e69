"""Two models that predict numbers on the same rows: how far off they are, where, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.data.arrays import FloatArray
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.evaluation.metrics import response_of
from promotion.pages.charts import Bar, Chart, Frame, Series, ticks_around
from promotion.review.classifiers import differing_rows_table
from promotion.review.findings import NO, OPEN, YES, Check, Measure, ReviewFindings, Table, better
from promotion.review.side_by_side import SHOWN_ROWS, SideBySide, bins_of, measures_of

SHIFT = 0.10
"""A mean error, or a mean change of the answers, beyond this share of the target's standard deviation is a bias."""
_ERRORS = 1.96
"""Standard errors from which on a mean is none of chance."""
_QUANTILES = (0.05, 0.95)
_STEPS = 50


def compare_regressors(
    config: FamilyConfig, part: Partition, candidate: FloatArray, production: FloatArray | None
) -> SideBySide:
    """Hold two models against each other on the test rows of a contract.

    Args:
        config: The family.
        part: Its test rows.
        candidate: The candidate's numbers.
        production: The champion's; None when there is none to compare with.
    """
    metrics = measures_of(config, part.test_target, candidate, production)
    return compare_numbers(part.test_target, metrics, candidate, production, _named(config))


def compare_numbers(
    target: FloatArray,
    metrics: Sequence[Measure],
    candidate: FloatArray,
    production: FloatArray | None,
    name: str,
) -> SideBySide:
    """Hold the numbers of two models against each other.

    Args:
        target: The true ones.
        metrics: Of both.
        candidate: By the candidate.
        production: By the champion; None when there is none to compare with.
        name: Of the target, with its unit.
    """
    both = {"candidate": candidate} | ({"production": production} if production is not None else {})
    curves = [_residuals(target, both, name), _errors(target, both, name)]
    return SideBySide(len(target), [], metrics, curves, [], [], [], None, (0, 0))


def review_numbers(
    config: FamilyConfig, settings: Settings, first: Any, second: Any, names: tuple[str, str]
) -> ReviewFindings:
    """Hold two regressors against each other on the family's test split, which neither has learned from.

    Raises:
        DataError: The data is missing or breaks its contract.
        PromotionError: A model does not answer the rows.
    """
    part = split_dataset(load_dataset(config, settings.home), config)
    ours, theirs = (response_of(model, part.test_features, 0) for model in (first, second))
    target = part.test_target
    measures = measures_of(config, target, ours, theirs)
    decisive = next(measure for measure in measures if measure.decides)
    return ReviewFindings(
        rows=len(target),
        about=f"rows of the test split of {config.data.path}",
        checks=[
            better(decisive, names),
            _is_small("No obvious bias", "it answers {:+.4g} too much on average", ours - target, target),
            _is_small("Answers have not shifted as a whole", "they moved by {:+.4g} on average", ours - theirs, target),
        ],
        measures=measures,
        tables=[_apart(part.test_features, target, ours, theirs)],
    )


def _named(config: FamilyConfig) -> str:
    unit = config.data.columns[config.target.column].unit
    return f"{config.target.column} [{unit}]" if unit else config.target.column


def _is_small(question: str, says: str, off: FloatArray, target: FloatArray) -> Check:
    mean, spread = float(off.mean()), float(target.std())
    error = float(off.std()) / np.sqrt(len(off))
    low, high = np.quantile(off, _QUANTILES)
    figures = (
        f"{says.format(mean)}, 90 % of the rows between {low:+.4g} and {high:+.4g}; the target spreads {spread:.4g}"
    )
    verdict = YES if abs(mean) <= SHIFT * spread else NO if abs(mean) > _ERRORS * error else OPEN
    return Check(question, verdict, figures)


def _apart(features: pd.DataFrame, target: FloatArray, first: FloatArray, second: FloatArray) -> Table:
    """The rows that get the most different answers."""
    order = np.argsort(-np.abs(first - second), kind="stable")[:SHOWN_ROWS]
    rows: list[Mapping[str, Any]] = [
        {
            "row": int(features.index[place]) + 1,
            "actual": float(target[place]),
            "first": float(first[place]),
            "second": float(second[place]),
            "apart": float(first[place] - second[place]),
            "inputs": ", ".join(f"{name} {value}" for name, value in features.iloc[place].items()),
        }
        for place in order
        if first[place] != second[place]
    ]
    return differing_rows_table(rows, answer=".4g", apart="+.4g")


def _residuals(target: FloatArray, both: Mapping[str, FloatArray], name: str) -> Chart:
    """True minus predicted by what was predicted: the mean of each bin, and where 90 % of its rows lie."""
    series = []
    for role, answered in both.items():
        points, bars = [], []
        for rows in bins_of(answered):
            residual, place = (target - answered)[rows], float(answered[rows].mean())
            low, high = np.quantile(residual, _QUANTILES)
            points.append((place, float(residual.mean())))
            bars.append(Bar(place, float(low), float(high)))
        series.append(Series(role, points, marks=True, bars=bars))
    x_ticks = ticks_around([x for it in series for x, _ in it.points])
    y_ticks = ticks_around([0.0, *(end for it in series for bar in it.bars for end in (bar.low, bar.high))])
    return Chart(
        title="Residuals",
        x_label=f"Predicted {name}",
        y_label="True minus predicted",
        series=series,
        description=f"Residuals of {name} by what was predicted: mean and middle 90 % of the rows in each bin.",
        note="Each mark is the mean of a tenth of the rows, its bar the middle 90 % of them. Dotted: no bias.",
        frame=Frame((x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])),
        x_ticks=x_ticks,
        y_ticks=y_ticks,
        guide=((x_ticks[0], 0.0), (x_ticks[-1], 0.0)),
    )


def _errors(target: FloatArray, both: Mapping[str, FloatArray], name: str) -> Chart:
    """Share of the rows by the size of their error (REC curve: Bi & Bennett 2003, ICML)."""
    shares = np.linspace(0, 1, _STEPS + 1)
    series = [
        Series(
            role, [(float(x), float(y)) for x, y in zip(np.quantile(np.abs(target - it), shares), shares, strict=True)]
        )
        for role, it in both.items()
    ]
    ticks = ticks_around([0.0, *(it.points[-1][0] for it in series)])
    return Chart(
        title="Errors",
        x_label=f"Error of {name}, at most",
        y_label="Share of the rows",
        series=series,
        description=f"Share of the rows that are answered within an error of {name}.",
        note="The farther up and left, the better.",
        frame=Frame((ticks[0], ticks[-1])),
        x_ticks=ticks,
        guide=(),
    )
