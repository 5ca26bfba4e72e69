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

TOLD = {"family", "model", "version", "semver", "run_id", "artifact_digest", "gate_report", "git_sha", "engine"}


def operation_routes(answering: ModelEndpoint) -> APIRouter:
    """Health, readiness, version and metrics; none of them needs the key."""
    router = APIRouter(tags=["operations"])
    scorer = answering.scorer

    @router.get("/health")
    async def health() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    @router.get("/ready", responses={503: {"description": "Stopping"}})
    async def ready() -> JSONResponse:
        """The model is loaded and requests are welcome; 503 from the moment the server is asked to stop."""
        if answering.ready:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "stopping"}, HTTPStatus.SERVICE_UNAVAILABLE)

    @router.get("/ping", response_class=Response)
    async def ping() -> Response:
        """MLflow's probe: an empty line."""
        return Response("\n", media_type=JSON_TYPE)

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters, in Prometheus' text format."""
        return Response(scorer.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    _add_descriptions(router, answering)
    return router


def _add_descriptions(router: APIRouter, answering: ModelEndpoint) -> None:
    """What is served here."""
    scorer = answering.scorer

    @router.get("/")
    async def root() -> JSONResponse:
        """What this is, and where it is described."""
        manifest = scorer.champion.manifest
        told = {"family": manifest.family, "model": manifest.model, "version": manifest.version}
        return JSONResponse({**told, "documents": "/docs", "openapi": "/openapi.json"})

    @router.get("/version")
    async def version(request: Request) -> Response:
        """Which version answers, and the evidence it was promoted on; its number alone for who accepts text only."""
        if media_types(request.headers.get("accept", "")) == {"text/plain"}:
            return PlainTextResponse(str(scorer.champion.manifest.version))
        challenger = None if scorer.challenger is None else _told(scorer.challenger)
        return JSONResponse({**_told(scorer.champion), "image": answering.settings.image, "challenger": challenger})


def media_types(accept: str) -> set[str]:
    """Those an `Accept` header names."""
    return {offer.partition(";")[0].strip().lower() for offer in accept.split(",")}


def _told(model: Model) -> dict[str, Any]:
    return {"role": model.role, **model.manifest.model_dump(include=TOLD)}
