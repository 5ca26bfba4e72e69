"""A metric within each group of rows, with its interval, so that a good average hides nobody."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from promotion.config.evidence import SliceRule
from promotion.data.arrays import IntArray
from promotion.data.days import as_written, days_since_reference
from promotion.errors import UsageError
from promotion.evaluation.received.predictions import Answers
from promotion.evaluation.scorers import Score, interval, score_of
from promotion.gates.evidence import SliceFigure

_SEED = 42
_MOST_VALUES = 10
_QUARTERS = (0.25, 0.5, 0.75)
_MISSING = "missing"
_POSITIVE_ONLY = frozenset({"recall", "precision", "f1"})


def slice_figures(
    rules: Sequence[SliceRule], columns: pd.DataFrame, target: Any, answers: Answers, *, task: str, classes: int
) -> tuple[SliceFigure, ...]:
    """Each rule's metric in each of its groups.

    Args:
        rules: Which columns, which metrics.
        columns: Rows × at least those columns, in the order of the target.
        target: Of each row.
        answers: Of each row.
        task: Of the family.
        classes: How many it tells apart.

    Raises:
        UsageError: A metric is unknown.
    """
    found = []
    for rule in rules:
        score = score_of(rule.metric, task, classes)
        for group, rows in _groups(columns[rule.column], rule.bins):
            found.append(_figure(rule, score, group, rows, target, answers))
    return tuple(found)


def _figure(rule: SliceRule, score: Score, group: str, rows: IntArray, target: Any, answers: Answers) -> SliceFigure:
    def said(value: float, low: float = math.nan, high: float = math.nan) -> SliceFigure:
        return SliceFigure(rule.column, group, rule.metric, len(rows), value, low, high)

    is_possible = answers.probability is not None or not score.needs_probability
    # Of a group without a positive row nobody can say how many of them are found.
    has_positives = score.name not in _POSITIVE_ONLY or bool(np.any(target[rows] == 1)) or _tells_several(answers)
    if len(rows) < rule.minimum_rows or not is_possible or not has_positives:
        return said(math.nan)
    try:
        found = interval(score, target[rows], answers.at(rows), seed=_SEED, groups=None)
    except (ValueError, UsageError):  # a scorer that needs both classes, in a group with one
        return said(math.nan)
    return said(found.value, found.low, found.high)


def _tells_several(answers: Answers) -> bool:
    """Whether more than two classes are told apart."""
    return answers.probability is not None and answers.probability.ndim > 1


def _groups(cells: pd.Series, bins: Sequence[float]) -> Iterator[tuple[str, IntArray]]:
    """The groups of a column by name, each with its rows; of many numbers by ranges, of many days by periods."""
    numbers = cells if pd.api.types.is_numeric_dtype(cells) else pd.to_numeric(cells.astype(object), errors="coerce")
    is_number = not pd.api.types.is_bool_dtype(cells) and bool((numbers.notna() == cells.notna()).all())
    if is_number and (bins or numbers.nunique() > _MOST_VALUES):
        edges = sorted({float(edge) for edge in (bins or numbers.quantile(list(_QUARTERS)))})
        places = np.searchsorted(edges, numbers.to_numpy(dtype=np.float64, na_value=np.nan), side="right")
        names = [_range(edges, place) for place in range(len(edges) + 1)]
        yield from _listed([(name, (places == place) & numbers.notna()) for place, name in enumerate(names)])
    else:
        texts = _periods(cells.dropna().map(as_written)).reindex(cells.index)
        yield from _listed([(value, texts == value) for value in sorted(texts.dropna().unique())])
    yield from _listed([(_MISSING, cells.isna())])


def _periods(texts: pd.Series) -> pd.Series:
    """Many days, or moments, as the shortest periods of a calendar that are few; anything else as it is."""
    days = texts.astype(object).str.split(r"[T ]", n=1, regex=True).str[0]
    if days.nunique() <= _MOST_VALUES or days_since_reference(days).isna().any():
        return texts
    years, months = days.str[:4], days.str[:7]
    quarters = years + "-Q" + ((months.str[5:].astype(int) + 2) // 3).astype(str)
    return next((it for it in (months, quarters) if it.nunique() <= _MOST_VALUES), years)


def _range(edges: Sequence[float], place: int) -> str:
    if place == 0:
        return f"< {edges[0]:g}"
    return f"≥ {edges[-1]:g}" if place == len(edges) else f"{edges[place - 1]:g} – {edges[place]:g}"


def _listed(groups: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, IntArray]]:
    for name, chosen in groups:
        rows = np.flatnonzero(np.asarray(chosen, dtype=bool))
        if len(rows):
            yield name, np.asarray(rows, dtype=np.int64)
