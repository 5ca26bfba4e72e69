"""The processes that cross-validate, started before they are needed: their imports and ours run side by side."""

from __future__ import annotations

from collections.abc import Iterable

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor


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
    get_reusable_executor(reuse=True).shutdown(wait=False)


def _prepare() -> None:
    import models.training.selection  # for what it imports
