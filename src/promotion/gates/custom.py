"""Gates of the owner's own: a command gets the evidence as JSON on standard input and answers in JSON.

It answers `{"passed": true}`, and if it likes `measured`, `required` and `why` as texts. It runs as whoever runs the
gates, with that account's rights: it is the owner's code, named in the owner's file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import uuid4

from promotion.config.evidence import CustomGate
from promotion.config.family import FamilyConfig
from promotion.gates.report import Context, Gate, GateResult

_MAX_BYTES = 1_000_000
_MAX_TALK = 100_000_000
_SHOWN = 200
_LOOK_SECONDS = 0.02
# A process that waits for a disk ends no sooner.
_END_SECONDS = 5.0
# Whatever a command starts inherits this variable, and is found by it after it has left the command's session.
_MARK = "PROMOTION_GATE"


@dataclass(frozen=True, slots=True)
class CustomAnswer:
    """What a command said; `problem` is why it said nothing."""

    passed: bool = False
    measured: str = ""
    required: str = ""
    why: str = ""
    problem: str = ""


def custom_gates(config: FamilyConfig) -> list[Gate]:
    """One for each command."""
    return [_gate(rule) for rule in config.gates.custom]


def ask(rule: CustomGate, evidence: Mapping[str, Any], home: Path) -> CustomAnswer:
    """Run a command, and read its answer; whatever goes wrong is a refusal.

    Args:
        rule: The command.
        evidence: What it is told.
        home: Where it is started.
    """
    mark = uuid4().hex
    with TemporaryFile() as asked, TemporaryFile() as said, TemporaryFile() as talk:
        asked.write(json.dumps(evidence, allow_nan=False).encode())
        asked.seek(0)
        try:
            process = subprocess.Popen(  # noqa: S603  # the owner's own command, without a shell
                rule.command,
                cwd=home,
                env={**os.environ, _MARK: mark},
                stdin=asked,
                stdout=said,
                stderr=talk,
                start_new_session=True,
            )
        except OSError as error:
            return CustomAnswer(problem=f"{rule.command[0]} cannot be started: {error.strerror}")
        with process:
            try:
                problem = _wait(process, rule.timeout.total_seconds(), said, talk)
            finally:
                _end(process, mark)
        if problem:
            return CustomAnswer(problem=problem)
        if process.returncode:
            last = " ".join((_end_of(talk).strip().splitlines() or ["it said nothing"])[-1].split())[:_SHOWN]
            return CustomAnswer(problem=f"it ended with exit code {process.returncode}: {last}")
        return _read(_end_of(said))


def _wait(process: subprocess.Popen[bytes], seconds: float, said: IO[bytes], talk: IO[bytes]) -> str:
    """Wait for its end; what is wrong with it where it takes or writes too much."""
    deadline = time.monotonic() + seconds
    while True:
        is_ended = process.poll() is not None
        if os.fstat(said.fileno()).st_size > _MAX_BYTES:
            return f"it answers with more than {_MAX_BYTES:,} bytes"
        if os.fstat(talk.fileno()).st_size > _MAX_TALK:
            return f"it writes more than {_MAX_TALK:,} bytes to standard error"
        if is_ended:
            return ""
        if time.monotonic() > deadline:
            return f"it did not end within {seconds:g} s"
        time.sleep(_LOOK_SECONDS)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """End it with everything it has started, in sessions of their own, too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _END_SECONDS
    while (left := _marked(mark)) and time.monotonic() < deadline:
        for number in left:
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)


def _marked(mark: str) -> list[int]:
    """The processes that inherited a mark; none where the system does not show (`/proc`)."""
    wanted, found = f"{_MARK}={mark}".encode(), []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
    return found


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES))
    return file.read().decode(errors="replace")


def _read(said: str) -> CustomAnswer:
    try:
        answer = json.loads(said, parse_constant=_no_number, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        why = f" ({error})" if isinstance(error, _NoJsonError) else ""
        return CustomAnswer(problem=f"its answer is no JSON{why}: {' '.join(said.split())[:_SHOWN]!r}")
    if not isinstance(answer, dict) or not isinstance(answer.get("passed"), bool):
        return CustomAnswer(problem='its answer has no "passed" that is true or false')
    texts = {name: " ".join(str(answer.get(name, "")).split())[:_SHOWN] for name in ("measured", "required", "why")}
    return CustomAnswer(passed=answer["passed"], **texts)


class _NoJsonError(ValueError):
    """What Python's reader takes for JSON, and is none."""


def _no_number(word: str) -> float:
    raise _NoJsonError(f"{word} is no number")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    answer = dict(pairs)
    if len(answer) < len(pairs):
        raise _NoJsonError("a key stands there twice")
    return answer


def _gate(rule: CustomGate) -> Gate:
    def gate(context: Context) -> GateResult:
        answer = context.custom.get(rule.name)
        required = (answer.required if answer else "") or "its command says yes"
        if answer is None:
            why = context.artifact_problem or "what a check refused is shown to no command"
            return GateResult(rule.name, passed=False, measured="not asked", required=required, why=why)
        if answer.problem:
            return GateResult(rule.name, passed=False, measured="no answer", required=required, why=answer.problem)
        measured = answer.measured or ("yes" if answer.passed else "no")
        why = answer.why or ("" if answer.passed else "its command says no")
        return GateResult(rule.name, answer.passed, measured, required, why)

    return gate
