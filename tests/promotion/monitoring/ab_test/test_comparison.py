"""A/B tests by log and labels: disjoint arms by key, paired shadows, and intervals that allow peeking."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.promotion.monitoring.logs import NOON, churn

from promotion.errors import DataError, UsageError
from promotion.evaluation.intervals import sequential, sequential_difference
from promotion.export.contract import contract_of
from promotion.monitoring.ab_test.comparison import AbTest, compare_arms, required_keys
from promotion.monitoring.ab_test.outcomes import Arms, read_arms
from promotion.monitoring.labels.files import read_labels


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


@pytest.mark.system
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


def arms(champion: list[float], challenger: list[float], *, is_paired: bool = False, **groups: Any) -> Arms:
    """What both did."""
    return Arms(("m", 1), ("m", 2), np.array(champion), np.array(challenger), is_paired, **groups)


def test_the_ends_are_those_of_the_shares() -> None:
    """Challenger minus champion; of pairs the mean difference, from -1 to 1, whose interval is a share's stretched."""
    champion, challenger = [1.0] * 6 + [0.0] * 4, [1.0] * 9 + [0.0]
    apart = compare_arms(arms(champion, challenger), 0.1, 0.02)
    paired = compare_arms(arms(champion, challenger, is_paired=True), 0.1, 0.02)
    low, high = sequential(6.5, 10, 0.02)

    assert sequential_difference((9, 10), (6, 10), 0.02) == pytest.approx((apart.difference, apart.low, apart.high))
    assert (2 * low - 1, 2 * high - 1) == pytest.approx((paired.low, paired.high))
    assert pytest.approx(0.3) == paired.difference
    assert (0.6, 0.9, 0.02, 0.1) == (apart.champion_value, apart.challenger_value, apart.error, apart.effect)


@pytest.mark.parametrize(("champion", "challenger"), [([], [1.0]), ([1.0], []), ([], [])])
def test_an_arm_without_keys_has_no_value(champion: list[float], challenger: list[float]) -> None:
    """Nor is there a difference; what is needed is told as for one that is right in half of the cases."""
    found = compare_arms(arms(champion, challenger), 0.1)

    assert (None, "not decided") == (found.difference, found.verdict)
    assert (1.0 if champion else None, 1.0 if challenger else None) == (found.champion_value, found.challenger_value)
    if not champion:
        assert required_keys(0.5, 0.1, 0.05) == found.required_keys
    assert "accuracy unknown (" in str(found)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1e-9, 0.1, "the challenger is better"),
        (0.0, 0.1, "not decided"),
        (-0.1, 0.1, "not decided"),
        (-0.1, 0.0, "not decided"),
        (-0.1, -1e-9, "the champion is better"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, verdict: str) -> None:
    """An end that is zero decides nothing."""
    found = replace(compare_arms(arms([1.0], [1.0]), 0.1), low=low, high=high)

    assert verdict == found.verdict == found.as_json()["verdict"]
    assert str(found).endswith(verdict)


def test_groups_share_the_error_among_them() -> None:
    """Each with the keys of its own; twenty groups are as many as anybody reads."""
    names = [f"{place % 20:02}" for place in range(40)]
    found = compare_arms(
        arms(
            [float(place >= 20) for place in range(40)],
            [1.0] * 40,
            champion_groups=np.array(names, dtype=object),
            challenger_groups=np.array(names, dtype=object),
        ),
        0.1,
        0.2,
    )

    assert sorted({*names}) == [each.group for each in found.slices]
    for each in found.slices:
        assert (2, 2, 0.5, 1.0) == (
            each.champion_keys,
            each.challenger_keys,
            each.champion_value,
            each.challenger_value,
        )
        assert sequential_difference((2, 2), (1, 2), 0.01)[1:] == (each.low, each.high)


@pytest.mark.parametrize(("value", "effect"), [(0.8, 0.1), (0.5, 0.3), (0.95, 0.1), (0.0, 0.5)])
def test_as_many_keys_as_are_needed_just_suffice(value: float, effect: float) -> None:
    """To a hundredth: of a difference of that size, below the best there is."""
    better = min(value + effect, 1.0)

    def low(keys: int) -> float:
        return sequential_difference((better * keys, keys), ((better - effect) * keys, keys), 0.05)[1]

    keys = required_keys(value, effect, 0.05)
    assert isinstance(keys, int)
    assert low(keys) > 0 >= low(int(keys * 0.98) - 1)


def test_what_no_number_of_keys_would_show_ends() -> None:
    """A million million keys, and no longer asked."""
    assert 1 << 40 == required_keys(0.5, 0.0, 0.05)
