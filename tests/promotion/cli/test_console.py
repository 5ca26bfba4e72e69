"""What every command shares: exit codes, one line for a failure, ASCII where the console cannot show more."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from inspect import signature
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from promotion.cli.console import ASCII_REPLACEMENTS, command, echo, talk, to_ascii
from promotion.cli.extras import EXTRA_OF
from promotion.config.settings import REPOSITORY
from promotion.errors import GateRefused, NothingToDo, PromotionError, UsageError

SCRIPT = """
import sys
from promotion.cli.console import command, echo, talk

lines = int(sys.argv.pop()) if len(sys.argv) > 1 else 1

@command()
def main():
    echo("🏆 Größe → 1 ⚠️")
    talk("✅ second")
    for number in range(lines):
        echo(f"third {number}")
    talk("the end")

main()
"""
# Before click 8.2 both streams were one unless told otherwise.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
RUNNER = CliRunner(**APART)
LOCALE = ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONIOENCODING", "PYTHONUTF8")


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if name not in LOCALE}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**clean, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (PromotionError("that failed"), 1),
        (UsageError("that failed"), 2),
        (GateRefused("that failed"), 3),
        (NothingToDo("that failed"), 5),
    ],
)
def test_an_expected_failure_is_one_line_with_its_exit_code(error: PromotionError, exit_code: int) -> None:
    """A domain error prints its message on standard error, nothing else, and ends with the code of its class."""

    @command()
    def main() -> None:
        raise error

    result = RUNNER.invoke(main)

    assert exit_code == result.exit_code
    assert "that failed\n" == result.stderr
    assert "" == result.stdout


@pytest.mark.parametrize(
    ("package", "extra"), [("onnxruntime", "export"), ("psycopg", "postgres"), ("apprise", "monitor")]
)
def test_a_package_that_only_an_extra_brings_is_named_with_it(package: str, extra: str) -> None:
    """What to install, in one line, whoever wrapped the failure on its way; exit code 2."""

    @command("export")
    def main() -> None:
        try:
            raise ModuleNotFoundError(f"No module named '{package}.deep'", name=f"{package}.deep")
        except ImportError as error:
            raise RuntimeError("cannot load plug-in") from error

    result = RUNNER.invoke(main)

    assert (2, "") == (result.exit_code, result.stdout)
    told = f"export needs the extra: pip install 'promotion-layer[{extra}]' ({package} is not installed)\n"
    assert told == result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--reason", "caf\udce9"], r"'caf\udce9': no text in UTF-8"), (["--page", ""], "expected a file")],
)
def test_what_can_be_neither_recorded_nor_written_is_a_usage_error(arguments: list[str], told: str) -> None:
    """Bytes that are no text, and nothing where a file is asked for."""

    @command()
    @click.option("--reason")
    @click.option("--page", type=click.Path(dir_okay=False, path_type=Path))
    def main(**_given: object) -> None:
        raise AssertionError

    result = RUNNER.invoke(main, arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert told in result.stderr


def test_a_failure_of_the_system_says_of_which_file() -> None:
    """However long its name is."""

    @command()
    def main() -> None:
        Path("x" * 9000).write_text("")

    result = RUNNER.invoke(main)

    assert 1 == result.exit_code
    assert f"{'x' * 200}…: File name too long: check the path, its rights and the disk\n" == result.stderr


def test_every_package_of_an_extra_is_known_by_the_name_it_is_imported_by() -> None:
    """What pyproject.toml lists, except what is imported by the server's image alone or comes with the core as well."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    imported = {"python-dateutil": "pandas'", "joblib": "scikit-learn's", "xgboost-cpu": "xgboost", "uv": "a program's"}
    listed = {
        (imported.get(name, name), extra)
        for extra in set(extras) - {"dev", "serve"}
        for name in (Requirement(line).name for line in extras[extra])
    }

    imports = {(name, extra) for name, extra in listed if not name.endswith(("'", "'s"))}
    known = {(name, extra) for name, extra in EXTRA_OF.items() if name != "py4j"}
    assert known <= imports
    assert {name for name, _ in imports} == {name for name, _ in known}


