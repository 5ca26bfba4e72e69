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
    413: "The body or the batch is too large",
    415: "The media type is not taken",
    422: "A value is not allowed; each is named with what is allowed",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": reason, "content": {JSON_TYPE: {"schema": ERROR}}} for status, reason in REASONS.items()
}


def answered(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The responses of a prediction route whose good answer looks like this."""
    return {200: {"description": "Predictions", "content": {JSON_TYPE: {"schema": schema}}}, **REFUSALS}
