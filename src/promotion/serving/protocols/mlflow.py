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
INVOCATIONS = "/invocations"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
MISSING = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
"""Cells that pandas, which wrote most of these files, means as missing."""

OURS = frozenset({"range", "code", "null"})
"""What only a contract refuses: 422. For everything else MLflow has its own answer, which is 400."""

ERROR_CODES = {
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.NOT_FOUND: "ENDPOINT_NOT_FOUND",
    HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_PARAMETER_VALUE",
    HTTPStatus.INTERNAL_SERVER_ERROR: "INTERNAL_ERROR",
    HTTPStatus.SERVICE_UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's words for a status; BAD_REQUEST for others."""


class MlflowProtocol:
    """Reads the four JSON forms and CSV, as leniently as MLflow does for a model with a signature.

    Args:
        reader: Of the schema served.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = RowReader(reader.schema, reader.max_rows, lenient=True)
        schema = reader.schema
        self._names = frozenset(schema.names)
        self._texts = {feature.name for feature in schema.features if feature.type in {"text", "date"}}
        self._is_regression = schema.is_regression
        self._answers = np.array(schema.answers) if schema.answers is not None else None
        readers: tuple[Callable[[object], Matrix], ...] = (self._split, self._records, self._instances, self._instances)
        self._forms = dict(zip(FORMS, readers, strict=True))

    def read(self, body: bytes, headers: Mapping[str, str]) -> AcceptedRequest:
        """Rows in any of the forms.

        Raises:
            Refusal: 400 not one of them or not a number, 413, 415, or 422 a value the contract does not allow.
        """
        _check_parameters(headers)
        try:
            return AcceptedRequest(self._rows(body, headers), self._write)
        except Refusal as refusal:
            is_ours = refusal.problems and all(problem.reason in OURS for problem in refusal.problems)
            if refusal.status != HTTPStatus.UNPROCESSABLE_ENTITY or is_ours:
                raise
            raise Refusal(HTTPStatus.BAD_REQUEST, str(refusal), refusal.problems) from None

    def _rows(self, body: bytes, headers: Mapping[str, str]) -> Matrix:
        if media_type(headers) == CSV_TYPE:
            self._reader.check_values(body, is_json=False)
            return self._csv(body)
        require_json(headers)
        self._reader.check_values(body)
        content = read_object(body)
        forms = content.keys() & self._forms.keys()
        if len(forms) != 1:
            raise _malformed(f"expected a JSON object with exactly one of {', '.join(FORMS)}")
        form = forms.pop()
        return self._forms[form](content[form])

    def _split(self, content: object) -> Matrix:
        if not isinstance(content, dict) or not {"data"} <= content.keys() <= {"columns", "data", "index"}:
            raise _malformed("dataframe_split needs data, and takes columns and index")
        columns, data, index = content.get("columns"), content["data"], content.get("index")
        if columns is None:
            columns = self._reader.schema.names
        elif not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise _malformed("dataframe_split: columns is not a list of names")
        if isinstance(index, list) and isinstance(data, list) and len(index) != len(data):
            raise _malformed(f"dataframe_split: {len(index)} values in index for {len(data)} rows")
        return self._table(columns, data)

    def _records(self, rows: object) -> Matrix:
        """Objects, or one of them."""
        if isinstance(rows, dict):
            if any(isinstance(value, list) for value in rows.values()):
                raise _malformed("dataframe_records is not a list of rows")
            return self._reader.from_rows([rows])
        return self._reader.from_rows(rows)

    def _instances(self, content: object) -> Matrix:
        """Objects, lists in the model's order, or an object of columns; a column may be a single value."""
        if isinstance(content, dict):
            return self._reader.from_columns({name: _flat(value) for name, value in content.items()})
        if isinstance(content, list) and content and isinstance(content[0], list):
            return self._table(self._reader.schema.names, content)
        return self._reader.from_rows(content)

    def _csv(self, body: bytes) -> Matrix:
        text = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8-sig", newline="")
        try:
            lines = [line for line in csv.reader(text) if line]
        except (UnicodeDecodeError, csv.Error):
            raise _malformed("the body is not CSV in UTF-8") from None
        if not lines:
            raise _malformed("the body is empty; expected a line with the columns' names")
        cells = [str if name in self._texts else _cell for name in lines[0]]
        return self._table(lines[0], [_cells(line, cells) for line in lines[1:]])

    def _table(self, names: Sequence[str], rows: object) -> Matrix:
        known = [name for name in names if name in self._names]
        if len(set(known)) != len(known):
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


def _check_parameters(headers: Mapping[str, str]) -> None:
    """Refuse what MLflow refuses: another character set, and parameters as clients before MLflow 2 sent them.

    Raises:
        Refusal: 415.
    """
    for parameter in headers.get("content-type", "").split(";")[1:]:
        name, _, value = parameter.strip().lower().partition("=")
        if name and (name, value.strip('"')) not in {("charset", "utf-8"), ("charset", "utf8")}:
            raise Refusal(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Type: only charset=utf-8 is taken, not {parameter.strip()[:60]}",
            )


def _malformed(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)
