"""A client's connection: uvicorn's HTTP, with limits on all that is no body, and without the upgrades it offers."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_CONNECTIONS = 500
"""Beyond these the one that has been idle longest is closed, so that whoever comes now, a probe, is answered."""

HEAD_BYTES = 32 * 1024
HEADERS = 100
HEAD_SECONDS = 10
UPGRADES = frozenset({b"upgrade", b"connection", b"http2-settings"})


class Connection(HttpToolsProtocol):
    """Reads requests of one client; arguments as uvicorn passes them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.headers = []
        self._bytes_left = HEAD_BYTES
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_in_head = self._is_refused = False
        self._since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; if there are too many, instead of the one that does least."""
        if len(self.connections) >= MAX_CONNECTIONS and not self._make_room():
            self.transport = transport
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", "retry-after: 1\r\n")
            return
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._cancel_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits."""
        self._unset_keepalive_if_required()
        self._bytes_left -= len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.BAD_REQUEST, "one upgrade after the other is not understood")
        except httptools.HttpParserError:
            if not self._is_too_large():
                self._refuse(HTTPStatus.BAD_REQUEST, "not HTTP")
        if self._is_too_large():
            what = f"at most {HEADERS} headers and {HEAD_BYTES} bytes that are no body"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, what)
        elif self._is_in_head and self._head_timer is None:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._is_in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is there: it is answered, unless it is too large."""
        self._is_in_head = False
        self._cancel_timer()
        self._since = self.loop.time()
        self._is_refused = len(self.headers) > HEADERS
        if self._bytes_left < 0:
            # So much has come, but some of it may be body.
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            self._is_refused |= size > HEAD_BYTES
        if not self._is_refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body are none of ours; what a client may spend on each is as much again."""
        self._bytes_left += 2 * len(body)
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The next request has all the bytes again."""
        self._bytes_left = HEAD_BYTES
        if not self._is_refused:
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # uvicorn then leaves the request to whoever takes the upgrade: here it is read again without it.
        return True

    def _without_upgrade(self, rest: bytes) -> None:
        """Answer a request that offers HTTP/2 or a WebSocket as if it did not; its body is in the rest.

        Raises:
            HttpParserError: The rest is not HTTP, or offers an upgrade again.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.BAD_REQUEST, "this is no proxy")
            return
        version = self.parser.get_http_version().encode()
        kept = [b"%s: %s\r\n" % header for header in self.headers if header[0] not in UPGRADES]
        if any(name == b"connection" and b"close" in value.lower() for name, value in self.headers):
            kept.append(b"connection: close\r\n")
        head = b"%s %s HTTP/%s\r\n%s\r\n" % (method, self.url, version, b"".join(kept))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head + rest)

    def _is_too_large(self) -> bool:
        return self._is_refused or self._bytes_left < 0 or len(self.headers) > HEADERS

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _cancel_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request's head did not arrive within {HEAD_SECONDS} s")

    def _make_room(self) -> bool:
        """Close the connection that has waited longest: for a request, else for the rest of one."""
        others = [other for other in self.connections if isinstance(other, Connection)]
        idle = [other for other in others if other.cycle is None or other.cycle.response_complete]
        unfinished = idle or [other for other in others if other.cycle.more_body]
        if not unfinished:
            return False
        oldest = min(unfinished, key=lambda other: other._since)  # noqa: SLF001 - of the same class
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _refuse(self, status: HTTPStatus, message: str, headers: str = "") -> None:
        """Answer what never became a request, and close."""
        if self.transport.is_closing():
            return
        content = json.dumps({"error": message, "problems": [], "request_id": None})
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n{headers}"
        self.transport.write(f"{head}content-length: {len(content)}\r\nconnection: close\r\n\r\n{content}".encode())
        self.transport.close()
