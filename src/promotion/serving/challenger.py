"""The version that answers a share of the keys: in a thread and a time of its own, which cost the champion nothing."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import Matrix

Reason = Literal["busy", "error", "timeout"]
LOGGER = logging.getLogger(__name__)


class ChallengerFailed(Exception):
    """The champion answers instead.

    Args:
        reason: Why, in one word.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Challenger:
    """Asks the model in one thread; whoever waits longer than the time gives up.

    Args:
        model: What answers.
        seconds: How long an answer may take, waiting included.
    """

    def __init__(self, model: Model, seconds: float) -> None:
        self.model = model
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, "challenger")
        self._late: Future[Prediction] | None = None
        self._is_failing = False

    async def predict(self, matrix: Matrix) -> Prediction:
        """Its answer.

        Raises:
            ChallengerFailed: It failed, took too long, or has not come back from a request that took too long.
        """
        if self._late is not None and not self._late.done():
            raise ChallengerFailed("busy")
        work = self._thread.submit(self._answer, matrix)
        try:
            async with asyncio.timeout(self._seconds) as time:
                prediction = await asyncio.wrap_future(work)
        except Exception as error:
            if time.expired():
                # What had not begun is cancelled; what has goes on, and nobody is sent to wait behind it.
                self._late = None if work.cancelled() else work
            self._tell(error)
            raise ChallengerFailed("timeout" if time.expired() else "error") from error
        self._is_failing = False
        return prediction

    def close(self) -> None:
        """Begin nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer(self, matrix: Matrix) -> Prediction:
        """What can be written out: a model that failed late must not take the request with it."""
        prediction = self.model.predict(matrix)
        rows, width = matrix.shape[1], len(self.model.schema.labels) or 1
        classes, probabilities = prediction
        if classes.shape != (rows,) or probabilities.shape != (rows, width):
            raise ValueError(
                f"answers {classes.shape} and {probabilities.shape}; expected ({rows},) and ({rows}, {width})"
            )
        if rows and not 0 <= classes.min() <= classes.max() < width:
            raise ValueError(f"answers a class beyond the {width} it has")
        return prediction

    def _tell(self, error: Exception) -> None:
        """Once, until it answers again: it fails at every request or at none."""
        if not self._is_failing:
            it = self.model.manifest
            LOGGER.warning(
                "challenger %s %d: %s: %s; the champion answers", it.model, it.version, type(error).__name__, error
            )
        self._is_failing = True
