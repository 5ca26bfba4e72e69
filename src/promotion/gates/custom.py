"""Gates of the owner's own: a command gets the evidence as JSON on standard input and answers in JSON.

It answers `{"passed": true}`, and if it likes `measured`, `required` and `why` as texts. It runs as whoever runs the
gates, with that account's rights: it is the owner's code, named in the owner's file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.config.evidence import CustomGate
from promotion.config.family import FamilyConfig
from promotion.gates.report import Context, Gate, GateResult

_MAX_BYTES = 1_000_000
_SHOWN = 200


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
    try:
        process = subprocess.Popen(  # noqa: S603  # the owner's own command, without a shell
            rule.command,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return CustomAnswer(problem=f"{rule.command[0]} cannot be started: {error.strerror}")
    with process:
        try:
            said, talk = process.communicate(json.dumps(evidence), timeout=rule.timeout.total_seconds())
        except subprocess.TimeoutExpired:
            return CustomAnswer(problem=f"it did not end within {rule.timeout.total_seconds():g} s")
        finally:
            _end(process)
    if process.returncode:
        last = " ".join((talk.strip().splitlines() or ["it said nothing"])[-1].split())[:_SHOWN]
        return CustomAnswer(problem=f"it ended with exit code {process.returncode}: {last}")
    return _read(said)


def _end(process: subprocess.Popen[str]) -> None:
    """End it with everything it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _read(said: str) -> CustomAnswer:
    if len(said) > _MAX_BYTES:
        return CustomAnswer(problem=f"it answers with more than {_MAX_BYTES:,} letters")
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        return CustomAnswer(problem=f"its answer is no JSON: {' '.join(said.split())[:_SHOWN]!r}")
    if not isinstance(answer, dict) or not isinstance(answer.get("passed"), bool):
        return CustomAnswer(problem='its answer has no "passed" that is true or false')
    texts = {name: " ".join(str(answer.get(name, "")).split())[:_SHOWN] for name in ("measured", "required", "why")}
    return CustomAnswer(passed=answer["passed"], **texts)


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
