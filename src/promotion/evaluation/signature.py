"""Whether a version and its data are in order before anyone asks how good it is: signature and data quality."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from promotion.artifacts.description import read_description
from promotion.config.family import FamilyConfig
from promotion.config.training import Column
from promotion.data.arrays import with_cells
from promotion.errors import ArtifactRefused, DataError

if TYPE_CHECKING:
    from promotion.data.datasets import Dataset

MINIMUM_ROWS = 100
MINIMUM_CLASS_SHARE = 0.05
MAXIMUM_DUPLICATE_SHARE = 0.05


def signature_types(config: FamilyConfig) -> dict[str, str]:
    """The MLflow type of each feature column: `long` or `boolean` for what is never missing, `double` otherwise.

    Only a double can hold a missing cell (NaN). Labels and dates are texts, a date in ISO 8601.
    """
    return {name: _signature_type(config.data.columns[name]) for name in config.features}


def _signature_type(column: Column) -> str:
    if column.type in {"label", "date"}:
        return "string"
    if column.type == "boolean" and column.max_missing == 0:
        return "boolean"
    return "long" if column.type not in {"number", "boolean"} and column.max_missing == 0 else "double"


def schema_problems(config: FamilyConfig, artifact: Path) -> list[str]:
    """Where a model's signature differs from the family's features, whatever the order of the columns.

    Returns:
        One line for each column that is missing, extra or of another type, or the reason why there is no signature to
        compare; empty when all is well.
    """
    try:
        found = _signature_inputs(artifact)
    except (ArtifactRefused, ValueError, LookupError, TypeError, RecursionError) as error:
        kind = "" if isinstance(error, ArtifactRefused) else f"{type(error).__name__}: "
        reason = f"{kind}{' '.join(str(error).removeprefix('MLmodel: ').split())}"
        return [f"MLmodel: no readable signature with named columns ({reason}): register the model again with one"]
    expected = signature_types(config)
    wrong = [
        f"column {name!r}: {found.get(name, 'missing')} in the signature, expected {kind}"
        for name, kind in expected.items()
        if found.get(name) != kind
    ]
    extra = [name for name in found if name not in expected]
    return wrong + [f"column {name!r}: in the signature, but no feature of {config.family}" for name in extra]


def data_problems(config: FamilyConfig, home: Path) -> list[str]:
    """What is wrong with the family's data file, as it is now.

    Returns:
        The broken rules of the data contract; where it holds, a line with its figure for too few rows, a class too rare
        to learn or examine, repeated rows (they end up on both sides of the split and flatter the score), columns
        that say nothing, sentinel values, and rows that are of another kind than those before them. Empty when all is
        well.
    """
    from promotion.data.datasets import load_dataset
    from promotion.data.sentinels import sentinels
    from promotion.evaluation.row_order import order_problems

    try:
        dataset = load_dataset(config, home)
    except DataError as error:
        summary, *lines = error.lines
        return [line.removeprefix("- ") for line in lines] or [summary]
    return [
        *_quality_problems(config, dataset),
        *sentinels(dataset, config),
        *order_problems(dataset, config.split.seed),
    ]


def _signature_inputs(artifact: Path) -> dict[str, str]:
    """The signature's input columns with their types."""
    document: Any = read_description(artifact)
    return {column["name"]: column["type"] for column in json.loads(document["signature"]["inputs"])}


def _quality_problems(config: FamilyConfig, dataset: Dataset) -> Iterator[str]:
    rows = len(dataset.target)
    if rows < MINIMUM_ROWS:
        yield f"{rows} rows, expected at least {MINIMUM_ROWS}"
    for place, name in enumerate(config.classes):
        count = int((dataset.target == place).sum())
        if count < MINIMUM_CLASS_SHARE * rows:
            share = f"{count} of {rows} rows ({count / rows:.1%})"
            yield f"class {name!r}: {share}, expected at least {MINIMUM_CLASS_SHARE:.0%}"
    repeated = int(with_cells(dataset.features, {config.target.column: dataset.target}).duplicated().sum())
    if repeated > MAXIMUM_DUPLICATE_SHARE * rows:
        share = f"{repeated} of {rows} rows ({repeated / rows:.1%})"
        yield f"{share} repeat an earlier row, expected at most {MAXIMUM_DUPLICATE_SHARE:.0%}"
    if len(np.unique(dataset.target)) == 1 and not config.classes:
        yield f"column {config.target.column!r}: the same value in all {rows} rows, so there is nothing to learn"
    for name in dataset.features.columns[dataset.features.nunique(dropna=False) <= 1]:
        yield f"column {name!r}: the same value in all {rows} rows, so it says nothing"
