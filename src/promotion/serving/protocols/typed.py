"""`POST /predict`: rows by the family's own columns, answers with label and probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.folder import Feature, Schema
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import LARGEST, RowReader
from promotion.serving.protocols import BYTE_ORDER_MARK, JSON_HEADERS, AcceptedRequest, Body, require_json


class TypedProtocol:
    """Reads one row or many, and answers a row at a time.

    Args:
        reader: Of the schema served.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self._is_regression = reader.schema.is_regression
        labels = [orjson.dumps(label).decode() for label in reader.schema.labels]
        # A template a class: what remains for a row is to fill in its numbers. A label may hold a percent sign.
        quoted = [label.replace("%", "%%") for label in labels]
        probabilities = ",".join(f"{label}:%s" for label in quoted)
        self._rows = [
            f'{{"label":{label},"class":{position},"probability":%s,"probabilities":{{{probabilities}}}}}'
            for position, label in enumerate(quoted)
        ]

    def read(self, body: bytes, headers: Mapping[str, str]) -> AcceptedRequest:
        """Rows from an object, or from `{"rows": [...]}`.

        Raises:
            Refusal: As the reader's, or 415.
        """
        require_json(headers)
        return AcceptedRequest(self._reader.from_json(body.removeprefix(BYTE_ORDER_MARK)), self._write)

    def _write(self, model: Model, prediction: Prediction, request_id: str) -> Body:
        manifest, templates = model.manifest, self._rows
        head = {"family": manifest.family, "model": manifest.model, "version": manifest.version, "role": model.role}
        if self._is_regression:
            rows = ",".join([f'{{"value":{text}}}' for text in _texts(model.scores(prediction))])
        else:
            texts, positive = iter(_texts(prediction.probabilities.reshape(-1))), model.schema.positive
            cells = zip(prediction.classes.tolist(), zip(*[texts] * len(templates), strict=True), strict=True)
            rows = ",".join(
                [
                    templates[position] % (each[position if positive is None else positive], *each)
                    for position, each in cells
                ]
            )
        start = orjson.dumps(head).decode()[:-1]
        return f'{start},"predictions":[{rows}],"request_id":"{request_id}"}}'.encode(), JSON_HEADERS


def _texts(probabilities: npt.NDArray[np.float32]) -> list[str]:
    """Each as the shortest text that is read back as the same 32-bit number."""
    values = np.ascontiguousarray(probabilities)
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")


def row_schema(schema: Schema) -> dict[str, Any]:
    """A row as OpenAPI describes it: ranges, codes and units are the contract's."""
    return {
        "type": "object",
        "title": "Row",
        "additionalProperties": False,
        "required": list(schema.names),
        "properties": {feature.name: _property(feature) for feature in schema.features},
    }


def _property(feature: Feature) -> dict[str, Any]:
    kinds = [{"number": "number", "text": "string", "date": "string"}.get(feature.type, "integer")]
    allowed = feature.codes or feature.texts
    if feature.type == "boolean":
        kinds, allowed = ["boolean", *kinds], (True, False, 0, 1)
    unit = f" [{feature.unit}]" if feature.unit else ""
    # Of whole numbers none is so large that the next one could be told from it.
    largest = LARGEST if feature.type == "number" else None
    low = feature.minimum if feature.minimum is not None or largest is None else -largest
    high = feature.maximum if feature.maximum is not None else largest
    return {
        "type": [*kinds, "null"] if feature.nullable else kinds if len(kinds) > 1 else kinds[0],
        "description": f"{feature.description or feature.name}{unit}",
        **({"enum": [*allowed, *([None] if feature.nullable else [])]} if allowed else {}),
        **({"format": "date"} if feature.type == "date" else {}),
        **({"minimum": low} if low is not None else {}),
        **({"maximum": high} if high is not None else {}),
        **({"x-unit": feature.unit} if feature.unit else {}),
    }


def request_schema(schema: Schema, max_rows: int) -> dict[str, Any]:
    """The body of a request: one row, or a list of rows."""
    row = row_schema(schema)
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}
    many = {
        "type": "object",
        "title": "Rows",
        "additionalProperties": False,
        "required": ["rows"],
        "properties": {"rows": rows},
    }
    return {"anyOf": [row, many]}


def answer_schema(schema: Schema) -> dict[str, Any]:
    """The body of an answer."""
    if schema.is_regression:
        value = {"type": "number", "description": f"predicted {schema.target}"}
        return _answers({"type": "object", "required": ["value"], "properties": {"value": value}})
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    binary = schema.positive is not None
    meaning = f"of {schema.labels[schema.positive or 0]!r}" if binary else "of the predicted class"
    prediction = {
        "type": "object",
        "required": ["label", "class", "probability", "probabilities"],
        "properties": {
            "label": {"type": "string", "enum": list(schema.labels), "description": f"predicted {schema.target}"},
            "class": {"type": "integer", "description": "position of the label"},
            "probability": {**probability, "description": f"probability {meaning}"},
            "probabilities": {"type": "object", "properties": dict.fromkeys(schema.labels, probability)},
        },
    }
    return _answers(prediction)


def _answers(prediction: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["family", "model", "version", "role", "predictions", "request_id"],
        "properties": {
            "family": {"type": "string"},
            "model": {"type": "string", "description": "registered model"},
            "version": {"type": "integer"},
            "role": {"type": "string", "enum": ["champion", "challenger"]},
            "predictions": {"type": "array", "items": prediction},
            "request_id": {"type": "string"},
        },
    }
