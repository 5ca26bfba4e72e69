"""What clients of the Open Inference Protocol send beyond a tensor a column, and how bodies are compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import Row, classes, inference, predict

INFER = "/v2/models/heart-disease/infer"


def a_matrix(linear: Fitted, **changes: Any) -> dict[str, Any]:
    rows = linear.rows.dropna()
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": "FP32", "data": rows.to_numpy().ravel().tolist()}
    return {"inputs": [tensor | changes]}


def test_one_tensor_holds_all_columns(server: Served, linear: Fitted) -> None:
    """Flat as JSON, or as bytes; in the order in which the model's description lists its columns."""
    rows = linear.rows.dropna()
    wanted = linear.pipeline.predict(rows).tolist()
    packed = rows.to_numpy("<f8").tobytes()
    tensor = {
        "name": "x",
        "shape": list(rows.shape),
        "datatype": "FP64",
        "parameters": {"binary_data_size": len(packed)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    behind = server.post(INFER, head + packed, **{"Inference-Header-Content-Length": str(len(head))})

    assert wanted == classes(server.post(INFER, a_matrix(linear))) == classes(behind)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": [2, 2], "data": [1, 2, 3, 4]}, r"expected [rows] or [rows, 1], or one tensor of [rows, 13]"),
        ({"shape": [1, 13], "data": [1]}, "1 values and another shape"),
        ({"shape": [13], "data": [1]}, "1 values and another shape"),
        ({"shape": "x"}, "has no shape"),
        ({"shape": [[1], 13]}, "has no shape"),
    ],
)
def test_a_tensor_of_another_shape_is_refused(changes: Any, said: str, server: Served, linear: Fitted) -> None:
    """With the shapes there are."""
    answer = server.post(INFER, a_matrix(linear, **changes))

    assert 400 == answer.status_code
    assert said in answer.json()["error"]


def test_more_values_than_rows_fit_are_not_read(server: Served) -> None:
    """Bytes are counted before numbers are made of them."""
    tensor = {"name": "x", "shape": [2000], "datatype": "INT8", "parameters": {"binary_data_size": 2000}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = server.post(INFER, head + bytes(2000), **{"Inference-Header-Content-Length": str(len(head))})

    assert (413, True) == (answer.status_code, "more than 1300 values" in answer.json()["error"])


def test_the_id_is_what_the_log_calls_the_request(serve: Serve, linear: Fitted, row: Row, tmp_path: Path) -> None:
    """Labels that come later are joined by it; without one it is the request's own identifier."""
    log = tmp_path / "log.jsonl"
    server = serve(linear.folder, PREDICTION_LOG=str(log))
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    for identifier in ("visit 17/ü", ""):
        answer = server.post(INFER, {"id": identifier, "inputs": tensors}, **{"X-Request-Id": "own"}).json()
        assert (identifier or "own") == answer["id"]
    server.answering.close()

    assert ["visit 17/ü", "own"] == [json.loads(line)["request_id"] for line in log.read_text().splitlines()]
    assert "128 characters" in server.post(INFER, {"id": "x" * 129, "inputs": tensors}).json()["error"]


def _bare(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", _bare), ("GZIP", gzip.compress)],
)
def test_compressed_bodies_are_read(
    encoding: str, pack: Callable[[bytes], bytes], server: Served, linear: Fitted
) -> None:
    """On every route; what they become counts against the limit, and no more than that is made of them."""
    row = exporting.records(linear.rows.dropna().head(1))[0]
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    for path, content in (("/predict", row), ("/invocations", {"instances": [row]}), (INFER, a_matrix(linear))):
        assert 200 == server.post(path, pack(json.dumps(content).encode()), **headers).status_code, path
        assert 413 == server.post(path, pack(b" " * 50_001), **headers).status_code
        for wrong in (b"{}", pack(b"{}")[:-1], pack(b"{}") + b"x"):
            assert 400 == server.post(path, wrong, **headers).status_code, wrong


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, GZIP;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("identity", None),
        ("", None),
    ],
)
def test_answers_are_compressed_for_who_asks(
    accepted: str, encoding: str | None, server: Served, linear: Fitted
) -> None:
    """By the header alone; a single row's answer is not worth it."""
    server.session.headers["Accept-Encoding"] = accepted
    try:
        rows = exporting.records(linear.rows)
        many, one = predict(server, rows), server.post("/predict", rows[0])
    finally:
        server.session.headers.pop("Accept-Encoding")

    assert (encoding, None) == (many.headers.get("Content-Encoding"), one.headers.get("Content-Encoding"))
    assert linear.pipeline.predict(linear.rows).tolist() == classes(many)


def test_a_matrix_is_the_columns_side_by_side(server: Served, linear: Fitted) -> None:
    """The same probabilities as from a tensor a column."""
    rows = linear.rows.dropna()
    matrix = server.post(INFER, a_matrix(linear)).json()["outputs"]

    assert inference(server, exporting.records(rows)).json()["outputs"] == matrix
