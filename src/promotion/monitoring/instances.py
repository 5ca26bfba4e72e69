"""Whether single instances of a version fail while all others answer: then the version is not to blame."""

from __future__ import annotations

from promotion.evaluation.intervals import is_beyond_bound
from promotion.monitoring.observe.observation import Service


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
