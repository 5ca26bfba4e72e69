"""What the sections of a family's file are made of: strict models, time spans, and the error for a contradiction."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]
KeyDigest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_ALIAS = re.compile(r"(?!latest$|v\d+$)[\w-]{1,255}", re.IGNORECASE | re.ASCII)
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def duration(text: Any) -> Any:
    """Read `90s`, `5m`, `24h` or `7d` as a time span; what is no text is handed back for pydantic to judge.

    Raises:
        ValueError: It is a text, but not of that form, or zero.
    """
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None or not int(found[1]):
        message = "expected a time span such as 90s, 5m, 24h or 7d"
        raise ValueError(message)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def listed(what: str) -> Callable[[Any], Any]:
    """A validator that reads one name as a list of it.

    Args:
        what: How a mistake calls the one name.
    """

    def read(value: Any) -> Any:
        if not isinstance(value, str | list):
            raise PydanticCustomError("names_type", "{what}, or a list of names", {"what": what})
        return [value] if isinstance(value, str) else value

    return read


def _alias(name: str) -> str:
    if not _ALIAS.fullmatch(name):
        message = "expected an alias as MLflow takes it: letters, digits, _ and -, and neither latest nor v1"
        raise ValueError(message)
    return name


def duration_text(span: timedelta) -> str:
    """A time span as the file writes it: in the largest unit that makes it whole."""
    seconds = int(span.total_seconds())
    size, unit = next((size, unit) for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // size}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(duration_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,6}[smhd]$"}),
]


def contradiction(message: str, *key: str) -> PydanticCustomError:
    """What a section's validator raises.

    Args:
        message: What was found, what was expected, what to do.
        key: The key it is about, seen from the section.
    """
    return PydanticCustomError("contradiction", "{message}", {"message": message, "key": list(key)})


AliasNames = Annotated[
    list[Annotated[str, AfterValidator(_alias)]],
    BeforeValidator(listed("the name of an alias")),
    WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}),
]


class Strict(BaseModel):
    """A part of a family's file: unknown keys, wrong types, and what bounds nothing (NaN, infinity) are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
