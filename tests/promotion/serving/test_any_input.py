"""Whatever a client sends, headers included: an answer, and never that the server failed."""

from __future__ import annotations

import json
import random
import struct
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.serving.conftest import Serve, Served
from tests.promotion.serving.mixed import export_of_every_kind, rows_of_every_kind
from tests.promotion.serving.requests_by_protocol import Row

from promotion.export.folder import ServingEngine

INFER = "/v2/models/heart-disease/infer"
PROTOCOLS = ["typed", "mlflow", "csv", "inference", "binary"]
KINDS: dict[type, tuple[str, str]] = {bool: ("BOOL", "<?"), int: ("INT64", "<q"), str: ("BYTES", "")}
"""Datatypes of what is no fraction, and how its values are packed."""

REQUESTS = 250
"""Of each protocol: half a second on a quiet core."""

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**30, "", "63", "x", "NaN", "\u0000", "\U0001f600", "a" * 300),
    *("\ud800", "2024-02-30", "2024-02-29", "0000-01-01", "10000-01-01", "true", "yes"),
    *([], {}, [[]], [{}], [1], ["x"], [None], {"a": 1}, {"": []}, [[1], 2], [[[1]]]),
]
HEADERS: dict[str, list[str]] = {
    "Content-Type": ["application/json", "text/csv", "application/json; charset=latin-1", "text/csv; x", ";", "a/b"],
    "Inference-Header-Content-Length": ["0", "1", "9" * 5000, "-1", "x", "1e3", "100000"],
    "Content-Encoding": ["identity", "gzip", "deflate", "br", "gzip, gzip", ""],
    "Accept-Encoding": ["gzip", "deflate", "gzip;q=0", "*", ";q=x", "gzip;q=2"],
    "Accept": ["text/plain", "application/json", "*/*", ";;", ""],
    "X-Request-Id": ["", "x" * 5000, "a b"],
    "X-Request-Key": ["", "ü", "x" * 5000],
    "Authorization": ["Bearer", "Bearer x", "Basic", ""],
}


