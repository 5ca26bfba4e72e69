"""What is asked where, described for `/docs`."""

from __future__ import annotations

from typing import Any

from promotion.serving.protocols import JSON_TYPE

PROBLEM = {
    "type": "object",
    "properties": {
        "row": {"type": "integer", "description": "position in the request, from 0"},
        "field": {"type": "string"},
        "value": {"description": "what was sent, shortened"},
        "allowed": {"type": "string"},
        "message": {"type": "string"},
    },
}
ERROR = {
    "type": "object",
    "required": ["error", "problems", "request_id"],
    "properties": {
        "error": {"type": "string"},
        "problems": {"type": "array", "items": PROBLEM},
        "request_id": {"type": "string"},
    },
}
REASONS = {
    400: "The body cannot be read",
    401: "The API key is missing or wrong",
    404: "No such model or version is served",
    408: "The body came too slowly",
    413: "The body or the batch is too large",
    415: "The media type or the compression is not taken",
    422: "A value is not allowed; each is named with what is allowed",
    500: "A failure of the server; its log has it under the identifier",
    503: "Busy, or stopping; Retry-After says when to come again",
}
Responses = dict[int | str, dict[str, Any]]
SECURITY_SCHEMES = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
SECURITY: list[dict[str, list[str]]] = [{name: []} for name in SECURITY_SCHEMES]
TEXT = {"type": "string"}


def refusals(*statuses: int) -> Responses:
    """The responses of these statuses, all of one form."""
    return {status: {"description": REASONS[status], "content": {JSON_TYPE: {"schema": ERROR}}} for status in statuses}


def answered(schema: dict[str, Any], *, has_key: bool, is_named: bool = False) -> Responses:
    """The responses of a prediction route.

    Args:
        schema: Of a good answer.
        has_key: Whether requests must present a key.
        is_named: Whether the path names a model.
    """
    some = [*([401] if has_key else []), *([404] if is_named else [])]
    return {**told(schema, "Predictions"), **refusals(400, *some, 408, 413, 415, 422, 500, 503)}


def asked_with(content: dict[str, Any], *, has_key: bool) -> dict[str, Any]:
    """What a prediction route takes: a body of one of these media types, and the key if there is one."""
    body = {"requestBody": {"required": True, "content": content}}
    return {**body, "security": SECURITY} if has_key else body


def told(schema: dict[str, Any], description: str, media_type: str = JSON_TYPE) -> Responses:
    """The response of a route that answers with a document."""
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


def an_object(*, is_open: bool = False, **properties: dict[str, Any]) -> dict[str, Any]:
    """An object that always has these.

    Args:
        is_open: Whether it may have others.
        properties: Schemas by name.
    """
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": is_open,
    }
