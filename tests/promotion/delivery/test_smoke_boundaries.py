"""What the smoke test takes for the registered model's answer: on the tolerance, beyond it, missing, and no number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import responses

from promotion.delivery.export import ExpectedAnswers
from promotion.delivery.kubernetes.smoke import TOLERANCE, _api_key, _compare, _Refused, _runs
from promotion.delivery.records import Deployment, DeploymentTarget, Environment, Image

URL = "http://127.0.0.1:9"
BEYOND = math.nextafter(TOLERANCE, 1)
EXPECTED = ExpectedAnswers(
    rows=[{"x": 1.0}, {"x": None}], classes=[0, 1], probabilities=[[0.0, 0.0], [0.5, 0.5]], labels=["no", "yes"]
)


def compared(first: dict[str, Any], second: dict[str, Any] | None = None) -> None:
    """Let the server answer so to the two rows."""
    good = {"class": 1, "probabilities": {"no": 0.5, "yes": 0.5}}
    with responses.RequestsMock() as server:
        server.post(f"{URL}/predict", body=json.dumps({"predictions": [first, second or good]}))
        _compare(URL, EXPECTED)


@pytest.mark.parametrize(
    ("no", "yes", "passed"),
    [
        (0.0, 0.0, True),
        (TOLERANCE, 0.0, True),
        (0.0, TOLERANCE, True),
        (0.0, -TOLERANCE, True),
        (BEYOND, 0.0, False),
        (0.0, BEYOND, False),
        (0.0, -BEYOND, False),
        (math.nan, 0.0, False),
        (0.0, math.nan, False),
        (math.nan, math.nan, False),
        (0.0, math.inf, False),
        (-math.inf, 0.0, False),
    ],
)
def test_a_probability_may_differ_by_the_tolerance(no: float, yes: float, *, passed: bool) -> None:
    """Of every class; NaN is a wrong answer wherever it stands."""
    answer = {"class": 0, "probabilities": {"no": no, "yes": yes}}

    if passed:
        compared(answer)
    else:
        with pytest.raises(_Refused, match=r"row 0: expected class 0 with \[0\.0, 0\.0\], got 0 with"):
            compared(answer)


@pytest.mark.parametrize(
    "answer",
    [
        {"class": 1, "probabilities": {"no": 0.0, "yes": 0.0}},
        {"class": None, "probabilities": {"no": 0.0, "yes": 0.0}},
        {"probabilities": {"no": 0.0, "yes": 0.0}},
        {"class": 0, "probabilities": {"no": 0.0}},
        {"class": 0, "probabilities": {}},
        {"class": 0},
        {},
    ],
)
def test_a_class_that_is_missing_or_another_is_wrong(answer: dict[str, Any]) -> None:
    """And so is a probability nobody gave."""
    with pytest.raises(_Refused, match="row 0: expected class 0"):
        compared(answer)


@pytest.mark.parametrize(("image", "is_ours"), [("tiny:new", True), ("", True), ("tiny:old", False)])
def test_a_pod_of_another_image_does_not_answer_for_the_new_one(image: str, *, is_ours: bool) -> None:
    """One that leaves is ready for longest and asked first; a server that was told no image is known by its version."""
    deployed = SimpleNamespace(image=Image("tiny:new", "tiny", "m", 1, "", "d" * 64, "", ""))
    with responses.RequestsMock() as server:
        server.get(f"{URL}/version", json={"artifact_digest": "d" * 64, "image": image})

        assert is_ours is _runs(URL, cast("Deployment", deployed))


@pytest.mark.parametrize(
    ("given", "key"), [({"API_KEY": "own"}, "own"), ({}, "of churn"), ({"API_KEYS": "/nowhere"}, None)]
)
def test_whoever_watches_all_has_a_key_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], key: str | None
) -> None:
    """In a folder, by the name of the Service; the one that is given goes first, and a server may ask for none."""
    (tmp_path / "churn-eu").write_text("of churn\n", encoding="utf-8")
    monkeypatch.delenv("API_KEY", raising=False)
    for name, value in ({"API_KEYS": str(tmp_path)} | given).items():
        monkeypatch.setenv(name, value)

    assert key == _api_key(DeploymentTarget("Churn_EU", Environment.PRODUCTION))


def test_every_row_counts() -> None:
    """The last one as the first."""
    good = {"class": 0, "probabilities": {"no": 0.0, "yes": 0.0}}

    with pytest.raises(_Refused, match="row 1: expected class 1"):
        compared(good, {"class": 1, "probabilities": {"no": 0.5, "yes": 0.5 + 2 * TOLERANCE}})


@pytest.mark.parametrize("number", [0, 1, 3])
def test_as_many_answers_as_rows(number: int) -> None:
    """Fewer or more are refused before any is read."""
    with responses.RequestsMock() as server:
        server.post(f"{URL}/predict", json={"predictions": [{}] * number})
        with pytest.raises(_Refused, match=f"2 rows were asked, {number} answers came"):
            _compare(URL, EXPECTED)
