"""Whether so many of so many are beyond a bound, within it, or too few to say: exact at any traffic."""

from __future__ import annotations

from scipy.stats import binom

from promotion.monitoring.observe.observation import Service

_LEAST_FAILED = 5
"""Fewer failures are one client's retries, whatever their share."""


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
    if part >= _LEAST_FAILED and binom.sf(part - 1, whole, bound) < 1 - confidence:
        return True
    return False if binom.cdf(part, whole, bound) < 1 - confidence else None


def instances_fault(service: Service, bound: float, confidence: float) -> str:
    """Which instances alone fail, while all others are well within the bound; empty where the version may be to blame.

    Args:
        service: What Prometheus counted.
        bound: The share of failed requests that is still allowed.
        confidence: Of the judgement of either group.
    """
    bad = [it for it in service.failing if is_beyond_bound(it.failed, it.requests, bound, confidence)]
    failed, requests = (sum(getattr(it, name) for it in bad) for name in ("failed", "requests"))
    others_failed = sum(it.failed for it in service.failing) - failed
    others = (service.requests or 0) - requests
    if not bad or is_beyond_bound(others_failed, others, bound, confidence) is not False:
        return ""
    names = ", ".join(it.name for it in bad)
    return (
        f"{len(bad)} of {service.instances} instances alone: {names} failed {failed:,} of {requests:,} requests, "
        f"the others {others_failed:,} of {others:,}: look at the instance, not at the version"
    )
