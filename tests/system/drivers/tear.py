"""Die in the middle of writing a SQLite file, with half of a transaction already in it: `tear.py FILE`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys

if __name__ == "__main__":
    store = sqlite3.connect(sys.argv[1], isolation_level=None)
    # A cache of one page makes SQLite write pages to the file before the commit, which is what a COMMIT does anyway.
    store.execute("PRAGMA cache_size = 1")
    store.execute("BEGIN IMMEDIATE")
    store.execute("CREATE TABLE half_written (text)")
    store.executemany("INSERT INTO half_written VALUES (?)", [("x" * 400,)] * 3000)
    os.kill(os.getpid(), signal.SIGKILL)
