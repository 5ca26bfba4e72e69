"""Rows become a matrix, or the refusal says which value of which row is not allowed: the same rules on every protocol.

The rules are compiled to pydantic-core once, so that one row costs microseconds. Thousands are accepted by numpy
if all is well; otherwise pydantic-core, the authority, reads them again and names what is bad.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from http import HTTPStatus
from itertools import chain
from operator import itemgetter
from sys import getsizeof
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic_core import CoreSchema, ErrorDetails, PydanticKnownError, SchemaValidator, ValidationError, core_schema

from promotion.serving.errors import Problem, Refusal
from promotion.serving.exported.folder import Feature, Schema

Matrix = npt.NDArray[Any]
"""Features by rows, contiguous: 64-bit numbers, NaN where a value is missing; objects where some hold texts.

A date is the days since 1970-01-01.
"""

ColumnCells = Sequence[object] | npt.NDArray[np.float64]
"""The values of one feature, as they came."""

LARGEST = float(np.finfo(np.float32).max)
FEW = 200
"""Up to so many values, starting numpy costs more than it saves."""

MANY_BYTES = 16 * 1024
"""From this length on, JSON of typed rows is worth an attempt to take them all at once."""

PART_BYTES, PART_ROWS = 32 * 1024, 250
"""What is worked on without letting other threads in between, as long as it is all well: about half a millisecond."""

EXACT = 2**53
NUMBERS = frozenset({int, float, type(None)})
SHOWN_PROBLEMS = 20
VALUES_A_COLUMN, VALUES_A_ROW, VALUES_BESIDE = 4, 16, 4096
"""Separators a row may have for each column and beside them, and a request beside its rows: indented JSON has many."""

SEPARATORS = (b",", b"[", b"{", b"\n", b"\r")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A text in JSON; one that is never closed goes on to the end, so that each byte is looked at once."""

COUNTED_PROBLEMS = 1000
SHOWN_CHARACTERS = 60
REFERENCE = date(1970, 1, 1).toordinal()


def _day_number(text: str) -> float:
    return float(date.fromisoformat(text).toordinal() - REFERENCE)


def written_day(number: float) -> str:
    """The day so many days after 1970-01-01, as it was sent."""
    return date.fromordinal(int(number) + REFERENCE).isoformat()


