"""How busy the machine was while a model was measured."""

from __future__ import annotations

from pathlib import Path


def waited_ns(process: int | str = "self") -> int:
    """How long a process's main thread has waited for a processor that others had, in nanoseconds.

    The second figure of proc(5)'s schedstat; 0 where the system does not count it.
    """
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
