"""`/predict` and `/invocations`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.exported.folder import Schema
from promotion.serving.protocols import JSON_TYPE, Read
from promotion.serving.protocols.mlflow import CSV_TYPE, FORMS, INVOCATIONS, MlflowProtocol
from promotion.serving.protocols.typed import TypedProtocol, answer_schema, request_schema
from promotion.serving.routes import TEXT, an_object, answered, asked_with

_DAY = "2024-03-09"


def prediction_routes(answering: ModelEndpoint) -> APIRouter:
    """The routes that take rows by the family's columns."""
    router = APIRouter(tags=["predictions"])
    schema, reader = answering.reader.schema, answering.reader
    has_key = answering.settings.api_key is not None

    def add(path: str, read: Read, summary: str, takes: dict[str, Any], answers: dict[str, Any]) -> None:
        router.add_api_route(
            path,
            answering.endpoint(read),
            methods=["POST"],
            name=path.strip("/"),
            summary=summary,
            response_class=Response,
            responses=answered(answers, has_key=has_key),
            openapi_extra=asked_with(takes, has_key=has_key),
        )

    row = example_row(schema)
    rows = {"schema": request_schema(schema, reader.max_rows), "example": row}
    add("/predict", TypedProtocol(reader).read, "Predict one row or many", {JSON_TYPE: rows}, answer_schema(schema))
    forms = {"oneOf": [an_object(**{form: {}}, is_open=True) for form in FORMS]}
    split = {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
    table = "\n".join(",".join(map(str, line)) for line in (row, row.values()))
    takes = {JSON_TYPE: {"schema": forms, "example": split}, CSV_TYPE: {"schema": TEXT, "example": table}}
    told = {"description": f"what the model answers: {schema.meanings}".removesuffix(": ")}
    if not schema.is_regression and schema.answers is None:
        told = {"type": "integer", "description": f"position of the label: {schema.meanings}"}
    classes = {"type": "array", "items": told}
    answers = an_object(predictions=classes)
    add(INVOCATIONS, MlflowProtocol(reader).read, "MLflow's scoring protocol", takes, answers)
    return router


def example_row(schema: Schema) -> dict[str, float | str]:
    """A row the schema allows: the first of the codes, the middle of a range."""
    row: dict[str, float | str] = {}
    for feature in schema.features:
        others: dict[str, bool | str] = {"text": (feature.texts or ("text",))[0], "boolean": True, "date": _DAY}
        if feature.type in others:
            row[feature.name] = others[feature.type]
            continue
        low = feature.minimum if feature.minimum is not None else min(0.0, feature.maximum or 0.0)
        high = feature.maximum if feature.maximum is not None else low
        middle = (low + high) / 2
        row[feature.name] = (
            feature.codes[0] if feature.codes else (round(middle) if feature.type == "integer" else middle)
        )
    return row
