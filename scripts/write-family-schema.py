"""Write what follows from the schema of a family's file: config/family.schema.json and the tables of its document.

`make schema` runs it. Meanings are the classes' own docstrings, examples the repository's own files.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from promotion.config.schema import FamilyConfig
from promotion.config.settings import REPOSITORY
from promotion.config.values import Strict, duration_text

SCHEMA, DOCUMENT = REPOSITORY / "config" / "family.schema.json", REPOSITORY / "docs" / "FAMILY-FILE.md"
MARK = "<!-- from here on written by make schema -->\n"
EXAMPLES = yaml.safe_load("""  # of keys that none of the repository's families has
    {maximum: 0.5, also: {recall: 0.02}, info: 0.1, warning: 0.2, critical: 0.3, latency_ms: 500, error_rate: 0.02,
    approvers: {security: [sam@example.com]}, staging: [anna@example.com], production: [release-managers@example.com],
    serving_url: https://models.example.com/churn, rules: committed, path: s3://evidence/churn.parquet, target: churned,
    positive: 'yes', id: customer, group: household, time: month, column: sex, metric: recall, max_gap: 0.1,
    classes: {0: healthy, 1: disease},
    bins: [18, 40, 65], from: run, name: profit, command: [python, checks/profit.py], minimum: 0.7,
    aliases.production: champion, aliases.staging: challenger, aliases.previous: [previous, fallback],
    na_values: ["?"], split.groups: patient, split.time: visited, split.stratify: [sex], gates.split: sound,
    export.rows: generated, sha256: 9f86d081884c7d65…, label_coverage: 0.5, unmatched_labels: 0.9, silence: 6h,
    accept_approvals_from: [9f86d081884c7d65…], trusted_origins: [9f86d081884c7d65…], threads: 2,
    only: [promote, rollback], token: DEPLOY_TOKEN, events.NAME.key: DEPLOY_KEY, url: DEPLOY_URL,
    monitoring.log: /var/log/predictions, monitoring.labels: labels.csv, segments: [sex],
    metrics: {roc_auc: {warning: 0.02, critical: 0.05}, recall: {critical: 0.1}}}""")
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


class _Schema(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return duration_text(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def schema() -> dict[str, Any]:
    """The JSON Schema; each section and key has its meaning, a section's default is where it differs from its keys'."""
    document = FamilyConfig.model_json_schema(schema_generator=_Schema)
    for model in Strict.__subclasses__():
        part = document if model is FamilyConfig else document["$defs"].get(model.__name__)
        if part is None:  # of another file
            continue
        part["description"], meanings = _said(model)
        for name, field in model.model_fields.items():
            entry = part["properties"][field.alias or name]
            entry["description"] = meanings[name]
            if isinstance(default := entry.get("default"), dict):
                own = document["$defs"].get(_kind(entry)[1], {}).get("properties", {})
                entry["default"] = default = {
                    key: value
                    for key, value in default.items()
                    if value is not None and value != own.get(key, {}).get("default") and not isinstance(value, dict)
                }
            if default in (None, {}):
                entry.pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document, "title": "A family's file"}


def tables(document: dict[str, Any]) -> Iterator[str]:
    """Markdown: a table for each section, with type, default, meaning and example of each key."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SCHEMA.parent.glob("*.yaml"))]
    waiting: list[tuple[str, dict[str, Any]]] = [("", document)]
    for place, part in waiting:
        yield f"\n## {f'`{place}`' if place else 'The file'}\n\n{part['description']}\n"
        yield "| key | type | default | meaning | example |\n|---|---|---|---|---|"
        for key, entry in part["properties"].items():
            where = f"{place}.{key}".lstrip(".")
            kind, section = _kind(entry)
            default = "required" if key in part.get("required", ()) else _code(entry.get("default"))
            example = _code(next(_values(files, where), EXAMPLES.get(where, EXAMPLES.get(key, entry.get("default")))))
            if section:
                waiting.append((f"{where}.NAME" if kind.startswith("by name") else where, document["$defs"][section]))
                example = f"[below](#{re.sub(r'[^a-z_]', '', waiting[-1][0].lower())})"
            yield f"| `{key}` | {kind} | {default} | {entry['description']} | {example} |"


def _said(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """A docstring's text, and what its `Attributes` say."""
    summary, _, attributes = inspect.cleandoc(model.__doc__ or "").partition("\n\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes, re.MULTILINE | re.DOTALL)
    return " ".join(summary.split()), {name: " ".join(text.split()) for name, text in found}


def _kind(entry: dict[str, Any]) -> tuple[str, str]:
    """A key's type in words, and the definition of its section, if it is one."""
    if "$ref" in entry:
        return "section", entry["$ref"].rpartition("/")[2]
    if "anyOf" in entry:
        kinds = [_kind(option) for option in entry["anyOf"] if option.get("type") != "null"]
        return " or ".join(kind for kind, _ in kinds), kinds[0][1]
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"]), ""
    nested = entry.get("items") or entry.get("additionalProperties")
    inner, section = _kind(nested) if nested else ("", "")
    text = "time span" if "smhd" in entry.get("pattern", "") else entry.get("format", "text")
    words = {"array": f"list: {inner}", "object": f"by name: {inner}", "string": text, "integer": "whole number"}
    said = [f"{sign} {entry[name]:g}" for name, sign in _BOUNDS.items() if name in entry]
    return ", ".join([words.get(entry["type"], entry["type"]), *said]), section


def _values(files: list[Any], where: str) -> Iterator[Any]:
    """What the repository's families say under a key."""
    found = files
    for key in where.split("."):
        sections = [item for item in found if isinstance(item, dict)]
        found = [one for item in sections for one in (item.values() if key == "NAME" else [item.get(key)])]
    yield from (item for item in found if item is not None)


def _code(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).replace('"', "")
    return f"`{textwrap.shorten(text, 60, placeholder='…')}`" if value not in (None, "", [], {}) else ""


if __name__ == "__main__":
    written = schema()
    SCHEMA.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    head = DOCUMENT.read_text(encoding="utf-8").partition(MARK)[0]
    DOCUMENT.write_text("\n".join([head + MARK, *tables(written), ""]), encoding="utf-8")