def test_an_unexpected_failure_names_its_class_and_where_to_see_more() -> None:
    """A programming error is one line as well: class, message, and the option that shows the traceback."""

    @command()
    def main() -> None:
        raise ZeroDivisionError("division\nby zero")

    result = RUNNER.invoke(main)

    assert 1 == result.exit_code
    assert "unexpected ZeroDivisionError: division by zero (--traceback shows more)\n" == result.stderr


def test_traceback_raises_the_failure_itself() -> None:
    """With --traceback nothing is swallowed."""

    @command()
    def main() -> None:
        raise GateRefused("no")

    result = RUNNER.invoke(main, ["--traceback"])

    assert isinstance(result.exception, GateRefused)


def test_an_interrupt_is_one_line_and_130() -> None:
    """Ctrl-C ends with the shell's own code and no traceback."""

    @command()
    def main() -> None:
        raise KeyboardInterrupt

    result = RUNNER.invoke(main)

    assert 130 == result.exit_code
    assert "interrupted\n" == result.stderr


def test_wrong_options_are_usage_errors() -> None:
    """What click refuses ends with 2, and options of the command work as with click."""

    @command()
    @click.option("--number", type=int)
    def main(number: int | None) -> None:
        echo(str(number))

    assert 2 == RUNNER.invoke(main, ["--number", "x"]).exit_code
    assert "3\n" == RUNNER.invoke(main, ["--number", "3"]).stdout


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LANG": "C"},
        {"LANG": "POSIX"},
        {"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"},
        {"PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_a_plain_console_gets_ascii(environment: dict[str, str]) -> None:
    """Under LANG=C every character is ASCII although Python itself would write UTF-8."""
    output = call(**environment).stdout

    assert b"[P] Grosse -> 1 [!]\n[ok] second\nthird 0\nthe end\n" == output


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C.UTF-8"}, {"LANG": "C.UTF-8"}, {"LANG": "C", "PYTHONIOENCODING": "utf-8"}, {}], ids=str
)
def test_a_capable_console_gets_every_character(environment: dict[str, str]) -> None:
    """Where the console speaks UTF-8, or a person insists, the text is left alone; both streams keep their order."""
    output = call(**environment).stdout.decode("utf-8")

    assert "🏆 Größe → 1 ⚠️\n✅ second\nthird 0\nthe end\n" == output


def test_a_reader_that_goes_away_does_not_stop_the_command() -> None:
    """`command | head -1` must not end a promotion half way: the rest of the output goes nowhere, the work goes on."""
    clean = {name: value for name, value in os.environ.items() if name not in LOCALE}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "30000"],
        env={**clean, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    talked = process.stderr.read().decode()
    process.stderr.close()

    assert 0 == process.wait(timeout=30)
    assert talked.endswith("the end\n")


def test_colours_are_for_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Redirected output has no escape sequences."""
    talk("red", colour="red")

    assert "red\n" == capsys.readouterr().err


def test_every_replacement_is_ascii() -> None:
    """The table keeps its promise, one code point a key."""
    assert all(len(key) == 1 and value.isascii() for key, value in ASCII_REPLACEMENTS.items())
    assert "[*] [-] ?" == to_ascii("📦 📌 猫")


def test_importing_the_console_is_cheap() -> None:
    """Commands start fast: nothing heavy comes along."""
    heavy = "{'rich', 'mlflow', 'pandas', 'sqlalchemy', 'pydantic', 'requests'}"
    code = f"import sys, promotion.cli.console; print(sorted({heavy} & set(sys.modules)))"
    source = str(Path(__file__).resolve().parents[3] / "src")

    output = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]\n" == output.stdout
