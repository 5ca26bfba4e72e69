"""Hold a lock on a SQLite file until standard input ends: `hold.py FILE IMMEDIATE|EXCLUSIVE`."""

from __future__ import annotations

import sqlite3
import sys

if __name__ == "__main__":
    store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=10)
    store.execute(f"BEGIN {sys.argv[2]}")
    print("held", flush=True)  # noqa: T201  # tells the test that the lock is taken
    sys.stdin.read()
