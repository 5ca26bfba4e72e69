"""Whether a canary does as well as the stable pods beside it, by counts of the same time and a sequential test.

Each measure is a share; the difference of both tracks' shares has an interval that holds at every look at once. A
canary is worse when all of the interval is beyond what is accepted, and as good when all of it is within; in between
nobody knows yet. Latency is compared at every bound of the histogram, since a mean or one quantile hides a tail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from promotion.delivery.canary.records import Comparison, Counts, Decision
from promotion.evaluation.intervals import sequential_difference

MORE_FAILURES = 0.02
"""Accepted difference of the share of requests that fail."""

MORE_SLOW = 0.1
"""Accepted difference of the share of requests beyond any bound of the histogram of seconds."""

OTHER_PREDICTIONS = 0.2
"""Accepted difference of the share of any class; a new version may well predict otherwise, and people decide that."""

MORE_WRONG = 0.05
"""Accepted difference of the share of labelled keys that are answered wrongly."""

_KINDS = 3


def compare(canary: Counts, stable: Counts, error: float) -> tuple[Comparison, ...]:
    """Every measure of a canary against the stable pods.

    Args:
        canary: What its pods did.
        stable: What theirs did meanwhile.
        error: Probability that any of the intervals is ever wrong; the kinds of measures share it.
    """
    has_labels = canary.labelled is not None
    return tuple(_comparisons(canary, stable, error / (_KINDS + has_labels)))


def decide(comparisons: Sequence[Comparison], requests: int, least: int) -> tuple[Decision, str] | None:
    """What the comparisons say, and why; None while they do not say anything yet.

    Args:
        comparisons: As `compare` makes them.
        requests: How many the canary answered.
        least: How many it has to answer.
    """
    beyond = [comparison for comparison in comparisons if comparison.is_beyond]
    worse = [comparison for comparison in beyond if not comparison.is_about_predictions]
    if worse:
        return Decision.ABORT, str(worse[0])
    if beyond:
        return Decision.HOLD, f"other predictions, which a person judges: {beyond[0]}"
    if requests >= least and all(comparison.is_within for comparison in comparisons if comparison.is_awaited):
        return Decision.ADVANCE, f"{requests} requests, no measure is worse than accepted"
    return None


def undecided(comparisons: Sequence[Comparison], requests: int, least: int) -> str:
    """Why time ended before the evidence sufficed."""
    if requests < least:
        return f"inconclusive: {requests} of {least} requests reached the canary"
    widest = max(
        (each for each in comparisons if each.is_awaited and not each.is_within), key=lambda each: each.high - each.low
    )
    return f"inconclusive after {requests} requests: {widest}"


def _comparisons(canary: Counts, stable: Counts, error: float) -> Iterator[Comparison]:
    def compared(
        measure: str, part: tuple[int, int], whole: tuple[int, int], spent: float, allowed: float
    ) -> Comparison:
        _, low, high = sequential_difference((part[0], whole[0]), (part[1], whole[1]), spent)
        ours, theirs = (each / max(all_of, 1) for each, all_of in zip(part, whole, strict=True))
        return Comparison(measure, ours, theirs, low, high, allowed, allowed == OTHER_PREDICTIONS)

    requests = canary.requests, stable.requests
    yield compared("failed requests", (canary.failures, stable.failures), requests, error, MORE_FAILURES)
    bounds = sorted(canary.slower.keys() & stable.slower.keys(), key=float)
    for bound in bounds:
        slower = canary.slower[bound], stable.slower[bound]
        yield compared(f"requests beyond {bound} s", slower, requests, error / len(bounds), MORE_SLOW)
    classes = sorted(canary.predictions.keys() | stable.predictions.keys())
    rows = sum(canary.predictions.values()), sum(stable.predictions.values())
    labelled = canary.labelled or 0, stable.labelled or 0
    if all(labelled):
        found = compared("wrong answers", (canary.wrong, stable.wrong), labelled, error, MORE_WRONG)
        # Labels come when they come: what there is may end a canary, and is not waited for.
        yield replace(found, is_awaited=False)
    # Of two classes one says all.
    for label in classes[1:] if len(classes) == 2 else classes:  # noqa: PLR2004
        predicted = canary.predictions.get(label, 0), stable.predictions.get(label, 0)
        yield compared(f"predicted {label}", predicted, rows, error / len(classes), OTHER_PREDICTIONS)
