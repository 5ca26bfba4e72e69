"""Rows a model may learn from or answer for: read strictly, checked against the family's data contract, split once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from promotion.config.family import FamilyConfig
from promotion.data.arrays import with_cells
from promotion.data.contract import checked
from promotion.data.days import day_text
from promotion.data.parsing import text_cells
from promotion.data.splits import Belonging, belonging, split_rows
from promotion.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """A file that keeps its contract.

    Attributes:
        features: Rows × `len(config.features)`, float64, or texts of `config.texts` and `config.dates`, missing cells
            NaN, columns in `config.features` order.
        target: Class of each row, a position in `config.classes`, int64; 1 is a binary task's positive class. Of a
            regression its number, float64.
        sha256: Digest of the file's bytes, the very bytes the rows were read from.
        path: The file.
        belonging: What decides on which side of the split a row is.
        others: Rows × columns that are neither features nor the target, as text.
    """

    features: pd.DataFrame
    target: np.ndarray
    sha256: str
    path: Path
    belonging: Belonging
    others: pd.DataFrame


@dataclass(frozen=True)
class Partition:
    """A dataset drawn apart into rows to learn from and rows to be examined on.

    Attributes:
        train_features: As `Dataset.features`.
        test_features: As `Dataset.features`.
        train_target: As `Dataset.target`.
        test_target: As `Dataset.target`.
        train_belonging: What belongs together in the training part; None where nothing is learned from it.
    """

    train_features: pd.DataFrame
    test_features: pd.DataFrame
    train_target: np.ndarray
    test_target: np.ndarray
    train_belonging: Belonging | None = None


def load_dataset(config: FamilyConfig, home: Path) -> Dataset:
    """Read the family's file and hold it against its data contract.

    Args:
        config: The family; `config.data.path` is relative to `home`.
        home: The project's home folder.

    Raises:
        DataError: The file is missing, unreadable or breaks the contract; every broken rule has a line of its own.
    """
    path = home / config.data.path
    content = _read_bytes(path)
    # A row without target cannot be learned from, whatever share of missing cells its column allows.
    asked = config.data.columns[config.target.column].model_copy(update={"max_missing": 0.0})
    columns = config.data.columns | {config.target.column: asked}
    cells = text_cells(content, path, config.data)
    frame = checked(
        cells,
        columns,
        path,
        told_apart_by=None if config.data.allow_duplicates else config.split.columns,
        decimal=config.data.decimal,
    )
    target = _target(frame[config.target.column], config)
    strata = target if config.classes else np.zeros(len(target), dtype=np.int64)
    try:
        deciding = {name: cells[name] for name in config.split.columns}
        rows = belonging(strata, deciding, config.split, config.data.decimal)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Dataset(
        features=_features(frame, cells, config),
        target=target,
        sha256=hashlib.sha256(content).hexdigest(),
        path=path,
        belonging=rows,
        others=cells.drop(columns=[*config.features, config.target.column]),
    )


def _features(frame: pd.DataFrame, cells: pd.DataFrame, config: FamilyConfig) -> pd.DataFrame:
    """Checked columns; of texts and dates the cells themselves, as whoever asks the model writes them."""
    texts = cells[config.texts].astype(object).set_axis(frame.index)
    days = frame[config.dates].map(day_text, na_action="ignore").astype(object)
    return with_cells(frame[config.features], {str(name): column for name, column in [*texts.items(), *days.items()]})


def _target(values: pd.Series, config: FamilyConfig) -> np.ndarray:
    if config.task == "regression":
        return values.to_numpy(dtype=np.float64)
    if config.task == "binary-classification":
        return (values > config.target.positive_above).to_numpy(dtype=np.int64)
    # The contract has turned labels into positions; codes are still what the file says.
    codes = config.data.columns[config.target.column].codes or range(len(config.classes))
    return pd.Index(codes, dtype=np.float64).get_indexer(pd.Index(values)).astype(np.int64)


def checked_features(config: FamilyConfig, cells: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Hold rows to predict on against the contract: the family's feature columns, its other columns optional.

    Two people may have the same measurements, so identical rows are fine here; and a share says nothing about a handful
    of rows, so a column that may miss some cells may miss all of them.

    Args:
        config: The family.
        cells: As they stand in the file, text or numbers; the index holds each row's line.
        path: The file, for the message.

    Returns:
        As `Dataset.features`.

    Raises:
        DataError: The rows break the contract.
    """
    others = [name for name in config.data.columns if name not in config.features]
    columns = {name: config.data.columns[name] for name in config.features}
    lenient = {
        name: column.model_copy(update={"max_missing": float(column.max_missing > 0)})
        for name, column in columns.items()
    }
    rows = cells.drop(columns=others, errors="ignore")
    if config.data.na_values:
        rows = rows.mask(rows.isin(config.data.na_values))
    frame = checked(rows, lenient, path, decimal=config.data.decimal)
    return _features(frame, rows, config)


def split_dataset(dataset: Dataset, config: FamilyConfig) -> Partition:
    """Draw the test split of `config.split`; the same file and config always give the same rows.

    Raises:
        DataError: There are too few rows, groups or times to have every class on both sides.
    """
    try:
        learn, check = split_rows(dataset.belonging, config.split)
    except ValueError as error:
        raise _indivisible(dataset, config, str(error)) from error
    if config.classes and any(len(np.unique(dataset.target[part])) < len(config.classes) for part in (learn, check)):
        raise _indivisible(dataset, config, "one side has no row of some class")
    return Partition(
        dataset.features.iloc[learn],
        dataset.features.iloc[check],
        dataset.target[learn],
        dataset.target[check],
        dataset.belonging.of(learn),
    )


def _indivisible(dataset: Dataset, config: FamilyConfig, reason: str) -> DataError:
    counts = [int((dataset.target == place).sum()) for place in range(len(config.classes))]
    rows = "".join(f", {count} of class {name!r}" for name, count in zip(config.classes, counts, strict=True))
    needed = "every class is needed on both sides" if counts else "rows are needed on both sides"
    return DataError(
        f"{dataset.path}: {len(dataset.target)} rows{rows}, cannot be split with test_size {config.split.test_size}: "
        f"{needed}; add rows ({reason})"
    )


def feature_schema_hash(config: FamilyConfig) -> str:
    """Fingerprint what a model of this family is fed: feature names, logical types and constraints.

    Documentation (unit, description, hint) and the order of the columns leave it unchanged.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    schema = {
        name: config.data.columns[name].model_dump(include={"type", "minimum", "maximum", "max_missing"})
        | {"codes": sorted(set(config.data.columns[name].codes or []))}
        | ({"labels": sorted(config.data.columns[name].labels or [])} if name in config.texts else {})
        for name in config.features
    }
    return hashlib.sha256(json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file, expected a CSV; scripts/download-data.py fetches a family's data"
        ) from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected a CSV file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
