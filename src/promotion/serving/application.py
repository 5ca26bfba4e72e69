"""The ASGI application: the routes, what surrounds them, and one form for every error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.errors import Refusal
from promotion.serving.middleware import Observed, Shortcut, error, failed, refused
from promotion.serving.routes import SECURITY_SCHEMES
from promotion.serving.routes.inference import inference_routes
from promotion.serving.routes.operations import operation_routes
from promotion.serving.routes.pages import STATIC, add_documents
from promotion.serving.routes.predictions import prediction_routes


def build_application(answering: ModelEndpoint) -> Observed:
    """Put the routes together."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        answering.close()

    manifest, schema = answering.scorer.champion.manifest, answering.reader.schema
    what = ": ".join([schema.target, *([" or ".join(schema.labels)] if schema.labels else [])])
    # Its /docs bring their JavaScript along: clusters seldom reach a CDN.
    app = FastAPIOffline(
        title=manifest.family,
        version=manifest.semver or str(manifest.version),
        description=f"{manifest.model}, version {manifest.version}: predicts {what}.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        static_url=STATIC,
        # A redirect would trust the Host header; paths with a slash behind are answered as without.
        redirect_slashes=False,
        exception_handlers={Refusal: _refused, HTTPException: _http_error, Exception: _failure},
    )
    add_documents(app)
    predictions = prediction_routes(answering)
    for routes in (predictions, inference_routes(answering), operation_routes(answering)):
        app.include_router(routes)
    if answering.settings.api_key is not None:
        # FastAPI knows of schemes by dependencies only, which cost more than a prediction.
        app.openapi().setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
    direct = {route.path: route for route in predictions.routes if isinstance(route, Route)}
    return Observed(Shortcut(app, direct), answering.scorer.metrics, lambda: answering.ready)


async def _http_error(request: Request, exception: Exception) -> Response:
    """An unknown path or method, in the form of all errors."""
    assert isinstance(exception, HTTPException)  # noqa: S101 - registered for this class
    answer = error(request, HTTPStatus(exception.status_code), str(exception.detail))
    answer.headers.update(exception.headers or {})
    return answer


async def _refused(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, Refusal)  # noqa: S101 - registered for this class
    return refused(request, exception)


async def _failure(request: Request, _exception: Exception) -> Response:
    return failed(request)
