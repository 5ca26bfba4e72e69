"""The house is in order: documents name real commands, requirements are what pyproject says, any python will do."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from promotion.cli.main import TABLE
from promotion.config.settings import REPOSITORY

Run = Callable[..., subprocess.CompletedProcess[str]]
Parsed = Callable[[Path], ast.Module]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
NAMED = sorted(set(re.findall(r"python ((?:scripts|src|mlops|benchmarks)/[\w/-]+\.py)", TEXT)))
COMMANDS = sorted(
    str(path.relative_to(REPOSITORY))
    for folder in ("scripts", "src/models", "mlops/registry")
    for path in (REPOSITORY / folder).glob("*.py")
    if "import promotion.cli.environment" in path.read_text(encoding="utf-8")
)
DOOR_LINES = 25
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
RUNS = re.findall(r"^RUNS := (.*)$", MAKEFILE, flags=re.MULTILINE)[0].split()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))


@pytest.fixture(scope="module")
def parsed() -> Parsed:
    """A module's syntax tree; several tests look through all there are."""
    return cache(lambda path: ast.parse(path.read_text(encoding="utf-8")))


def test_documents_and_commands_agree() -> None:
    """Every command a document names exists, and every command is documented."""
    assert [] == [script for script in NAMED if not (REPOSITORY / script).is_file()]
    assert [] == [script for script in COMMANDS if script not in NAMED]


def test_the_documents_scripts_are_doors() -> None:
    """A script finds its environment and calls a command: it neither parses nor prints."""
    long = {
        script: lines
        for script in COMMANDS
        if script not in {"src/models/train.py", "src/models/train_ensemble.py"}
        and (lines := len((REPOSITORY / script).read_text(encoding="utf-8").splitlines())) > DOOR_LINES
    }

    assert {} == long


def test_every_verb_is_documented() -> None:
    """The page of commands has each, with the script it stands for and what the list of verbs says of it."""
    page = (REPOSITORY / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
    rows = [
        f"| `promotion {name}` | `{verb.script or f'promote-model.py --{name}'}` | {verb.summary} |"
        for name, verb in TABLE.items()
    ]

    assert rows == [line for line in page.splitlines() if line.startswith("| `promotion ")]
    named = set(re.findall(r"`promotion ([a-z][a-z-]*)", TEXT))
    assert set(TABLE) == named


@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.system
def test_every_command_answers_help_from_any_folder(script: str, run: Run) -> None:
    """Run directly, from somewhere else, without PYTHONPATH; the options that documents show are real."""
    result = run(script, "--help", PYTHONPATH="")
    lines = [line for line in TEXT.splitlines() if f"python {script}" in line]
    shown = set(re.findall(r"(?<=\s)--[a-z][a-z-]+", " ".join(line.split("#")[0] for line in lines)))

    assert 0 == result.returncode, result.stderr
    assert "--traceback" in result.stdout
    assert set() == {option for option in shown if option not in result.stdout}


def test_links_and_make_targets_in_documents_exist() -> None:
    """A link to a file leads somewhere, and each `make target` is one."""
    broken = [
        f"{path.name}: {link}"
        for path in DOCUMENTS
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]

    assert [] == broken
    assert set() == set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, flags=re.MULTILINE)) - TARGETS


