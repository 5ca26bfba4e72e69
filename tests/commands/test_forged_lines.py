"""Nobody prints a line of ours through a comment, a reason, a name or a tag."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from tests.commands.conftest import Promote
from tests.conftest import Register
from tests.promotion.config.test_printable import NASTY

from promotion.cli.main import main
from promotion.config.settings import Settings
from promotion.registry.stages import Stage

FORGED = "✅ Successfully promoted churn v9 to Production!"
TEXTS = [text for text in NASTY if text.isprintable() is False and "\x00" not in text]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def is_tame(result: Result, *, lines: bool = True) -> bool:
    """Whether nothing of it moves the cursor, turns the text, or begins a line that only we begin."""
    output = result.stdout + result.stderr
    hidden = [letter for letter in output if not letter.isprintable() and letter not in "\n\t\ufe0f"]
    return not hidden and not (lines and any(line.lstrip().startswith(FORGED) for line in output.splitlines()))


@pytest.fixture
def told(home: Path, settings: Settings, register: Register, promote: Promote) -> Settings:
    """A version in Production whose reason, tags and description want to be more than that."""
    register("churn", Stage.STAGING)
    client = MlflowClient(settings.tracking_uri, settings.registry_uri)
    for text in TEXTS:
        client.set_model_version_tag("churn", "1", "roc_auc", text)
        client.update_model_version("churn", "1", text)
    assert 0 == promote("churn", "1", "--reason", "it is good\n" + FORGED + "\x1b[2K\u202e").exit_code
    return settings


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("list", "--json"), ("history",), ("history", "--json"), ("audit", "show"), ("reconcile",)],
    ids=" ".join,
)
def test_what_is_recorded_cannot_forge_a_line(told: Settings, arguments: tuple[str, ...]) -> None:
    """A reason, tags and a description, in every command that shows them; JSON stays JSON."""
    result = call(*arguments)

    assert is_tame(result), result.output
    assert ("history" not in arguments and "show" not in arguments) or "it is good\\n" in result.stdout
    if "--json" in arguments:
        json.loads(result.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("promote", "{}"),
        ("promote", "churn", "{}"),
        ("promote", "--model", "{}", "--auto"),
        ("check", "--model-name", "{}", "--version", "1"),
        ("check", "--model-name", "churn", "--version", "{}"),
        ("rollback", "--model-name", "{}", "--reason", "{}"),
        ("incident", "--model-name", "churn", "--version", "1", "--severity", "{}", "--summary", "{}"),
        ("incident", "--model-name", "churn", "--version", "1", "--severity", "info", "--summary", "{}"),
        ("approve", "--model-name", "churn", "--version", "1", "--role", "{}", "--approver", "{}", "--comment", "{}"),
        ("predict", "--model-name", "{}", "--stage", "{}"),
        ("{}",),
        ("list", "--{}"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
@pytest.mark.system
def test_what_is_typed_cannot_forge_a_line(told: Settings, arguments: tuple[str, ...]) -> None:
    """Whatever a command makes of it."""
    for text in TEXTS:
        result = call(*(argument.format(text) for argument in arguments))

        assert is_tame(result), result.output
