"""Gates that are commands: what counts as an answer, and everything that refuses."""

from __future__ import annotations

import json
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.gates.cases import a_config, a_context, answer

from promotion.config.evidence import CustomGate
from promotion.gates.custom import CustomAnswer, ask

RULE = {"name": "profit", "command": ["check"]}


def told(tmp_path: Path, line: str, timeout: str = "10s") -> CustomAnswer:
    """What a shell line answers to the evidence."""
    rule = CustomGate.model_validate({"name": "profit", "command": ["/bin/sh", "-c", line], "timeout": timeout})
    return ask(rule, {"candidate": {"metrics": {"recall": 0.5}}}, tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("echo '{\"passed\": true}'", CustomAnswer(passed=True)),
        ('echo \'{"passed": false, "why": "too dear"}\'', CustomAnswer(passed=False, why="too dear")),
        ('echo \'{"passed": true, "measured": 812, "more": []}\'', CustomAnswer(passed=True, measured="812")),
    ],
)
def test_an_answer(tmp_path: Path, line: str, expected: CustomAnswer) -> None:
    """Only `passed` is needed."""
    assert expected == told(tmp_path, line)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("exit 1", "exit code 1: it said nothing"),
        ("echo one >&2; echo two >&2; exit 3", "exit code 3: two"),
        ("kill -9 $$", "exit code -9"),
        ("true", "its answer is no JSON: ''"),
        ("echo yes", "its answer is no JSON: 'yes'"),
        ("echo '[true]'", 'no "passed"'),
        ("echo '{}'", 'no "passed"'),
        ("echo '{\"passed\": 1}'", 'no "passed"'),
        ('echo \'{"passed": "true"}\'', 'no "passed"'),
        ("echo '{\"passed\": true}'; exit 1", "exit code 1"),
        ('echo \'{"passed": true, "measured": NaN}\'', "NaN is no number"),
        ('echo \'{"passed": true, "more": [-Infinity]}\'', "-Infinity is no number"),
        ('echo \'{"passed": false, "passed": true}\'', "a key stands there twice"),
        ("head -c 1000001 /dev/zero | tr '\\0' 1", "more than 1,000,000 bytes"),
        ("yes", "more than 1,000,000 bytes"),
    ],
)
def test_what_is_no_answer_refuses(tmp_path: Path, line: str, problem: str) -> None:
    """A crash, no JSON, JSON of another form, too much of it."""
    found = told(tmp_path, line)
    assert not found.passed
    assert problem in found.problem
    assert 1 == len(found.problem.splitlines())


@pytest.mark.system
def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """With all that it started."""
    before = time.monotonic()
    assert "it did not end within 1 s" == told(tmp_path, "sleep 60 & sleep 60", "1s").problem
    assert time.monotonic() - before < 20


@pytest.mark.parametrize("end", ["", pytest.param("sleep 60", marks=pytest.mark.system)])
def test_what_left_the_commands_session_is_ended_too(tmp_path: Path, end: str) -> None:
    """Whether the command waits for it or not."""
    started = (
        "import subprocess; print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, file=open('pid', 'w'))"
    )
    told(tmp_path, f'{shlex.quote(sys.executable)} -c "{started}"; {end}', "1s")
    number = int((tmp_path / "pid").read_text())
    with suppress(FileNotFoundError):  # a zombie that nobody has waited for yet
        assert "Z" == Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    """Is a refusal with its name."""
    rule = CustomGate.model_validate({"name": "profit", "command": ["no-such-program", "--now"]})
    assert "no-such-program cannot be started: No such file or directory" == ask(rule, {}, tmp_path).problem


def test_it_reads_the_evidence_in_the_home_folder(tmp_path: Path) -> None:
    """As JSON on its standard input, relative paths counted from there."""
    (tmp_path / "check.py").write_text(
        "import json, sys; value = json.load(sys.stdin)['candidate']['metrics']['recall']\n"
        "print(json.dumps({'passed': value >= 0.5, 'measured': str(value)}))"
    )
    rule = CustomGate.model_validate({"name": "profit", "command": [sys.executable, "check.py"]})
    assert CustomAnswer(passed=True, measured="0.5") == ask(rule, {"candidate": {"metrics": {"recall": 0.5}}}, tmp_path)


@pytest.mark.parametrize(
    ("custom", "expected"),
    [
        ({"profit": CustomAnswer(passed=True)}, (True, "yes", "")),
        ({"profit": CustomAnswer(passed=False)}, (False, "no", "its command says no")),
        ({"profit": CustomAnswer(passed=True, measured="812", why="close")}, (True, "812", "close")),
        ({"profit": CustomAnswer(passed=False, measured="812", why="too dear")}, (False, "812", "too dear")),
        ({"profit": CustomAnswer(passed=True, problem="it crashed")}, (False, "no answer", "it crashed")),
        ({"other": CustomAnswer(passed=True)}, (False, "not asked", "what a check refused is shown to no command")),
    ],
)
def test_the_gate(custom: dict[str, Any], expected: tuple[bool, str, str]) -> None:
    """Passes on a plain yes alone."""
    found = answer(a_context(a_config({"custom": [RULE]}), custom=custom), "profit")
    assert expected == (found.passed, found.measured, found.why)
    assert json.dumps(found.required)


@pytest.mark.parametrize(("required", "expected"), [("at least 900", "at least 900"), ("", "its command says yes")])
@pytest.mark.parametrize("changes", [{"passed": True}, {"problem": "it crashed"}])
def test_what_is_required_is_what_the_command_says(required: str, expected: str, changes: dict[str, Any]) -> None:
    """Or that it says yes, also where it was not asked."""
    custom = {"profit": CustomAnswer(required=required, **changes)}
    assert expected == answer(a_context(a_config({"custom": [RULE]}), custom=custom), "profit").required
    unasked = answer(a_context(a_config({"custom": [RULE]}), artifact_problem="its files are gone"), "profit")
    assert ("its command says yes", "its files are gone") == (unasked.required, unasked.why)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("head -c 999984 /dev/zero | tr '\\0' ' '; printf '{\"passed\":true}'", ""),
        ("head -c 999985 /dev/zero | tr '\\0' ' '; printf '{\"passed\":true}'", ""),
        (
            "head -c 999986 /dev/zero | tr '\\0' ' '; printf '{\"passed\":true}'",
            "it answers with more than 1,000,000 bytes",
        ),
        ("truncate -s 100000000 /dev/fd/2; echo '{\"passed\":true}'", ""),
        (
            "truncate -s 100000001 /dev/fd/2; echo '{\"passed\":true}'",
            "it writes more than 100,000,000 bytes to standard error",
        ),
        ("head -c 30000 /dev/zero | tr '\\0' '['", "its answer is no JSON"),
    ],
)
def test_so_much_a_command_may_say(tmp_path: Path, line: str, problem: str) -> None:
    """A million bytes are an answer, one more is none; a hundred of them go to standard error."""
    found = told(tmp_path, line)

    assert found.passed is (not problem)
    assert found.problem.startswith(problem)


def test_what_an_answer_says_is_one_line(tmp_path: Path) -> None:
    """However it was broken, and no longer than anybody reads."""
    said = json.dumps({"passed": True, "measured": "a\n b\t c", "required": "r" * 1000, "why": ["x"]})
    found = told(tmp_path, f"printf %s {shlex.quote(said)}")

    assert CustomAnswer(passed=True, measured="a b c", required="r" * 200, why="['x']") == found
