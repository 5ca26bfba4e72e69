"""Drive the worker from outside: start it, ask it, and end it when it takes too long or too much.

Nothing that it says is believed: every length is bounded before it is read, answers are numbers or texts of the shape
that was asked for, and what it costs is measured here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from promotion.config.evidence import RunLimits
from promotion.errors import PromotionError
from promotion.evaluation.processor import peak_resident, waited_ns
from promotion.evaluation.received import sandbox
from promotion.evaluation.received.worker import FRAME

_WORKER = Path(__file__).with_name("worker.py")
_MAX_HEADER = 1_000_000
_MAX_COLUMNS = 4096
_MAX_TEXT_BYTES = 4096
_MAX_SAID = 300
_MAX_GRAPH = 2_000_000_000
_MEGABYTE = 1e6
_LOOK_SECONDS = 0.2
_CHUNK = 1 << 20
_SOURCES = Path(__file__).resolve().parents[3]
# A model needs no registry password; what it does not get it cannot leak.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")


def shared_environment() -> dict[str, str]:
    """What a process with a model in it sees of our environment: no one's credentials."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": str(_SOURCES)}


class ModelFailed(PromotionError):
    """The model cannot be loaded, or does not answer as a model must."""


@dataclass(frozen=True, slots=True)
class RawAnswers:
    """What a model said of some rows.

    Attributes:
        cells: Shape (rows,) or (rows, columns): numbers, booleans as numbers, or texts.
        kind: `number`, `boolean` or `text`.
        classes: What the columns stand for, where the model says so.
        columns: What they are called, where they have names.
    """

    cells: NDArray[Any]
    kind: str
    classes: tuple[Any, ...] | None = None
    columns: tuple[Any, ...] | None = None


