"""A first family file for a table that models are trained on here: contract of the columns, target, candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from promotion.config.printable import first_names, printable
from promotion.data.files import file_sha256
from promotion.data.leakage import names_things
from promotion.data.tables import read_chunks
from promotion.errors import UsageError
from promotion.onboarding.draft import DECIDE, FamilyDraft, governance, heading, relative_to_home, scalar
from promotion.onboarding.profile import ColumnProfile, profile, require_filled, require_target

_BINARY = 2
_SHOWN = 12
_CANDIDATES = {"logistic_regression": "{max_iter: 1000}", "random_forest": "{}", "gradient_boosting": "{}"}
_OF_NUMBERS = {"ridge": "{}", "random_forest": "{}", "gradient_boosting": "{}"}
_TRUTHS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})


def draft_training(family: str, path: Path, target: str, home: Path) -> FamilyDraft:
    """A file for a family that trains here.

    Args:
        family: The file's name; its models are registered under it, too.
        path: The rows, a CSV file.
        target: Column to predict.
        home: Folder the path in the file is relative to.

    Raises:
        UsageError: The file is no CSV, has no such column, or what it holds cannot be learned here.
        DataError: It cannot be read.
    """
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--data {path}: models are trained here on CSV files: save the table as one")
    rows = pd.concat([chunk.rows for chunk in read_chunks(path, as_text=True)])
    columns = [str(name) for name in rows.columns]
    require_target(str(path), columns, target)
    seen = profile(rows)
    _require_learnable(path, seen[target])
    features = {name: column for name, column in seen.items() if name != target}
    if not any(_is_feature(column) for column in features.values()):
        raise UsageError(f"{path}: no column holds numbers or a few texts to learn from ({first_names(columns)})")
    lines = [*heading(family, f"What {family} is learned from, and what a version of it needs.", home / "config")]
    is_number, is_binary = _is_number(seen[target]), seen[target].distinct == _BINARY
    metric = "rmse" if is_number else "roc_auc" if is_binary else "accuracy"
    lines += [
        f"task: {'regression' if is_number else 'binary-classification' if is_binary else 'multiclass-classification'}",
        f"registered_model: {scalar(family)}   # the winner of the cross-validation is registered",
        "promotion: manual          # auto lets promote-model.py --auto act",
        f"selection_metric: {metric}",
        "",
        *_data(path, rows, seen, target, home),
        *_target(seen[target], is_binary=is_binary and not is_number),
        f"numeric: {scalar([name for name, column in features.items() if _is_measured(column)])}",
        "",
        *_split(rows, [name for name in columns if name != target]),
        "cross_validation: {folds: 5, repeats: 2}",
        "candidates:",
        *(f"  {name}: {{params: {params}}}" for name, params in (_OF_NUMBERS if is_number else _CANDIDATES).items()),
        "",
        "gates:",
        "  thresholds:",
        _bound(metric, rows[target]),
        "  better_than_production: {policy: strictly_greater}",
        *governance(),
    ]
    return FamilyDraft(family, 3, tuple(lines), f"python src/models/train.py --model {family}")


def _data(path: Path, rows: pd.DataFrame, seen: Mapping[str, ColumnProfile], target: str, home: Path) -> Iterator[str]:
    yield "data:"
    yield f"  path: {scalar(relative_to_home(path, home))}"
    yield f"  sha256: {file_sha256(path)}   # of the file as it is now"
    named = [name for name, column in seen.items() if name != target and column.names_a_row]
    if rows.drop(columns=named).duplicated().any():
        yield f"  allow_duplicates: true   # {DECIDE} some rows stand more than once: is that so?"
    yield "  columns:"
    for name, column in seen.items():
        yield f"    {scalar(name)}: {_target_column(column) if name == target else _column(column)}"


def _column(column: ColumnProfile) -> str:
    """What the contract asks of a feature, and what was seen of it."""
    missing = f", max_missing: {math.ceil(column.missing * 100) / 100:.2f}" if column.missing else ""
    if column.kind == "empty":
        return f"{{type: ignored}}   # {DECIDE} it is empty"
    if column.names_a_row and column.missing == 0:
        return "{type: identifier}   # no value stands twice"
    if column.kind == "text":
        return _text_column(column, missing)
    if column.are_codes:
        codes = ", ".join(_number(float(value)) for value in column.classes)
        return f"{{type: code, codes: [{codes}]{missing}}}   # {DECIDE} which other codes are there?"
    kind = "integer" if column.kind == "whole" else "number"
    bounds = f"{_number(column.low)} to {_number(column.high)}"
    return f"{{type: {kind}{missing}}}   # {DECIDE} seen {bounds}: which minimum and maximum?"


def _text_column(column: ColumnProfile, missing: str) -> str:
    if column.are_days:
        return f"{{type: date{missing}}}"
    if {name.lower() for name in column.classes} in _TRUTHS:
        return f"{{type: boolean{missing}}}"
    if column.classes:
        labels = f"labels: {scalar(list(column.classes))}"
        return f"{{type: label, {labels}{missing}}}   # {DECIDE} unknown: other takes texts that are none of these"
    return f"{{type: ignored}}   # {DECIDE} {column.distinct} different texts: fewer could be learned from"


def _target_column(column: ColumnProfile) -> str:
    if _is_number(column):
        bounds = f"{_number(column.low)} to {_number(column.high)}"
        return f"{{type: number}}   # {DECIDE} seen {bounds}: which minimum and maximum, which unit?"
    if column.kind == "text":
        return f"{{type: label, labels: {scalar(list(column.classes))}}}"
    if column.kind == "whole":
        return f"{{type: code, codes: [{', '.join(_number(float(value)) for value in column.classes)}]}}"
    return "{type: number}"


def _target(column: ColumnProfile, *, is_binary: bool) -> Iterator[str]:
    if not is_binary:
        yield f"target: {{column: {scalar(column.name)}}}"
        return
    low = 0.0 if column.kind == "text" else column.low
    positive = column.classes[-1] if column.classes else _number(column.high)
    yield (
        f"target: {{column: {scalar(column.name)}, positive_above: {_number(low)}}}   "
        f"# {DECIDE} {printable(positive)} is what is looked for"
    )


def _split(rows: pd.DataFrame, columns: list[str]) -> Iterator[str]:
    """The usual split, and which columns may say what rows belong together."""
    yield "split: {test_size: 0.2, seed: 42}"
    for name in columns:
        if count := names_things(name, rows[name]):
            found = f"{printable(name)} names {count} things in {len(rows)} rows"
            yield (
                f"# {DECIDE} {found}: where such rows belong together, add groups: {printable(scalar(name))} to split, "
                "so that none is learned from and tested on"
            )


def _require_learnable(path: Path, target: ColumnProfile) -> None:
    """Classes and numbers are learned here, no free texts."""
    require_filled(str(path), target)
    if target.distinct < _BINARY:
        raise UsageError(f"{path}: every row has the same {target.name}: there is nothing to learn; add others")
    if target.kind == "text" and not target.classes:
        raise UsageError(
            f"{path}: {target.name} has {target.distinct} different texts, which are too many for classes: train "
            "elsewhere, register it, then init NAME --holdout FILE scores it"
        )


def _is_number(target: ColumnProfile) -> bool:
    """Whether a number is to be predicted, and no class."""
    is_number = target.kind == "number" or (target.kind == "whole" and not target.classes)
    return is_number and target.distinct > _BINARY


def _is_feature(column: ColumnProfile) -> bool:
    return not column.names_a_row and (
        column.kind in {"number", "whole"} or column.are_days or (column.kind == "text" and column.classes != ())
    )


def _is_measured(column: ColumnProfile) -> bool:
    return _is_feature(column) and column.kind != "text" and not column.are_codes


def _bound(metric: str, target: pd.Series) -> str:
    """One to begin with: better than a coin, than always naming the most frequent class, or the mean."""
    if metric == "rmse":
        return f"    rmse: {{below: {float(pd.to_numeric(target).std()):.4g}}}   # {DECIDE} how much may it be?"
    floor = "0.60" if metric == "roc_auc" else f"{float(target.value_counts(normalize=True).iloc[0]):.2f}"
    return f"    {metric}: {{minimum: {floor}}}   # {DECIDE} how little may it be?"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:g}"
