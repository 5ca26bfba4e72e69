"""A/B tests by log and labels: disjoint arms by key, paired shadows, and intervals that allow peeking."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.promotion.monitoring.logs import NOON, churn

from promotion.errors import DataError, UsageError
from promotion.export.contract import contract_of
from promotion.monitoring.ab_test.comparison import AbTest, compare_arms, required_keys
from promotion.monitoring.ab_test.outcomes import Arms, read_arms
from promotion.monitoring.observe.labels import read_labels


class Log:
    """A prediction log that is written row by row, and its labels."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"
        self.labels = folder / "labels.csv"
        self.lines: list[str] = []
        self.known = ["request_id,row,label"]

    def add(
        self, role: str, *, right: bool, key: str | None = None, label: bool = True, answer: int = 1, **changes: Any
    ) -> None:
        """One request of one row."""
        number = len(self.lines)
        request = changes.pop("request_id", f"r{number}")
        line = {
            "time": (NOON + timedelta(seconds=number)).isoformat(),
            "request_id": request,
            "row": 0,
            "family": "churn",
            "model": "churn-forest",
            "version": 1 if role == "champion" else 2,
            "role": role,
            "features": {"x": 1.0},
            "class": answer,
            "probability": 0.7,
            "latency_ms": 1.0,
        } | changes
        self.lines.append(json.dumps(line | ({"key": key} if key else {})))
        if label:
            self.known.append(f"{request},0,{line['class'] if right else 1 - line['class']}")

    def look(self, column: str | None = None) -> AbTest:
        """Compare what is there."""
        self.write()
        labels = read_labels(self.labels, churn())
        return compare_arms(read_arms(str(self.path), contract_of(churn()), labels, column), 0.1)

    def write(self) -> None:
        """Write both files."""
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        self.labels.write_text("\n".join(dict.fromkeys(self.known)) + "\n", encoding="utf-8")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """An empty log."""
    return Log(tmp_path)


def test_arms_by_key_are_compared(log: Log) -> None:
    """Nine of ten against six of ten, over 300 keys an arm, is better."""
    for number in range(300):
        log.add("challenger", right=number % 10 < 9, key=f"b{number}")
        log.add("champion", right=number % 10 < 6, key=f"a{number}")

    found = log.look()

    assert (("churn-forest", 1), ("churn-forest", 2)) == (found.champion, found.challenger)
    assert (300, 300, False) == (found.champion_keys, found.challenger_keys, found.is_paired)
    assert found.difference == pytest.approx(0.3)
    assert 0 < found.low < 0.3 < found.high
    assert found.verdict == "the challenger is better"


def test_a_key_counts_once_however_often_it_comes(log: Log) -> None:
    """One client that comes a thousand times decides nothing; its first row is what counts."""
    log.add("challenger", right=False, key="busy")
    for number in range(20):
        log.add("champion", right=True, key=f"a{number}")
    for _ in range(1000):
        log.add("challenger", right=True, key="busy")

    found = log.look()

    assert (20, 1, 0.0) == (found.champion_keys, found.challenger_keys, found.challenger_value)
    assert found.verdict == "not decided"


def test_a_key_that_both_answered_is_left_out(log: Log) -> None:
    """The share was changed meanwhile: such a client is in no arm."""
    log.add("challenger", right=True, key="one")
    log.add("champion", right=True, key="one")
    log.add("champion", right=True, key="two")
    log.add("challenger", right=False, key="three")

    found = log.look()

    assert (1, 1) == (found.champion_keys, found.challenger_keys)
    assert found.left_out["keys that both answered"] == 1


def test_without_a_key_each_request_is_one(log: Log) -> None:
    """And what has no label yet waits for it."""
    log.add("challenger", right=True)
    log.add("champion", right=True)
    log.add("champion", right=True, label=False)

    found = log.look()

    assert (1, 1, 1) == (found.champion_keys, found.challenger_keys, found.left_out["keys without a label yet"])


def test_other_versions_and_times_are_left_out(log: Log) -> None:
    """What answered before the newest challenger came says nothing about now."""
    log.add("champion", right=False, key="early")
    log.add("challenger", right=False, key="old", version=7)
    log.add("challenger", right=True, key="new")
    log.add("champion", right=True, key="beside")
    log.add("champion", right=True, key="foreign", family="other")

    found = log.look()

    assert (1.0, 1.0, 1, 1) == (
        found.champion_value,
        found.challenger_value,
        found.champion_keys,
        found.challenger_keys,
    )
    assert found.left_out["rows of other versions or times"] == 2


def test_a_shadow_is_paired_row_by_row(log: Log) -> None:
    """The same rows, so that what is hard for both widens nothing."""
    for number in range(400):
        label = number % 2
        right = number % 10 < 6
        log.add("champion", right=right, request_id=f"q{number}", answer=label if right else 1 - label)
        log.add("shadow", right=True, label=False, request_id=f"q{number}", answer=label)

    found = log.look()

    assert found.is_paired
    assert (400, 400) == (found.champion_keys, found.challenger_keys)
    assert found.difference == pytest.approx(0.4)
    assert found.verdict == "the challenger is better"


def test_peeking_finds_no_difference_where_there_is_none() -> None:
    """Twenty looks at each of thirty tests of equal arms."""
    random = np.random.default_rng(11)
    wrong = 0
    for _ in range(30):
        values = (random.random((2, 800)) < 0.7).astype(float)
        looks = [Arms(("m", 1), ("m", 2), values[0, :n], values[1, :n], is_paired=False) for n in range(40, 801, 40)]
        wrong += any(compare_arms(arms, 0.4).verdict != "not decided" for arms in looks)
    assert wrong <= 1


def test_the_required_number_of_keys_suffices() -> None:
    """Just as many, and the difference is seen; far fewer, and it is not."""
    keys = required_keys(0.8, 0.05, 0.05)
    assert 1000 < keys < 10_000
    assert required_keys(0.8, 0.1, 0.05) < keys / 3


@pytest.mark.parametrize(("role", "missing"), [("champion", "no challenger of churn"), ("challenger", "no champion")])
def test_an_arm_that_is_missing_is_said(log: Log, role: str, missing: str) -> None:
    """In one line that says what to do."""
    log.add(role, right=True)

    with pytest.raises(DataError, match=missing):
        log.look()


def test_slices_share_the_error(log: Log) -> None:
    """What helps one group and harms another one is seen, with wider intervals than for all."""
    for number in range(600):
        group = float(number % 2)
        for role, right in (("challenger", number % 2 == 0), ("champion", number % 2 == 1)):
            log.add(role, right=right, key=f"{role}{number}", features={"x": 1.0, "c": group})

    found = log.look("c")

    assert found.verdict == "not decided"
    assert ["0", "1"] == [each.group for each in found.slices]
    assert (300, 300) == (found.slices[0].champion_keys, found.slices[0].challenger_keys)
    assert 0.9 < found.slices[0].low
    assert found.slices[1].high < -0.9


def test_a_column_that_is_no_slice_is_refused(log: Log) -> None:
    """One that is not there, and one with more values than anybody reads."""
    for number in range(30):
        log.add("challenger", right=True, features={"x": float(number), "c": 0.0})
        log.add("champion", right=True, features={"x": None, "c": 0.0})

    with pytest.raises(UsageError, match="has no feature 'z': expected one of x, c"):
        log.look("z")
    with pytest.raises(UsageError, match="--slice has 31 values, expected 20 at most"):
        log.look("x")
