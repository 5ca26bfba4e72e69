"""Which version answers a request, and what is remembered of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

from promotion.serving.background import Background
from promotion.serving.challenger import Challenger
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.folder import read_export
from promotion.serving.exported.model import Model, Role, check_alike, open_model
from promotion.serving.exported.rows import Matrix, held_bytes
from promotion.serving.metrics import Metrics
from promotion.serving.prediction_log import PredictionLog, Scored, share
from promotion.serving.settings import ServerSettings


class Choice(NamedTuple):
    """Who answers a request.

    Attributes:
        model: The version chosen.
        instead: The version that answers when the challenger does not; None where another is not what was asked for.
    """

    model: Model
    instead: Model | None


@dataclass(frozen=True, slots=True)
class Ticket:
    """What of a request matters for scoring.

    Attributes:
        request_id: Its identifier.
        key: What keeps a client on one version in a split.
        started: `time.perf_counter()` at the request's head.
    """

    request_id: str
    key: str
    started: float


class Scorer:
    """The versions served, the split between them, the prediction log and the counters.

    Args:
        settings: Folders, split and log.

    Raises:
        ExportRefused: A folder is not what its manifest says, or not signed by a trusted key.
        ConfigurationError: The two versions cannot be compared, or the log cannot be written.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.champion = open_model(read_export(settings.model, settings.trusted), "champion")
        self.challenger: Model | None = None
        self._percent = settings.challenger_percent
        if settings.challenger is not None:
            role: Role = "shadow" if self._percent is None else "challenger"
            self.challenger = open_model(read_export(settings.challenger, settings.trusted), role)
            check_alike(self.champion, self.challenger)
        self.models = [model for model in (self.champion, self.challenger) if model is not None]
        self.metrics = Metrics(self.models)
        self.split: Challenger | None = None
        if self.challenger is not None and self._percent is not None:
            self.split = Challenger(self.challenger, settings.challenger_timeout_ms / 1000)
        self._shadow: Background | None = None
        if self.challenger is not None and self._percent is None:
            self._shadow = Background("shadow model", self.metrics.lose_shadow)
        self._log: PredictionLog | None = None
        if settings.predictions is not None:
            self._log = PredictionLog(settings.predictions, self.metrics.lose_log)

    def choose(self, key: str) -> Choice:
        """The version that answers this key: always the same one while the share does not change."""
        if self.challenger is None or self._percent is None or 100 * share(key, b"split") >= self._percent:
            return Choice(self.champion, None)
        return Choice(self.challenger, self.champion)

    def score(self, model: Model, matrix: Matrix, ticket: Ticket) -> Prediction:
        """Predict, count, record, and let the shadow model do the same later."""
        prediction = self.record(model, matrix, ticket, model.predict(matrix))
        shadow, challenger = self._shadow, self.challenger
        if shadow is not None and challenger is not None:

            def follow() -> None:
                again = Ticket(ticket.request_id, ticket.key, time.perf_counter())
                self.record(challenger, matrix, again, challenger.predict(matrix))

            shadow.submit(follow, matrix.shape[1], held_bytes(matrix))
        return prediction

    def close(self, seconds: float) -> None:
        """Finish the shadow's and the log's queues, together for that long at most; half of it is the log's."""
        end = time.monotonic() + seconds
        if self.split is not None:
            self.split.close()
        if self._shadow is not None:
            self._shadow.close(seconds / 2)
        if self._log is not None:
            self._log.close(end - time.monotonic())

    def record(self, model: Model, matrix: Matrix, ticket: Ticket, prediction: Prediction) -> Prediction:
        """Count an answer, and log it."""
        self.metrics.predictions.add(model, prediction)
        if self._log is not None:
            milliseconds = 1000 * (time.perf_counter() - ticket.started)
            key = "" if ticket.key == ticket.request_id else ticket.key
            self._log.record(Scored(time.time(), ticket.request_id, model, matrix, prediction, milliseconds, key))
        return prediction
