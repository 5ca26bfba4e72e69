"""The processes that cross-validate, started before they are needed: their imports and ours run side by side."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable

from joblib import Parallel, cpu_count, delayed, effective_n_jobs
from joblib.externals.loky import get_reusable_executor


def why_alone() -> str | None:
    """Why there can be no such processes here, so that all work is done in this one; None where there can."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        return f"/dev/shm cannot be written ({error.strerror}), and other processes need it"  # noqa: S108  # names it only
    return None


def start_workers() -> Iterable[None]:
    """Start joblib's reusable processes, one a core, and return at once; the next `Parallel` finds them ready.

    Returns:
        Keep it until they are used: joblib cancels the start of what nobody waits for.
    """
    started: Iterable[None] = Parallel(n_jobs=-1, return_as="generator")(
        delayed(_prepare)() for _ in range(cpu_count())
    )
    return started


def stop_workers() -> None:
    """Let the processes end while this one goes on; otherwise it waits for them at its own end."""
    if effective_n_jobs(-1) > 1:
        get_reusable_executor(reuse=True).shutdown(wait=False)


def _prepare() -> None:
    import models.training.selection  # for what it imports
