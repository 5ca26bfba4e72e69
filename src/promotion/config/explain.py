"""Say what is wrong in a family's file: one line a mistake, with file, line, key, found, expected, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from promotion.config.document import YamlDocument, YamlPlace, described, kind_of

_EXPECTED = {
    "string_type": "a text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "none_required": "nothing",
    "list_type": "a list",
    "dict_type": "a section of keys",
    "model_type": "a section of keys",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_short": "a text of {min_length} or more characters",
    "string_too_long": "a text of {max_length} characters at most",
    "too_short": "{min_length} or more of them",
    "literal_error": "{expected}",
    "time_delta_type": "a time span such as 90s, 5m, 24h or 7d",
}
_DATE = "a date such as 2026-11-21"
_SAID = {"contradiction", "extra_forbidden", "missing"}
"""Their message names what was found."""


def explain(document: YamlDocument, model: type[BaseModel], error: ValidationError) -> list[str]:
    """One line a mistake, in the file's order."""
    found: dict[tuple[int, str], tuple[YamlPlace, list[Any]]] = {}
    for item in error.errors(include_url=False):
        keys = (*item["loc"], *item.get("ctx", {}).get("key", ()))
        place = document.place(keys)
        named = keys if item["type"] in _SAID else place.keys or keys
        found.setdefault((place.line, ".".join(map(str, named))), (place, []))[1].append(item)
    return [
        f"{document.path}:{line}: {key or '(top level)'}: {_problem(model, place, items)}"
        for (line, key), (place, items) in sorted(found.items(), key=lambda entry: entry[0])
    ]


def nearest(name: str, known: Iterable[str]) -> str:
    """What was probably meant, as the end of a sentence; empty when nothing is near."""
    return "".join(f"; did you mean {match!r}?" for match in get_close_matches(name, known, 1))


def _problem(model: type[BaseModel], place: YamlPlace, items: list[Any]) -> str:
    item, key = items[0], str(items[0]["loc"][-1]) if items[0]["loc"] else ""
    if item["type"] == "missing":
        return "missing; add it"
    if item["type"] == "extra_forbidden":
        known = fields_under(model, place.keys[:-1])
        return "unknown key" + (nearest(key, known) or f"; remove it, known here are {', '.join(sorted(known))}")
    if item["type"] == "contradiction":
        return str(item["msg"])
    expected = " or ".join(dict.fromkeys(_expected(one) for one in items))
    if "channels" in place.keys:
        # Whoever writes a channel's URL here writes a secret, which the console must not repeat.
        return f"expected {expected}: name the environment variable that holds the channel's URL"
    return f"expected {expected}, found {described(place.node)}; {_remedy(model, place, expected)}"


def _expected(item: Any) -> str:
    template = _EXPECTED.get(item["type"], _DATE if item["type"].startswith("date") else None)
    if template is not None:
        return template.format(**item.get("ctx", {}))
    return (
        str(item["msg"]).removeprefix("Value error, ").removeprefix("expected ").replace("Input should be", "a value")
    )


def _remedy(model: type[BaseModel], place: YamlPlace, expected: str) -> str:
    node = place.node
    if isinstance(node, yaml.ScalarNode):
        kind = kind_of(node)
        if kind == "nothing":
            return "give it a value, or remove the key"
        if kind and ("a text" in expected or "'" in expected):
            return f'YAML reads it as {kind}: write it in quotes, "{node.value}"'
        if not kind and node.style is not None and any(word in expected for word in ("number", "true", "value")):
            return "remove the quotes" if _is_bare(node.value) else "correct it"
        if "'" in expected and (near := nearest(str(node.value), expected.split("'")[1::2])):
            return near.removeprefix("; ")
    field = fields_under(model, place.keys[:-1]).get(str(place.keys[-1])) if place.keys else None
    if field is not None and not field.is_required() and isinstance(field.default, str | int | float):
        return f"correct it, or remove the key: then it is {str(field.default).lower()}"
    return "correct it"


def _is_bare(text: str) -> bool:
    """Whether a text without its quotes is a number or a yes/no value."""
    return kind_of(yaml.compose(text, yaml.SafeLoader)) in {"a number", "a yes/no value"} if text.strip() else False


def fields_under(model: type[BaseModel], keys: tuple[str | int, ...]) -> dict[str, FieldInfo]:
    """The fields of the section under a path, by their keys in the file."""
    kind: Any = model
    for key in keys:
        fields = _named(kind)
        kind = _plain(fields[str(key)].annotation if str(key) in fields else (get_args(kind) or [None])[-1])
    return _named(kind)


def _named(kind: Any) -> dict[str, FieldInfo]:
    fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
    return {field.alias or name: field for name, field in fields.items()}


def _plain(kind: Any) -> Any:
    """A type without `Annotated` and `| None`."""
    while get_origin(kind) in {Annotated, Union, UnionType}:
        kind = next(item for item in get_args(kind) if item is not type(None))
    return kind
