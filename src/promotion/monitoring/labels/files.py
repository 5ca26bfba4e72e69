"""Read the labels that have arrived, from a file that names classes in one of several ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from promotion.config.family import FamilyConfig
from promotion.config.printable import printable
from promotion.errors import DataError, UsageError
from promotion.export.contract import Contract, contract_of
from promotion.monitoring.labels.labels import Labels

_EXCERPT = 80
_SUFFIXES = (".csv", ".parquet")


def read_labels(path: Path, config: FamilyConfig, contract: Contract | None = None) -> Labels:
    """Read the labels that have arrived.

    The file has `request_id`, optionally `row` (0 without it), and either `label`, or the family's target column. A
    `label` is the text of a class or its position; the target column, and numbers that are no position, are read as the
    target is in training.

    Args:
        path: CSV or Parquet.
        config: The family.
        contract: Its columns and classes; they count where its file does not state them.

    Raises:
        UsageError: There is no such file, or it is of another kind.
        DataError: It cannot be read, or columns are missing.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"{path}: labels come as {' or '.join(_SUFFIXES)}")
    if config.has_contract:
        contract = None
    if contract is None and config.task == "regression":
        contract = contract_of(config)
    target = config.target.column if contract is None else contract.target
    table = _read(path)
    value = "label" if "label" in table.columns else target
    missing = [name for name in ("request_id", value) if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: column {missing[0]!r} is missing: expected request_id, row (optional), and label or {target}"
        )
    if contract is None:
        classes = _classes(table[value], config, raw=value != "label")
    else:
        classes = _answers(table[value], contract, raw=value != "label")
    kind: type = np.int64 if contract is None or contract.classes else np.float64
    rows = table["row"] if "row" in table.columns else pd.Series(0, index=table.index)
    place = pd.to_numeric(rows, errors="coerce")
    usable = classes.notna() & place.notna() & table["request_id"].notna()
    labelled = pd.DataFrame(
        {
            "key": table["request_id"][usable].astype(str) + "/" + place[usable].astype("int64").astype(str),
            "label": classes[usable].astype(kind),
        }
    ).drop_duplicates()
    twice = labelled["key"].duplicated(keep=False)
    kept = labelled[~twice]
    given = table[value].notna()
    unknown = table[value][given & ~usable]
    return Labels(
        keys=pa.array(kept["key"], type=pa.string()),
        classes=kept["label"].to_numpy(dtype=kind),
        conflicting=int(labelled["key"][twice].nunique()),
        unknown=len(unknown),
        total=int(given.sum()),
        example=printable(str(unknown.iloc[0]))[:_EXCERPT] if len(unknown) else "",
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file of labels") from error
    except (OSError, ValueError) as error:
        summary = " ".join(str(error).split())
        raise DataError(f"{path}: the labels cannot be read: {summary}") from error


def _answers(given: pd.Series[Any], contract: Contract, *, raw: bool) -> pd.Series[Any]:
    """Position of the class of each value, or the number; missing where it is none."""
    from promotion.evaluation.received.rows import class_name

    if not contract.classes:
        numbers = pd.to_numeric(given, errors="coerce").astype(np.float64)
        return numbers.where(np.isfinite(numbers))
    places = _places(contract.names, contract.classes)
    named = given.map(lambda value: places.get(class_name(value)), na_action="ignore").astype("Float64")
    if raw or named[given.notna()].notna().all():
        return named
    positions = pd.to_numeric(given, errors="coerce")
    return positions.where(positions.isin(range(len(contract.classes)))).astype("Float64").fillna(named)


def _places(*spellings: Sequence[str]) -> dict[str, float]:
    """Positions by what classes are called; where two spellings disagree, the later one counts."""
    return {name: float(place) for names in spellings for place, name in enumerate(names)}


def _classes(given: pd.Series[Any], config: FamilyConfig, *, raw: bool) -> pd.Series[Any]:
    """Position of the class of each value; missing where it is none."""
    texts = given.astype("string").str.strip()
    names = _places(config.labels, config.classes)
    numbers = pd.to_numeric(texts, errors="coerce")
    if not raw:
        # A family whose classes are numbers themselves says which it means by using only those.
        named = texts.map(names)
        if named[given.notna()].notna().all():
            return named
        if numbers[numbers.notna()].isin(range(len(config.classes))).all():
            return numbers.fillna(named).astype("Float64")
    else:
        named = texts.map(names)
    above = config.target.positive_above
    if above is None:
        return named
    column = config.data.columns[config.target.column]
    if column.labels is not None:
        numbers = texts.map({label: float(place) for place, label in enumerate(column.labels)})
    return named.fillna((numbers > above).astype("Float64").where(numbers.notna()))
