"""The same rows in every way a client may say them, and what the answer says of each row."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import requests
from tests.promotion.serving.conftest import Served

Row = dict[str, Any]


def _columns(rows: list[Row]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in rows[0]}


def predict(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/predict", {"rows": rows})


def predict_one(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/predict", rows[0])


def records(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/invocations", {"dataframe_records": rows})


def split(server: Served, rows: list[Row]) -> requests.Response:
    data = [list(row.values()) for row in rows]
    return server.post("/invocations", {"dataframe_split": {"columns": list(rows[0]), "data": data}})


def instances(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/invocations", {"instances": rows})


def positions(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/invocations", {"instances": [list(row.values()) for row in rows]})


def inputs(server: Served, rows: list[Row]) -> requests.Response:
    return server.post("/invocations", {"inputs": _columns(rows)})


def tensors(server: Served, rows: list[Row]) -> requests.Response:
    """`inputs` with columns of shape (rows, 1)."""
    shaped = {name: [[value] for value in values] for name, values in _columns(rows).items()}
    return server.post("/invocations", {"inputs": shaped})


def comma_separated(server: Served, rows: list[Row]) -> requests.Response:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return server.post("/invocations", file.getvalue(), **{"Content-Type": "text/csv"})


def inference(server: Served, rows: list[Row]) -> requests.Response:
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": "FP32", "data": values}
        for name, values in _columns(rows).items()
    ]
    return server.post("/v2/models/heart-disease/infer", {"inputs": inputs})


def binary(server: Served, rows: list[Row]) -> requests.Response:
    """The binary tensor extension: 64-bit numbers behind the JSON, NaN where a value is missing."""
    packed = {name: np.array(values, dtype="<f8").tobytes() for name, values in _columns(rows).items()}
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "parameters": {"binary_data_size": len(values)}}
        for name, values in packed.items()
    ]
    head = json.dumps({"inputs": inputs}).encode()
    body = b"".join([head, *packed.values()])
    return server.post("/v2/models/heart-disease/infer", body, **{"Inference-Header-Content-Length": str(len(head))})


def matrix(server: Served, rows: list[Row]) -> requests.Response:
    """One tensor that holds all columns, as scikit-learn's servers take it."""
    order = [*server.answering.reader.schema.names, *rows[0]]
    data = [[row[name] for name in sorted(row, key=order.index)] for row in rows]
    tensor = {"name": "input-0", "shape": [len(rows), len(rows[0])], "datatype": "FP64", "data": data}
    return server.post("/v2/models/heart-disease/infer", {"inputs": [tensor]})


Send = Callable[[Served, list[Row]], requests.Response]
MANY: list[Send] = [
    predict,
    records,
    split,
    instances,
    positions,
    inputs,
    tensors,
    comma_separated,
    inference,
    matrix,
    binary,
]
MLFLOW: list[Send] = [records, split, instances, positions, inputs, tensors, comma_separated]
"""Those that are as lenient as MLflow is, and answer 400 where it does."""


def classes(response: requests.Response) -> list[int]:
    """Predicted classes, whatever the protocol."""
    content = response.json()
    if "outputs" in content:
        return list(content["outputs"][0]["data"])
    return [item["class"] if isinstance(item, dict) else item for item in content["predictions"]]


def eventually(check: Callable[[], bool]) -> bool:
    """Whether it comes true within five seconds."""
    deadline = time.monotonic() + 5
    while not (true := check()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return true
