"""What the columns of a table hold, as far as the first rows tell: for a first file, not for a contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from promotion.config.printable import first_names
from promotion.data.days import days_since_reference
from promotion.errors import UsageError
from promotion.evaluation.received.rows import class_name, class_order

_FEW = 20
"""Values up to which whole numbers are taken for codes of classes."""
_CODES = 10
_ID = ("id", "key", "uuid", "number", "nr")


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What was seen in one column.

    Attributes:
        name: Its name.
        kind: `empty`, `whole` numbers, `number`s or `text`.
        classes: Its values by name, in order; none where there are more than can be classes.
        distinct: How many values there are.
        missing: Share of empty cells.
        low: Smallest number.
        high: Largest number.
        is_unique: Whether no value stands twice.
        are_days: Whether its texts are dates without a time of day.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    distinct: int
    missing: float
    low: float = 0.0
    high: float = 0.0
    is_unique: bool = False
    are_days: bool = False

    @property
    def are_classes(self) -> bool:
        """Whether its values look like classes rather than like a measurement."""
        return bool(self.classes) and self.kind in {"text", "whole"}

    @property
    def are_codes(self) -> bool:
        """Whether it holds a few whole numbers that stand for something."""
        return self.kind == "whole" and self.distinct <= _CODES

    @property
    def names_a_row(self) -> bool:
        """Whether every row has another value, and the column's name or text says that it is meant so."""
        last = self.name.lower().replace("-", "_").split("_")[-1]
        is_named = last in _ID or self.name.lower().endswith("id")
        return self.is_unique and self.kind != "number" and (is_named or (self.kind == "text" and not self.are_days))


def profile(rows: pd.DataFrame) -> dict[str, ColumnProfile]:
    """What each column holds, by name."""
    return {name: _profile(name, rows[name]) for name in rows.columns}


def require_target(file: str, columns: Sequence[str], target: str) -> None:
    """Refuse a target that is no column of the file.

    Raises:
        UsageError: It is none.
    """
    if target not in columns:
        raise UsageError(f"--target {target}: {file} has no such column: it has {first_names(columns)}")


def require_filled(file: str, target: ColumnProfile) -> None:
    """Refuse rows of which it is not known what was to be predicted.

    Raises:
        UsageError: There are some.
    """
    if target.missing:
        raise UsageError(
            f"{file}: {target.missing:.1%} of the rows have no {target.name}: fill them in, or remove them"
        )


def _profile(name: str, cells: pd.Series) -> ColumnProfile:
    filled = cells.dropna()
    missing = 1 - len(filled) / max(1, len(cells))
    if filled.empty:
        return ColumnProfile(name, "empty", (), 0, missing)
    texts = filled.astype(str)
    numbers = pd.to_numeric(texts, errors="coerce")
    distinct = int(texts.nunique())
    is_unique = distinct == len(texts) > 1
    values = _names(texts) if distinct <= _FEW else ()
    if numbers.isna().any() or numbers.abs().max() == float("inf"):
        are_days = bool(days_since_reference(texts).notna().all())
        return ColumnProfile(name, "text", values, distinct, missing, is_unique=is_unique, are_days=are_days)
    kind = "whole" if (numbers % 1 == 0).all() else "number"
    return ColumnProfile(
        name, kind, values, distinct, missing, float(numbers.min()), float(numbers.max()), is_unique=is_unique
    )


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({class_name(text) for text in texts}, key=class_order))
