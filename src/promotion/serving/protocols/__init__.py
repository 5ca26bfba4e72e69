"""Three ways to say the same: our typed rows, MLflow's scoring protocol, the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from pydantic_core import from_json

from promotion.serving.errors import Refusal
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import Matrix

Body = tuple[bytes, dict[str, str]]
"""A body and the headers that describe it."""

Write = Callable[[Model, Prediction, str], Body]
"""Turns model, prediction and request id into the answer."""


class AcceptedRequest(NamedTuple):
    """A request, read.

    Attributes:
        matrix: Its rows.
        write: The way to answer them.
        identifier: What the request is called in the prediction log, if it says so itself.
    """

    matrix: Matrix
    write: Write
    identifier: str | None = None


Read = Callable[[bytes, Mapping[str, str]], AcceptedRequest]
"""Turns body and headers into rows and the way to answer them; raises `Refusal`."""

JSON_TYPE = "application/json"
JSON_HEADERS = {"content-type": JSON_TYPE}


BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and .NET write before UTF-8."""


def media_type(headers: Mapping[str, str]) -> str:
    """The media type without parameters, in lower case; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(headers: Mapping[str, str]) -> None:
    """Refuse other bodies; without a type a body counts as JSON.

    Raises:
        Refusal: 415.
    """
    if media_type(headers) not in {"", JSON_TYPE}:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {JSON_TYPE}")


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        Refusal: 400: not JSON, or not an object.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        content = _lenient(body)
    if not isinstance(content, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return content


def _lenient(body: bytes) -> Any:
    """JSON with the NaN that Python's clients write, or the words for what is wrong with it."""
    try:
        return from_json(body)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