def test_make_alone_lists_every_target() -> None:
    """The Makefile documents itself."""
    output = subprocess.run(["make", "-C", str(REPOSITORY)], capture_output=True, text=True, check=True).stdout

    assert set() == {target for target in TARGETS if f"make {target} " not in output}
    assert {"pipeline", "test", "lint", "mlflow-ui", "clean"} <= TARGETS


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("requirements.txt", ["", *RUNS]),
        ("requirements-dev.txt", ["", *RUNS, "serve", "dev"]),
        ("requirements-serving.txt", ["serve"]),
    ],
    ids=["runtime", "dev", "serving"],
)
def test_requirements_are_compiled_from_pyproject(file: str, extras: list[str]) -> None:
    """Each declared dependency is pinned at an allowed version, and no index or host is written down."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,-]+\])?==(\S+)", text, flags=re.MULTILINE))
    parts = PROJECT["project"]["optional-dependencies"] | {"": PROJECT["project"]["dependencies"]}
    wanted = [Requirement(line) for extra in extras for line in parts[extra]]

    assert [] == [str(item) for item in wanted if pinned.get(canonicalize_name(item.name), "0") not in item.specifier]
    assert [] == re.findall(r"https?://\S+|file:\S+|--\S*index\S*|@ \S+", text)


def test_development_and_runtime_pin_the_same_versions() -> None:
    """What was tested is what runs."""
    runtime = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    development = (REPOSITORY / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()

    assert [] == [line for line in runtime if not line.startswith("#") and line not in development]


@pytest.fixture
def pythons(tmp_path: Path) -> Path:
    """A folder for played pythons beside a Makefile that may build a .venv of its own."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    for name, fails in (("old", "sys.exit"), ("bare", "ensurepip"), ("good", "nothing")):
        text = f'#!/bin/sh\ncase "$2" in *{fails}*) exit 1;; esac\nexec "{sys.executable}" "$@"\n'
        (tmp_path / name).write_text(text, encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.system
def test_make_takes_the_first_python_that_will_do(pythons: Path) -> None:
    """One that is too old or new, or cannot make an environment, is passed over; with no other, a line says why."""

    def make(*names: str) -> subprocess.CompletedProcess[str]:
        choice = " ".join(str(pythons / name) for name in names)
        command = ["make", "-s", "-C", str(pythons), ".venv/bin/python", f"PYTHON={choice}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing, unable = make("old", "nowhere"), make("old", "bare")
    assert (2, 2) == (missing.returncode, unable.returncode)
    assert "Python 3.11, 3.12 or 3.13 is missing: install one" in missing.stderr
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    assert f"(Debian and Ubuntu: apt-get install {package})" in unable.stderr
    assert not (pythons / ".venv").exists()
    assert 0 == make("old", "bare", "good").returncode
    assert (pythons / ".venv" / "bin" / "python").exists()


def test_library_modules_are_silent(parsed: Parsed) -> None:
    """Only commands print, by the console's functions; everything else returns or raises."""
    commands = {*(REPOSITORY / "src" / "promotion" / "cli").rglob("*.py")}
    commands |= {REPOSITORY / "src" / "models" / f"{name}.py" for name in ("train", "train_ensemble", "download_data")}
    loud = [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}"
        for path in (REPOSITORY / "src").rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", ""))
        in ({"print"} if path in commands else {"print", "echo", "secho", "talk"})
    ]

    assert [] == loud


BARE = [sys.executable, "-S", "-E"]  # without site-packages: a python that lacks our dependencies


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of one command that needs a dependency, under a path with a space."""
    folder = tmp_path / "a b"
    (folder / "scripts").mkdir(parents=True)
    (folder / "src" / "promotion" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "cli/__init__.py", "cli/environment.py"):
        shutil.copy(REPOSITORY / "src" / "promotion" / name, folder / "src" / "promotion" / name)
    (folder / "scripts" / "command.py").write_text(
        "import sys\nsys.path[0] = sys.path[0].replace('scripts', 'src')\nimport promotion.cli.environment\n"
        "import click\nprint(sys.argv[1:])\n",
        encoding="utf-8",
    )
    return folder


def start(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [*BARE, str(copy / "scripts" / "command.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_a_python_without_dependencies_hands_over_to_the_projects_own(copy: Path) -> None:
    """The same command line runs again under .venv, arguments untouched."""
    python = copy / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)

    result = start(copy, "--reason", "two words", "*")

    assert "['--reason', 'two words', '*']\n" == result.stdout, result.stderr


def test_without_an_environment_one_line_says_what_to_run(copy: Path) -> None:
    """No traceback about a missing module: `make setup`, exit 2."""
    result = start(copy)

    assert 2 == result.returncode
    assert "run `make setup` first" in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_one_word_means_one_thing(parsed: Parsed) -> None:
    """No public class, function or type is defined twice; a command's `main` and a migration's `upgrade` aside."""
    places: dict[str, list[str]] = {}
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        if "migrations" in path.parts:
            continue
        for node in parsed(path).body:
            for name in _defined(node):
                places.setdefault(name, []).append(str(path.relative_to(REPOSITORY)))

    assert {} == {name: found for name, found in places.items() if len(found) > 1}


JOURNAL = REPOSITORY / "src" / "promotion" / "journal"


def test_the_journal_has_one_door(parsed: Parsed) -> None:
    """SQL on its tables stands in its own folder; others have SQLAlchemy for MLflow's database alone."""
    reaching = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for folder in ("src", "scripts", "mlops")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if not path.is_relative_to(JOURNAL)
        for name in _imported(parsed(path))
        if name.split(".")[0] == "sqlalchemy" or name.startswith(("promotion.journal.schema", "promotion.journal.rows"))
    }

    assert {
        "src/promotion/registry/client.py: sqlalchemy",
        "src/promotion/registry/tracking.py: sqlalchemy.exc",
    } == reaching


def test_the_journal_knows_none_of_its_users(parsed: Parsed) -> None:
    """It imports itself, the words it shares with the registry, the errors, and which names stand for secrets."""
    shared = ("promotion.registry.stages", "promotion.registry.semver", "promotion.errors", "promotion.config.secrets")
    known = ("promotion.journal", *shared)
    names = {name for path in JOURNAL.rglob("*.py") for name in _imported(parsed(path)) if name.startswith("promotion")}

    assert set() == {name for name in names if not name.startswith(known)}


def _imported(module: ast.Module) -> Iterator[str]:
    """The modules a file imports, wherever in it; of `from a import b` both `a` and, for a package, `a.b`."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "promotion.journal.journal":
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _defined(node: ast.stmt) -> Iterator[str]:
    """The public names a statement of a module defines, constants aside."""
    names = [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []
    if isinstance(node, ast.Assign):
        names = [target.id for target in node.targets if isinstance(target, ast.Name) and not target.id.isupper()]
    yield from (name for name in names if not name.startswith("_") and name != "main")
