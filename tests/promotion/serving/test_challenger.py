"""A challenger that is slow or broken: the champion answers its keys, says so, and is no slower for the others."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import Row, classes, eventually, predict
from tests.promotion.serving.test_operations import samples

from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.rows import Matrix


class Slow:
    """An engine that sleeps until it is let on."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0

    def predict(self, matrix: Matrix) -> Prediction:
        """Wait, then say that nothing is certain."""
        self.asked += 1
        self.gate.wait(5)
        rows = matrix.shape[1]
        return Prediction(np.zeros(rows, np.int64), np.full((rows, 2), 0.5, np.float32))


class Failing:
    """An engine that raises, or answers with what is no number."""

    def __init__(self, answer: float | None) -> None:
        self.answer = answer

    def predict(self, matrix: Matrix) -> Prediction:
        """Raise, or answer."""
        if self.answer is None:
            raise MemoryError("secret detail")
        rows = matrix.shape[1]
        return Prediction(np.zeros(rows, np.int64), np.full((rows, 2), self.answer, np.float32))


def against(serve: Serve, linear: Fitted, forest: Fitted, engine: Any, **variables: str) -> Served:
    """A server all of whose keys are the challenger's, unless told otherwise."""
    served = serve(linear.folder, **{"AB_MODEL": str(forest.folder), "AB_PERCENT": "100", **variables})
    challenger = served.answering.scorer.challenger
    assert challenger is not None
    object.__setattr__(challenger, "engine", engine)
    return served


class Misshapen:
    """An engine whose answer has another form than the rows and classes it is asked for."""

    def __init__(self, more_rows: int, columns: int, class_place: int) -> None:
        self.more_rows, self.columns, self.class_place = more_rows, columns, class_place

    def predict(self, matrix: Matrix) -> Prediction:
        """Answer at once."""
        rows = matrix.shape[1] + self.more_rows
        return Prediction(np.full(rows, self.class_place, np.int64), np.full((rows, self.columns), 0.5, np.float32))


@pytest.mark.parametrize(
    "engine",
    [
        Failing(None),
        Failing(float("nan")),
        Misshapen(-1, 2, 0),
        Misshapen(1, 2, 0),
        Misshapen(0, 3, 0),
        Misshapen(0, 1, 0),
        Misshapen(0, 2, 2),
        Misshapen(0, 2, -1),
    ],
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_failing_challenger_costs_no_answer(
    engine: Failing | Misshapen, times: int, serve: Serve, linear: Fitted, forest: Fitted
) -> None:
    """One row or a batch: the champion's answer under the champion's name, with the reason beside it."""
    served = against(serve, linear, forest, engine)
    rows = exporting.records(linear.rows) * times
    for _ in range(3):
        response = predict(served, rows)
        assert 200 == response.status_code
        assert linear.pipeline.predict(linear.rows).tolist() * times == classes(response)
        told = response.headers
        assert ("error", "champion", "3") == (told["X-Model-Fallback"], told["X-Model-Role"], told["X-Model-Version"])
        assert ("champion", 3) == (response.json()["role"], response.json()["version"])

    assert 3 == samples(served)["challenger_failures_total", ("error", "challenger", "7")]


def test_a_slow_challenger_is_waited_for_once(serve: Serve, linear: Fitted, forest: Fitted, row: Row) -> None:
    """Then the champion answers at once, until the challenger has come back; nothing piles up behind it."""
    engine = Slow()
    served = against(serve, linear, forest, engine, CHALLENGER_TIMEOUT_MS="50")
    begun = time.monotonic()
    reasons = [predict(served, [row]).headers["X-Model-Fallback"] for _ in range(20)]

    assert ["timeout", *["busy"] * 19] == reasons
    assert time.monotonic() - begun < 3
    assert 1 == engine.asked
    engine.gate.set()
    assert eventually(lambda: "challenger" == predict(served, [row]).headers["X-Model-Role"])
    assert "X-Model-Fallback" not in predict(served, [row]).headers


def test_the_champions_keys_do_not_wait_for_it(serve: Serve, linear: Fitted, forest: Fitted, row: Row) -> None:
    """While the challenger holds a request of its own."""
    served = against(serve, linear, forest, Slow(), AB_PERCENT="50", CHALLENGER_TIMEOUT_MS="60000")
    choose = served.answering.scorer.choose
    ours = next(key for key in map(str, range(100)) if choose(key).instead is None)
    theirs = next(key for key in map(str, range(100)) if choose(key).instead is not None)
    waiting = threading.Thread(
        target=served.post, args=("/predict", row), kwargs={"X-Request-Key": theirs}, daemon=True
    )
    waiting.start()
    begun = time.monotonic()
    roles = {served.post("/predict", row, **{"X-Request-Key": ours}).headers["X-Model-Role"] for _ in range(20)}

    assert {"champion"} == roles
    assert time.monotonic() - begun < 3
    assert waiting.is_alive()


def test_who_asks_for_the_version_gets_no_other(serve: Serve, linear: Fitted, forest: Fitted, row: Row) -> None:
    """503 and when to come again; the model's name alone is answered by the champion."""
    served = against(serve, linear, forest, Failing(None))
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in row.items()]
    by_number = served.post("/v2/models/heart-disease/versions/7/infer", {"inputs": inputs})
    by_name = served.post("/v2/models/heart-disease/infer", {"inputs": inputs})

    assert (503, "1") == (by_number.status_code, by_number.headers["Retry-After"])
    assert (200, "3") == (by_name.status_code, by_name.json()["model_version"])


def test_its_failures_are_told_once(
    serve: Serve, linear: Fitted, forest: Fitted, row: Row, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it answers again."""
    served = against(serve, linear, forest, Failing(None))
    for _ in range(3):
        predict(served, [row])

    (told,) = [message for message in caplog.messages if "challenger" in message]
    assert "challenger heart-disease-random_forest 7: MemoryError: secret detail; the champion answers" == told
