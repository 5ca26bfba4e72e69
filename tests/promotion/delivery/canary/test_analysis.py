"""What counts of a canary and of the stable pods say, at the bounds and when one looks again and again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from promotion.delivery.canary.analysis import compare, decide, undecided
from promotion.delivery.canary.records import (
    ERROR,
    AnalysisPlan,
    AnalysisProgress,
    Comparison,
    Counts,
    Decision,
)
from promotion.errors import UsageError
from promotion.evaluation.intervals import sequential_difference


def counts(requests: int, failures: int = 0, slow: int = 0, positive: int = 0) -> Counts:
    """Of one track."""
    predictions = {"0": requests - positive, "1": positive}
    return Counts(requests, failures, {"0.1": slow, "2.5": 0}, predictions)


def decided(canary: Counts, stable: Counts) -> Decision | None:
    """What an analysis of 500 requests at least says."""
    said = decide(compare(canary, stable, ERROR), canary.requests, 500)
    return said[0] if said else None


@pytest.mark.parametrize(
    ("canary", "stable", "expected"),
    [
        (counts(1000), counts(3000), Decision.ADVANCE),
        (counts(499), counts(3000), None),
        (counts(1000, failures=100), counts(3000), Decision.ABORT),
        (counts(1000, failures=100), counts(3000, failures=300), None),
        (counts(20000, failures=2000), counts(60000, failures=6000), Decision.ADVANCE),
        (counts(1000, slow=400), counts(3000, slow=300), Decision.ABORT),
        (counts(1000, slow=0), counts(3000, slow=3000), Decision.ADVANCE),
        (counts(1000, positive=900), counts(3000, positive=900), Decision.HOLD),
        (counts(1000, positive=0), counts(3000, positive=1500), Decision.HOLD),
        (counts(1000, failures=100, positive=900), counts(3000, positive=900), Decision.ABORT),
        (counts(0), counts(3000), None),
        (counts(1000), counts(0), None),
    ],
)
def test_the_difference_decides(canary: Counts, stable: Counts, expected: Decision | None) -> None:
    """Not the canary's own figures: what the stable pods do at the same time is no fault of its own."""
    assert decided(canary, stable) is expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ((400, 120), (1200, 120), Decision.ABORT),
        ((400, 40), (1200, 120), Decision.ADVANCE),
        ((400, 0), (1200, 1200), Decision.ADVANCE),
        ((10, 5), (30, 3), Decision.ADVANCE),
        ((0, 0), (1200, 120), Decision.ADVANCE),
    ],
)
def test_labels_end_a_canary_and_are_not_waited_for(
    ours: tuple[int, int], theirs: tuple[int, int], expected: Decision
) -> None:
    """Surely more wrong answers than the stable pods' is worse; labels that are few, or better, keep nothing."""
    canary, stable = (
        replace(counts(requests), labelled=labelled, wrong=wrong)
        for requests, (labelled, wrong) in ((4000, ours), (12000, theirs))
    )

    assert expected is decided(canary, stable)


def test_asking_for_labels_takes_its_part_of_the_error() -> None:
    """Whether any came or not, so that when they come is no second chance."""
    without, asked = (
        compare(replace(counts(1000), labelled=labelled), replace(counts(3000), labelled=labelled), ERROR)[0]
        for labelled in (None, 0)
    )

    assert without.low > asked.low


@pytest.mark.parametrize(
    ("low", "high", "about", "is_beyond", "is_within"),
    [
        (0.021, 0.03, False, True, False),
        (0.02, 0.03, False, False, False),
        (-0.5, 0.02, False, False, True),
        (-0.5, 0.0201, False, False, False),
        (-0.5, -0.1, True, True, False),
        (-0.02, 0.02, True, False, True),
        (-0.03, 0.02, True, False, False),
    ],
)
def test_only_a_whole_interval_decides(low: float, high: float, about: bool, is_beyond: bool, is_within: bool) -> None:
    """Beyond, within, or not known; better is never too much, but other predictions are, in either direction."""
    comparison = Comparison("it", 0.1, 0.1, low, high, 0.02, is_about_predictions=about)

    assert (comparison.is_beyond, comparison.is_within) == (is_beyond, is_within)


def test_what_was_not_known_is_said() -> None:
    """Too few requests, else the measure that is least known."""
    few = compare(counts(10), counts(30), ERROR)
    assert undecided(few, 10, 500) == "inconclusive: 10 of 500 requests reached the canary"
    close = compare(counts(1000, failures=30), counts(3000, failures=50), ERROR)
    assert undecided(close, 1000, 500).startswith("inconclusive after 1000 requests: failed requests: 3.00% against")


@pytest.mark.system
def test_an_equal_canary_is_not_aborted_by_looking_often() -> None:
    """Forty looks at each of thirty canaries that do as the stable pods do."""
    random = np.random.default_rng(3)
    aborted = 0
    for _ in range(30):
        failures = np.cumsum(random.binomial(25, 0.1, (2, 40)), axis=1)
        slow = np.cumsum(random.binomial(25, 0.4, (2, 40)), axis=1)
        said = {
            decided(*(counts(25 * (look + 1), int(failures[side, look]), int(slow[side, look])) for side in (0, 1)))
            for look in range(0, 40, 2)
        }
        aborted += Decision.ABORT in said
    assert aborted <= 1


def test_all_tries_of_all_steps_spend_one_error() -> None:
    """However often a step is looked at again."""
    progress = AnalysisProgress(AnalysisPlan((10, 50, 100)))
    spent = 0.0
    for _ in range(1000):
        progress = progress.begun()
        spent += progress.error
    assert ERROR / 3 * 0.99 < spent < ERROR / 3