class ModelWorker:
    """A process with one model in it.

    Args:
        folder: The model's files; a private copy.
        order: What `worker.load` is told; paths are relative to the folder.
        limits: What it may use.
        python: The interpreter.
        in_sandbox: Whether it is run in the sandbox.
        variables: Added to the environment.
    """

    def __init__(
        self,
        folder: Path,
        order: Mapping[str, Any],
        limits: RunLimits,
        *,
        python: Path | None = None,
        in_sandbox: bool,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits
        self._folder = folder
        self._python = python or Path(sys.executable)
        self._in_sandbox = in_sandbox
        self._variables = dict(variables or {})
        self._order = dict(order)
        self._reason = ""
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        command, variables = self._command()
        self._process = subprocess.Popen(  # noqa: S603  # our own worker
            command,
            env={**variables, **self._variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        self._talk: deque[bytes] = deque(maxlen=8)
        self._threads = [
            threading.Thread(target=self._listen, daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        try:
            self._receive(0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_failure: object) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                _close(pipe)

    def predict(self, rows: bytes, count: int) -> RawAnswers:
        """Ask with the rows of an Arrow stream.

        Raises:
            ModelFailed: It crashes, takes too long or too much, or answers anything but a value a row.
        """
        self._send({"do": "predict"}, rows)
        return self._receive(count)

    def hold(self, rows: bytes) -> None:
        """Give it rows that `predict_held` asks for."""
        self._send({"do": "hold"}, rows)
        self._receive(0)

    def predict_held(self, row: int) -> RawAnswers:
        """Ask with one of the rows that it holds."""
        self._send({"do": "one", "row": row}, b"")
        return self._receive(1)

    def translate(self, columns: Sequence[tuple[str, bool]], name: str) -> bytes:
        """Ask for the model as an ONNX graph, see `translation.graph_of`.

        Raises:
            ModelFailed: It has no counterpart there; the message says why.
        """
        self._send({"do": "translate", "columns": list(columns), "name": name}, b"")
        return self._frame(_MAX_GRAPH, "a request for its graph")[1]

    def peak_memory(self) -> int:
        """Peak resident memory of its processes in bytes: the worker's own, and at least what was seen of all."""
        return max(self.peak_bytes, max(map(peak_resident, self._pids()), default=0))

    def cpu_ns(self) -> int:
        """CPU time that it has used, user and system, all its processes."""
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        return sum(_cpu_ticks(pid) for pid in self._pids()) * tick

    def waited_ns(self) -> int:
        """How long it and whoever asks it have waited for a processor that others had."""
        return waited_ns() + sum(map(waited_ns, self._pids()))

    def _command(self) -> tuple[list[str], dict[str, str]]:
        if self._in_sandbox:
            sandbox.require_sandbox(self._limits)
            order = self._placed(sandbox.MODEL)
            command = [str(self._python), "-P", str(sandbox.WORKER), order]
            prefixes = sandbox.interpreter_prefixes(self._python)
            folder = sandbox.readable(self._folder)
            return sandbox.sandboxed(command, folder, _WORKER, self._limits, prefixes), sandbox.environment()
        command = [str(self._python), "-P", "-m", "promotion.evaluation.received.worker", self._placed(self._folder)]
        return command, shared_environment()

    def _placed(self, folder: Path) -> str:
        return json.dumps({**self._order, "path": str(folder / self._order["path"])})

    def _send(self, header: Mapping[str, Any], payload: bytes) -> None:
        text = json.dumps(header).encode()
        assert self._process.stdin  # noqa: S101  # a pipe
        try:
            self._process.stdin.write(FRAME.pack(len(text), len(payload)) + text)
            for start in range(0, len(payload), _CHUNK):
                self._process.stdin.write(payload[start : start + _CHUNK])
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _receive(self, rows: int) -> RawAnswers:
        document, payload = self._frame(rows * max(8 * _MAX_COLUMNS, _MAX_TEXT_BYTES), f"{rows} rows")
        try:
            return RawAnswers(np.empty(0), "number") if not rows else _parsed(document, payload, rows)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise ModelFailed(f"the model's answer cannot be read: {type(error).__name__}") from error

    def _frame(self, most: int, asked: str) -> tuple[dict[str, Any], bytes]:
        length, size = FRAME.unpack(self._read(FRAME.size))
        if length > _MAX_HEADER or size > most:
            raise ModelFailed(f"the model answers {asked} with {size} bytes, which is no answer")
        header, payload = self._read(length), self._read(size)
        try:
            document = json.loads(header)
            failure = str(document["failed"])[:_MAX_SAID] if "failed" in document else ""
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelFailed(f"the model's answer cannot be read: {type(error).__name__}") from error
        if failure:
            raise ModelFailed(f"the model fails: {failure}")
        return document, payload

    def _read(self, size: int) -> bytes:
        assert self._process.stdout  # noqa: S101  # a pipe
        try:
            found = self._process.stdout.read(size)
        except OSError as error:
            raise self._ended() from error
        if len(found) < size:
            raise self._ended()
        return found

    def _ended(self) -> ModelFailed:
        """Why it answers no more."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._threads[0].join(timeout=5)
        talk = b"".join(self._talk).decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return ModelFailed(f"the model's process {self._reason or _ending(code, talk[0][:_MAX_SAID])}")

    def _listen(self) -> None:
        """Keep the end of what it says; the rest may be without end."""
        assert self._process.stderr  # noqa: S101  # a pipe
        descriptor = self._process.stderr.fileno()
        while chunk := os.read(descriptor, 4096):
            self._talk.append(chunk)

    def _watch(self) -> None:
        """End it at the limits that the system does not hold for all of its processes together."""
        deadline = time.monotonic() + self._limits.timeout.total_seconds()
        while self._process.poll() is None:
            used = sum(_memory(pid) for pid in self._pids())
            self.peak_bytes = max(self.peak_bytes, used)
            if used > self._limits.memory_mb * _MEGABYTE:
                self._end(f"took more than {self._limits.memory_mb} MB of memory (artifacts.memory_mb) and was ended")
            elif time.monotonic() > deadline:
                span = f"{self._limits.timeout.total_seconds():g} s"
                self._end(f"did not end within {span} (artifacts.timeout) and was ended")
            time.sleep(_LOOK_SECONDS)

    def _end(self, reason: str) -> None:
        self._reason = reason
        self._process.kill()

    def _pids(self) -> list[int]:
        """Its processes; those of the sandbox itself cost next to nothing."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit() and (fields := _stat(int(path.name))):
                parents.setdefault(int(fields[1]), []).append(int(path.name))
        waiting, found = [self._process.pid], []
        while waiting:
            found.append(pid := waiting.pop())
            waiting += parents.get(pid, [])
        return found


def _parsed(document: dict[str, Any], payload: bytes, rows: int) -> RawAnswers:
    kind, shape = document["kind"], tuple(int(size) for size in document["shape"])
    if not shape or shape[0] != rows:
        answered = shape[0] if shape else "a single value"
        raise ModelFailed(f"the model answers {answered} for {rows} rows: expected one answer a row")
    if len(shape) > 2 or any(not 0 < size <= _MAX_COLUMNS for size in shape[1:]):  # noqa: PLR2004  # rows × columns
        raise ModelFailed(f"the model answers with shape {list(shape)}: expected a value or a list of values a row")
    named = {name: tuple(document[name]) for name in ("classes", "columns") if document.get(name) is not None}
    for name, found in named.items():
        if len(shape) != 2 or len(found) != shape[1]:  # noqa: PLR2004  # rows × columns
            raise ModelFailed(f"the model names {len(found)} {name} and answers with shape {list(shape)}")
    if kind == "text":
        values = np.array(json.loads(payload), dtype=object)
        if values.shape != shape:
            raise ModelFailed("the model's answer is not of the shape that it says")
        return RawAnswers(values, kind, **named)
    if kind not in {"number", "boolean"} or len(payload) != 8 * int(np.prod(shape)):
        raise ModelFailed("the model's answer is not of the type and shape that it says")
    return RawAnswers(np.frombuffer(payload, dtype="<f8").reshape(shape), kind, **named)


def _ending(code: int, talk: str) -> str:
    """Why the process ended, from its exit code (bubblewrap adds 128 to a signal) and the last line it said."""
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "was killed, as the system does when memory or CPU time runs out"
    if number > 0 and number in set(signal.Signals):
        return f"crashed with {signal.Signals(number).name}: the model or a library it uses is broken"
    return f"ended with exit code {code}: {talk}"


def _stat(pid: int) -> list[str] | None:
    """The fields of proc(5) behind the program's name: state, parent, …; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    except OSError:
        return None


def _cpu_ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else 0


def _memory(pid: int) -> int:
    """Resident memory in bytes, what processes share divided among them (Pss); all of it where that is not told."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        fields = _stat(pid)
        return int(fields[21]) * os.sysconf("SC_PAGE_SIZE") if fields else 0
    return 0


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:
        return
