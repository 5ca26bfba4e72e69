"""Chosen labels at the edges: how far, how sure, which class is named, and what has no value at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from promotion.monitoring.label_bias import group_bias, label_bias

NAMES = ["no", "yes"]


def counts(*numbers: int) -> Any:
    """Rows of each group."""
    return np.array(numbers, dtype=np.int64)


@pytest.mark.parametrize(
    ("labelled", "everything", "expected"),
    [
        (counts(0, 0), counts(500, 500), ""),
        (counts(50, 50), counts(500, 500), ""),
        # Six in a hundred too many, surely.
        (counts(5600, 4400), counts(50_000, 50_000), "the group a is 56% of them and 50% of all"),
        (counts(4400, 5600), counts(50_000, 50_000), "the group b is 56% of them and 50% of all"),
        # Four in a hundred, as surely, matter to nobody.
        (counts(5400, 4600), counts(50_000, 50_000), ""),
        # What of a hundred rows chance may have done once in two thousand times, and what not.
        (counts(66, 34), counts(500, 500), ""),
        (counts(67, 33), counts(500, 500), "the group a is 67% of them and 50% of all"),
        (counts(100, 0), counts(500, 500), "the group a is 100% of them and 50% of all"),
        (counts(500, 0), counts(500, 500), "the group a is 100% of them and 50% of all"),
        (counts(60, 30, 10), counts(300, 300, 400), "the group a is 60% of them and 30% of all"),
    ],
)
def test_a_group_with_more_labels_than_its_share_is_named(labelled: Any, everything: Any, expected: str) -> None:
    """By more than a twentieth of the rows and by more than chance."""
    assert expected == group_bias(["a", "b", "c"][: len(everything)], labelled, everything)


def said(inside: Any, *, chosen: Any = None, answers: Any = None, names: list[str] | None = None, **steps: int) -> str:
    """What is said of these of a thousand rows, about which nothing else is odd."""
    rows = np.arange(1000)
    alike = rows * 7919 % 1000
    everything = (
        rows,
        alike % 2 if chosen is None else chosen,
        alike / 1000 if answers is None else answers,
    )
    return label_bias([part[inside] for part in everything], everything, NAMES if names is None else names, **steps)


ROWS = np.arange(1000)
SOME = ROWS * 7919 % 1000 * 2711 % 1000 < 300
"""Three hundred of the rows, without regard to anything."""


def test_a_sample_says_nothing() -> None:
    """Nor do no labels at all, and nearly all."""
    assert "" == said(SOME)
    assert "" == said(np.zeros(1000, dtype=np.bool_))
    assert "" == said(ROWS >= 50, chosen=(ROWS >= 50).astype(np.int64))
    assert "'yes'" in said(ROWS >= 51, chosen=(ROWS >= 51).astype(np.int64))


@pytest.mark.parametrize(
    ("code", "name"),
    [(0, "'no'"), (1, "'yes'"), (2, "'another class'"), (-1, "'another class'"), (9, "'another class'")],
)
def test_the_class_that_is_chosen_is_named(code: int, name: str) -> None:
    """Also one that the family does not have, below its codes or above them."""
    chosen = np.where(ROWS % 4 == 0, code, np.where(ROWS % 2 == 0, 0, 1))
    share = np.mean(chosen == code)

    expected = f"predicted {name} is 100% of them and {share:.0%} of all"
    assert expected == said((chosen == code) & (ROWS % 8 != 7), chosen=chosen)


@pytest.mark.parametrize(
    ("inside", "where"),
    [
        (slice(0, 100), "below 0.0999"),
        (slice(100, 200), "0.0999 to 0.2"),
        (slice(500, 600), "0.5 to 0.599"),
        (slice(900, 1000), "from 0.899"),
    ],
)
@pytest.mark.parametrize(("names", "words"), [(NAMES, "probability"), ([], "prediction")])
def test_the_tenth_that_is_chosen_is_named(inside: slice, where: str, names: list[str], words: str) -> None:
    """Of a probability, or of a number where there are no classes."""
    order = ROWS * 7919 % 1000
    ours = np.isin(order, ROWS[inside])

    assert f"{words} {where} is 100% of them and 10% of all" == said(ours, answers=order / 1000, names=names)


@pytest.mark.parametrize("share", [10, 2])
def test_rows_without_a_probability_are_a_class_of_their_own(share: int) -> None:
    """Whether they alone are labelled, or all but they."""
    order = ROWS * 7919 % 1000
    answers = np.where(order % share == 0, np.nan, order / 1000)
    missing = np.isnan(answers)

    assert f"probability none is 100% of them and {1 / share:.0%} of all" == said(
        missing & SOME, chosen=ROWS * 0, answers=answers
    )
    others = said(~missing & (ROWS % 3 == 0), chosen=ROWS * 0, answers=answers)
    assert others.startswith("probability ")
    assert "none" not in others


def test_without_any_probability_the_times_are_compared_all_the_same() -> None:
    """There is nothing else of them to compare."""
    nothing = np.full(1000, np.nan)

    assert "" == said(SOME, answers=nothing)
    assert "90% of the rows arrived when none was labelled" == said((ROWS < 100), answers=nothing, steps=10)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1, "96% of the rows arrived when none was labelled"),
        (9, "62% of the rows arrived when none was labelled"),
        (10, ""),
        (24, ""),
    ],
)
def test_labels_of_few_hours_say_little_of_a_day(hours: int, expected: str) -> None:
    """From three fifths of the rows on that came when none was labelled; half a day that is late is fine."""
    rows = np.arange(2400)
    alike = rows * 7919 % 2400
    everything = (rows, alike % 2, alike / 2400)
    inside = (rows < hours * 100) & (rows * 7919 % 100 < 90)

    assert expected == label_bias([part[inside] for part in everything], everything, NAMES)


def test_most_labels_in_a_short_time_say_little_either() -> None:
    """Though every hour has one."""
    rows = np.arange(2400)
    inside = (rows < 200) | (rows % 100 == 3)
    everything = (rows, np.zeros(2400, dtype=np.int64), np.full(2400, 0.5))

    assert "most came in a short time" == label_bias([part[inside] for part in everything], everything, NAMES)
