"""What probes, Prometheus and people ask."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import Request

from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.exported.model import Model
from promotion.serving.protocols import JSON_TYPE
from promotion.serving.routes import TEXT, Responses, an_object, told

TEXT_TYPE = "text/plain"
OPTIONAL = {"type": ["string", "null"]}
TOLD = {"family", "model", "version", "semver", "run_id", "artifact_digest", "gate_report", "git_sha", "engine"}


def operation_routes(answering: ModelEndpoint) -> APIRouter:
    """Health, readiness, version and metrics; none of them needs the key."""
    router = APIRouter(tags=["operations"])
    scorer = answering.scorer

    @router.get("/health", responses=told(an_object(status=TEXT), "Alive"))
    async def health() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    state = an_object(status=TEXT)
    stopping: Responses = {503: {"description": "Stopping", "content": {JSON_TYPE: {"schema": state}}}}

    @router.get("/ready", responses={**told(state, "Ready"), **stopping})
    async def ready() -> JSONResponse:
        """The model is loaded and requests are welcome; 503 from the moment the server is asked to stop."""
        if answering.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "stopping"}, HTTPStatus.SERVICE_UNAVAILABLE)

    @router.get("/ping", response_class=Response, responses={200: {"description": "Alive: an empty line"}})
    async def ping() -> Response:
        """MLflow's probe: an empty line."""
        return Response("\n", media_type=JSON_TYPE)

    @router.get("/metrics", response_class=Response, responses=told(TEXT, "Metrics", TEXT_TYPE))
    async def metrics() -> Response:
        """Counters, in Prometheus' text format."""
        return Response(scorer.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    _add_descriptions(router, answering)
    return router


def _add_descriptions(router: APIRouter, answering: ModelEndpoint) -> None:
    """What is served here."""
    scorer = answering.scorer

    kinds: dict[str, Any] = {"family": TEXT, "model": TEXT, "version": {"type": "integer"}}

    predicted: dict[str, Any] = {"target": TEXT, "classes": {"type": "array", "items": TEXT}}

    @router.get("/", responses=told(an_object(**kinds, **predicted, documents=TEXT, openapi=TEXT), "This server"))
    async def root() -> JSONResponse:
        """What this is, what it predicts, by the names the family gives its classes, and where it is described."""
        manifest, schema = scorer.champion.manifest, scorer.champion.schema
        told = {"family": manifest.family, "model": manifest.model, "version": manifest.version}
        told |= {"target": schema.target, "classes": list(schema.labels)}
        return JSONResponse({**told, "documents": "/docs", "openapi": "/openapi.json"})

    evidence = an_object(role=TEXT, **kinds, image=OPTIONAL, challenger={"type": ["object", "null"]}, is_open=True)
    both: Responses = {
        200: {"description": "The version", "content": {JSON_TYPE: {"schema": evidence}, TEXT_TYPE: {"schema": TEXT}}}
    }

    @router.get("/version", response_class=Response, responses=both)
    async def version(request: Request) -> Response:
        """Which version answers, and the evidence it was promoted on; its number alone for who accepts text only."""
        if media_types(request.headers.get("accept", "")) == {TEXT_TYPE}:
            return PlainTextResponse(str(scorer.champion.manifest.version))
        challenger = None if scorer.challenger is None else _told(scorer.challenger)
        return JSONResponse({**_told(scorer.champion), "image": answering.settings.image, "challenger": challenger})


def media_types(accept: str) -> set[str]:
    """Those an `Accept` header names."""
    return {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}


def _told(model: Model) -> dict[str, Any]:
    return {"role": model.role, **model.manifest.model_dump(include=TOLD)}
