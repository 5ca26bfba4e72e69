"""HTTP as clients, proxies and attackers send it, byte by byte."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from contextlib import suppress

import pytest
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import Row, eventually

PATHS = [
    "/health",
    "/ready",
    "/ping",
    "/version",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/heart-disease",
]


def connected(server: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=5)


def answers(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def said(server: Served, sent: bytes) -> bytes:
    with connected(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        return answers(connection)


def a_request(row: Row, *headers: str, path: str = "/predict") -> bytes:
    body = json.dumps(row)
    head = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
CLOSE = "Connection: close"


@pytest.mark.parametrize("parts", [1, 2, 40])
@pytest.mark.parametrize("headers", [UPGRADE, ("Connection: upgrade", "Upgrade: websocket"), ()])
def test_an_offered_upgrade_leaves_the_body(parts: int, headers: tuple[str, ...], server: Served, row: Row) -> None:
    """Java's client and curl offer HTTP/2 with their first request; it is answered, and so is the next one."""
    sent = a_request(row, *headers)
    with connected(server) as connection:
        for place in range(parts):
            connection.sendall(sent[place * len(sent) // parts : (place + 1) * len(sent) // parts])
            time.sleep(0.002 * (parts > 1))
        first = connection.recv(65536)
        connection.sendall(a_request(row, CLOSE))
        second = answers(connection)

    assert first.startswith(b"HTTP/1.1 200"), first
    assert second.startswith(b"HTTP/1.1 200"), second


@pytest.mark.needs("curl")
def test_curl_may_offer_http_2(server: Served, row: Row) -> None:
    """With a body, as `curl --http2 -d` sends it."""
    command = ["curl", "-sS", "--http2", "-H", "Content-Type: application/json", "-d", json.dumps(row)]
    done = subprocess.run([*command, f"{server.url}/predict"], capture_output=True, text=True, check=True)

    assert 1 == len(json.loads(done.stdout)["predictions"])


def test_one_upgrade_after_the_other_is_refused(server: Served, row: Row) -> None:
    """Nobody sends that; reading the rest again and again would cost its square."""
    assert b"HTTP/1.1 400" in said(server, a_request(row, *UPGRADE) * 50)
    assert said(server, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_where_get_is(path: str, server: Served) -> None:
    """With the same headers and no content."""
    get, head = server.get(path), server.session.head(server.url + path, timeout=5)

    assert (200, b"") == (head.status_code, head.content)
    assert get.headers["Content-Length"] == head.headers["Content-Length"]
    assert 'method="HEAD"' in server.get("/metrics").text


@pytest.mark.parametrize("path", ["/predict/", "/invocations/", "/v2/models/heart-disease/infer/"])
def test_a_slash_behind_the_path_is_no_other_path(path: str, server: Served, row: Row) -> None:
    """Answered at once: a redirect would lead wherever the Host header says."""
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    body = {"/predict/": row, "/invocations/": {"instances": [row]}}.get(path, {"inputs": tensors})
    answer = server.session.post(server.url + path, json=body, allow_redirects=False, timeout=5)

    assert 200 == answer.status_code
    assert [200, 404] == [server.get(where, Host="evil.example").status_code for where in ("/ready/", "/nothing/")]


def test_the_root_says_what_this_is(server: Served) -> None:
    """Whoever opens the address finds the documents, and what is predicted."""
    found = server.get("/").json()
    assert ("heart-disease", 3, "/docs") == tuple(found[key] for key in ("family", "version", "documents"))
    assert ("num", ["not num > 0", "num > 0"]) == (found["target"], found["classes"])


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X: " + b"x" * 40_000 + b"\r\n\r\n",
        GET + b"X: " + b"x" * 400_000,
        GET + b"x" * 400_000,
        GET + b"a: b\r\n" * 101 + b"\r\n",
        GET + b"a: b\r\n" * 50_000,
        b"GET /" + b"x" * 40_000,
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\n" + b"a: b\r\n" * 200,
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 400_000,
    ],
    ids=["a header", "an open header", "a name", "many", "many open", "path", "trailers", "chunk extension"],
)
def test_heads_have_a_size(head: bytes, server: Served) -> None:
    """431 and the end of the connection, whether or not the head ever ends."""
    assert b"HTTP/1.1 431" in said(server, head)


def test_many_small_chunks_are_a_body(server: Served, row: Row) -> None:
    """As clients send a file line by line."""
    parts = [f" {json.dumps(row)}"[place : place + 4].encode() for place in range(0, len(json.dumps(row)) + 1, 4)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [b" " * 8] * 3000 + parts)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert said(server, head + body + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\nHost"])
def test_heads_have_a_time(begun: bytes, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not finish one is answered 408 and closed; on a connection that served before as well."""
    monkeypatch.setattr("promotion.serving.connection.HEAD_SECONDS", 0.05)

    assert said(server, begun).startswith(b"HTTP/1.1 408")
    if begun:
        assert said(server, GET + b"\r\n" + begun).count(b"HTTP/1.1 408") == 1


def test_a_served_connection_may_wait(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between requests the time of a head does not run."""
    monkeypatch.setattr("promotion.serving.connection.HEAD_SECONDS", 0.05)
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(GET + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.1)


def test_connections_have_a_number(serve: Serve, linear: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle ones and unfinished requests make room, the oldest first, so that a probe always gets through."""
    monkeypatch.setattr("promotion.serving.connection.MAX_CONNECTIONS", 5)
    server = serve(linear.folder)
    for begun in (b"", b"GET /", b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"):
        held = [connected(server) for _ in range(8)]
        for connection in held:
            with suppress(ConnectionError):
                connection.sendall(begun)
        for _ in range(20):
            assert said(server, GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
        for connection in held:
            connection.close()


def test_what_is_not_http_is_told_so(server: Served) -> None:
    """In the form of all errors."""
    answer = said(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")

    assert answer.startswith(b"HTTP/1.1 400")
    assert "not HTTP" == json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert eventually(lambda: 200 == server.get("/health").status_code)
