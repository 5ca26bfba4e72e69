"""What the trial of an image takes for the registered model's answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import responses

from promotion.containers.trial import TOLERANCE, Container, TrialFailed, _compare_predict

CONTAINER = Container("abc", "http://127.0.0.1:9")
BEYOND = math.nextafter(TOLERANCE, 1)
EXPECTED: dict[str, Any] = {"rows": [{"x": 1.0}, {"x": 2.0}], "labels": [0, 1], "probabilities": [[1.0, 0.0]] * 2}


def compared(*answers: dict[str, float], classes: tuple[int, ...] = (0, 1)) -> float:
    """Let the container answer so; the largest difference."""
    said = [{"class": chosen, "probabilities": it} for chosen, it in zip(classes, answers, strict=False)]
    with responses.RequestsMock() as server:
        server.post(f"{CONTAINER.url}/predict", body=json.dumps({"predictions": said}))
        return _compare_predict(CONTAINER, EXPECTED, ["no", "yes"])


GOOD = {"no": 1.0, "yes": 0.0}


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        (0.0, True),
        (TOLERANCE, True),
        (-TOLERANCE, True),
        (BEYOND, False),
        (-BEYOND, False),
        (math.nan, False),
        (math.inf, False),
    ],
)
def test_a_probability_may_differ_by_the_tolerance(value: float, *, passed: bool) -> None:
    """In the last row and the last class too."""
    if passed:
        assert abs(value) == compared(GOOD, {"no": 1.0, "yes": value})
    else:
        with pytest.raises(
            TrialFailed, match=r"/predict: row 1: probability of 'yes' is .* \(allowed difference 1e-05\)"
        ):
            compared(GOOD, {"no": 1.0, "yes": value})


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((0, 0), "row 1: class 0, the registered model says 1"),
        ((1, 1), "row 0: class 1, the registered model says 0"),
        ((0,), "1 answers to 2 rows"),
        ((), "0 answers to 2 rows"),
    ],
)
def test_every_row_has_its_class(classes: tuple[int, ...], message: str) -> None:
    """Too few answers are no answers."""
    with pytest.raises(TrialFailed, match=f"/predict: {message}"):
        compared(GOOD, GOOD, classes=classes)