def changed(value: Any, chance: random.Random) -> Any:
    """The value with one place in it replaced, left out, doubled or named otherwise."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name, act = chance.choice(list(value)), chance.random()
        if act < 0.7:
            return {**value, name: changed(value[name], chance)}
        if act < 0.85:
            return {key: item for key, item in value.items() if key != name}
        return {**value, chance.choice(["", "x", "parameters", "shape", "rows", "params"]): chance.choice(ODD)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place, act = chance.randrange(len(value)), chance.random()
        if act < 0.7:
            return [*value[:place], changed(value[place], chance), *value[place + 1 :]]
        return value[:place] + value[place + 1 :] if act < 0.85 else [*value, value[place]]
    return chance.choice(ODD)


def bodies(row: Row, model: str) -> dict[str, tuple[str, list[Any]]]:
    """What each protocol takes, by name, with the path it goes to."""
    columns = {name: [value] for name, value in row.items()}
    kinds = {name: KINDS.get(type(value), ("FP64", "<d")) for name, value in row.items()}
    tensors = [{"name": name, "shape": [1], "datatype": kinds[name][0], "data": [value]} for name, value in row.items()]
    behind = [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": kinds[name][0],
            "parameters": {"binary_data_size": len(packed(value))},
        }
        for name, value in row.items()
    ]
    matrix = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": list(row.values())}
    asked = {"id": "1", "parameters": {"binary_data_output": True}, "outputs": [{"name": "label", "parameters": {}}]}
    split = {"columns": list(row), "index": [0], "data": [list(row.values())]}
    infer = f"/v2/models/{model}/infer"
    return {
        "typed": ("/predict", [row, {"rows": [row, row]}]),
        "mlflow": (
            "/invocations",
            [
                {"dataframe_split": split},
                {"dataframe_records": [row], "params": {}},
                {"instances": [row]},
                {"instances": [list(row.values())]},
                {"inputs": columns},
                {"inputs": row},
            ],
        ),
        "csv": ("/invocations", [[list(row), list(row.values())]]),
        "inference": (infer, [{"inputs": tensors}, {**asked, "inputs": tensors}, {"inputs": [matrix]}]),
        "binary": (infer, [{**asked, "inputs": behind}]),
    }


def packed(value: Any) -> bytes:
    """A value as it follows the JSON."""
    if isinstance(value, str):
        return struct.pack("<I", len(value.encode())) + value.encode()
    return struct.pack(KINDS.get(type(value), ("FP64", "<d"))[1], value)


def written(protocol: str, content: Any, row: Row, chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """The body and the headers by which it is sent."""
    if protocol == "csv":
        lines = content if isinstance(content, list) else [content]
        texts = (",".join(map(str, line)) if isinstance(line, list) else str(line) for line in lines)
        return "\n".join(texts).encode("utf-8", "surrogatepass"), {"Content-Type": "text/csv"}
    body = json.dumps(content, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    headers = {"Content-Type": "application/json"}
    if protocol == "binary":
        headers["Inference-Header-Content-Length"] = str(len(body))
        body += b"".join(map(packed, row.values()))
        if chance.random() < 0.5:
            body = body[: -4 * chance.randint(1, 3)] + chance.randbytes(4 * chance.randint(1, 3))
    return body, headers


def answers(protocol: str, server: Served, row: Row, model: str) -> set[int]:
    """The statuses of good requests with some places changed, in JSON, in bytes, in headers; a fixed seed."""
    chance = random.Random(f"{protocol} 7")  # noqa: S311 - nothing secret
    path, good = bodies(row, model)[protocol]
    statuses = set()
    for _ in range(REQUESTS):
        content = chance.choice(good)
        for _ in range(chance.randint(0, 3)):
            content = changed(content, chance)
        body, headers = written(protocol, content, row, chance)
        if chance.random() < 0.3:
            name = chance.choice(list(HEADERS))
            headers[name] = chance.choice(HEADERS[name])
        if chance.random() < 0.2 and body:
            place = chance.randrange(len(body))
            body = body[:place] + chance.randbytes(chance.randint(0, 3)) + body[place + 1 :]
        sent = {name: value.encode() for name, value in headers.items()}
        answer = server.session.post(server.url + path, body, headers=sent, timeout=10)
        assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (headers, body)
        statuses.add(answer.status_code)
    return statuses


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.system
def test_no_body_and_no_header_is_answered_with_a_failure(protocol: str, server: Served, row: Row) -> None:
    """Whatever it is, in every protocol."""
    assert {200, 400} <= answers(protocol, server, row, "heart-disease")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exports with columns of every kind, by engine."""
    home = tmp_path_factory.mktemp("mixed")
    engines: list[ServingEngine] = ["onnx", "catboost"]
    return {engine: export_of_every_kind(home / engine, engine) for engine in engines}


@pytest.mark.system
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("engine", ["onnx", "catboost"])
def test_nor_where_columns_are_of_every_kind(
    engine: ServingEngine, protocol: str, serve: Serve, folders: dict[str, Path]
) -> None:
    """Texts, booleans, dates and codes, by every engine that takes them."""
    row = next(row for row in rows_of_every_kind(engine, 9) if None not in row.values())
    statuses = answers(protocol, serve(folders[engine]), row, "churn")

    assert {200, 400, 422} <= statuses


@pytest.mark.parametrize("datatype", [[], {}, None, 3, "", "STRING"])
def test_a_datatype_that_is_none_is_refused(datatype: object, server: Served) -> None:
    """Whatever JSON it is."""
    tensor = {"name": "age", "shape": [1], "datatype": datatype, "data": [1]}

    assert 400 == server.post(INFER, {"inputs": [tensor]}).status_code


def test_a_length_of_thousands_of_digits_is_refused(server: Served) -> None:
    """It is no length, in whatever header."""
    answer = server.post(INFER, b"{}", **{"Inference-Header-Content-Length": "1" * 5000})

    assert (400, True) == (answer.status_code, "not a length" in answer.json()["error"])
