"""Three ways to say the same: our typed rows, MLflow's scoring protocol, the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydantic_core import from_json

from serving.engines import Prediction
from serving.errors import Refusal
from serving.model import Model
from serving.rows import Matrix

Write = Callable[[Model, Prediction, str], bytes]
"""Turns model, prediction and request id into the body of the answer."""

Read = Callable[[bytes, str], tuple[Matrix, Write]]
"""Turns body and media type into rows and the way to answer them; raises `Refusal`."""

JSON_TYPE = "application/json"


def require_json(media_type: str) -> None:
    """Refuse other bodies; without a type a body counts as JSON.

    Raises:
        Refusal: 415.
    """
    if media_type not in {"", JSON_TYPE}:
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {JSON_TYPE}")


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        Refusal: 400: not JSON, or not an object.
    """
    try:
        content = from_json(body)
    except ValueError as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
    return content
