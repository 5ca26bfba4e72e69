"""The data files of an export: what goes in, what was learned from, and answers to compare a deployment with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.data.arrays import with_cells
from promotion.data.days import days_since_reference
from promotion.export.contract import CellType, Contract, group_name
from promotion.export.folder import canonical_json
from promotion.export.generated import generated_rows, shared_statistics
from promotion.export.importance import feature_importance
from promotion.export.servable import ServableVersion
from promotion.gates.evidence import Interval

EXPECTED_ROWS = 20
TOLERANCE = 1e-5
"""Largest difference of a probability that is taken for rounding; classes this close are taken for equally likely."""

_ASKED = 1000
_BINS = 10
_MOST_BINS = 100
_ROWS_A_BIN = 20
_BINARY = 2
_MOST_TEXTS = 50


@dataclass(frozen=True, slots=True)
class ExportDocuments:
    """What an export says of its model, by file name.

    Attributes:
        files: Content of each.
        generated: The rows that were drawn; None where they are rows of the data.
    """

    files: Mapping[str, Any]
    generated: pd.DataFrame | None

    @property
    def origin(self) -> str:
        """Whose rows lie in the export, in words."""
        count = len(self.files["expected.json"]["rows"])
        if self.generated is None:
            return f"{count} rows of the family's data (export: {{rows: generated}} keeps them out)"
        return f"{count} generated rows, which are nobody's"

    def write(self, folder: Path) -> None:
        """Write each file."""
        for name, document in self.files.items():
            (folder / name).write_text(canonical_json(document), encoding="utf-8")


def documents_of(source: ServableVersion, *, generated: bool) -> ExportDocuments:
    """Ask a version for what its export says.

    Args:
        source: The version.
        generated: Whether no row of the data, and nothing that a single one gave, may lie in the export.
    """
    contract, rows = source.contract, source.rows
    answered = source.answers(rows)
    reference = reference_document(contract, source.learned, answered, source.metrics, source.data_sha256)
    if source.segments:
        reference["segments"] = segments_document(source, answered)
    if generated:
        for part in (reference, *reference.get("segments", {}).values()):
            part["features"] = shared_statistics(contract, part["features"])
        rows = generated_rows(contract, reference["features"], rows, _ASKED)
    reference["importance"] = feature_importance(source)
    asked = pd.concat([emptied(contract, rows.head(1)), rows.head(_ASKED)], ignore_index=True)
    expected = expected_document(contract, source.model, asked, EXPECTED_ROWS)
    files = {
        "schema.json": schema_document(contract),
        "reference.json": reference,
        "expected.json": expected | {"origin": "generated" if generated else "held-out"},
    }
    return ExportDocuments(files, asked if generated else None)


def segments_document(source: ServableVersion, answered: NDArray[np.float64]) -> dict[str, Any]:
    """The reference of each group of the segments, by its name, where it has rows enough to be nobody's in particular.

    Args:
        source: The version.
        answered: Its answers to the rows held out, as for `reference_document`.
    """
    found = {}
    for column in source.segments:
        held_out = source.rows[column].to_numpy()
        for value, learned in source.learned.groupby(column):
            places = np.flatnonzero(held_out == value)
            if min(len(learned), len(places)) < _ROWS_A_BIN:
                continue
            metrics = source.measure(places) if source.measure else {}
            found[group_name(column, value)] = reference_document(
                source.contract, learned, answered[places], metrics, source.data_sha256
            )
    return found


def schema_document(contract: Contract) -> dict[str, Any]:
    """A contract as a server checks it.

    Returns:
        `features` in the model's order, the name of the `target`, the text `labels` of the classes 0, 1, …, none for a
        regression, and the position of the `positive` one of two, else None.
    """
    return {
        "features": [
            {"name": name} | {key: value for key, value in asdict(rules).items() if key != "texts" or value}
            for name, rules in contract.columns.items()
        ],
        "target": contract.target,
        "labels": contract.names,
        "positive": contract.positive,
        **({"answers": list(contract.answers)} if contract.answers else {}),
    }


def reference_document(
    contract: Contract,
    rows: pd.DataFrame,
    answered: NDArray[np.float64],
    metrics: Mapping[str, Interval],
    data_sha256: str,
) -> dict[str, Any]:
    """What live traffic is compared with.

    Of the features: the rows learned from, where these are known, else those held out. Of the predictions: those on
    rows held out, because a model is surer of rows it has seen than it will ever be in service.

    Args:
        contract: Columns and classes.
        rows: Rows × features.
        answered: The model's answers to the rows held out: probabilities, shape (rows, classes); numbers, shape
            (rows,).
        metrics: What it was worth on them.
        data_sha256: Digest of the file both come from.

    Returns:
        `rows`, `data_sha256`, `features`, `predictions` and `metrics`; every bin holds its lower edge, the last one its
        upper edge too.
    """
    return {
        "rows": len(rows),
        "data_sha256": data_sha256,
        "features": {
            name: {"missing": float(rows[name].isna().mean())} | _statistics(contract, name, rows[name].dropna())
            for name in contract.features
        },
        "predictions": _predictions(contract, answered),
        "metrics": {
            name: {"value": found.value, "low": found.low, "high": found.high}
            for name, found in metrics.items()
            if np.isfinite([found.value, found.low, found.high]).all()
        },
    }


def _statistics(contract: Contract, name: str, cells: pd.Series) -> dict[str, Any]:
    if name in contract.texts:
        counts = cells.astype(str).value_counts().head(_MOST_TEXTS)
        return {
            "texts": {str(text): int(count) for text, count in counts.items()},
            "others": len(cells) - int(counts.sum()),
        }
    if contract.columns[name].type == "date":
        return value_histogram(days_since_reference(cells).to_numpy())
    return (value_histogram if name in contract.numeric else code_counts)(cells.to_numpy(dtype=np.float64))


def _predictions(contract: Contract, answered: NDArray[np.float64]) -> dict[str, Any]:
    if not contract.classes:
        return {"value": value_histogram(answered)}
    chosen = answered.argmax(axis=1)
    shown = answered[:, 1] if answered.shape[1] == _BINARY else answered.max(axis=1)
    edges = np.linspace(0.0, 1.0, _bins(len(shown)) + 1).round(10)
    return {
        "labels": {name: int((chosen == position).sum()) for position, name in enumerate(contract.classes)},
        "probability": {"edges": edges.tolist(), "counts": np.histogram(shown, edges)[0].tolist()},
    }


def expected_document(contract: Contract, model: Any, rows: pd.DataFrame, limit: int) -> dict[str, Any]:
    """Rows and the registered model's answers, for whoever asks a deployment the same.

    Rows it is undecided about are left out: which of two equally likely classes is named there is a matter of rounding.

    Args:
        contract: Columns and classes.
        model: Takes raw rows.
        rows: Rows × features, missing cells NaN.
        limit: Largest number of rows.

    Returns:
        `rows`, and for each of them its class in `labels` and one probability a class in `probabilities`; of a
        regression its number in `values`.
    """
    if not contract.classes:
        asked = rows.head(limit)
        return {"rows": _cells(contract, asked), "values": np.asarray(model.predict(asked), dtype=np.float64).tolist()}
    probability = np.asarray(model.predict_proba(rows), dtype=np.float64)
    shown = np.flatnonzero(decided(probability))[:limit]
    return {
        "rows": _cells(contract, rows.iloc[shown]),
        "labels": np.asarray(model.predict(rows), dtype=np.int64).reshape(-1)[shown].tolist(),
        "probabilities": probability[shown].tolist(),
    }


def allowed_difference(expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of a predicted number is taken for rounding: `TOLERANCE` of it, or of how far the numbers are spread.

    Args:
        expected: Shape (rows,).
    """
    with np.errstate(invalid="ignore"):  # a number that is none allows nothing
        spread = expected.std() if len(expected) else 0.0
    return np.asarray(TOLERANCE * np.maximum(np.abs(expected), spread))


