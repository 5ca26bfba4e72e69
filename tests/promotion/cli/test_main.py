"""`promotion`: every verb under one name, imported when it is called, in a checkout and without one."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner
from tests.conftest import Register

from promotion.cli.main import TABLE, main
from promotion.config.settings import REPOSITORY, Settings
from promotion.registry.stages import Stage

HELP = "import sys\nfrom promotion.cli.main import TABLE, main\n"
LISTED = """
main(["--help"], prog_name="promotion", standalone_mode=False)
places = {verb.place.partition(":")[0] for verb in TABLE.values()}
print(sorted((places | {"mlflow", "pydantic", "sqlalchemy", "rich"}) & set(sys.modules)))
"""
EACH = """
from click.testing import CliRunner
for name, verb in TABLE.items():
    if not verb.place.startswith("models."):
        answer = CliRunner().invoke(main, [name, "--help"], prog_name="promotion")
        assert answer.exit_code == 0 and f"Usage: promotion {name} " in answer.output, answer.output
        assert "--traceback" in answer.output
print(sorted({"mlflow", "models", "sqlalchemy"} & set(sys.modules)))
"""

Alone = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    """Run a program with the package as somebody installs it: without the repository around it."""
    folder = tmp_path / "site-packages"
    shutil.copytree(
        REPOSITORY / "src" / "promotion", folder / "promotion", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "elsewhere").mkdir()

    def call(code: str, cwd: str = "elsewhere", **environment: str) -> subprocess.CompletedProcess[str]:
        mine = f"import sys\nsys.path = [{str(folder)!r}, *(p for p in sys.path if not p.endswith('/src'))]\n"
        return subprocess.run(
            [sys.executable, "-c", mine + code],
            cwd=tmp_path / cwd,
            env={**os.environ, "PYTHONPATH": "", "XDG_DATA_HOME": str(tmp_path / "data"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def calling(*arguments: str) -> str:
    return f"{HELP}main({list(arguments)!r}, prog_name='promotion')"


def test_help_lists_every_verb_and_imports_none(alone: Alone) -> None:
    """The list comes from the table: neither a verb's module nor MLflow is imported for it."""
    lines = alone(HELP + LISTED).stdout.splitlines()

    assert [] == [name for name in TABLE if not any(line.startswith(f"  {name} ") for line in lines)]
    assert "[]" == lines[-1]


