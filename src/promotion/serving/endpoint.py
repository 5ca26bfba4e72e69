"""One request for predictions, from its head to the bytes of its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from promotion.serving.bodies import THREADS, LargeBodies, content_encoding, is_small, read_body
from promotion.serving.errors import Refusal
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import RowReader
from promotion.serving.middleware import KeyCheck, failed, refused
from promotion.serving.protocols import Body, Read
from promotion.serving.protocols.compression import compress, decompress
from promotion.serving.scoring import Scorer, Ticket
from promotion.serving.settings import ServerSettings

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that did not wait; HTTP has none, and it is no failure of ours."""

LOGGER = logging.getLogger(__name__)
Endpoint = Callable[[Request], Awaitable[Response]]


class ModelEndpoint:
    """What all prediction routes share.

    Args:
        settings: From the environment.
        scorer: The loaded versions.

    Attributes:
        reader: Reads rows of the champion's schema.
        ready: Whether new requests are welcome.
    """

    def __init__(self, settings: ServerSettings, scorer: Scorer) -> None:
        self.settings = settings
        self.scorer = scorer
        self.reader = RowReader(scorer.champion.schema, settings.max_batch)
        self.ready = True
        self._key = KeyCheck(settings.api_key)
        self._threads = ThreadPoolExecutor(THREADS, "batch")
        self._large = LargeBodies(settings.max_body_bytes)

    def endpoint(self, read: Read, choose: Callable[[Request, str], Model] | None = None) -> Endpoint:
        """The endpoint of a protocol.

        Args:
            read: How it reads a body.
            choose: The version that answers a request with this key; the split decides if nothing is given.
        """

        async def answer(request: Request) -> Response:
            try:
                return await predict(request)
            except Refusal as refusal:
                self.scorer.metrics.reject({(problem.row, problem.reason) for problem in refusal.problems})
                return refused(request, refusal)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            except Exception:
                LOGGER.exception("request %s failed", request.scope["request_id"])
                return failed(request)

        async def predict(request: Request) -> Response:
            self._key.check(request)
            ticket = _ticket(request)
            model = choose(request, ticket.key) if choose else self.scorer.choose(ticket.key)
            if is_small(request):
                body = await read_body(request, self.settings.max_body_bytes)
                content, headers = self._content(read, model, ticket, body, request.headers)
            else:
                async with self._large.read(request) as body:
                    work = partial(self._content, read, model, ticket, body, request.headers)
                    content, headers = await asyncio.get_running_loop().run_in_executor(self._threads, work)
            told = {"x-model-version": str(model.manifest.version), "x-model-role": model.role}
            return Response(content, headers={**headers, **told})

        return answer

    def close(self) -> None:
        """Finish what is under way behind the requests."""
        self._threads.shutdown()
        self.scorer.close(self.settings.shutdown_seconds)

    def _content(self, read: Read, model: Model, ticket: Ticket, body: bytes, headers: Mapping[str, str]) -> Body:
        matrix, write, identifier = read(
            decompress(body, content_encoding(headers), self.settings.max_body_bytes), headers
        )
        if identifier is not None:
            ticket = replace(ticket, request_id=identifier)
        content, told = write(model, self.scorer.score(model, matrix, ticket), ticket.request_id)
        content, compressed = compress(content, headers.get("accept-encoding", ""))
        return content, {**told, **compressed}


def _ticket(request: Request) -> Ticket:
    request_id = request.scope["request_id"]
    return Ticket(request_id, request.headers.get("x-request-key") or request_id, request.scope["started"])
