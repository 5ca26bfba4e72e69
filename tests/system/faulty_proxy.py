"""A server in front of another one that passes requests on, and does to chosen ones what networks and disks do."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests


@dataclass
class Proxy:
    """What it does.

    Attributes:
        url: Where it answers.
        token: What each request has to bring as a bearer's token.
        fault: `hang`, `cut`, `damage`, or a status; empty to pass everything on.
        where: Which requests the fault is for: a pattern of `METHOD path`.
        hit: Set when a request met the fault.
        seen: `METHOD path` of each request.
    """

    token: str
    url: str = ""
    fault: str = ""
    where: str = ""
    hit: threading.Event = field(default_factory=threading.Event)
    seen: list[str] = field(default_factory=list)

    def meet(self, fault: str, where: str) -> None:
        """Do something to requests from now on."""
        self.hit.clear()
        self.fault, self.where = fault, where


class _Handler(BaseHTTPRequestHandler):
    """One request: let through, or met with the fault."""

    proxy: Proxy
    behind: str
    over: threading.Event

    def pass_on(self) -> None:
        """Answer with what the server behind answers, unless something happens to this request."""
        body = self._body()
        line = f"{self.command} {self.path}"
        self.proxy.seen.append(line)
        if self.headers.get("Authorization") != f"Bearer {self.proxy.token}":
            self._answer(401, b"{}")
        elif self.proxy.fault and re.search(self.proxy.where, line):
            self._fail(body)
        else:
            self._ask(body)

    def _fail(self, body: bytes) -> None:
        fault = self.proxy.fault
        self.proxy.hit.set()
        if fault in {"hang", "cut"}:
            if fault == "hang":
                self.over.wait(60)
            self.close_connection = True
            self.connection.close()
        elif fault == "damage":
            self.proxy.fault = ""
            self._ask(bytes([body[0] ^ 1]) + body[1:])
        else:
            self._answer(int(fault), b'{"error_code": "PERMISSION_DENIED", "message": "no"}')

    def _ask(self, body: bytes) -> None:
        kept = {name: text for name, text in self.headers.items() if name.lower() in {"content-type", "accept"}}
        answer = requests.request(self.command, self.behind + self.path, data=body, headers=kept, timeout=60)
        self._answer(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def in_front_of(url: str, token: str) -> Iterator[Proxy]:
    """A proxy on a free port, as long as the block lasts."""
    proxy, over = Proxy(token), threading.Event()
    verbs = {f"do_{verb}": _Handler.pass_on for verb in ("GET", "POST", "PUT", "PATCH", "DELETE")}
    handler = type("Handler", (_Handler,), {"proxy": proxy, "behind": url, "over": over, **verbs})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        over.set()
        server.shutdown()
        server.server_close()