@pytest.mark.system
def test_what_a_command_imports_is_seldom_looked_through_for_cycles() -> None:
    """A hundred thousand objects that stay are gone through a few times, not every 700."""
    code = (
        "import promotion.cli.console, gc\nbefore = gc.get_stats()[0]['collections']\n"
        "kept = [[] for _ in range(100_000)]\nprint(gc.get_stats()[0]['collections'] - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert 10 > int(done.stdout)


@pytest.mark.system
def test_every_verb_answers_help_without_the_repository_and_without_mlflow(alone: Alone) -> None:
    """What the wheel holds is enough for each verb that is not about this repository's own models."""
    answer = alone(HELP + EACH)

    assert "[]\n" == answer.stdout, answer.stderr


def test_a_verb_is_the_script_it_stands_for() -> None:
    """Same command, so same options, output and exit codes."""
    for name, verb in TABLE.items():
        command = main.get_command(main.make_context("promotion", ["list"]), name)
        script = runpy.run_path(str(REPOSITORY / verb.script), run_name="door")["main"] if verb.script else command
        # A command file that is run makes its command anew.
        assert script is command or verb.place == f"models.{Path(verb.script).stem}:main", name


@pytest.mark.system
def test_the_verbs_of_the_promotion_script_answer_alike(home: Path) -> None:
    """`promotion list` is `promote-model.py --list`; so are history, reconcile, restore and cleanup."""

    def call(*arguments: str) -> tuple[int, str, str]:
        answer = CliRunner().invoke(main, arguments, prog_name="promotion")
        return answer.exit_code, answer.stdout, answer.stderr

    assert 0 == call("list", "--json")[0]
    for verb, *options in (
        ("list", "--json"),
        ("list", "--model", "nobody"),
        ("history", "--at", "2026-01-01"),
        ("history", "--limit", "1", "--json"),
        ("restore", "--model", "iris-classifier", "--dry-run"),
        ("restore", "--model", "iris-classifier", "--reason", "why", "--dry-run"),
        ("cleanup", "--keep", "1", "--dry-run"),
        ("cleanup",),
        ("reconcile", "--json"),
    ):
        assert call(verb, *options) == call("promote", f"--{verb}", *options)
    assert (home / "config").is_dir()


def test_the_version_is_the_distributions() -> None:
    """No other place has to be kept in step."""
    answer = CliRunner().invoke(main, ["--version"])

    assert (0, f"promotion {version('promotion-layer')}\n") == (answer.exit_code, answer.output)


def test_a_shell_completes_verbs_and_their_options() -> None:
    """Verbs come from the table; a verb's options from the verb."""
    shell = BashComplete(main, {}, "promotion", "_PROMOTION_COMPLETE")

    def complete(words: Sequence[str], incomplete: str) -> list[str]:
        return [item.value for item in shell.get_completions(list(words), incomplete)]

    assert ["rollback"] == complete([], "rol")
    assert {"--model-name", "--reason"} <= set(complete(["rollback"], "--"))


def test_what_is_not_a_verb_is_a_mistake_in_the_call() -> None:
    """Exit 2, as every usage error."""
    answer = CliRunner().invoke(main, ["promot"])

    assert (2, True) == (answer.exit_code, "No such command 'promot'" in answer.output)


@pytest.mark.system
def test_advice_names_the_command_that_was_called(alone: Alone, home: Path) -> None:
    """Who has no scripts is told of verbs; who called a script is told of scripts."""
    script = runpy.run_path(str(REPOSITORY / "scripts" / "promote-model.py"), run_name="door")["main"]

    assert "train first (promotion train)" in alone(calling("list"), PROMOTION_HOME=str(home)).stderr
    assert "train first (python src/models/train.py)" in CliRunner().invoke(script, ["--list"]).stderr


@pytest.mark.system
def test_a_verb_of_this_repositorys_models_says_what_is_missing(alone: Alone) -> None:
    """One line, exit 2; so does a version that only their code can score."""
    answer = alone(calling("train"))

    assert (2, "") == (answer.returncode, answer.stdout)
    assert ["src/models) is not here: run it in a checkout"] == [
        line[line.index("src/models)") : line.index(", there")] for line in answer.stderr.splitlines()
    ]


@pytest.mark.system
def test_a_sales_forecast_without_the_repository_is_refused_in_one_line(
    alone: Alone, register: Register, settings: Settings
) -> None:
    """The wheel has no code that scores it; Production stays as it is."""
    register("rossmann-ensemble", Stage.STAGING)

    answer = alone(calling("promote", "rossmann-ensemble", "--json"), PROMOTION_HOME=str(settings.home))

    assert 2 == answer.returncode, answer.stderr
    assert "run the command in a checkout" in json.loads(answer.stdout)["message"]
    assert "run the command in a checkout" in answer.stderr.splitlines()[-1]


@pytest.mark.system
def test_the_home_is_said_once_where_nobody_named_it(alone: Alone, tmp_path: Path) -> None:
    """The working directory if it holds config/, else the user's data folder; never where the package lies."""
    (tmp_path / "elsewhere" / "mine" / "config").mkdir(parents=True)
    data = tmp_path / "data" / "promotion-layer"

    def homes(cwd: str, **environment: str) -> list[str]:
        answer = alone(calling("list"), cwd, **environment)
        assert (0, False) == (answer.returncode, "home folder" in answer.stdout), answer.stderr
        return [line.split()[2] for line in answer.stderr.splitlines() if line.startswith("home folder: ")]

    assert [str(tmp_path / "elsewhere" / "mine")] == homes("elsewhere/mine")
    assert [str(data)] == homes("elsewhere")
    assert [str(data)] == homes("site-packages/promotion")
    assert [] == homes("elsewhere", PROMOTION_HOME=str(tmp_path))
    assert not data.exists()


def test_in_the_checkout_the_home_goes_without_saying(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its root, whatever the working directory holds."""
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path)

    answer = CliRunner().invoke(main, ["plan", "--model", "nobody"])

    assert f"{REPOSITORY}/config" in answer.stderr
    assert "home folder" not in answer.stderr
