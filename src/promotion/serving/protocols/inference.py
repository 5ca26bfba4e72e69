"""The Open Inference Protocol, version 2, over REST: one tensor a column, as KServe's and Triton's clients send it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from promotion.serving.errors import Refusal
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import ColumnCells, RowReader
from promotion.serving.protocols import JSON_HEADERS, AcceptedRequest, Body, read_object, require_json
from promotion.serving.protocols.binary import HEADER, Tail, is_binary, pack, split_tensors

LOGGER = logging.getLogger(__name__)
DATATYPES = frozenset(
    {*("FP16", "FP32", "FP64"), *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
)
KNOWN_KEYS = {
    "request": frozenset({"id", "parameters", "inputs", "outputs"}),
    "input": frozenset({"name", "shape", "datatype", "parameters", "data"}),
    "output": frozenset({"name", "parameters"}),
}
OUTPUTS = ("label", "probabilities")
LONGEST_ID = 128
"""Characters of an `id`: it goes into a line of the log for each row."""

_SHOWN = 128
"""Characters of a tensor's name in a message."""
_VALUE = ("value",)
_PLATFORMS = {"onnx": "onnxruntime_onnx", "native": "sklearn_skops", "catboost": "catboost_cbm"}
DATATYPE_OF = {"text": "BYTES", "date": "BYTES", "boolean": "BOOL"}
"""Datatypes of what is no number, by the type of the column."""


class Wanted(NamedTuple):
    """An output tensor the client asked for, and whether as bytes."""

    name: str
    binary: bool


class Tensor(NamedTuple):
    """An input tensor: its values one after the other, row by row."""

    name: str
    shape: tuple[int, ...]
    values: ColumnCells


