"""A proxy in front of a real MLflow server that can be told to fail: refuse, delay, drop, or answer an error itself."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
UPSTREAM_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request.

    Attributes:
        status: Answered by the proxy itself; the server never sees the request.
        seconds: Waited before the request goes on to the server.
        drop: Whether the connection is closed without an answer.
    """

    status: int | None = None
    seconds: float = 0.0
    drop: bool = False


WELL = Fault()
Rule = Callable[[str, str], Fault]


def always(fault: Fault) -> Rule:
    """Every request meets this fault."""
    return lambda _method, _path: fault


def on_writes(fault: Fault, containing: str = "") -> Rule:
    """Requests that change something, and have `containing` in their path, meet this fault."""
    return lambda method, path: fault if method != "GET" and containing in path else WELL


def from_first_write(fault: Fault) -> Rule:
    """From the first request that changes something on, every request meets this fault."""
    seen = threading.Event()

    def rule(method: str, _path: str) -> Fault:
        if method != "GET":
            seen.set()
        return fault if seen.is_set() else WELL

    return rule


class FaultyProxy:
    """The proxy; set `rule` at any time. Use it as a context manager.

    Args:
        upstream: The real server's address, `http://host:port`.
    """

    def __init__(self, upstream: str) -> None:
        self._server = _Server(urlsplit(upstream).netloc)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def rule(self) -> Rule:
        """What happens to a request, by method and path."""
        return self._server.rule

    @rule.setter
    def rule(self, rule: Rule) -> None:
        self._server.rule = rule

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.rule = always(WELL)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.rule(self.command, self.path)
        time.sleep(fault.seconds)
        if fault.drop:
            self.close_connection = True
        elif fault.status:
            self.answer(fault.status, {"Content-Type": "text/plain"}, b"the proxy says no")
        else:
            self.pass_on(body)

    def pass_on(self, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=UPSTREAM_SECONDS)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP | {"host"}}
        try:
            connection.request(self.command, self.path, body, {**headers, "Accept-Encoding": "identity"})
            response = connection.getresponse()
            kept = {key: value for key, value in response.getheaders() if key.lower() not in HOP_BY_HOP}
            self.answer(response.status, kept, response.read())
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        try:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True  # a client that lost its patience is part of the experiment

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = relay  # noqa: N815  # http.server's own names

    def log_message(self, *_arguments: object) -> None:
        pass
