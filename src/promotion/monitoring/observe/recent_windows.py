"""What the version in Production did in the last few windows, which is what may take it back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from promotion.config.policy import Monitoring
from promotion.evaluation.intervals import wilson
from promotion.monitoring.instances import instances_fault
from promotion.monitoring.label_bias import NEARLY_ALL
from promotion.monitoring.observe.counting import Tally, microseconds, parse_moment
from promotion.monitoring.observe.figures import newest_labelled
from promotion.monitoring.observe.observation import Lately, Reading, Service, Stretch
from promotion.monitoring.observe.prometheus import Prometheus, ServedVersion


def accuracy_lately(tally: Tally, promoted: Reading, policy: Monitoring, live_since: datetime) -> Lately:
    """Accuracy in the newest windows that have labels.

    Labels arrive late and at their own pace, so a window ends with a labelled row, and is longer than the policy's
    where that has fewer labelled rows than the policy asks for. Where labels still arrive there is no window: those
    that come first, such as complaints, are of other rows than those that come later.

    Args:
        tally: What was counted of the version.
        promoted: An accuracy; its value at promotion counts.
        policy: Length and number of the windows, and how many rows one needs.
        live_since: What was answered earlier does not count.
    """
    if not tally.labelled:
        return Lately(problem="there are no labels")
    since = microseconds(live_since)
    times, chosen, label, _ = (np.concatenate(parts) for parts in zip(*tally.labelled, strict=True))
    order = np.argsort(times, kind="stable")
    order = order[times[order] >= since]
    times, is_right = times[order], (chosen == label)[order]
    length, labels = policy.sustained.window // timedelta(microseconds=1), policy.sustained.minimum_labels
    if len(times):
        everything = np.concatenate([part[0] for part in tally.answers])
        everything = np.sort(everything[everything >= since])
        needed = NEARLY_ALL if policy.label_coverage is None else policy.label_coverage
        # As long as all windows are together where just so many rows have a label.
        least = policy.sustained.of * labels
        rows = min(round(least / needed) if needed else len(everything), len(everything))
        longest = max(policy.sustained.of * length, int(everything[-1] - everything[-rows]))
        newest = newest_labelled(times, everything, longest, min(least, len(times)), needed)
        arrived = int(np.searchsorted(times, newest, side="right"))
        times, is_right = times[:arrived], is_right[:arrived]
    stretches: list[Stretch] = []
    end = len(times)
    while end and len(stretches) < policy.sustained.of:
        by_time = int(np.searchsorted(times, times[end - 1] - length, side="right"))
        start = max(min(by_time, end - labels), 0)
        rows = end - start
        stretches.append(
            Stretch(
                since=parse_moment(int(times[start])),
                until=parse_moment(int(times[end - 1])),
                value=float(is_right[start:end].mean()),
                rows=rows,
                enough=rows >= labels,
            )
        )
        end = start
    if not stretches:
        return Lately(problem="no row has a label that was answered since the version is in Production")
    rows = sum(it.rows for it in stretches)
    value, low, high = wilson(int(is_right[len(is_right) - rows :].sum()), rows)
    together = replace(promoted, value=value, low=low, high=high, rows=rows)
    return Lately(stretches[::-1], together)


def service_lately(
    url: str | None, version: ServedVersion, policy: Monitoring, live_since: datetime, until: datetime
) -> dict[str, Lately]:
    """Error rate and latency in the newest windows, of the servers that answered with this version and no other.

    Args:
        url: Address of Prometheus; None where nobody may be asked.
        version: Family, registered model and number.
        policy: Length and number of the windows, and how many requests one needs.
        live_since: Windows that begin earlier do not count.
        until: End of the newest window.
    """
    names = ("error_rate", "latency")
    if url is None:
        return {name: Lately(problem="PROMETHEUS_URL is not set") for name in names}
    length = policy.sustained.window
    ends = [until - length * place for place in range(policy.sustained.of)][::-1]
    ends = [end for end in ends if end - length >= live_since]
    if not ends:
        young = f"in Production for less than {length.total_seconds():g} s"
        return {name: Lately(problem=young) for name in names}
    prometheus = Prometheus(url)
    found = [prometheus.observe_version(version, end - length, end, policy.minimum_rows) for end in ends]
    problem = found[-1].problem
    return {
        name: Lately(
            [
                Stretch(
                    end - length,
                    end,
                    value,
                    service.requests or 0,
                    enough=service.enough and value is not None,
                    failed=service.failed if name == "error_rate" else None,
                    fault=_fault(service, policy) if name == "error_rate" else "",
                )
                for end, service, value in zip(ends, found, values, strict=True)
            ],
            problem=problem,
        )
        for name, values in (
            ("error_rate", [service.error_rate for service in found]),
            ("latency", [service.latency_p95_ms for service in found]),
        )
    }


def _fault(service: Service, policy: Monitoring) -> str:
    bound = policy.rollback.error_rate
    return "" if bound is None else instances_fault(service, bound, policy.confidence)
