"""Rows that are nobody's, for exports of families whose rows must stay where they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from promotion.data.days import day_text
from promotion.export.contract import Contract, FeatureRules

SHARED_BY = 5
"""A text that fewer rows hold than this may name somebody."""

_UNKNOWN_TEXT = "generated"
_SEED = 0
_TAILS = 2


def shared_statistics(contract: Contract, features: Mapping[str, Any]) -> dict[str, Any]:
    """The statistics of columns without what a single row gave: its largest or smallest number, a text of its own.

    Drift between the inner edges is measured as ever, and values beyond all of training are not told apart.

    Args:
        contract: Columns and classes.
        features: Of a reference document.
    """
    return {name: _shared(contract.columns[name], dict(found)) for name, found in features.items()}


def generated_rows(contract: Contract, features: Mapping[str, Any], like: pd.DataFrame, count: int) -> pd.DataFrame:
    """Draw rows inside the contract, each column for itself: the same rows for the same arguments.

    Args:
        contract: Columns and classes.
        features: Statistics to draw from, see `shared_statistics`; nothing else is known of the real rows.
        like: Rows as the model takes them; their types alone count.
        count: Number of rows.
    """
    random = np.random.default_rng(_SEED)
    columns = {name: _drawn(random, rules, features[name], count) for name, rules in contract.columns.items()}
    return pd.DataFrame(
        {
            name: cells if cells.isna().any() else cells.astype(like[name].dtype)
            for name, cells in ((name, pd.Series(drawn)) for name, drawn in columns.items())
        }
    )


def _shared(rules: FeatureRules, found: dict[str, Any]) -> dict[str, Any]:
    if "texts" in found:
        kept = {text: number for text, number in found["texts"].items() if number >= SHARED_BY}
        return found | {"texts": kept, "others": found["others"] + sum(found["texts"].values()) - sum(kept.values())}
    if found.get("edges"):
        edges = list(found["edges"])
        if len(edges) > _TAILS + 1:
            width = edges[-2] - edges[1]
            edges[0] = edges[1] - width if rules.minimum is None else rules.minimum
            edges[-1] = edges[-2] + width if rules.maximum is None else rules.maximum
        found |= {"edges": edges, "minimum": None, "maximum": None}
    return found


def _drawn(random: np.random.Generator, rules: FeatureRules, found: Mapping[str, Any], count: int) -> list[Any]:
    if "texts" in found:
        return _weighed(random, found["texts"], count) or [rules.texts[0] if rules.texts else _UNKNOWN_TEXT] * count
    if "codes" in found:
        drawn: list[Any] = [float(code) for code in _weighed(random, found["codes"], count)]
    else:
        drawn = _between(random, found["edges"], found["counts"], count)
    if not drawn and rules.nullable:
        return [np.nan] * count
    return [_allowed(rules, value) for value in drawn or [0.0] * count]


def _weighed(random: np.random.Generator, counts: Mapping[str, int], count: int) -> list[str]:
    if not counts:
        return []
    weights = np.array(list(counts.values()), dtype=np.float64)
    return [str(value) for value in random.choice(list(counts), count, p=weights / weights.sum())]


def _between(random: np.random.Generator, edges: list[float], counts: list[int], count: int) -> list[float]:
    """Numbers between the edges, in the tails only where there is no more than them."""
    if not edges:
        return []
    tails = slice(1, -1) if len(counts) > _TAILS else slice(None)
    weights = np.array(counts[tails], dtype=np.float64)
    if not weights.sum():
        weights += 1
    chosen = random.choice(len(weights), count, p=weights / weights.sum())
    low, high = np.array(edges[:-1])[tails][chosen], np.array(edges[1:])[tails][chosen]
    # What a graph reads is a float32: nothing is rounded on the way to it, and no threshold is hit by accident.
    return [float(np.float32(value)) for value in random.uniform(low, high)]


def _allowed(rules: FeatureRules, value: float) -> float | bool | str:
    if rules.type == "date":
        return day_text(value)
    if rules.type == "boolean":
        return bool(value)
    if rules.codes:
        return min(rules.codes, key=lambda code: abs(code - value))
    if rules.type == "integer":
        value = round(value)
    low = -math.inf if rules.minimum is None else rules.minimum
    high = math.inf if rules.maximum is None else rules.maximum
    if rules.type == "integer":
        low, high = (
            bound if math.isinf(bound) else step(bound) for bound, step in ((low, math.ceil), (high, math.floor))
        )
    return min(max(value, low), high)
