"""How bodies come in: not too long, not too slowly, and together within the memory that is meant for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.requests import Request

from promotion.serving.errors import Refusal
from promotion.serving.protocols.binary import DIGITS
from promotion.serving.protocols.compression import check_encoding

BODY_SECONDS = 60
START_SECONDS = 5
BYTES_A_SECOND = 64 * 1024
"""What a body must bring after its first seconds, on average; slower ones are ended, the largest after BODY_SECONDS."""

HELD_BYTES = 48 * 1024 * 1024
"""Most bytes of large bodies in memory, or two of the largest a request may have."""

INLINE_BYTES = 16 * 1024
"""Up to this size a request is answered at once; a larger one in a thread, so that others need not wait for it."""

THREADS = 1
"""So many large bodies are worked on at a time: each takes several times its size, and a pod has one core."""

WAITING = 16
WAITING_SECONDS = 10


class LargeBodies:
    """Reads large bodies, and lets few of them be worked on at a time; one that is still coming holds no such place.

    Args:
        limit: Most bytes of one body.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._most = max(HELD_BYTES, 2 * limit)
        self._held = 0
        self._waiting = 0
        self._places = asyncio.Semaphore(THREADS)

    @asynccontextmanager
    async def read(self, request: Request, encoding: str) -> AsyncIterator[bytes]:
        """The body, for as long as it is worked on; it waits for its turn.

        Args:
            request: What it belongs to.
            encoding: How it is compressed; empty if it is not.

        Raises:
            Refusal: As from `read_body`, 415 its compression, or 503 when too much is held or waits already.
        """
        check_encoding(encoding)
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._held + size > self._most:
                raise _busy("too many large bodies are being sent")
            held += size
            self._held += size

        try:
            body = await read_body(request, self._limit, hold)
            await self._take_place()
            try:
                yield body
            finally:
                self._places.release()
        finally:
            self._held -= held

    async def _take_place(self) -> None:
        if self._places.locked() and self._waiting >= WAITING:
            raise _busy("too many batches wait")
        self._waiting += 1
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise _busy(f"the batches before this one took more than {WAITING_SECONDS} s") from None
        finally:
            self._waiting -= 1


def is_small(headers: Mapping[str, str], encoding: str, limit: int) -> bool:
    """Whether a request can be read and answered at once; what a compressed body becomes is not known before."""
    return not encoding and 0 < (declared_length(headers) or 0) <= min(INLINE_BYTES, limit)


async def read_small(request: Request) -> bytes:
    """The whole body of a request that says it is small.

    Raises:
        Refusal: 408 it does not arrive.
    """
    seconds = min(START_SECONDS, BODY_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        raise _slow() from None


async def read_body(request: Request, limit: int, hold: Callable[[int], None]) -> bytes:
    """The whole body, as long as it is neither too long nor too slow.

    Args:
        request: What it belongs to.
        limit: Most bytes.
        hold: Told how many bytes have come each time; what it raises ends the request.

    Raises:
        Refusal: 408 it does not arrive, 413 its declared or real length exceeds the limit.
    """
    too_large = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes")
    if (declared_length(request.headers) or 0) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    begun = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(begun + min(START_SECONDS, BODY_SECONDS)) as time:
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large
                hold(len(part))
                parts.append(part)
                time.reschedule(begun + min(START_SECONDS + size / BYTES_A_SECOND, BODY_SECONDS))
    except TimeoutError:
        raise _slow() from None
    return b"".join(parts)


def content_encoding(headers: Mapping[str, str]) -> str:
    """How the body is compressed; empty if it is not."""
    return headers.get("content-encoding", "").strip().lower()


def declared_length(headers: Mapping[str, str]) -> int | None:
    """Bytes the client says it will send; None if it does not say."""
    declared = headers.get("content-length", "")
    return int(declared) if len(declared) <= DIGITS and declared.isdecimal() else None


def _slow() -> Refusal:
    expected = f"{START_SECONDS} s, and one for each {BYTES_A_SECOND} bytes, at most {BODY_SECONDS} s"
    return Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body came too slowly; it may take {expected}")


def _busy(why: str) -> Refusal:
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"busy: {why}; try again")
