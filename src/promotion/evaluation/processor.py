"""What the system counts of a process: how long it waited for a processor, and its memory at the most."""

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


def peak_resident(process: int | str = "self") -> int:
    """Peak resident memory of a process since its program started, in bytes; 0 where the system does not tell.

    Linux hands `ru_maxrss` down from the parent across fork and exec (getrusage(2), execve(2)), so a large parent
    would be billed to the model; VmHWM of proc(5), in KiB, starts afresh.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
