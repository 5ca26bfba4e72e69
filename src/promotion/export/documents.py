"""The data files of an export: what goes in, what was learned from, and answers to compare a deployment with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.config.family import FamilyConfig
from promotion.gates.evidence import Interval

EXPECTED_ROWS = 20
TOLERANCE = 1e-5
"""Largest difference of a probability that is taken for rounding; classes this close are taken for equally likely."""

_BINS = 10
_BINARY = 2


def schema_document(config: FamilyConfig) -> dict[str, Any]:
    """The family's data contract as a server checks it.

    Returns:
        `features` in the model's order, the name of the `target`, the text `labels` of the classes 0, 1, …, and the
        position of the `positive` one of two, else None.
    """
    columns = config.data.columns
    return {
        "features": [
            {
                "name": name,
                "type": columns[name].type,
                "minimum": columns[name].minimum,
                "maximum": columns[name].maximum,
                "codes": columns[name].codes,
                "unit": columns[name].unit,
                "description": columns[name].description,
                "hint": columns[name].hint,
                "nullable": columns[name].max_missing > 0,
            }
            for name in config.features
        ],
        "target": config.target.column,
        "labels": config.classes,
        "positive": 1 if config.task == "binary-classification" else None,
    }


def reference_document(
    config: FamilyConfig,
    train: pd.DataFrame,
    probability: NDArray[np.float64],
    metrics: Mapping[str, Interval],
    data_sha256: str,
) -> dict[str, Any]:
    """What live traffic is compared with.

    Of the features: the rows learned from. Of the predictions: those on rows held out, because a model is surer of rows
    it has seen than it will ever be in service.

    Args:
        config: The family.
        train: The training split, rows × features.
        probability: The model's answers to the rows held out, shape (rows, classes).
        metrics: What it was worth on them.
        data_sha256: Digest of the file both come from.

    Returns:
        `rows`, `data_sha256`, `features`, `predictions` and `metrics`; every bin holds its lower edge, the last one its
        upper edge too.
    """
    chosen = probability.argmax(axis=1)
    shown = probability[:, 1] if probability.shape[1] == _BINARY else probability.max(axis=1)
    edges = np.linspace(0.0, 1.0, _BINS + 1).round(10)
    return {
        "rows": len(train),
        "data_sha256": data_sha256,
        "features": {
            name: {"missing": float(train[name].isna().mean())}
            | (_measured if name in config.numeric else _categories)(train[name].dropna().to_numpy(dtype=np.float64))
            for name in config.features
        },
        "predictions": {
            "labels": {name: int((chosen == position).sum()) for position, name in enumerate(config.classes)},
            "probability": {"edges": edges.tolist(), "counts": np.histogram(shown, edges)[0].tolist()},
        },
        "metrics": {
            name: {"value": found.value, "low": found.low, "high": found.high}
            for name, found in metrics.items()
            if np.isfinite([found.value, found.low, found.high]).all()
        },
    }


def expected_document(config: FamilyConfig, model: Any, rows: pd.DataFrame, limit: int) -> dict[str, Any]:
    """Rows and the registered model's answers, for whoever asks a deployment the same.

    Rows it is undecided about are left out: which of two equally likely classes is named there is a matter of rounding.

    Args:
        config: The family.
        model: Fitted pipeline that takes raw rows.
        rows: Rows × features, missing cells NaN.
        limit: Largest number of rows.

    Returns:
        `rows`, and for each of them its class in `labels` and one probability a class in `probabilities`.
    """
    probability = np.asarray(model.predict_proba(rows), dtype=np.float64)
    shown = np.flatnonzero(decided(probability))[:limit]
    whole = {name for name in config.features if config.data.columns[name].type != "number"}
    return {
        "rows": [
            {name: _cell(value, whole=name in whole) for name, value in zip(config.features, row, strict=True)}
            for row in rows[config.features].to_numpy(dtype=np.float64)[shown]
        ],
        "labels": np.asarray(model.predict(rows), dtype=np.int64)[shown].tolist(),
        "probabilities": probability[shown].tolist(),
    }


def decided(probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a model prefers one class by more than rounding.

    Args:
        probability: Shape (rows, classes).
    """
    best = np.sort(probability, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] > TOLERANCE)


def emptied(config: FamilyConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every cell empty that may be: what the model fills in is part of the model."""
    nullable = [name for name in config.features if config.data.columns[name].max_missing > 0]
    return rows.assign(**dict.fromkeys(nullable, np.nan)) if nullable else rows.iloc[:0]


def _measured(values: NDArray[np.float64]) -> dict[str, Any]:
    if not len(values):
        return {"edges": [], "counts": [], "mean": None, "std": None, "minimum": None, "maximum": None}
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _BINS + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    return {
        "edges": edges.tolist(),
        "counts": np.histogram(values, edges)[0].tolist(),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
    }


def _categories(values: NDArray[np.float64]) -> dict[str, Any]:
    codes, counts = np.unique(values, return_counts=True)
    return {"codes": {f"{code:g}": int(count) for code, count in zip(codes, counts, strict=True)}}


def _cell(value: float, *, whole: bool) -> float | int | None:
    if np.isnan(value):
        return None
    return int(value) if whole else float(value)
