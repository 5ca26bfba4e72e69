"""Let every command file run with any python: one that lacks our dependencies hands over to the project's own.

Imported by command files before anything else, so it uses the standard library only and works with older pythons too.
An environment that has the dependencies is used as it is.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
NEEDED = ("alembic", "click", "mlflow", "pydantic", "sqlalchemy", "skops", "tenacity", "yaml")
USAGE_EXIT_CODE = 2


def is_complete() -> bool:
    """Whether the running python is new enough and has what the commands import."""
    return sys.version_info >= (3, 11) and all(find_spec(name) is not None for name in NEEDED)


def hand_over() -> None:
    """Replace this process by the same command line under the project's `.venv`; return only when none is needed."""
    if is_complete():
        return
    environment = REPOSITORY / ".venv"
    python = environment / "bin" / "python"
    if not os.access(python, os.X_OK) or Path(sys.prefix).resolve() == environment.resolve():
        sys.stderr.write(
            f"{sys.executable} lacks this project's dependencies: run `make setup` first (in {REPOSITORY})\n"
        )
        raise SystemExit(USAGE_EXIT_CODE)
    arguments = getattr(sys, "orig_argv", [sys.executable, *sys.argv])[1:]
    os.execv(python, [str(python), *arguments])  # noqa: S606  # no shell wanted: the arguments go over untouched


hand_over()
# joblib says it to everybody; train.py, the one command that has work for several processes, says it in its own words.
warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")
