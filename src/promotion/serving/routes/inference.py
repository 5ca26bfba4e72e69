"""`/v2`: the Open Inference Protocol's resources."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from starlette.requests import Request

from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.errors import Refusal
from promotion.serving.exported.folder import Schema
from promotion.serving.exported.model import Model
from promotion.serving.protocols import JSON_TYPE
from promotion.serving.protocols.inference import DATATYPE_OF, InferenceProtocol, model_metadata
from promotion.serving.routes import TEXT, Responses, an_object, answered, asked_with, refusals, told
from promotion.serving.routes.predictions import example_row
from promotion.serving.scoring import Choice, Scorer

MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"
DATA = {"type": "array", "items": {}}
SHAPE = {"type": "array", "items": {"type": "integer"}}
TENSOR = an_object(name=TEXT, datatype=TEXT, shape=SHAPE, is_open=True)
TENSORS = {"type": "array", "items": TENSOR}
WANTED_OUTPUTS = {"type": ["array", "null"], "minItems": 1, "items": an_object(name=TEXT, is_open=True)}
METADATA = an_object(name=TEXT, versions=DATA, platform=TEXT, inputs=TENSORS, outputs=TENSORS)
FLAG = {"type": "boolean"}


def inference_routes(answering: ModelEndpoint) -> APIRouter:
    """The protocol's routes; a model goes by its registered name or by its family's."""
    router = APIRouter(prefix="", tags=["Open Inference Protocol"])
    scorer = answering.scorer

    server = an_object(name=TEXT, version=TEXT, extensions=DATA)

    @router.get("/v2", responses=told(server, "This server"))
    async def server_metadata(request: Request) -> JSONResponse:
        """The server, and which extensions it speaks."""
        return JSONResponse(
            {"name": "promotion-layer", "version": request.app.version, "extensions": ["binary_tensor_data"]}
        )

    @router.get("/v2/health/live", responses=told(an_object(live=FLAG), "Alive"))
    async def live() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"live": True})

    @router.get("/v2/health/ready", responses=_readiness(an_object(ready=FLAG)))
    async def ready() -> JSONResponse:
        """Requests are welcome."""
        return JSONResponse({"ready": answering.ready}, _status(answering))

    async def metadata(request: Request) -> JSONResponse:
        return JSONResponse(model_metadata(_named(scorer, request), request.path_params["name"]))

    async def model_ready(request: Request) -> JSONResponse:
        _named(scorer, request)
        return JSONResponse({"name": request.path_params["name"], "ready": answering.ready}, _status(answering))

    infer = answering.endpoint(InferenceProtocol(answering.reader).read, partial(_chosen, scorer))
    has_key = answering.settings.api_key is not None
    body = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": {**TENSORS, "minItems": 1}, "outputs": WANTED_OUTPUTS},
    }
    takes = {"schema": body, "example": example_tensors(answering.reader.schema)}
    answer = an_object(model_name=TEXT, model_version=TEXT, id=TEXT, outputs=TENSORS, is_open=True)
    for place, of in ((MODEL, "model"), (VERSION, "version")):
        known: dict[str, Any] = {
            "parameters": [_parameter(scorer, name) for name in ("name", "version") if f"{{{name}}}" in place]
        }
        absent = refusals(404)
        router.add_api_route(
            place,
            metadata,
            name=f"{of} metadata",
            openapi_extra=known,
            responses={**told(METADATA, "The model"), **absent},
        )
        router.add_api_route(
            f"{place}/ready",
            model_ready,
            name=f"{of} ready",
            openapi_extra=known,
            responses={**_readiness(an_object(name=TEXT, ready=FLAG)), **absent},
        )
        router.add_api_route(
            f"{place}/infer",
            infer,
            methods=["POST"],
            name=f"{of} infer",
            response_class=Response,
            responses=answered(answer, has_key=has_key, is_named=True),
            openapi_extra={**known, **asked_with({JSON_TYPE: takes}, has_key=has_key)},
        )
    return router


def example_tensors(schema: Schema) -> dict[str, Any]:
    """The example row as a tensor a column."""
    types = {feature.name: DATATYPE_OF.get(feature.type, "FP64") for feature in schema.features}
    row = example_row(schema)
    return {
        "inputs": [{"name": name, "shape": [1], "datatype": types[name], "data": [row[name]]} for name in schema.names]
    }


def _parameter(scorer: Scorer, name: str) -> dict[str, Any]:
    served = [model.manifest for model in scorer.models if model.role != "shadow"]
    known = {"name": served[0].family, "version": str(served[0].version)}[name]
    return {"name": name, "in": "path", "required": True, "schema": TEXT, "example": known}


def _readiness(schema: dict[str, Any]) -> Responses:
    return {**told(schema, "Ready"), 503: {"description": "Stopping", "content": {JSON_TYPE: {"schema": schema}}}}


def _status(answering: ModelEndpoint) -> HTTPStatus:
    return HTTPStatus.OK if answering.ready else HTTPStatus.SERVICE_UNAVAILABLE


def _chosen(scorer: Scorer, request: Request, key: str) -> Choice:
    """The split's choice among the versions the path means, or the one that it means."""
    named, choice = _named(scorer, request), scorer.choose(key)
    if choice.model not in named:
        return Choice(named[0], None)
    return choice if choice.instead in named else Choice(choice.model, None)


def _named(scorer: Scorer, request: Request) -> list[Model]:
    """The served versions the path means; a shadow's answers are not for clients.

    Raises:
        Refusal: 404.
    """
    name, version = request.path_params["name"], request.path_params.get("version")
    found = [
        model
        for model in scorer.models
        if model.role != "shadow"
        and name in {model.manifest.family, model.manifest.model}
        and version in {None, str(model.manifest.version)}
    ]
    if not found:
        raise Refusal(HTTPStatus.NOT_FOUND, "no such model or version is served here; /version says which is")
    return found
