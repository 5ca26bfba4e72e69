"""Work that no request waits for: one thread, a bounded queue, and what does not fit is dropped and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

BackgroundTask = Callable[[], None]
LOGGER = logging.getLogger(__name__)
CAPACITY = 32 * 1024 * 1024
TASK_BYTES = 1024
"""What a task takes beside its rows."""


class Background:
    """Runs tasks one after the other.

    Args:
        name: Of the thread.
        on_loss: Called with its rows when a task is dropped or fails; it must not raise.
        capacity: Most bytes that what waits may keep in memory.
    """

    def __init__(self, name: str, on_loss: Callable[[int], None], capacity: int = CAPACITY) -> None:
        self._queue: SimpleQueue[tuple[BackgroundTask, int, int] | None] = SimpleQueue()
        self._capacity = capacity
        self._waiting = 0
        self._lock = Lock()
        self._on_loss = on_loss
        self._failing = False
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, task: BackgroundTask, rows: int, size: int) -> None:
        """Queue a task, or drop it; neither waits nor raises.

        Args:
            task: What to do.
            rows: How many it is about.
            size: Bytes of these rows.
        """
        size += TASK_BYTES
        with self._lock:
            fits = self._waiting + size <= self._capacity
            self._waiting += size if fits else 0
        if fits:
            self._queue.put((task, rows, size))
        else:
            self._on_loss(rows)

    def close(self, seconds: float) -> None:
        """Finish what is queued, for that long at most."""
        self._queue.put(None)
        self._thread.join(max(0.0, seconds))

    def _run(self) -> None:
        while queued := self._queue.get():
            task, rows, size = queued
            try:
                task()
                self._failing = False
            except Exception as error:  # noqa: BLE001 - nobody waits for it, and the next task may work
                self._on_loss(rows)
                # A full disk fails thousands of times a minute; it is said once until something works again.
                if not self._failing:
                    LOGGER.warning("%s: %s: %s", self._thread.name, type(error).__name__, error)
                self._failing = True
            finally:
                with self._lock:
                    self._waiting -= size
