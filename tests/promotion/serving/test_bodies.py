"""Bodies that would cost more than they are worth: too many values, too slow, too many at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import classes, eventually, predict

from promotion.serving.errors import Refusal
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.rows import Matrix, RowReader

SIZE = 45_000
MANY = {
    "empty rows": ("/predict", b'{"rows":[', b"{},", b"{}]}"),
    "empty lists": ("/predict", b'{"rows":[', b"[],", b"[]]}"),
    "nested lists": ("/predict", b'{"rows":', b"[", b""),
    "spaced rows": ("/predict", b'{ "rows" : [', b"{\n},", b"{}]}"),
    "records": ("/invocations", b'{"dataframe_records":[', b"{},", b"{}]}"),
    "split": ("/invocations", b'{"dataframe_split":{"columns":["age"],"data":[', b"[1],", b"[1]]}}"),
    "inputs": ("/invocations", b'{"inputs":{"age":[', b"1,", b"1]}}"),
    "lines": ("/invocations", b"age\n", b"1\n", b""),
    "empty lines": ("/invocations", b"age\n", b"\r", b""),
    "cells": ("/invocations", b'a"', b",", b""),
    "tensors": ("/v2/models/heart-disease/infer", b'{"inputs":[', b"{},", b"{}]}"),
    "values": ("/v2/models/heart-disease/infer", b'{"inputs":[{"data":[', b"1,", b"1]}]}"),
}


@pytest.mark.parametrize("name", MANY)
def test_values_are_counted_before_they_are_made(name: str, server: Served) -> None:
    """413 in every protocol, whatever the millions are."""
    path, start, item, end = MANY[name]
    kind = "application/json" if start.startswith(b"{") else "text/csv"
    answer = server.post(path, start + item * (SIZE // len(item)) + end, **{"Content-Type": kind})

    assert (413, True) == (answer.status_code, "more values than 100 rows" in answer.json()["error"])


def test_the_limit_may_be_small(serve: Serve, linear: Fitted) -> None:
    """Smaller than what is answered at once."""
    rows = exporting.records(linear.rows)
    server = serve(linear.folder, MAX_BODY_BYTES="500")

    assert [200, 413] == [predict(server, rows[:count]).status_code for count in (1, 5)]


def test_separators_in_texts_are_no_values(linear: Fitted) -> None:
    """However many: only what stands between values counts, and an open text is read once."""
    reader = RowReader(_schema(linear), 10)
    for text in (
        b'{"a": "' + b",[{" * 20_000 + b'"}',
        b'{"a": "' + b'\\",' * 20_000 + b'"}',
        b'"' + b'\\"' * 1_000_000,
    ):
        reader.check_values(text)
    for text in (b'{"a": "", "b": [' + b"0," * 20_000, b'"' * 200_001 + b"," * 20_000 + b'"' + b"," * 20_000):
        with pytest.raises(Refusal):
            reader.check_values(text)


def _schema(linear: Fitted) -> Any:
    from promotion.serving.exported.folder import read_export

    return read_export(linear.folder).data_schema


def test_indented_batches_of_all_rows_are_taken(server: Served, linear: Fitted) -> None:
    """As many rows as are permitted, with all the white space that `indent` makes."""
    rows = exporting.records(linear.rows.dropna().head(50)) * 2
    for content in ({"rows": rows}, {"rows": [dict(reversed(row.items())) for row in rows]}):
        body = json.dumps(content, indent=1)
        assert 200 == server.post("/predict", body, **{"Content-Type": "application/json"}).status_code
    split = {"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}}
    assert 100 == len(classes(server.post("/invocations", json.dumps(split, indent=1))))


@contextmanager
def senders(server: Served, count: int, sent: int, declared: int = SIZE) -> Iterator[list[socket.socket]]:
    """Clients that send so much of a body, and then nothing."""
    with ExitStack() as stack:
        connections = []
        for _ in range(count):
            place = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            connections.append(stack.enter_context(socket.create_connection(place, timeout=5)))
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {declared}\r\n\r\n"
            connections[-1].sendall(head.encode() + b" " * sent)
        yield connections


def test_who_does_not_finish_blocks_nobody(server: Served, linear: Fitted) -> None:
    """Forty half-sent bodies, and a batch is answered at once."""
    rows = exporting.records(linear.rows) * 2
    with senders(server, 40, 1000):
        begun = time.monotonic()
        assert len(rows[:100]) == len(classes(predict(server, rows[:100])))

    assert time.monotonic() - begun < 3


def test_bodies_have_a_memory(serve: Serve, linear: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too much gets 503 and when to come again; what was held is given back."""
    monkeypatch.setattr("promotion.serving.bodies.HELD_BYTES", 0)
    server = serve(linear.folder, MAX_BODY_BYTES=str(SIZE))
    rows = exporting.records(linear.rows) * 2
    with senders(server, 2, SIZE - 10) as connections:
        assert eventually(lambda: 503 == predict(server, rows).status_code)
        answer = predict(server, rows)
        assert ("1", "close") == (answer.headers["Retry-After"], answer.headers["Connection"])
        assert 200 == predict(server, rows[:1]).status_code
        connections[0].close()
        assert eventually(lambda: 200 == predict(server, rows).status_code)


def test_a_body_that_stalls_is_ended(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has some seconds, and more for what has come; then 408."""
    monkeypatch.setattr("promotion.serving.bodies.START_SECONDS", 0.1)
    monkeypatch.setattr("promotion.serving.bodies.BYTES_A_SECOND", 100_000)
    begun = time.monotonic()
    with senders(server, 1, 20_000) as (connection,):
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408")
    assert 0.25 < time.monotonic() - begun < 3


class Gated:
    """An engine that answers when it is let."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def predict(self, matrix: Matrix) -> Prediction:
        """Wait, and answer."""
        self.gate.wait(5)
        rows = matrix.shape[1]
        return Prediction(np.zeros(rows, np.int64), np.full((rows, 2), 0.5, np.float32))


@pytest.mark.parametrize("limit", ["WAITING", "WAITING_SECONDS"])
def test_batches_wait_for_a_bounded_time_in_a_bounded_queue(
    limit: str, serve: Serve, linear: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others are worked on; those are answered."""
    engine = Gated()
    server = serve(linear.folder, engine)
    monkeypatch.setattr(f"promotion.serving.bodies.{limit}", 0)
    rows = exporting.records(linear.rows) * 2
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(predict(server, rows).status_code)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: [503, 503, 503] == answers), answers
    assert 200 == server.get("/health").status_code
    engine.gate.set()
    for thread in threads:
        thread.join()

    assert [503, 503, 503, 200] == answers


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("", 200),
        ("}", 400),
        (', {"age": {"years": 63}}', 422),
        ('], "more": {"rows": [{}', 400),
        ('], "more": [{}, {}', 422),
        (', {"age": "},"}', 422),
    ],
)
def test_a_large_batch_is_read_in_parts_and_means_the_same(end: str, status: int, serve: Serve, linear: Fitted) -> None:
    """Wherever it is cut: what is no row or no JSON as a whole is refused as a whole."""
    rows = exporting.records(linear.rows.dropna().head(50)) * 20
    texts = [json.dumps(row) for row in rows]
    texts[700] += end
    server = serve(linear.folder, MAX_BATCH="2000")

    answer = server.post("/predict", f'{{"rows": [{", ".join(texts)}]}}', **{"Content-Type": "application/json"})

    assert status == answer.status_code, answer.text
    if status == 200:
        assert linear.pipeline.predict(linear.rows.dropna().head(50)).tolist() * 20 == classes(answer)