_OTHERS: dict[str, CoreSchema] = {
    "text": core_schema.str_schema(strict=True),
    # Clients send booleans as 0 and 1, too.
    "boolean": core_schema.no_info_after_validator_function(float, core_schema.bool_schema(strict=False)),
    "date": core_schema.no_info_after_validator_function(
        _day_number, core_schema.str_schema(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    ),
}
WRAPPED = re.compile(rb'\s*\{\s*"rows"\s*:')
_ROWS_BEGIN, _ROWS_END = re.compile(WRAPPED.pattern + rb"\s*\["), re.compile(rb"\]\s*\}\s*\Z")
REASONS = {
    "missing": "missing",
    "extra_forbidden": "unknown",
    "literal_error": "code",
    "greater_than_equal": "range",
    "less_than_equal": "range",
    "multiple_of": "range",
    "finite_number": "range",
}


class RowReader:
    """Reads rows of one schema.

    Args:
        schema: The model's columns.
        max_rows: Most rows in one request.
        lenient: Whether numbers may come as text or as true and false, and columns that the model lacks are ignored.
    """

    def __init__(self, schema: Schema, max_rows: int, *, lenient: bool = False) -> None:
        self.schema = schema
        self.max_rows = max_rows
        self.most_values = max_rows * (VALUES_A_COLUMN * len(schema.features) + VALUES_A_ROW) + VALUES_BESIDE
        self._lenient = lenient
        self._features = {feature.name: feature for feature in schema.features}
        self._dtype: type = object if schema.has_texts else np.float64
        cells = {name: _cell(feature, strict=not lenient) for name, feature in self._features.items()}
        row = core_schema.typed_dict_schema(
            {name: core_schema.typed_dict_field(cell, required=True) for name, cell in cells.items()},
            extra_behavior="ignore" if lenient else "forbid",
        )
        rows = core_schema.list_schema(row, fail_fast=True, max_length=max_rows)
        wrapped = core_schema.typed_dict_schema({"rows": core_schema.typed_dict_field(rows)}, extra_behavior="forbid")
        self._row, self._rows, self._wrapped = map(SchemaValidator, (row, rows, wrapped))
        self._columns = {
            name: SchemaValidator(core_schema.list_schema(cell, fail_fast=True)) for name, cell in cells.items()
        }
        # itemgetter of a single name would not give a tuple.
        names = schema.names
        self._values = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)

    def from_json(self, body: bytes) -> Matrix:
        """One row as an object, or `{"rows": [...]}`.

        Raises:
            Refusal: 400 not JSON, 413 too many rows, 422 a value that is not allowed.
        """
        self.check_values(body)
        try:
            if len(body) > MANY_BYTES and (matrix := self._at_once(map(orjson.loads, _json_parts(body)))) is not None:
                return matrix
        except orjson.JSONDecodeError:
            pass  # the authority says why
        try:
            if WRAPPED.match(body):
                return self._matrix(self._wrapped.validate_json(body)["rows"])
            return self._matrix([self._row.validate_json(body)])
        except ValidationError as error:
            raise self._refusal(error) from None

    def from_rows(self, rows: object) -> Matrix:
        """A list of objects; NaN counts as missing where that is allowed.

        Raises:
            Refusal: As for `from_json`.
        """
        if isinstance(rows, list) and len(rows) > FEW and (matrix := self._at_once(_parts(rows))) is not None:
            return matrix
        cells = [_without_nan(row) for row in rows] if isinstance(rows, list) else rows
        try:
            return self._matrix(self._rows.validate_python(cells))
        except ValidationError as error:
            raise self._refusal(error) from None

    def from_table(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> Matrix:
        """Rows of as many values as there are names, in any order; NaN counts as missing where that is allowed.

        Raises:
            Refusal: As for `from_json`.
        """
        if len(rows) <= FEW:
            return self.from_rows([dict(zip(names, row, strict=True)) for row in rows])
        numbers = _table(rows)
        columns: Sequence[ColumnCells] = (
            list(zip(*rows, strict=True)) if numbers is None else list(_transposed(numbers, len(names)))
        )
        return self.from_columns(dict(zip(names, columns, strict=True)))

    def from_columns(self, columns: Mapping[str, ColumnCells]) -> Matrix:
        """Lists of equal length by column, in any order; NaN counts as missing where that is allowed.

        Raises:
            Refusal: As for `from_json`.
        """
        self._check_names(columns)
        counts = {len(values) for name, values in columns.items() if name in self._features}
        if len(counts) > 1:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "the columns have different lengths")
        self.check_count(count := counts.pop())
        matrix: Matrix = np.empty((len(self._features), count), dtype=self._dtype)
        for position, (name, feature) in enumerate(self._features.items()):
            matrix[position] = self._column(feature, columns[name])
        return matrix

    def check_values(self, body: bytes, *, is_json: bool = True) -> None:
        """Refuse what would become more values than the permitted rows have, before any of them is made.

        Args:
            body: JSON or CSV.
            is_json: Whether separators within texts can be told apart, and do not count.

        Raises:
            Refusal: 413.
        """
        if len(body) <= self.most_values or _separators(body) <= self.most_values:
            return
        if not is_json or _separators(_TEXT.sub(b"", body)) > self.most_values:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"more values than {self.max_rows} rows of {len(self.schema.features)} columns have; send fewer rows",
            )

    def check_count(self, count: int) -> None:
        """Refuse before work is done.

        Raises:
            Refusal: 413 above the limit, 422 without a row.
        """
        if count > self.max_rows:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{count} rows; at most {self.max_rows} fit into a request"
            )
        if not count:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "no rows; send at least one")

    def _at_once(self, parts: Iterable[object]) -> Matrix | None:
        """Many objects, a part after the other, if all is well."""
        blocks, count = [], 0
        for rows in parts:
            if not isinstance(rows, list) or (count := count + len(rows)) > self.max_rows:
                return None
            try:
                values = list(chain.from_iterable(map(self._values, rows)))
            except (KeyError, TypeError):
                return None
            if set(map(len, rows)) != {len(self._features)} or (numbers := _numbers(values)) is None:
                return None
            blocks.append(numbers)
        if count <= FEW:
            return None
        matrix = _transposed(np.concatenate(blocks), len(self._features))
        return matrix if all(map(accepts, self.schema.features, matrix)) else None

    def _matrix(self, rows: list[dict[str, Any]]) -> Matrix:
        self.check_count(len(rows))
        values: Matrix = np.array(list(map(self._values, rows)), dtype=self._dtype)
        return np.ascontiguousarray(values.T)

    def _column(self, feature: Feature, values: ColumnCells) -> npt.NDArray[Any]:
        """The checked cells: numpy accepts a good column at once; pydantic-core, the authority, names what is bad.

        Raises:
            Refusal: 422.
        """
        if len(values) > FEW:
            numbers = values if isinstance(values, np.ndarray) else _numbers(values)
            if numbers is not None and accepts(feature, numbers):
                return numbers
        cells = values.tolist() if isinstance(values, np.ndarray) else values
        try:
            checked = self._columns[feature.name].validate_python([None if cell != cell else cell for cell in cells])  # noqa: PLR0124
        except ValidationError as error:
            raise self._refusal(error, feature.name) from None
        return np.array(checked, dtype=object if feature.type == "text" else np.float64)

    def _check_names(self, names: Mapping[str, object]) -> None:
        problems = [self._problem("missing", 0, name, None) for name in self._features if name not in names]
        if not self._lenient:
            problems += [self._problem("unknown", 0, name, None) for name in names if name not in self._features]
        if problems:
            raise _refused(problems)

    def _refusal(self, error: ValidationError, column: str | None = None) -> Refusal:
        if error.error_count() > COUNTED_PROBLEMS:
            names = ", ".join(self._features)
            return Refusal(
                HTTPStatus.UNPROCESSABLE_ENTITY, f"a row with {error.error_count()} mistakes; columns: {names}"
            )
        problems = []
        for found in error.errors(include_url=False, include_context=False):
            if refusal := self._structure(found, column):
                return refusal
            place = found["loc"]
            row = next((part for part in place if isinstance(part, int)), 0)
            field = column or str(place[-1])
            problems.append(self._problem(found["type"], row, field, found["input"]))
        return _refused(problems)

    def _structure(self, found: ErrorDetails, column: str | None) -> Refusal | None:
        """The refusal when the body is not made of rows at all."""
        kind, place = found["type"], found["loc"]
        if kind == "json_invalid":
            reason = found["msg"].removeprefix("Invalid JSON: ")
            return Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {reason}")
        if kind == "too_long":
            return Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"too many rows; at most {self.max_rows} fit into a request"
            )
        if kind in {"dict_type", "list_type"} and (not place or column is None):
            where = f"row {place[-1]}" if place and isinstance(place[-1], int) else "the body"
            expected = "a list of rows" if kind == "list_type" else "an object with a value for each column"
            return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where} is not {expected}")
        return None

    def _problem(self, kind: str, row: int, field: str, value: object) -> Problem:
        feature = self._features.get(field)
        if feature is None:
            return Problem("unknown", row, field[:SHOWN_CHARACTERS], None, f"the columns {', '.join(self._features)}")
        reason = "null" if value is None and kind != "missing" else REASONS.get(kind, "type")
        return Problem(
            reason, row, field, None if reason == "missing" else _shown(value), feature.allowed, feature.hint
        )


