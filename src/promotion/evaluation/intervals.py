"""Intervals and bounds of shares and means: for one look, and for as many looks as anybody likes (sequential).

Review and monitoring use Wilson's interval and the exact binomial test; what is looked at again and again until it
decides (canary analysis, A/B tests) uses the sequential ones, which hold at all looks at once.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from scipy.special import bdtr, bdtrc, betaln

CONFIDENCE = 0.95
DEVIATIONS = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""So many standard deviations to either side hold that much of a normal distribution."""

_LEAST_COUNTED = 5
"""Fewer than these, such as one client's retries, are no evidence of a share beyond a bound, whatever their share."""
_PRIOR = 0.5
_CLOSEST = 1e-12


def wilson(part: int, whole: int) -> tuple[float, float, float]:
    """A share with the ends of its 95 % score interval (Wilson 1927, JASA 22:209-212).

    Args:
        part: Successes.
        whole: Trials, at least one.

    Returns:
        The share and the ends of the interval, all within 0 to 1.
    """
    share = part / whole
    middle, half = _score_interval(share, whole, DEVIATIONS)
    return share, middle - half if part else 0.0, middle + half if part < whole else 1.0


def share_reach(share: float, end: float, confidence: float) -> float:
    """How far Wilson's interval of a share reaches towards one side at another confidence.

    Args:
        share: Successes of trials.
        end: That end of its 95 % interval, which tells how many trials there were.
        confidence: The one that is wanted.
    """
    wanted = NormalDist().inv_cdf((1 + confidence) / 2)
    if end == share or not 0 < end < 1:
        return abs(share - end) * wanted / DEVIATIONS
    trials = DEVIATIONS**2 * end * (1 - end) / (share - end) ** 2
    middle, half = _score_interval(share, trials, wanted)
    return abs(share - (middle - half if end < share else middle + half))


def _score_interval(share: float, trials: float, deviations: float) -> tuple[float, float]:
    """Middle and half width of Wilson's interval, at so many standard deviations."""
    scale = 1 + deviations**2 / trials
    half = deviations * math.sqrt(share * (1 - share) / trials + (deviations / (2 * trials)) ** 2)
    return (share + deviations**2 / (2 * trials)) / scale, half / scale


def is_beyond_bound(part: int, whole: int, bound: float, confidence: float) -> bool | None:
    """Whether a share is beyond a bound by the one-sided exact binomial test; None where too few were counted to say.

    Args:
        part: Those counted, such as failed requests.
        whole: Out of how many.
        bound: The share that is still allowed.
        confidence: Of either answer.
    """
    if not whole:
        return None
    if part >= _LEAST_COUNTED and bdtrc(part - 1, whole, bound) < 1 - confidence:
        return True
    return False if bdtr(part, whole, bound) < 1 - confidence else None


def sequential(total: float, count: int, error: float) -> tuple[float, float]:
    """The ends of an interval of a mean that hold at every look at once, however often and whenever one looks.

    All means are left in whose likelihood ratio against a beta mixture of alternatives never passed 1 / error (Ville's
    inequality; Robbins 1970, Ann. Math. Statist. 41:1397-1409). Exact for shares. Since the ratio is convex in each
    value, and a share is the widest there is between 0 and 1, also valid for any independent values in between.

    Args:
        total: Sum of the values, each from 0 to 1.
        count: How many there are.
        error: Probability that the true mean is ever outside.

    Returns:
        Both ends, within 0 to 1; the whole range without any values.
    """
    from scipy.optimize import brentq

    if not count:
        return 0.0, 1.0
    rest = count - total
    least = math.log(error) + float(betaln(total + _PRIOR, rest + _PRIOR) - betaln(_PRIOR, _PRIOR))

    def inside(mean: float) -> float:
        return total * math.log(mean) + rest * math.log1p(-mean) - least

    value = min(max(total / count, _CLOSEST), 1 - _CLOSEST)
    low = 0.0 if inside(_CLOSEST) >= 0 else float(brentq(inside, _CLOSEST, value))
    high = 1.0 if inside(1 - _CLOSEST) >= 0 else float(brentq(inside, value, 1 - _CLOSEST))
    return low, high


def sequential_difference(
    ours: tuple[float, int], theirs: tuple[float, int], error: float
) -> tuple[float, float, float]:
    """How much greater the mean of one group is than that of another one, at every look at once.

    Each group's interval spends half of the error, so that the groups may grow as they like, also one alone.

    Args:
        ours: Sum and number of the values of the one, each from 0 to 1.
        theirs: Those of the other.
        error: Probability that the true difference is ever outside.

    Returns:
        The difference and both ends, within -1 to 1; NaN as the difference while a group is empty.
    """
    (low, high), (other_low, other_high) = (sequential(*group, error / 2) for group in (ours, theirs))
    is_known = ours[1] and theirs[1]
    return ours[0] / ours[1] - theirs[0] / theirs[1] if is_known else math.nan, low - other_high, high - other_low
