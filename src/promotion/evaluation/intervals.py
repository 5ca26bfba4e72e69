"""Intervals of shares, for whoever judges by them: review, monitoring; sequential ones belong here, too."""

from __future__ import annotations

from scipy.stats import binomtest

CONFIDENCE = 0.95


def wilson(part: int, whole: int) -> tuple[float, float, float]:
    """A share with the ends of its 95 % score interval (Wilson 1927, JASA 22:209-212).

    Args:
        part: Successes.
        whole: Trials, at least one.

    Returns:
        The share and the ends of the interval, all within 0 to 1.
    """
    ends = binomtest(part, whole).proportion_ci(CONFIDENCE, method="wilson")
    return part / whole, max(0.0, float(ends.low)), min(1.0, float(ends.high))
