"""Hold a lock on a SQLite file until standard input ends: `hold.py FILE IMMEDIATE|EXCLUSIVE`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(file: Path, mode: str) -> Iterator[None]:
    """Another process has the SQLite file locked: IMMEDIATE lets others read, EXCLUSIVE does not."""
    command = [sys.executable, __file__, str(file), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "held\n" == process.stdout.readline()
            yield
        finally:
            process.communicate()


if __name__ == "__main__":
    store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
    store.execute(f"BEGIN {sys.argv[2]}")
    print("held", flush=True)  # noqa: T201  # tells the test that the lock is taken
    sys.stdin.read()
