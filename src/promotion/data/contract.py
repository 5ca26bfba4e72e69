"""The data contract: what a family's columns may hold, checked with pandera and reported all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from promotion.config.training import Column
from promotion.data.days import EXAMPLE, days_since_reference
from promotion.data.thousands import ADVICE, AMBIGUOUS, thousands
from promotion.errors import DataError

if TYPE_CHECKING:
    from pandera.pandas import Check, DataFrameSchema

SHOWN_ROWS = 3
_NO_VALUES = {"identifier", "ignored"}
_MEASURED = {"number", "integer"}
_GREATEST = float(np.finfo(np.float32).max)
"""What is computed with 32 bits, by forests and by a server, holds no more."""
_DUPLICATE = "repeats an earlier row"
_MISSING = frozenset({"?", "-", "--", ".", "missing", "unknown", "-999", "-9999"})
"""Cells by which files of others say that a value is missing, in small letters."""
_ALLOWED_EMPTY = "max_missing of a feature's column allows a share of them"
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), 1.0),
    **dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), 0.0),
}
_COMMA = str.maketrans({",": ".", ".": "x"})
_STRUCTURE = {
    "column_in_dataframe": "missing; add it",
    "column_in_schema": "unknown; remove it or check its spelling",
}


@dataclass(frozen=True)
class _Violation:
    """One rule that some cells of one column break."""

    column: str
    rule: str
    cells: dict[int, str]
    of_rows: int
    hint: str | None = None

    def __str__(self) -> str:
        if not self.cells:
            return f"column {self.column!r}: {self.rule}"
        shown = ", ".join(f"line {line}{found}" for line, found in sorted(self.cells.items())[:SHOWN_ROWS])
        count = f"{len(self.cells)} of {self.of_rows} rows"
        prefix = "rows" if self.rule == _DUPLICATE else f"column {self.column!r}"
        return f"{prefix}: {self.rule}: {count}, first: {shown}" + (f" ({self.hint})" if self.hint else "")


def checked(
    text: pd.DataFrame,
    columns: dict[str, Column],
    path: Path,
    *,
    told_apart_by: Sequence[str] | None = None,
    decimal: str = ".",
) -> pd.DataFrame:
    """Turn text cells into numbers, or refuse with every violation at once.

    A label becomes its position, a date the days since 1970-01-01. Identifiers and ignored columns hold nothing to
    compute with and are left out.

    Args:
        text: Cells as text, empty ones NaN; the index holds line numbers.
        columns: Every column the file must have, and no others.
        path: The file, for the message.
        told_apart_by: Columns in which two rows may differ and agree in every value, such as whose they are; rows that
            agree in these, too, are a violation. None: rows may repeat.
        decimal: What separates a number's whole part from its fraction.

    Returns:
        The cells as float64, missing ones NaN, rows numbered from 0.

    Raises:
        DataError: One line for each broken rule: column, rule, count, first offending lines and the column's hint.
    """
    valued = {name: column for name, column in columns.items() if name in text and column.type not in _NO_VALUES}
    numbers = pd.DataFrame(
        {name: _numbers(text[name], column, decimal) for name, column in valued.items()}, index=text.index
    )
    others = [name for name in told_apart_by or () if name in text and name not in valued]
    belonging = None if told_apart_by is None else text[others]
    shape, values = _contract(columns, valued, belonging, decimal)
    violations = [*_violations(shape, text, text, columns), *_violations(values, numbers, text, columns)]
    if violations:
        lines = [str(violation) for violation in violations]
        summary = f"{path} breaks the data contract"
        if len(lines) == 1:
            raise DataError(f"{summary}: {lines[0]}")
        raise DataError(f"{summary} in {len(lines)} ways:", *(f"- {line}" for line in lines))
    checked_rows: pd.DataFrame = numbers.reset_index(drop=True)
    return checked_rows


def _numbers(cells: pd.Series, column: Column, decimal: str) -> pd.Series:
    if column.unknown == "other":
        return pd.Series(pd.factorize(cells)[0], cells.index, dtype=np.float64).where(cells.notna())
    if column.labels is not None:
        cells = cells.map({label: position for position, label in enumerate(column.labels)})
    elif column.type == "boolean":
        cells = cells.map(_truth, na_action="ignore")
    elif column.type == "date":
        return days_since_reference(cells)
    numbers: pd.Series = as_numbers(cells, decimal).replace([np.inf, -np.inf], np.nan)
    return numbers


def _truth(cell: object) -> float | None:
    return _TRUTHS.get(str(cell).strip().lower())


def as_numbers(cells: pd.Series, decimal: str) -> pd.Series:
    """Cells as numbers, NaN where they are none; with a comma for the fraction, a point makes none."""
    if decimal == "," and not is_numeric_dtype(cells):
        cells = cells.map(lambda cell: cell.translate(_COMMA) if isinstance(cell, str) else cell)
    numbers: pd.Series = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    return numbers


def _contract(
    columns: dict[str, Column], valued: dict[str, Column], belonging: pd.DataFrame | None, decimal: str
) -> tuple[DataFrameSchema, ...]:
    """The pandera schemas of a file: one for its shape, while cells are text, one for the values of its numbers."""
    import pandera.pandas as pandera

    whole_rows = pandera.Check(lambda frame: ~frame.join(belonging).duplicated(), error=_DUPLICATE)
    return pandera.DataFrameSchema(
        {
            name: pandera.Column(checks=_shape_checks(column, decimal), nullable=True)
            for name, column in columns.items()
        },
        strict=True,
    ), pandera.DataFrameSchema(
        {name: pandera.Column(checks=_value_checks(column), nullable=True) for name, column in valued.items()},
        checks=[] if belonging is None else [whole_rows],
    )


def _shape_checks(column: Column, decimal: str) -> list[Check]:
    import pandera.pandas as pandera

    def is_present(cells: pd.Series) -> pd.Series:
        missing = cells.isna()
        return ~missing if missing.mean() > column.max_missing else pd.Series(data=True, index=cells.index)

    def is_number(cells: pd.Series) -> pd.Series:
        return pd.Series(np.isfinite(as_numbers(cells, decimal)), index=cells.index)

    def is_clear(cells: pd.Series) -> pd.Series:
        return ~thousands(cells, decimal, are_whole=column.type == "integer", most=column.maximum)

    if column.type == "ignored":
        return []
    present = pandera.Check(is_present, error=_emptiness(column), ignore_na=False)
    if column.type == "identifier":
        return [present, pandera.Check(lambda cells: ~cells.duplicated(), error="repeats an earlier identifier")]
    if column.unknown == "other":
        return [present]
    if column.labels is not None:
        labels = ", ".join(column.labels)
        return [present, pandera.Check.isin(column.labels, error=f"must be one of {labels}")]
    check, rule = {
        "boolean": (lambda cells: cells.map(_truth).notna(), "must be true or false (or yes, no, 1, 0)"),
        "date": (
            lambda cells: days_since_reference(cells).notna(),
            f"must be a date such as {EXAMPLE}, without a time of day",
        ),
    }.get(column.type, (is_number, "must be a number"))
    clear = [pandera.Check(is_clear, error=AMBIGUOUS.format(mark=decimal))] if column.type in _MEASURED else []
    return [present, pandera.Check(check, error=rule), *clear]


def _value_checks(column: Column) -> list[Check]:
    import pandera.pandas as pandera

    checks = []
    if column.type in _MEASURED and None in {column.minimum, column.maximum}:
        rule = f"must be at most {_GREATEST:.2g} in size"
        checks.append(pandera.Check(lambda cells: cells.abs() <= _GREATEST, error=rule))
    if column.type == "integer":
        checks.append(pandera.Check(lambda cells: cells % 1 == 0, error="must be a whole number"))
    if column.codes is not None:
        codes = ", ".join(str(code) for code in column.codes)
        checks.append(pandera.Check.isin(column.codes, error=f"must be one of {codes}"))
    if column.minimum is not None:
        checks.append(pandera.Check.ge(column.minimum, error=f"must be at least {column.minimum:g}"))
    if column.maximum is not None:
        checks.append(pandera.Check.le(column.maximum, error=f"must be at most {column.maximum:g}"))
    return checks


def _violations(
    schema: DataFrameSchema, frame: pd.DataFrame, text: pd.DataFrame, columns: dict[str, Column]
) -> list[_Violation]:
    from pandera.errors import SchemaErrors

    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
    else:
        return []
    found = [
        _Violation(str(case.failure_case), _STRUCTURE[case.check], {}, len(text))
        for case in cases[cases["check"].isin(_STRUCTURE)].itertuples()
    ]
    cells = cases[~cases["check"].isin([*_STRUCTURE, _DUPLICATE])]
    for (name, rule), group in cells.groupby(["column", "check"], sort=False):
        values = text.loc[group["index"].astype(int), name]
        shown = {int(line): f" ({value!r})" if isinstance(value, str) else "" for line, value in values.items()}
        column = columns[str(name)]
        hint = _of_missing_marks(values) or _advice(str(rule), column) or column.hint
        found.append(_Violation(str(name), str(rule), shown, len(text), hint))
    duplicates = cases.loc[cases["check"] == _DUPLICATE, "index"].drop_duplicates()
    if len(duplicates):
        lines = {int(line): "" for line in duplicates}
        found.append(_Violation("", _DUPLICATE, lines, len(text), "allow_duplicates: true under data allows them"))
    return found


def _of_missing_marks(cells: pd.Series) -> str | None:
    """What to do about cells that say in some other way that a value is missing; None where any says something else."""
    found = sorted({str(cell) for cell in cells})
    if not all(cell.lower() in _MISSING for cell in found):
        return None
    shown = ", ".join(map(repr, found))
    return f"{shown} marks a missing value in many files: leave such cells empty, or list it under data: na_values"


def _advice(rule: str, column: Column) -> str | None:
    """What to do about cells that break one of the rules that every column has."""
    if rule == _emptiness(column):
        return _ALLOWED_EMPTY
    return (
        f"{ADVICE}; a maximum that 5000 exceeds says 5"
        if rule in {AMBIGUOUS.format(mark=mark) for mark in ".,"}
        else None
    )


def _emptiness(column: Column) -> str:
    """The rule on empty cells."""
    allowed = f"at most {100 * column.max_missing:g} % of the cells may be empty"
    return allowed if column.max_missing else "must not be empty"
