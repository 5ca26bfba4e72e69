"""What surrounds every request: an identifier, the counters, the key, and limits on the body. Plain ASGI, for speed."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from secrets import token_hex

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promotion.serving.errors import Refusal
from promotion.serving.metrics import Metrics
from promotion.serving.protocols.mlflow import ERROR_CODES, INVOCATIONS

SAFE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
CLOSE = (b"connection", b"close")
AS_DECLARED = (b"x-content-type-options", b"nosniff")
"""No browser takes an answer for something else than its media type says."""

UNMATCHED = "unmatched"
UNREAD = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.SERVICE_UNAVAILABLE})
RETRY_SECONDS = 1
"""After which a client that was too much for now may come again."""

LOGGER = logging.getLogger(__name__)


class Observed:
    """Gives each request its identifier, returns it as `X-Request-Id`, and counts the answer by its route's template.

    Args:
        app: What answers.
        metrics: Where it is counted.
        is_ready: Whether connections are kept for the next request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, is_ready: Callable[[], bool]) -> None:
        self._app = app
        self._metrics = metrics
        self._is_ready = is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if len(scope["path"]) > 1:
            scope["path"] = scope["path"].removesuffix("/")
        # uvicorn leaves the content away, and keeps its length.
        asked = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}
        asked["started"] = started = time.perf_counter()
        asked["request_id"] = request_id = _request_id(scope)
        header = (b"x-request-id", request_id.encode())
        status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        complete = False

        async def send_observed(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                last = () if self._is_ready() else (CLOSE,)
                message["headers"] = [*message.get("headers", ()), header, AS_DECLARED, *last]
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        self._metrics.begin()
        try:
            await self._app(asked, receive, send_observed)
        except Exception:
            LOGGER.exception("request %s failed", request_id)
            # The client has its 500: the connection stays good for the next request.
            if not complete:
                raise
        finally:
            # Routing notes the route in the scope; an unknown path has none.
            route = getattr(asked.get("route"), "path", UNMATCHED)
            self._metrics.end(route, scope["method"], status, time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SAFE_ID.fullmatch(value):
            return str(value, "ascii")
    return token_hex(16)


class Shortcut:
    """Leads predictions straight to their endpoints; routing and dependencies cost more than a row's prediction.

    Args:
        app: What answers everything else, and documents these routes too.
        routes: By path; their endpoints answer POST, and turn every exception into an answer themselves.
    """

    def __init__(self, app: ASGIApp, routes: Mapping[str, Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._routes:
            await self._app(scope, receive, send)
            return
        scope["route"] = route = self._routes[scope["path"]]
        response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)


class KeyCheck:
    """Lets requests in that present the key.

    Args:
        key: The key; None lets everybody in.
    """

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    def check(self, request: Request) -> None:
        """Compare in constant time, whichever header carries the key.

        Raises:
            Refusal: 401.
        """
        if self._key is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not hmac.compare_digest(given.encode("latin-1"), self._key):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "send the API key as X-API-Key, or as Authorization: Bearer")


def refused(request: Request, refusal: Refusal) -> Response:
    """The answer to a request that was refused: one line, what is wrong with each value, the identifier."""
    problems = [
        {
            "row": problem.row,
            "field": problem.field,
            "value": problem.value,
            "allowed": problem.allowed,
            "message": str(problem),
        }
        for problem in refusal.problems
    ]
    return error(request, refusal.status, str(refusal), problems)


def failed(request: Request) -> Response:
    """The answer to our own mistake: the log has the traceback, the client only the identifier to ask with."""
    return error(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed on this request")


def error(request: Request, status: int, message: str, problems: list[dict[str, object]] | None = None) -> Response:
    """An error in the one form all routes use.

    `error` is where the Open Inference Protocol wants the text; MLflow's clients read `error_code` and `message`.
    """
    content: dict[str, object] = {"error": message, "problems": problems or []}
    if request.scope["path"] == INVOCATIONS:
        content |= {"error_code": ERROR_CODES.get(HTTPStatus(status), "BAD_REQUEST"), "message": message}
    content["request_id"] = request.scope.get("request_id")
    headers = {"www-authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_SECONDS)
    if status in UNREAD:
        # The rest of the body is not read; the connection cannot be used again.
        headers["connection"] = "close"
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, status, headers, "application/json")