def decided(probability: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a model prefers one class by more than rounding.

    Args:
        probability: Shape (rows, classes).
    """
    best = np.sort(probability, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] > TOLERANCE)


def emptied(contract: Contract, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every cell empty that may be: what the model fills in is part of the model."""
    nullable = [name for name, rules in contract.columns.items() if rules.nullable]
    return with_cells(rows, dict.fromkeys(nullable, np.nan)) if nullable else rows.iloc[:0]


def value_histogram(values: NDArray[np.float64]) -> dict[str, Any]:
    """Statistics of a column of measured values, shape (rows,), none of them missing."""
    if not len(values):
        return {"edges": [], "counts": [], "mean": None, "std": None, "minimum": None, "maximum": None}
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _bins(len(values)) + 1)))
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


def _bins(rows: int) -> int:
    """As many as leave each of them rows enough to say something, and nobody recognisable."""
    return max(_BINS, min(_MOST_BINS, rows // _ROWS_A_BIN))


def code_counts(values: NDArray[np.float64]) -> dict[str, Any]:
    """How often each code occurs, shape (rows,), none of them missing."""
    codes, counts = np.unique(values, return_counts=True)
    return {"codes": {f"{code:g}": int(count) for code, count in zip(codes, counts, strict=True)}}


def _cells(contract: Contract, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a person would send them."""
    columns = [[_cell(value, rules.type) for value in rows[name]] for name, rules in contract.columns.items()]
    return [dict(zip(contract.features, row, strict=True)) for row in zip(*columns, strict=True)]


def _cell(value: Any, kind: CellType) -> Any:
    if pd.isna(value):
        return None
    return {"text": str, "date": str, "boolean": bool, "number": float}.get(kind, int)(value)
