"""Which columns and classes a log's rows have: as the family's file states them, an export, or the owner's holdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promotion.config.family import FamilyConfig
from promotion.errors import DataError
from promotion.export.contract import Contract, FeatureRules, contract_of

if TYPE_CHECKING:
    import pandas as pd


def watched_contract(config: FamilyConfig, home: Path, exports: Sequence[Path]) -> Contract:
    """The contract of what is watched.

    Args:
        config: The family.
        home: Folder the holdout's path is relative to.
        exports: Folders of its exports; the first one says what rows of a model look like that was trained elsewhere.

    Raises:
        DataError: An export's schema, or without an export the holdout, cannot be read.
        ConfigError: The family's file describes no rows.
    """
    if config.has_contract:
        return contract_of(config)
    if not exports:
        return _of_holdout(config, home)
    from promotion.evaluation.received.rows import class_name

    path = exports[0] / "schema.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        columns = {item.pop("name"): FeatureRules(**item) for item in document["features"]}
        # The classes' own values; the labels may be names that the family gives them.
        classes = [class_name(value) for value in document.get("answers") or document["labels"]]
        return replace(_contract(config, columns, classes), labels=[str(name) for name in document["labels"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not the schema of an export ({type(error).__name__}): export it again") from error


def _of_holdout(config: FamilyConfig, home: Path) -> Contract:
    """What runs as code only has no export."""
    from promotion.data.tables import read_chunks
    from promotion.evaluation.received.rows import HoldoutFile

    holdout = HoldoutFile(config.holdout, home, config.task)
    if holdout.problems:
        raise DataError(holdout.problems[0])
    first = next(read_chunks(holdout.copy, as_text=False)).rows
    columns = {name: FeatureRules("number" if _is_number(first[name]) else "text") for name in holdout.plain_features}
    return _contract(config, columns, [] if config.task == "regression" else holdout.classes)


def _contract(config: FamilyConfig, columns: dict[str, FeatureRules], classes: list[str]) -> Contract:
    return Contract(
        family=config.family,
        columns=columns,
        target=config.holdout.target,
        classes=classes,
        numeric=frozenset(columns),
        instead="",
    )


def _is_number(cells: pd.Series[Any]) -> bool:
    from pandas.api.types import is_numeric_dtype

    return is_numeric_dtype(cells)
