"""The protocol's binary tensor extension: raw values behind the JSON, for batches where reading JSON is the cost."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import numpy as np
import numpy.typing as npt

from promotion.serving.errors import Refusal

HEADER = "inference-header-content-length"
DIGITS = 18
"""Longest length that is read as one."""

LENGTH_BYTES = 4
# Little-endian, whatever the machine.
TYPES = {
    "BOOL": np.dtype("?"),
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
}


class Tail:
    """The bytes behind the JSON, taken tensor by tensor.

    Args:
        content: All of them.
        most: Values that a tensor may have.
    """

    def __init__(self, content: memoryview, most: int) -> None:
        self._content = content
        self._most = most

    def take(self, name: str, datatype: str, tensor: Mapping[str, Any]) -> npt.NDArray[np.float64] | list[str]:
        """The next tensor's values, as 64-bit numbers, or as texts.

        Raises:
            Refusal: 400 the tensor has neither data nor a size, or the bytes are not as many; 413 they are too many.
        """
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise _refusal(f"the tensor {name} has neither data nor a binary_data_size")
        kind = TYPES.get(datatype)
        if size > len(self._content) or (kind is not None and size % kind.itemsize):
            raise _refusal(f"the tensor {name}: its binary_data_size is not what follows the JSON")
        content, self._content = self._content[:size], self._content[size:]
        if kind is None:
            return self._texts(name, content)
        values = np.frombuffer(content, dtype=kind)
        self._check_count(name, len(values))
        # Any bytes are a number, some of them none that casts silently; the contract's rules refuse those by name.
        with np.errstate(invalid="ignore"):
            return values.astype(np.float64)

    def _texts(self, name: str, content: memoryview) -> list[str]:
        """Each is its length in four bytes, and then itself."""
        texts, place = [], 0
        while place < len(content):
            start = place + LENGTH_BYTES
            end = start + int.from_bytes(content[place:start], "little")
            if end > len(content):
                raise _refusal(f"the tensor {name}: its texts are longer than its binary_data_size")
            try:
                texts.append(str(content[start:end], "utf-8"))
            except UnicodeDecodeError:
                raise _refusal(f"the tensor {name}: its texts are not UTF-8") from None
            self._check_count(name, len(texts))
            place = end
        return texts

    def _check_count(self, name: str, count: int) -> None:
        if count > self._most:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the tensor {name} has more than {self._most} values, the most taken",
            )

    def check_spent(self) -> None:
        """Refuse bytes that belong to no tensor.

        Raises:
            Refusal: 400.
        """
        if self._content:
            raise _refusal(f"{len(self._content)} bytes behind the JSON belong to no tensor")


def split_tensors(body: bytes, length: str | None, most: int) -> tuple[bytes, Tail]:
    """The JSON, and the bytes behind it.

    Args:
        body: Of the request.
        length: Value of the header; without it everything is JSON.
        most: Values that a tensor may have.

    Raises:
        Refusal: 400: the header is not a length within the body.
    """
    if length is None:
        return body, Tail(memoryview(b""), most)
    # A number of thousands of digits is no length, and Python does not read one.
    if not (len(length) <= DIGITS and length.isascii() and length.isdecimal() and int(length) <= len(body)):
        raise _refusal("Inference-Header-Content-Length is not a length within the body")
    return body[: int(length)], Tail(memoryview(body)[int(length) :], most)


def is_binary(holder: Mapping[str, Any], parameter: str, *, otherwise: bool) -> bool:
    """What the parameter of a request or an output says."""
    parameters = holder.get("parameters")
    return bool(parameters.get(parameter, otherwise)) if isinstance(parameters, dict) else otherwise


def pack(values: npt.NDArray[Any]) -> bytes:
    """The values as they follow the JSON."""
    return values.astype(values.dtype.newbyteorder("<")).tobytes()


def _refusal(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)
