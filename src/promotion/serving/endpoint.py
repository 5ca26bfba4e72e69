"""One request for predictions, from its head to the bytes of its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from promotion.serving.bodies import THREADS, LargeBodies, content_encoding, is_small, read_small
from promotion.serving.challenger import ChallengerFailed
from promotion.serving.errors import Refusal
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import RowReader
from promotion.serving.middleware import KeyCheck, failed, refused
from promotion.serving.protocols import AcceptedRequest, Body, Read
from promotion.serving.protocols.compression import SMALLEST, compress, decompress
from promotion.serving.scoring import Choice, Scorer, Ticket
from promotion.serving.settings import ServerSettings

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that did not wait; HTTP has none, and it is no failure of ours."""

FALLBACK = "x-model-fallback"
"""Says why the champion answered a key of the challenger's."""

LOGGER = logging.getLogger(__name__)
Call = Callable[[Callable[[], Any]], Awaitable[Any]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Question(NamedTuple):
    """A request for predictions, but for its body."""

    read: Read
    ticket: Ticket
    headers: Mapping[str, str]
    encoding: str
    choice: Choice


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
        self._end: float | None = None
        self._key = KeyCheck(settings.api_key)
        self._threads = ThreadPoolExecutor(THREADS, "batch")
        self._large = LargeBodies(settings.max_body_bytes)

    def endpoint(self, read: Read, choose: Callable[[Request, str], Choice] | None = None) -> Endpoint:
        """The endpoint of a protocol.

        Args:
            read: How it reads a body.
            choose: The version that answers a request with this key; the split decides if nothing is given.
        """

        async def answer(request: Request) -> Response:
            try:
                return await self._predict(request, read, choose)
            except Refusal as refusal:
                self.scorer.metrics.reject({(problem.row, problem.reason) for problem in refusal.problems})
                return refused(request, refusal)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            except Exception:
                LOGGER.exception("request %s failed", request.scope["request_id"])
                return failed(request)

        return answer

    def stop(self) -> None:
        """Welcome no more requests; from now on the time for everything that is under way runs."""
        self.ready = False
        if self._end is None:
            self._end = time.monotonic() + self.settings.shutdown_seconds

    def close(self) -> None:
        """Finish what is under way behind the requests, in what is left of the time."""
        self.stop()
        # Nobody waits for the answers of what is still computed.
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.scorer.close(max(0.0, (self._end or 0) - time.monotonic()))

    async def _predict(self, request: Request, read: Read, choose: Callable[[Request, str], Choice] | None) -> Response:
        self._key.check(request)
        # Each is looked up several times: where Starlette keeps them, every look goes through all of them.
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(request.scope["headers"])
        }
        request_id = request.scope["request_id"]
        ticket = Ticket(request_id, headers.get("x-request-key") or request_id, request.scope["started"])
        choice = choose(request, ticket.key) if choose else self.scorer.choose(ticket.key)
        question = Question(read, ticket, headers, content_encoding(headers), choice)
        split = self.scorer.split
        is_challenged = split is not None and choice.model is split.model
        if is_small(headers, question.encoding, self.settings.max_body_bytes):
            body = await read_small(request)
            if not is_challenged:
                return _response(choice.model, self._content(question, body))
            return await self._challenged(question, body, _at_once)
        async with self._large.read(request, question.encoding) as body:
            call: Call = partial(asyncio.get_running_loop().run_in_executor, self._threads)
            if not is_challenged:
                return _response(choice.model, await call(partial(self._content, question, body)))
            return await self._challenged(question, body, call)

    async def _challenged(self, question: Question, body: bytes, call: Call) -> Response:
        """Read, let the challenger score in its own time, and write; the champion scores when it does not."""
        model, split = question.choice.model, self.scorer.split
        assert split is not None  # noqa: S101 - who chose the challenger knows it
        asked, ticket = await call(partial(self._read, question, body))
        try:
            prediction = await split.predict(asked.matrix)
        except ChallengerFailed as failed:
            self.scorer.metrics.fail(model, failed.reason)
            champion = question.choice.instead
            if champion is None:
                raise Refusal(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"this version does not answer: {failed.reason}"
                ) from None
            score = partial(self.scorer.score, champion, asked.matrix, ticket)
            answer = _response(
                champion, await call(partial(_written, asked, champion, score, ticket, question.headers))
            )
            answer.headers[FALLBACK] = failed.reason
            return answer
        record = partial(self.scorer.record, model, asked.matrix, ticket, prediction)
        return _response(model, await call(partial(_written, asked, model, record, ticket, question.headers)))

    def _content(self, question: Question, body: bytes) -> Body:
        asked, ticket = self._read(question, body)
        model = question.choice.model
        score = partial(self.scorer.score, model, asked.matrix, ticket)
        return _written(asked, model, score, ticket, question.headers)

    def _read(self, question: Question, body: bytes) -> tuple[AcceptedRequest, Ticket]:
        ticket = question.ticket
        body = decompress(body, question.encoding, self.settings.max_body_bytes)
        asked = question.read(body, question.headers)
        return asked, ticket if asked.identifier is None else replace(ticket, request_id=asked.identifier)


def _written(
    asked: AcceptedRequest, model: Model, score: Callable[[], Prediction], ticket: Ticket, headers: Mapping[str, str]
) -> Body:
    content, told = asked.write(model, score(), ticket.request_id)
    if len(content) < SMALLEST:
        return content, told
    content, compressed = compress(content, headers.get("accept-encoding", ""))
    return content, {**told, **compressed}


def _response(model: Model, body: Body) -> Response:
    content, headers = body
    told = {"x-model-version": str(model.manifest.version), "x-model-role": model.role}
    return Response(content, headers={**headers, **told})


async def _at_once(work: Callable[[], Any]) -> Any:
    return work()
