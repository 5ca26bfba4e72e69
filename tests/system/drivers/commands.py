"""Run real command files, each in a process of its own, without paying for MLflow's import in every one of them.

A host process imports the heavy libraries once and forks for each call. In the fork the command file runs as
`__main__`, and can be made to kill itself with SIGKILL at its n-th moment of one kind: a reported step, a write call to
MLflow, an SQL statement that writes (the journal's and MLflow's alike), or the end of a transaction that wrote.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

Kind = Literal["report", "call", "statement", "commit"]
Tell = Callable[[str], None]

NEVER = 1_000_000
"""A moment that no command comes to: it lives, and says which there are."""

REPOSITORY = Path(__file__).resolve().parents[3]
WRITES = ("set_stage", "set_alias", "delete_alias", "set_tag", "delete_tag", "set_description", "delete_version")
HEAVY = (
    "promotion.cli.console",
    "alembic.command",
    "filelock",
    "mlflow.tracking",
    "promotion.bootstrap",
    "promotion.evaluation.holdout",
    "models.training.packaging",
    "promotion.checklist",
    "promotion.approving",
    "promotion.registry.client",
    "promotion.registry.rest",
    "promotion.registry.sqlite",
    "promotion.rollbacks",
    "promotion.service",
)


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended.

    Attributes:
        code: Exit code; -9 when it was killed.
        out: Standard output.
        err: Standard error.
        seconds: Wall time.
        moments: The moments it went through, in order.
    """

    code: int
    out: str
    err: str
    seconds: float
    moments: list[str]


class Commands:
    """The host process, seen from the tests; use it as a context manager."""

    def __init__(self) -> None:
        self._host = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for stream in (self._host.stdin, self._host.stdout):
            if stream:
                stream.close()
        self._host.wait(timeout=30)

    def __call__(
        self,
        script: str,
        *arguments: str,
        environment: Mapping[str, str],
        kill: tuple[Kind, int] | None = None,
    ) -> Finished:
        """Run one command file to its end.

        Args:
            script: Path below the repository.
            arguments: Its command line.
            environment: Set on top of the host's.
            kill: Kind and number (from 1) of the moment at which the process kills itself.
        """
        order = {"script": script, "arguments": arguments, "environment": dict(environment), "kill": kill}
        if self._host.stdin is None or self._host.stdout is None:
            message = "the host has no pipes"
            raise RuntimeError(message)
        self._host.stdin.write(json.dumps(order) + "\n")
        self._host.stdin.flush()
        return Finished(**json.loads(self._host.stdout.readline()))


def _serve() -> None:
    sys.path[0] = str(REPOSITORY / "src")
    for name in HEAVY:
        importlib.import_module(name)
    _open_some_store()
    gc.freeze()  # what all commands share: none goes through it, or copies it by marking it
    for line in sys.stdin:
        print(json.dumps(asdict(_fork(json.loads(line)))), flush=True)  # noqa: T201  # the answer to the test


def _open_some_store() -> None:
    """MLflow imports another second's worth of modules when it opens its first database."""
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        MlflowClient(f"sqlite:///{folder}/mlflow.db").search_registered_models()


def _fork(order: Mapping[str, Any]) -> Finished:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            _become(order, folder)
        _, status = os.waitpid(process, 0)
        seconds = time.monotonic() - started
        out, err, moments = ((folder / part).read_text(encoding="utf-8") for part in ("out", "err", "moments"))
    return Finished(os.waitstatus_to_exitcode(status), out, err, seconds, moments.splitlines())


def _become(order: Mapping[str, Any], folder: Path) -> None:
    """Turn this fork into the command; never returns."""
    code: object = 1
    try:
        for number, part in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / part, os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])
        with (folder / "moments").open("w", encoding="utf-8", buffering=1) as moments:
            if order["kill"]:
                kind, last = order["kill"]
                INSTRUMENTS[kind](_until(last, lambda text: print(text, file=moments)))
            script = REPOSITORY / order["script"]
            sys.argv = [str(script), *order["arguments"]]
            runpy.run_path(str(script), run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _until(last: int, note: Tell) -> Tell:
    counter = itertools.count(1)

    def moment(text: str) -> None:
        note(" ".join(text.split()))
        if next(counter) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return moment


def _at_reports(moment: Tell) -> None:
    from promotion.service import PromotionService

    begin = PromotionService.__init__

    def started(self: PromotionService, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        tell = self.report

        def report(line: str) -> None:
            tell(line)
            moment(line)

        self.report = report

    PromotionService.__init__ = started  # type: ignore[method-assign]


def _at_calls(moment: Tell) -> None:
    from promotion.registry.sqlite import SqliteRegistry

    def around(name: str) -> Callable[..., None]:
        call = getattr(SqliteRegistry, name)

        def called(self: SqliteRegistry, *arguments: Any) -> None:
            moment(f"before {name}{arguments}")
            call(self, *arguments)
            moment(f"after {name}{arguments}")

        return called

    for name in WRITES:
        setattr(SqliteRegistry, name, around(name))


def _at_statements(moment: Tell) -> None:
    _watch_databases(moment, moment)


def _at_commits(moment: Tell) -> None:
    """Once a transaction: wherever within it a process is killed, it is rolled back."""
    _watch_databases(lambda _text: None, moment)


def _watch_databases(write: Tell, commit: Tell) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    wrote = set()

    @event.listens_for(Engine, "before_cursor_execute")
    def _statement(connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE", "CREATE")):
            write(f"before {statement}"[:120])
            wrote.add(id(connection))

    @event.listens_for(Engine, "commit")
    def _commit(connection: Any) -> None:
        if id(connection) in wrote:
            wrote.discard(id(connection))
            commit("before COMMIT")


INSTRUMENTS: Mapping[str, Callable[[Tell], None]] = {
    "report": _at_reports,
    "call": _at_calls,
    "statement": _at_statements,
    "commit": _at_commits,
}

if __name__ == "__main__":
    _serve()