class InferenceProtocol:
    """Reads tensors, answers with the tensors `label` and `probabilities`.

    Args:
        reader: Of the schema served.
    """

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        kinds = {feature.type for feature in reader.schema.features}
        self._datatypes = DATATYPES | {DATATYPE_OF[kind] for kind in kinds & DATATYPE_OF.keys()}
        self._warned = False

    def read(self, body: bytes, headers: Mapping[str, str]) -> AcceptedRequest:
        """Rows from a tensor of shape (rows,) or (rows, 1) for each column, or from one of shape (rows, columns).

        Keys that the protocol lacks are ignored.

        Raises:
            Refusal: 400 not this protocol, 413, 415, or 422 a value that is not allowed.
        """
        if HEADER not in headers:
            require_json(headers)
        head, tail = split_tensors(body, headers.get(HEADER), self._reader.max_rows * len(self._reader.schema.names))
        self._reader.check_values(head)
        content = read_object(head)
        inputs = content.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise malformed("expected inputs, a list of tensors; also taken: id, parameters, outputs")
        self._warn_of_unknown_keys(content)
        wanted = _wanted(content, _VALUE if self._reader.schema.is_regression else OUTPUTS)
        identifier = content.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise malformed("id is not a text")
        if identifier is not None and len(identifier) > LONGEST_ID:
            raise malformed(f"id is longer than {LONGEST_ID} characters")
        tensors = [_tensor(tensor, tail, self._datatypes) for tensor in inputs]
        tail.check_spent()
        matrix = self._reader.from_columns(self._columns(tensors))

        def write(model: Model, prediction: Prediction, request_id: str) -> Body:
            return _answer(model, prediction, wanted, request_id)

        return AcceptedRequest(matrix, write, identifier or None)

    def _columns(self, tensors: Sequence[Tensor]) -> dict[str, ColumnCells]:
        """The values of each column: from a tensor of its own, or from the one that holds all of them side by side.

        Raises:
            Refusal: 400.
        """
        names = self._reader.schema.names
        first = tensors[0]
        if (
            len(tensors) == 1
            and first.name not in names
            and first.shape == (len(first.values) // len(names), len(names))
        ):
            return {name: first.values[place :: len(names)] for place, name in enumerate(names)}
        columns: dict[str, ColumnCells] = {}
        for name, shape, values in tensors:
            if shape not in {(len(values),), (len(values), 1)}:
                expected = f"[rows] or [rows, 1], or one tensor of [rows, {len(names)}] for all columns"
                raise malformed(
                    f"the tensor {name[:_SHOWN]} has {len(values)} values and another shape; expected {expected}"
                )
            if name in columns:
                raise malformed(f"the tensor {name[:_SHOWN]} is there twice")
            columns[name] = values
        return columns

    def _warn_of_unknown_keys(self, content: Mapping[str, Any]) -> None:
        """Say it once in a server's life: clients add keys of their own to every request."""
        if self._warned:
            return
        levels = {"request": [content], "input": content["inputs"], "output": content.get("outputs")}
        for level, holders in levels.items():
            for holder in holders if isinstance(holders, list) else []:
                if isinstance(holder, Mapping) and (unknown := holder.keys() - KNOWN_KEYS[level]):
                    LOGGER.warning(
                        "/v2: ignoring %.128r of the %s, which the Open Inference Protocol does not have; told once",
                        min(unknown),
                        level,
                    )
                    self._warned = True
                    return


def malformed(message: str) -> Refusal:
    """The refusal of a body that is not this protocol's."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def model_metadata(models: Sequence[Model], name: str) -> dict[str, Any]:
    """What the protocol tells of a model: its versions, its tensors, and beyond the protocol what columns allow.

    Args:
        models: The versions served under the name.
        name: What the client calls the model, which may be its family's name.
    """
    first = models[0]
    whole, number = {"datatype": "INT64"}, {"datatype": "FP32"}
    return {
        "name": name,
        "versions": [str(model.manifest.version) for model in models],
        "platform": _PLATFORMS[first.manifest.engine],
        "inputs": [
            {
                "name": feature.name,
                "datatype": DATATYPE_OF.get(feature.type)
                or ("FP32" if feature.type == "number" or feature.nullable else "INT64"),
                "shape": [-1, 1],
                "parameters": {"allowed": feature.allowed},
            }
            for feature in first.schema.features
        ],
        "outputs": [{"name": "value", **number, "shape": [-1]}]
        if first.schema.is_regression
        else [
            {"name": "label", **whole, "shape": [-1]},
            {"name": "probabilities", **number, "shape": [-1, len(first.schema.labels)]},
        ],
    }


def _wanted(content: Mapping[str, Any], names: Sequence[str]) -> list[Wanted]:
    default = is_binary(content, "binary_data_output", otherwise=False)
    outputs = content.get("outputs")
    if outputs is None:
        return [Wanted(name, default) for name in names]
    items = outputs if isinstance(outputs, list) else []
    if not items or not all(isinstance(item, dict) and item.get("name") in names for item in items):
        raise malformed(f"outputs: expected a list of tensors named {' or '.join(names)}")
    return [Wanted(item["name"], is_binary(item, "binary_data", otherwise=default)) for item in items]


def _tensor(tensor: object, tail: Tail, datatypes: frozenset[str]) -> Tensor:
    """A tensor of the request, its values flattened.

    Raises:
        Refusal: It is none.
    """
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("name"), str):
        raise malformed("an input is not a tensor: expected name, shape, datatype and data")
    name, datatype, shape = tensor["name"], tensor.get("datatype"), tensor.get("shape")
    if not isinstance(datatype, str) or datatype not in datatypes:
        raise malformed(f"the tensor {name[:_SHOWN]} has no numeric datatype; expected FP32, INT64 or alike")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in shape):
        raise malformed(f"the tensor {name[:_SHOWN]} has no shape; expected [rows] or [rows, 1]")
    values = _flat(name, tensor["data"]) if "data" in tensor else tail.take(name[:_SHOWN], datatype, tensor)
    return Tensor(name, tuple(shape), values)


def _flat(name: str, data: object) -> Sequence[object]:
    if not isinstance(data, list):
        raise malformed(f"the tensor {name[:_SHOWN]} has data that is not a list")
    if data and isinstance(data[0], list):
        if not all(isinstance(value, list) for value in data):
            raise malformed(f"the tensor {name[:_SHOWN]} mixes values and lists")
        return list(chain.from_iterable(data))
    return data


def _answer(model: Model, prediction: Prediction, wanted: Sequence[Wanted], identifier: str) -> Body:
    arrays: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "value": ("FP32", prediction.probabilities.reshape(-1) if wanted[0].name == "value" else np.empty(0)),
        "label": ("INT64", prediction.classes),
        "probabilities": ("FP32", prediction.probabilities),
    }
    tensors, tail = [], []
    for name, binary in wanted:
        datatype, values = arrays[name]
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values.shape)}
        if binary:
            tail.append(pack(values))
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = values.ravel()
        tensors.append(tensor)
    head = orjson.dumps(
        {
            "model_name": model.manifest.model,
            "model_version": str(model.manifest.version),
            "id": identifier,
            "parameters": {"role": model.role},
            "outputs": tensors,
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    if not tail:
        return head, JSON_HEADERS
    return b"".join([head, *tail]), {"content-type": "application/octet-stream", HEADER: str(len(head))}
