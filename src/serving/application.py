"""The ASGI application: the routes, what surrounds them, and one form for every error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from serving.answering import Answering
from serving.errors import Refusal
from serving.routes.inference import inference_routes
from serving.routes.operations import operation_routes
from serving.routes.predictions import prediction_routes
from serving.surroundings import Observed, error, refused

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that does not wait; HTTP has none."""


def build_application(answering: Answering) -> Observed:
    """Put the routes together; the first ones are found fastest."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        answering.close()

    async def refuse(request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)  # noqa: S101 - registered for this class
        answering.scorer.metrics.reject({(problem.row, problem.reason) for problem in refusal.problems})
        return refused(request, refusal)

    manifest = answering.scorer.champion.manifest
    app = FastAPI(
        title=manifest.family,
        version=manifest.semver or str(manifest.version),
        description=f"{manifest.model}, version {manifest.version}: predicts {answering.reader.schema.target}.",
        lifespan=lifespan,
        redoc_url=None,
        exception_handlers={Refusal: refuse, HTTPException: _http_error, ClientDisconnect: _gone, Exception: _failure},
    )
    for routes in (prediction_routes, inference_routes, operation_routes):
        app.include_router(routes(answering))
    return Observed(app, answering.scorer.metrics)


async def _http_error(request: Request, exception: Exception) -> Response:
    """An unknown path or method, in the form of all errors."""
    assert isinstance(exception, HTTPException)  # noqa: S101 - registered for this class
    answer = error(request, HTTPStatus(exception.status_code), str(exception.detail))
    answer.headers.update(exception.headers or {})
    return answer


async def _gone(_request: Request, _exception: Exception) -> Response:
    """The client went away before its request was complete: nobody reads this, but it is not our failure."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _failure(request: Request, _exception: Exception) -> Response:
    """Our own mistake: the server's log has the traceback, the client only the identifier to ask with."""
    return error(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed on this request")