@pytest.mark.parametrize("steps", ["", "0", "10,10", "50,25", "10,101", "10;25", "10,x", "10,-5", "1e1", "²"])
def test_steps_that_are_none_are_refused(steps: str) -> None:
    """In one line that says what is expected."""
    with pytest.raises(UsageError, match=r"expected ascending percentages from 1 to 100, such as 10,25,50,100"):
        AnalysisPlan.of(steps, 60, 500)


def test_steps_are_read() -> None:
    """With or without blanks."""
    assert AnalysisPlan.of("10, 25,100", 60, 7) == AnalysisPlan((10, 25, 100), 60, 7)
    progress = AnalysisProgress(AnalysisPlan((10,)), 0, 2, "hold")
    assert AnalysisProgress.from_json(progress.as_json()) == progress


def test_each_measure_is_reckoned_with_its_part_of_the_error() -> None:
    """The kinds share it, and within a kind its bounds or classes do; of two classes one says all."""
    canary = Counts(200, 4, {"2.5": 3, "0.1": 50, "9": 1}, {"a": 90, "b": 60, "d": 10}, labelled=40, wrong=10)
    stable = Counts(600, 6, {"0.1": 60, "2.5": 6}, {"a": 300, "b": 200, "c": 40}, labelled=120, wrong=12)
    part = ERROR / 4
    expected = {
        "failed requests": ((4, 200), (6, 600), part, 0.02),
        "requests beyond 0.1 s": ((50, 200), (60, 600), part / 2, 0.1),
        "requests beyond 2.5 s": ((3, 200), (6, 600), part / 2, 0.1),
        "wrong answers": ((10, 40), (12, 120), part, 0.05),
        "predicted a": ((90, 160), (300, 540), part / 4, 0.2),
        "predicted b": ((60, 160), (200, 540), part / 4, 0.2),
        "predicted c": ((0, 160), (40, 540), part / 4, 0.2),
        "predicted d": ((10, 160), (0, 540), part / 4, 0.2),
    }

    found = compare(canary, stable, ERROR)

    assert list(expected) == [each.measure for each in found]
    for each in found:
        ours, theirs, error, allowed = expected[each.measure]
        assert sequential_difference(ours, theirs, error)[1:] == (each.low, each.high)
        assert (ours[0] / ours[1], theirs[0] / theirs[1], allowed) == (each.canary, each.stable, each.allowed)
        assert (each.measure.startswith("predicted"), each.measure != "wrong answers") == (
            each.is_about_predictions,
            each.is_awaited,
        )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ({}, {}, []),
        ({"a": 5}, {}, ["a"]),
        ({"a": 5}, {"a": 7}, ["a"]),
        ({"a": 5}, {"b": 7}, ["b"]),
        ({"a": 5, "b": 1}, {"a": 5}, ["b"]),
        ({"a": 5, "b": 1}, {"c": 5}, ["a", "b", "c"]),
    ],
)
def test_classes_of_either_track_are_compared(
    ours: dict[str, int], theirs: dict[str, int], expected: list[str]
) -> None:
    """Also one that the other never predicted."""
    found = compare(Counts(10, predictions=ours), Counts(10, predictions=theirs), ERROR)

    assert [f"predicted {name}" for name in expected] == [each.measure for each in found[1:]]


@pytest.mark.parametrize("labelled", [(0, 5), (5, 0), (0, 0), (None, 5), (5, None)])
def test_labels_of_one_track_alone_are_no_comparison(labelled: tuple[int | None, int | None]) -> None:
    """There is nothing to hold them against."""
    canary, stable = (Counts(10, labelled=number) for number in labelled)

    assert ["failed requests"] == [each.measure for each in compare(canary, stable, ERROR)]


def interval(low: float, high: float, measure: str = "it", **marks: bool) -> Comparison:
    """Of a measure of which two hundredths more are accepted."""
    return Comparison(measure, 0.1, 0.1, low, high, 0.02, **marks)


WITHIN, OPEN, BEYOND = interval(-0.1, 0.01), interval(-0.1, 0.1), interval(0.03, 0.1)
OTHERWISE = interval(0.03, 0.1, is_about_predictions=True)
UNAWAITED = interval(-0.1, 0.3, is_awaited=False)


@pytest.mark.parametrize(
    ("comparisons", "requests", "expected"),
    [
        ([WITHIN], 500, Decision.ADVANCE),
        ([WITHIN], 501, Decision.ADVANCE),
        ([WITHIN], 499, None),
        ([WITHIN, OPEN], 500, None),
        ([WITHIN, UNAWAITED], 500, Decision.ADVANCE),
        ([UNAWAITED], 499, None),
        ([], 500, Decision.ADVANCE),
        ([WITHIN, BEYOND], 1, Decision.ABORT),
        ([WITHIN, OTHERWISE], 1, Decision.HOLD),
        ([OTHERWISE, BEYOND], 1, Decision.ABORT),
        ([replace(BEYOND, is_awaited=False)], 500, Decision.ABORT),
    ],
)
def test_what_the_comparisons_say(comparisons: list[Comparison], requests: int, expected: Decision | None) -> None:
    """Worse ends it at once, other predictions hold it, and enough requests without a doubt let it go on."""
    said = decide(comparisons, requests, 500)

    assert expected is (said[0] if said else None)


def test_the_measure_that_is_least_known_is_told() -> None:
    """Of those that are waited for and not accepted already, the one with the widest interval."""
    found = [interval(-0.9, 0.02, "accepted"), interval(-0.1, 0.1, "narrow"), interval(-0.2, 0.1, "wide"), UNAWAITED]

    assert undecided(found, 500, 500).startswith("inconclusive after 500 requests: wide: 10.00% against 10.00%")
    assert "inconclusive: 499 of 500 requests reached the canary" == undecided(found, 499, 500)
