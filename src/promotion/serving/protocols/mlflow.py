"""`POST /invocations`: what clients of `mlflow models serve` send, answered as it answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import numpy as np
import orjson

from promotion.serving.errors import Refusal
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import Matrix, RowReader
from promotion.serving.protocols import JSON_HEADERS, AcceptedRequest, Body, media_type, read_object, require_json

CSV_TYPE = "text/csv"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
MISSING = frozenset({"", "NA", "NaN", "nan", "null"})
"""ColumnCells that pandas, which wrote most of these files, means as missing."""


class MlflowProtocol:
    """Reads the four JSON forms and CSV.

    Args:
        reader: Of the schema served.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        schema = reader.schema
        self._texts = {feature.name for feature in schema.features if feature.type == "text"}
        self._is_regression = schema.is_regression
        self._answers = np.array(schema.answers) if schema.answers is not None else None
        readers: tuple[Callable[[object], Matrix], ...] = (self._split, self._list, self._list, self._inputs)
        self._forms = dict(zip(FORMS, readers, strict=True))

    def read(self, body: bytes, headers: Mapping[str, str]) -> AcceptedRequest:
        """Rows in any of the forms.

        Raises:
            Refusal: 400 not one of them, 413, 415, or 422 a value that is not allowed.
        """
        if media_type(headers) == CSV_TYPE:
            return AcceptedRequest(self._csv(body), self._write)
        require_json(headers)
        content = read_object(body)
        if content.pop("params", None):
            raise Refusal(HTTPStatus.BAD_REQUEST, "params: this model takes none")
        if len(content) != 1 or not content.keys() <= self._forms.keys():
            raise Refusal(HTTPStatus.BAD_REQUEST, f"expected exactly one of {', '.join(self._forms)}")
        form, rows = content.popitem()
        return AcceptedRequest(self._forms[form](rows), self._write)

    def _split(self, content: object) -> Matrix:
        if not isinstance(content, dict) or not {"columns", "data"} <= content.keys() <= {"columns", "data", "index"}:
            raise _malformed("dataframe_split needs columns and data, and takes index")
        columns, data = content["columns"], content["data"]
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise _malformed("dataframe_split: columns is not a list of names")
        return self._table(columns, data)

    def _list(self, rows: object) -> Matrix:
        """A list of objects, or of lists in the model's order."""
        if isinstance(rows, list) and rows and isinstance(rows[0], list):
            return self._table(self._reader.schema.names, rows)
        return self._reader.from_rows(rows)

    def _inputs(self, content: object) -> Matrix:
        if not isinstance(content, dict):
            return self._list(content)
        return self._reader.from_columns({name: _flat(value) for name, value in content.items()})

    def _csv(self, body: bytes) -> Matrix:
        try:
            table = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline="")))
        except (UnicodeDecodeError, csv.Error):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body is not CSV in UTF-8") from None
        lines = [line for line in table if line]
        if not lines:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body is empty; expected a line with the columns' names")
        cells = [str if name in self._texts else _cell for name in lines[0]]
        return self._table(lines[0], [_cells(line, cells) for line in lines[1:]])

    def _table(self, names: Sequence[str], rows: object) -> Matrix:
        if len(set(names)) != len(names):
            raise _malformed("a column is named twice")
        if not isinstance(rows, list) or set(map(type, rows)) - {list}:
            raise _malformed("the data is not a list of rows")
        self._reader.check_count(len(rows))
        if set(map(len, rows)) != {len(names)}:
            position, row = next(item for item in enumerate(rows) if len(item[1]) != len(names))
            raise _malformed(f"row {position} has {len(row)} values for {len(names)} columns")
        return self._reader.from_table(names, rows)

    def _write(self, model: Model, prediction: Prediction, _request_id: str) -> Body:
        if self._is_regression:
            told: Any = model.scores(prediction)
        elif self._answers is None:
            told = prediction.classes
        else:
            told = self._answers[prediction.classes].tolist()
        return orjson.dumps({"predictions": told}, option=orjson.OPT_SERIALIZE_NUMPY), JSON_HEADERS


def _cells(line: Sequence[str], readers: Sequence[Callable[[str], object]]) -> list[object]:
    """The cells of a line; one with more or fewer is refused as a whole."""
    if len(line) != len(readers):
        return list(line)
    return [None if text in MISSING else read(text) for text, read in zip(line, readers, strict=True)]


def _flat(values: object) -> list[object]:
    """A column as values; it may be sent as one value, or as a tensor of shape (rows, 1)."""
    if not isinstance(values, list):
        return [values]
    if list not in set(map(type, values)):
        return values
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]


def _cell(text: str) -> object:
    """The number in a cell; text stays text, so that the refusal can show it."""
    try:
        return float(text)
    except ValueError:
        return text


def _malformed(message: str) -> Refusal:
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, message)
