"""Environments of other programs' own, made once per machine and kept in a cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock


def peer_python(name: str, *requirements: str) -> Path:
    """The python of an environment that holds what pip finds for these requirements; making it takes a minute."""
    cache = Path(
        os.environ.get("PROMOTION_TEST_CACHE")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promotion-layer-tests"
    )
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / name
    python, wanted = folder / "bin" / "python", "\n".join(requirements)
    installed = folder / "installed.txt"
    with FileLock(cache / f"{name}.lock"):
        if not installed.is_file() or installed.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
            installed.write_text(wanted)
    return python
