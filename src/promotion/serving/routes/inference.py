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
from promotion.serving.exported.model import Model
from promotion.serving.protocols import JSON_TYPE
from promotion.serving.protocols.inference import InferenceProtocol, model_metadata
from promotion.serving.routes import answered
from promotion.serving.scoring import Choice, Scorer

MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"
TENSORS = {"type": "array", "items": {"type": "object"}}


def inference_routes(answering: ModelEndpoint) -> APIRouter:
    """The protocol's routes; a model goes by its registered name or by its family's."""
    router = APIRouter(prefix="", tags=["Open Inference Protocol"])
    scorer = answering.scorer

    @router.get("/v2")
    async def server_metadata(request: Request) -> JSONResponse:
        """The server, and which extensions it speaks."""
        return JSONResponse(
            {"name": "promotion-layer", "version": request.app.version, "extensions": ["binary_tensor_data"]}
        )

    @router.get("/v2/health/live")
    async def live() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"live": True})

    @router.get("/v2/health/ready", responses={503: {"description": "Stopping"}})
    async def ready() -> JSONResponse:
        """Requests are welcome."""
        return JSONResponse({"ready": answering.ready}, _status(answering))

    async def metadata(request: Request) -> JSONResponse:
        return JSONResponse(model_metadata(_named(scorer, request), request.path_params["name"]))

    async def model_ready(request: Request) -> JSONResponse:
        _named(scorer, request)
        return JSONResponse({"name": request.path_params["name"], "ready": answering.ready}, _status(answering))

    infer = answering.endpoint(InferenceProtocol(answering.reader).read, partial(_chosen, scorer))
    body = {"type": "object", "required": ["inputs"], "properties": {"inputs": TENSORS, "outputs": TENSORS}}
    answer = {"type": "object", "properties": {"outputs": TENSORS}}
    for place, of in ((MODEL, "model"), (VERSION, "version")):
        known = {"parameters": [_parameter(name) for name in ("name", "version") if f"{{{name}}}" in place]}
        takes = {**known, "requestBody": {"required": True, "content": {JSON_TYPE: {"schema": body}}}}
        router.add_api_route(place, metadata, name=f"{of} metadata", openapi_extra=known)
        router.add_api_route(f"{place}/ready", model_ready, name=f"{of} ready", openapi_extra=known)
        router.add_api_route(
            f"{place}/infer",
            infer,
            methods=["POST"],
            name=f"{of} infer",
            response_class=Response,
            responses=answered(answer),
            openapi_extra=takes,
        )
    return router


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


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
