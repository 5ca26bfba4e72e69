"""`/predict` and `/invocations`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.exported.folder import Schema
from promotion.serving.protocols import JSON_TYPE, Read
from promotion.serving.protocols.mlflow import CSV_TYPE, FORMS, INVOCATIONS, MlflowProtocol
from promotion.serving.protocols.typed import TypedProtocol, answer_schema, request_schema
from promotion.serving.routes import answered


def prediction_routes(answering: ModelEndpoint) -> APIRouter:
    """The routes that take rows by the family's columns."""
    router = APIRouter(tags=["predictions"])
    schema, reader = answering.reader.schema, answering.reader

    def add(path: str, read: Read, summary: str, takes: dict[str, Any], answers: dict[str, Any]) -> None:
        router.add_api_route(
            path,
            answering.endpoint(read),
            methods=["POST"],
            name=path.strip("/"),
            summary=summary,
            response_class=Response,
            responses=answered(answers),
            openapi_extra={"requestBody": {"required": True, "content": takes}},
        )

    rows = {"schema": request_schema(schema, reader.max_rows), "example": example_row(schema)}
    add("/predict", TypedProtocol(reader).read, "Predict one row or many", {JSON_TYPE: rows}, answer_schema(schema))
    forms = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {form: {} for form in FORMS}}
    takes = {JSON_TYPE: {"schema": forms}, CSV_TYPE: {"schema": {"type": "string"}}}
    told = {"description": "what the model answers"}
    if not schema.is_regression and schema.answers is None:
        told = {"type": "integer", "description": "position of the label"}
    classes = {"type": "array", "items": told}
    answers = {"type": "object", "properties": {"predictions": classes}}
    add(INVOCATIONS, MlflowProtocol(reader).read, "MLflow's scoring protocol", takes, answers)
    return router


def example_row(schema: Schema) -> dict[str, float | str]:
    """A row the schema allows: the first of the codes, the middle of a range."""
    row: dict[str, float | str] = {}
    for feature in schema.features:
        if feature.type in {"text", "boolean"}:
            row[feature.name] = True if feature.type == "boolean" else "text"
            continue
        low = feature.minimum if feature.minimum is not None else min(0.0, feature.maximum or 0.0)
        high = feature.maximum if feature.maximum is not None else low
        middle = (low + high) / 2
        row[feature.name] = (
            feature.codes[0] if feature.codes else (round(middle) if feature.type == "integer" else middle)
        )
    return row
