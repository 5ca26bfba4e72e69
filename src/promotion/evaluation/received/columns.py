"""Type the owner's rows as a model's signature says: text, categories, booleans, dates, whole numbers with gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from promotion.config.printable import first_names
from promotion.errors import PromotionError
from promotion.evaluation.received.flavours import InputColumn

_WHOLE = {"integer": pa.int32(), "long": pa.int64()}
_REAL = {"float": pa.float32(), "double": pa.float64()}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "1.0": True, "0.0": False}


class RowsDoNotFit(PromotionError):
    """The holdout's rows are not what a model's signature asks for."""


def typed_rows(frame: pd.DataFrame, inputs: Sequence[InputColumn] | None, features: Sequence[str], file: str) -> bytes:
    """The rows of a chunk as an Arrow stream.

    Args:
        frame: Cells as they stand in the file; the index holds each row's line.
        inputs: The signature's columns; None for a model without, which gets all features.
        features: Columns of the file that may be fed to a model, in the file's order.
        file: Of the rows, for messages.

    Raises:
        RowsDoNotFit: A column is missing or a cell is of another type; the message says which.
    """
    if inputs is None:
        return _stream(pa.Table.from_pandas(frame[list(features)], preserve_index=False))
    names = [column.name if column.name is not None else _at(features, place) for place, column in enumerate(inputs)]
    kept = [(name, column) for name, column in zip(names, inputs, strict=True) if column.required or name in features]
    if problems := missing_columns(inputs, features):
        raise RowsDoNotFit(f"{file}: {problems[0]}")
    arrays = [_typed(frame[name], column.type, file) for name, column in kept]
    return _stream(pa.table(arrays, names=[name for name, _ in kept]))


def missing_columns(inputs: Sequence[InputColumn], features: Sequence[str]) -> list[str]:
    """What a signature asks for and the file does not have, one line a column."""
    if any(column.name is None for column in inputs):
        needed = len(inputs)
        shown = first_names(features)
        return (
            []
            if needed == len(features)
            else [f"{len(features)} feature columns ({shown}), the signature asks for {needed} by their place"]
        )
    return [
        f"column {column.name!r}: in the signature, but no feature in the holdout"
        for column in inputs
        if column.required and column.name not in features
    ]


def _at(features: Sequence[str], place: int) -> str:
    return features[place] if place < len(features) else ""


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def _typed(cells: pd.Series, kind: str, file: str) -> Any:
    if kind in _WHOLE | _REAL:
        return _numbers(cells, kind, file)
    if reader := _READERS.get(kind):
        return reader(cells, file)
    if _is_text(cells):
        raise RowsDoNotFit(f"{file}: column {str(cells.name)!r}: the signature's type {kind} does not fit into a CSV")
    return pa.array(cells)


def _numbers(cells: pd.Series, kind: str, file: str) -> Any:
    numbers = cells if pd.api.types.is_numeric_dtype(cells) else pd.to_numeric(cells.astype(object), errors="coerce")
    _refuse(cells, numbers.isna() & cells.notna(), kind, file)
    if kind in _REAL:
        return pa.array(numbers.to_numpy(dtype=np.float64, na_value=np.nan)).cast(_REAL[kind])
    if pd.api.types.is_float_dtype(numbers):
        _refuse(cells, numbers.notna() & ((numbers % 1 != 0) | np.isinf(numbers)), kind, file)
    try:
        return pa.array(numbers.astype("Int64"), from_pandas=True).cast(_WHOLE[kind])
    except (pa.ArrowInvalid, OverflowError, TypeError, ValueError) as error:
        raise RowsDoNotFit(f"{file}: column {str(cells.name)!r}: a number is too large for {kind}") from error


def _texts(cells: pd.Series, file: str) -> Any:
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return pa.array(cells)
    _refuse(cells, cells.notna() & ~cells.map(lambda cell: isinstance(cell, str)).astype(bool), "string", file)
    return pa.array(cells.astype(object).where(cells.notna(), None), type=pa.string())


def _booleans(cells: pd.Series, file: str) -> Any:
    found = cells.map(lambda cell: _BOOLEANS.get(str(cell).strip().lower()), na_action="ignore").astype(object)
    _refuse(cells, found.isna() & cells.notna(), "boolean", file)
    return pa.array(found.where(found.notna(), None), type=pa.bool_())


def _dates(cells: pd.Series, file: str) -> Any:
    is_date = pd.api.types.is_datetime64_any_dtype(cells)
    dates = cells if is_date else pd.to_datetime(cells.astype(object), errors="coerce", format="ISO8601")
    _refuse(cells, dates.isna() & cells.notna(), "datetime", file)
    return pa.array(dates.dt.tz_localize(None).astype("datetime64[ns]"), from_pandas=True)


_READERS: dict[str, Callable[[pd.Series, str], Any]] = {"string": _texts, "boolean": _booleans, "datetime": _dates}


def _is_text(cells: pd.Series) -> bool:
    return bool(cells.map(lambda cell: isinstance(cell, str)).any())


def _refuse(cells: pd.Series, wrong: Any, kind: str, file: str) -> None:
    """Name the first cell that is of another type."""
    places = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if len(places):
        cell, line = cells.iloc[places[0]], cells.index[places[0]]
        raise RowsDoNotFit(
            f"{file}: line {line}, column {str(cells.name)!r}: {str(cell)[:60]!r} where the model's signature says "
            f"{kind} ({len(places)} such cells)"
        )
