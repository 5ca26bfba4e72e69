"""What was predicted for which row, as JSON lines that monitoring reads; written behind the requests' back."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import orjson

from promotion.serving.background import Background
from promotion.serving.errors import ConfigurationError
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model
from promotion.serving.exported.rows import Matrix, held_bytes, iterate_rows
from promotion.serving.settings import LogSettings

SPACE = 1 << 64


@dataclass(frozen=True, slots=True)
class Scored:
    """An answered request, as the log needs it.

    Attributes:
        time: Seconds since 1970 when the answer was computed.
        request_id: Of the request.
        model: What answered.
        matrix: The rows.
        prediction: The answer.
        milliseconds: From the request's head to the prediction.
        key: What the client is kept on one version by; empty where it sent none.
    """

    time: float
    request_id: str
    model: Model
    matrix: Matrix
    prediction: Prediction
    milliseconds: float
    key: str = ""


class PredictionLog:
    """Writes one JSON object a row, and sets the file aside when it is full.

    Args:
        settings: Where, how much, how large.
        on_loss: Called with the number of rows that could not be written.

    Raises:
        ConfigurationError: The file cannot be opened for writing.
    """

    def __init__(self, settings: LogSettings, on_loss: Callable[[int], None]) -> None:
        self._sample = settings.sample
        try:
            settings.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _WholeLines(settings.path, maxBytes=settings.max_bytes, backupCount=settings.backups)
        except OSError as error:
            raise ConfigurationError(f"PREDICTION_LOG: {settings.path} cannot be written: {error}") from error
        self._background = Background("prediction log", on_loss)

    def record(self, scored: Scored) -> None:
        """Queue an answer for writing, if its request belongs to the sample; never waits, never raises."""
        if share(scored.request_id, b"sample") < self._sample:
            rows = len(scored.prediction.classes)
            self._background.submit(lambda: self._file.write(_lines(scored)), rows, held_bytes(scored.matrix))

    def close(self, seconds: float) -> None:
        """Write what is queued, for that long at most, and close the file."""
        self._background.close(seconds)
        # What a full disk did not take is counted already.
        with suppress(OSError):
            self._file.close()


class _WholeLines(RotatingFileHandler):
    """A rotating file that says when it could not write, and then holds nothing of what it was given."""

    def _open(self) -> Any:
        # Without a buffer: what one kept of a write that failed would be written with the next.
        return Path(self.baseFilename).open("ab", buffering=0)

    def write(self, lines: bytes) -> None:
        """Write all of the lines, or raise.

        Raises:
            OSError: They did not fit.
        """
        if (size := self._size()) and size + len(lines) > self.maxBytes:
            self.doRollover()
            size = self._size()
        file: Any = self.stream
        try:
            _write_all(file, lines)
        except OSError:
            # Not every file can be made shorter.
            with suppress(OSError):
                file.truncate(size)
            raise

    def _size(self) -> int:
        if self.stream is None:  # since a file could not be set aside
            self.stream = self._open()
        return os.fstat(self.stream.fileno()).st_size


def _write_all(file: Any, content: bytes) -> None:
    """What a disk takes of it before it is full is less than all."""
    if file.write(content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _answer(model: Model, position: int, score: float) -> dict[str, object]:
    if model.schema.is_regression:
        return {"prediction": score}
    return {"class": position, "label": model.schema.labels[position], "probability": score}


def share(key: str, purpose: bytes) -> float:
    """A number from 0 up to 1 that depends on the key only, and differently for each purpose.

    Args:
        key: Whatever shall always be treated alike.
        purpose: At most 16 bytes.
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8, person=purpose).digest()) / SPACE


def pseudonym(key: str) -> str:
    """What stands in the log for a client's key: always the same text, and not the key itself."""
    return blake2b(key.encode(), digest_size=8, person=b"log").hexdigest()


def _lines(scored: Scored) -> bytes:
    model, manifest = scored.model, scored.model.manifest
    time = datetime.fromtimestamp(scored.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    rows = iterate_rows(scored.matrix, model.schema.names)
    scores = model.scores(scored.prediction).tolist()
    key = {"key": pseudonym(scored.key)} if scored.key else {}
    # Each becomes bytes by itself: texts of one request can be long, and longer in memory than in the file.
    return b"".join(
        orjson.dumps(
            {
                "time": time,
                "request_id": scored.request_id,
                "row": position,
                "family": manifest.family,
                "model": manifest.model,
                "version": manifest.version,
                "role": model.role,
                **key,
                "features": features,
                **_answer(model, position_of_class, score),
                "latency_ms": round(scored.milliseconds, 3),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for position, (features, position_of_class, score) in enumerate(
            zip(rows, scored.prediction.classes.tolist(), scores, strict=True)
        )
    )
