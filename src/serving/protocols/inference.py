"""The Open Inference Protocol, version 2, over REST: one tensor a column, as KServe's and Triton's clients send it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any

from serving.engines import Prediction
from serving.errors import Refusal
from serving.model import Model
from serving.protocols import Write, read_object, require_json
from serving.rows import Matrix, RowReader

DATATYPES = frozenset(
    {*("FP16", "FP32", "FP64"), *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
)
REQUEST_KEYS = frozenset({"id", "parameters", "inputs", "outputs"})
TENSOR_KEYS = frozenset({"name", "shape", "datatype", "parameters", "data"})


class InferenceProtocol:
    """Reads tensors, answers with the tensors `label` and `probabilities`.

    Args:
        reader: Of the schema served.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader

    def read(self, body: bytes, media_type: str) -> tuple[Matrix, Write]:
        """Rows from one tensor of shape (rows,) or (rows, 1) for each column.

        Raises:
            Refusal: 400 not this protocol, 413, 415, or 422 a value that is not allowed.
        """
        require_json(media_type)
        content = read_object(body)
        inputs = content.get("inputs")
        if not isinstance(inputs, list) or not inputs or not content.keys() <= REQUEST_KEYS:
            raise _malformed("expected inputs, a list of tensors; also taken: id, parameters, outputs")
        wanted = _wanted(content.get("outputs"))
        identifier = content.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise _malformed("id is not a text")
        columns: dict[str, Sequence[object]] = {}
        for tensor in inputs:
            name, values = _column(tensor)
            if name in columns:
                raise _malformed(f"the tensor {name} is there twice")
            columns[name] = values
        matrix = self._reader.from_columns(columns)

        def write(model: Model, prediction: Prediction, request_id: str) -> bytes:
            tensors = _outputs(prediction)
            answer = {
                "model_name": model.manifest.model,
                "model_version": str(model.manifest.version),
                "id": identifier or request_id,
                "parameters": {"role": model.role},
                "outputs": [tensors[name] for name in wanted],
            }
            return json.dumps(answer, ensure_ascii=False).encode()

        return matrix, write


def model_metadata(models: Sequence[Model]) -> dict[str, Any]:
    """What the protocol tells of a model: its versions, its tensors, and beyond the protocol what columns allow."""
    first = models[0]
    platform = {"onnx": "onnxruntime_onnx", "native": "sklearn_skops"}[first.manifest.engine]
    whole, number = {"datatype": "INT64"}, {"datatype": "FP32"}
    return {
        "name": first.manifest.model,
        "versions": [str(model.manifest.version) for model in models],
        "platform": platform,
        "inputs": [
            {
                "name": feature.name,
                **(number if feature.type == "number" or feature.nullable else whole),
                "shape": [-1, 1],
                "parameters": {"allowed": feature.allowed},
            }
            for feature in first.schema.features
        ],
        "outputs": [
            {"name": "label", **whole, "shape": [-1]},
            {"name": "probabilities", **number, "shape": [-1, len(first.schema.labels)]},
        ],
    }


def _wanted(outputs: object) -> list[str]:
    known = ["label", "probabilities"]
    if outputs is None:
        return known
    names = (
        [item.get("name") if isinstance(item, dict) else None for item in outputs] if isinstance(outputs, list) else []
    )
    if not names or not all(name in known for name in names):
        raise _malformed("outputs: expected a list of tensors named label or probabilities")
    return [str(name) for name in names]


def _column(tensor: object) -> tuple[str, Sequence[object]]:
    """A tensor's name and its values, flattened.

    Raises:
        Refusal: It is not a column.
    """
    if not isinstance(tensor, Mapping) or not tensor.keys() <= TENSOR_KEYS or not isinstance(tensor.get("name"), str):
        raise _malformed("an input is not a tensor: expected name, shape, datatype and data")
    name, data = tensor["name"], tensor.get("data")
    if tensor.get("datatype") not in DATATYPES:
        raise _malformed(f"the tensor {name} has no numeric datatype; expected FP32, INT64 or alike")
    if not isinstance(data, list):
        raise _malformed(f"the tensor {name} has no data, or data that is not a list")
    if any(isinstance(value, list) for value in data):
        if not all(isinstance(value, list) for value in data):
            raise _malformed(f"the tensor {name} mixes values and lists")
        data = list(chain.from_iterable(data))
    shape = tensor.get("shape")
    if shape not in ([len(data)], [len(data), 1]):
        raise _malformed(f"the tensor {name} has {len(data)} values and another shape; expected [rows] or [rows, 1]")
    return name, data


def _outputs(prediction: Prediction) -> dict[str, dict[str, Any]]:
    rows, classes = prediction.probabilities.shape
    return {
        "label": {"name": "label", "datatype": "INT64", "shape": [rows], "data": prediction.classes.tolist()},
        "probabilities": {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [rows, classes],
            "data": prediction.probabilities.ravel().tolist(),
        },
    }


def _malformed(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)
