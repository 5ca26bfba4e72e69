"""Several processes promote at once: one wins, in the journal and in MLflow, and the others are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.system.drivers.world import World, register

from promotion.errors import ProductionMoved

DRIVER = Path(__file__).parent / "drivers" / "race.py"
VERSIONS = range(1, 6)
ROUNDS = [5, pytest.param(16, marks=pytest.mark.peers)]
LONGEST = 30.0
"""Seconds one promotion may take, waiting for three others included."""

Round = Callable[[list[int], str], list[dict[str, Any]]]


@contextmanager
def racers(world: World) -> Iterator[Round]:
    """Four processes that wait for rounds."""
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), world.model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **world.environment},
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin
    assert stdout

    def play(numbers: list[int], release: str) -> list[dict[str, Any]]:
        stdin.write(json.dumps({"numbers": numbers, "release": release}) + "\n")
        stdin.flush()
        answers: list[dict[str, Any]] = json.loads(stdout.readline())
        return answers

    with process:
        yield play


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path, model_folder: Path) -> Iterator[World]:
    """Five versions of a registered model; journal and MLflow both on the named kind of database."""
    made = World.local(tmp_path)
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql")
        made = World(tmp_path, url.format("mlflow"), url.format("journal"), f"churn-{uuid4().hex[:8]}")
    register(made.tracking_uri, made.model, model_folder, len(VERSIONS))
    yield made
    made.close()


@pytest.mark.system
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_exactly_one_of_four_promotions_checked_against_the_same_production_wins(rounds: int, world: World) -> None:
    """Released together after their checks, one process wins and three are told that Production moved."""
    serving: int | None = None
    longest = 0.0
    with racers(world) as play:
        for _ in range(rounds):
            numbers = [number for number in VERSIONS if number != serving][:4]
            answers = play(numbers, "promote")
            assert sorted([0, *[ProductionMoved.exit_code] * 3]) == sorted(a["code"] for a in answers), answers
            serving = world.production()
            assert [serving] == [answer["number"] for answer in answers if answer["code"] == 0]
            longest = max(longest, *(answer["seconds"] for answer in answers))
    assert longest < LONGEST
    assert rounds == len({event.operation for event in world.journal.history(world.model)})
    assert [] == world.journal.pending()
    world.require_whole_history()


@pytest.mark.system
@pytest.mark.timeout(200)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_four_processes_that_run_the_whole_promotion_at_once_leave_one_production(rounds: int, world: World) -> None:
    """Looking up, synchronising, checking and promoting overlap freely: each wins or is told to check again."""
    longest = 0.0
    with racers(world) as play:
        serving: int | None = None
        for _ in range(rounds):
            answers = play([number for number in VERSIONS if number != serving][:4], "whole")
            codes = {answer["code"] for answer in answers}
            assert 0 in codes, answers
            assert codes <= {0, ProductionMoved.exit_code}, answers
            serving = world.production()
            assert serving in {answer["number"] for answer in answers if answer["code"] == 0}
            longest = max(longest, *(answer["seconds"] for answer in answers))
    assert longest < LONGEST
    assert {"promote"} == {event.action for event in world.journal.history(world.model)}
    world.require_whole_history()
