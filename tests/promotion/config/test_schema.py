"""What editors and readers are given about a family's file is what the code reads."""

from __future__ import annotations

import json
import re
import runpy
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from promotion.config.family import FamilyConfigs, load_configs
from promotion.config.settings import REPOSITORY
from promotion.config.values import duration, duration_text

WRITER = runpy.run_path(str(REPOSITORY / "scripts" / "write-family-schema.py"))
SCHEMA: dict[str, Any] = json.loads((REPOSITORY / "config" / "family.schema.json").read_text(encoding="utf-8"))
VALIDATOR = validator_for(SCHEMA)(SCHEMA)
DOCUMENT = (REPOSITORY / "docs" / "FAMILY-FILE.md").read_text(encoding="utf-8")
FILES = sorted((REPOSITORY / "config").glob("*.yaml"))


def test_schema_and_document_are_as_the_code_says() -> None:
    """Whoever changes the schema runs `make schema`."""
    assert WRITER["schema"]() == SCHEMA
    written = DOCUMENT.partition(WRITER["MARK"])[2]
    assert "\n".join(["", *WRITER["tables"](SCHEMA), ""]) == written


def test_every_key_has_meaning_and_example() -> None:
    """No row of the tables has an empty cell but the default."""
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert 130 < len(rows)
    for row in rows:
        key, kind, _default, meaning, example = (cell.strip() for cell in row.strip("|").split(" | "))
        assert all((key, kind, meaning, example)), row


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_families_files_fit_the_schema(path: Any) -> None:
    """And name it in their first line, where an editor looks."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=family.schema.json\n")
    as_an_editor_sees_it = json.loads(json.dumps(yaml.safe_load(text), default=str))
    VALIDATOR.validate(as_an_editor_sees_it)


@pytest.mark.system
def test_the_schema_refuses_what_the_code_refuses() -> None:
    """An unknown key and a wrong type."""
    VALIDATOR.check_schema(SCHEMA)
    for wrong in ({"familly": "x"}, {"promotion": "sometimes"}, {"retention": {"days": "1"}}, {"registered_model": 5}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({"family": "x", "registered_model": "x"} | wrong)
    VALIDATOR.validate({"family": "x", "registered_model": ["x", "y-*"]})


def test_the_documents_example_is_a_family(tmp_path: Any) -> None:
    """The shortest file that the document shows is read."""
    example, *_ = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "churn.yaml").write_text(example, encoding="utf-8")

    configs: FamilyConfigs = load_configs(tmp_path)

    assert ["churn"] == list(configs)


@pytest.mark.parametrize("text", ["90s", "5m", "24h", "7d", "1h", "61s"])
def test_a_time_span_is_written_as_it_is_read(text: str) -> None:
    """What is written down is read as the same time."""
    assert duration(text) == duration(duration_text(duration(text)))