def _numbers(values: Sequence[object]) -> npt.NDArray[np.float64] | None:
    """The values if all are JSON's numbers or null, which becomes NaN; numpy would take booleans and text as well."""
    if not set(map(type, values)) <= NUMBERS:
        return None
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return None


def _parts(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """A few rows after the other."""
    return (rows[start : start + PART_ROWS] for start in range(0, len(rows), PART_ROWS))


def _json_parts(body: bytes) -> Iterator[bytes]:
    """The rows of `{"rows": [...]}`, as JSON of a few of them after the other.

    A cut within a text or within a row leaves something open, so a part that is no JSON says that it was none.
    """
    begin, end = _ROWS_BEGIN.match(body), _ROWS_END.search(body, max(0, len(body) - MANY_BYTES))
    if begin is None or end is None:
        return
    start = begin.end()
    while (cut := body.find(b"},", start + PART_BYTES, end.start())) >= 0:
        yield b"[%b]" % body[start : cut + 1]
        start = cut + 2
    yield b"[%b]" % body[start : end.start()]


def _separators(body: bytes) -> int:
    parts = range(0, len(body), PART_BYTES)
    return sum(body.count(each, start, start + PART_BYTES) for start in parts for each in SEPARATORS)


def _table(rows: Sequence[Sequence[object]]) -> npt.NDArray[np.float64] | None:
    """The values of row after row if all are numbers."""
    blocks = []
    for part in _parts(rows):
        if (numbers := _numbers(list(chain.from_iterable(part)))) is None:
            return None
        blocks.append(numbers)
    return np.concatenate(blocks)


def _transposed(numbers: npt.NDArray[np.float64], width: int) -> Matrix:
    """The values of row after row as features by rows."""
    return np.ascontiguousarray(numbers.reshape(-1, width).T)


def _without_nan(row: object) -> object:
    """The row with null where it holds NaN."""
    if not isinstance(row, dict):
        return row
    return {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 - only NaN differs


def accepts(feature: Feature, numbers: npt.NDArray[np.float64]) -> bool:
    """Whether every number is one the column takes; NaN is a missing value."""
    if feature.type in {"text", "date"}:
        return False
    missing = np.isnan(numbers)
    if missing.any():
        if not feature.nullable:
            return False
        numbers = numbers[~missing]
    if allowed := (0, 1) if feature.type == "boolean" else feature.codes:
        return bool(np.isin(numbers, allowed).all())
    low = -LARGEST if feature.minimum is None else feature.minimum
    high = LARGEST if feature.maximum is None else feature.maximum
    whole = feature.type != "integer" or bool((numbers == np.floor(numbers)).all())
    return whole and bool(((numbers >= low) & (numbers <= high)).all())


def _cell(feature: Feature, *, strict: bool) -> CoreSchema:
    """The rule of one value: a number (no NaN, no infinity; no text and no boolean if strict) that the contract allows.

    63.0 is the whole number 63: clients whose columns may miss values have no integers.
    """
    if feature.type in _OTHERS:
        other = core_schema.literal_schema(list(feature.texts)) if feature.texts else _OTHERS[feature.type]
        if feature.type == "boolean" and strict:
            other = core_schema.no_info_before_validator_function(_not_a_text, other)
        return core_schema.nullable_schema(other) if feature.nullable else other
    number: CoreSchema = core_schema.float_schema(
        strict=strict,
        allow_inf_nan=False,
        ge=-LARGEST if feature.minimum is None else feature.minimum,
        le=LARGEST if feature.maximum is None else feature.maximum,
    )
    if feature.type == "integer":
        number = core_schema.no_info_after_validator_function(_whole, number)
    if feature.codes:
        any_number = core_schema.float_schema(strict=strict, allow_inf_nan=False)
        number = core_schema.chain_schema(
            [any_number, core_schema.literal_schema([float(code) for code in feature.codes])]
        )
    return core_schema.nullable_schema(number) if feature.nullable else number


def _not_a_text(value: object) -> object:
    if isinstance(value, str):
        raise PydanticKnownError("bool_type")
    return value


def _whole(number: float) -> float:
    """The number; pydantic's own `multiple_of` takes 63.00000001 for whole."""
    if not number.is_integer():
        raise PydanticKnownError("multiple_of", {"multiple_of": 1.0})
    return number


def _shown(value: object) -> object:
    """The value as JSON can carry it back; what is long is named or shortened, never echoed."""
    if isinstance(value, str):
        return value if len(value) <= SHOWN_CHARACTERS else value[:SHOWN_CHARACTERS] + "…"
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a number beyond all measure"
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


def _refused(problems: Sequence[Problem]) -> Refusal:
    shown = problems[:SHOWN_PROBLEMS]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, f"{problems[0]}{more}", shown)


def held_bytes(matrix: Matrix) -> int:
    """The memory that rows take, with that of their texts, which no limit of rows bounds."""
    return matrix.nbytes + (sum(map(getsizeof, matrix.flat)) if matrix.dtype == object else 0)


def iterate_rows(matrix: Matrix, names: Sequence[str]) -> Iterator[dict[str, float | str | None]]:
    """The matrix as objects again, for the prediction log; None where a value is missing."""
    for values in matrix.T.tolist():
        yield {name: None if value != value else value for name, value in zip(names, values, strict=True)}  # noqa: PLR0124
