"""Whatever a client sends, headers included: an answer, and never that the server failed."""

from __future__ import annotations

import json
import random
import struct
from http import HTTPStatus
from typing import Any

import pytest
from tests.promotion.serving.conftest import Served
from tests.promotion.serving.requests_by_protocol import Row

INFER = "/v2/models/heart-disease/infer"
REQUESTS = 250
"""Of each protocol: half a second on a quiet core."""

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, 2**63, 10**30, "", "63", "x", "NaN", "\u0000", "\U0001f600", "a" * 300),
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


def bodies(row: Row) -> dict[str, tuple[str, list[Any]]]:
    """What each protocol takes, by name, with the path it goes to."""
    columns = {name: [value] for name, value in row.items()}
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    behind = [
        {"name": name, "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}} for name in row
    ]
    matrix = {"name": "x", "shape": [1, len(row)], "datatype": "FP64", "data": list(row.values())}
    asked = {"id": "1", "parameters": {"binary_data_output": True}, "outputs": [{"name": "label", "parameters": {}}]}
    split = {"columns": list(row), "index": [0], "data": [list(row.values())]}
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
        "inference": (INFER, [{"inputs": tensors}, {**asked, "inputs": tensors}, {"inputs": [matrix]}]),
        "binary": (INFER, [{**asked, "inputs": behind}]),
    }


@pytest.mark.parametrize("protocol", ["typed", "mlflow", "inference", "binary"])
def test_no_body_and_no_header_is_answered_with_a_failure(protocol: str, server: Served, row: Row) -> None:
    """Good requests with one to three places changed, in JSON, in their bytes, and in their headers; a fixed seed."""
    chance = random.Random(f"{protocol} 7")  # noqa: S311 - nothing secret
    path, good = bodies(row)[protocol]
    statuses = set()
    for _ in range(REQUESTS):
        content = chance.choice(good)
        for _ in range(chance.randint(0, 3)):
            content = changed(content, chance)
        body = json.dumps(content, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
        headers = {"Content-Type": "application/json"}
        if protocol == "binary":
            headers["Inference-Header-Content-Length"] = str(len(body))
            body += struct.pack(f"<{len(row)}f", *row.values())
            if chance.random() < 0.5:
                body = body[: -4 * chance.randint(1, 3)] + chance.randbytes(4 * chance.randint(1, 3))
        if chance.random() < 0.3:
            name = chance.choice(list(HEADERS))
            headers[name] = chance.choice(HEADERS[name])
        if chance.random() < 0.2:
            place = chance.randrange(len(body))
            body = body[:place] + chance.randbytes(chance.randint(0, 3)) + body[place + 1 :]
        sent = {name: value.encode() for name, value in headers.items()}
        answer = server.session.post(server.url + path, body, headers=sent, timeout=10)
        assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, (headers, body)
        statuses.add(answer.status_code)

    assert {200, 400} <= statuses


@pytest.mark.parametrize("datatype", [[], {}, None, 3, "", "STRING"])
def test_a_datatype_that_is_none_is_refused(datatype: object, server: Served) -> None:
    """Whatever JSON it is."""
    tensor = {"name": "age", "shape": [1], "datatype": datatype, "data": [1]}

    assert 400 == server.post(INFER, {"inputs": [tensor]}).status_code


def test_a_length_of_thousands_of_digits_is_refused(server: Served) -> None:
    """It is no length, in whatever header."""
    answer = server.post(INFER, b"{}", **{"Inference-Header-Content-Length": "1" * 5000})

    assert (400, True) == (answer.status_code, "not a length" in answer.json()["error"])
