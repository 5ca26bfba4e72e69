"""Whether log and labels come in as they should: what cannot be read, repeats, matches nothing, or has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from promotion.config.printable import printable
from promotion.config.values import duration_text
from promotion.data.arrays import FloatArray
from promotion.monitoring.labels.labels import Labels
from promotion.monitoring.observe.counting import Count, CountingPlan, parse_moment
from promotion.monitoring.observe.observation import DataFlaw
from promotion.monitoring.observe.prometheus import Trend

_CALM_STEPS = 2
_PROOF = 20
"""So many rows are missing for certain."""
_STEADY_SHARE = 0.75
_STEADY_ROWS = 5
"""Rows that each step of steady traffic has: with a mean of 5, two steps without any are one case in 22,000."""


def data_flaws(count: Count, labels: Labels | None, earlier_labels: int) -> list[DataFlaw]:
    """What is odd about the rows and labels, each as a share; without labels only about the rows.

    Args:
        count: Of the log.
        labels: Of the file; None without one.
        earlier_labels: The most labels that an earlier run found in it.
    """
    repeated, (times, request) = count.repeated, count.met.most
    found = [
        DataFlaw("unreadable_lines", count.bad_lines, count.rows + count.bad_lines, count.problem),
        DataFlaw("local_times", count.local_times, count.rows, count.local_time),
        DataFlaw("future_rows", count.from_the_future, count.rows),
        DataFlaw(
            "repeated_rows",
            repeated,
            count.met.rows + repeated,
            f"{printable(request)!r} alone {times:,} times" if repeated else "",
        ),
    ]
    if labels is None:
        return found
    matched = sum(len(block[0]) for who, it in count.answerers.items() if who.role != "shadow" for block in it.labelled)
    usable = len(labels.keys)
    sides = ""
    if usable and count.example:
        sides = f"a label is of {printable(labels.keys[0].as_py())!r}, a row {printable(count.example)!r}"
    return [
        *found,
        DataFlaw("unknown_labels", labels.unknown, labels.total, labels.example),
        DataFlaw("conflicting_labels", labels.conflicting, labels.conflicting + usable),
        DataFlaw("unmatched_labels", max(usable - matched, 0), usable if count.example else 0, sides),
        DataFlaw("shrunken_labels", max(earlier_labels - labels.total, 0), earlier_labels),
    ]


def silence(
    count: Count, plan: CountingPlan, asked: Trend | None, *, tolerated: timedelta | None, due_since: datetime | None
) -> str:
    """Why the log seems to have ended while the version serves; empty where it goes on, or may.

    Requests that Prometheus counted and the log does not hold are proof. Without it a log has ended that nothing came
    into for the tolerated time; or, where the family tolerates none in particular, for two steps after traffic that
    filled each step of three quarters of the window before.

    Args:
        count: Of the log.
        plan: What was counted.
        asked: What Prometheus said of each step; None where nobody asked it.
        tolerated: How long the family may have no row.
        due_since: When the version came into Production; None where none is, or nobody knows.
    """
    window = plan.until - plan.since
    rows = sum((it.rows for it in count.answerers.values()), start=np.zeros(plan.slices, dtype=np.int64))
    last = max((it.last for it in count.answerers.values() if it.last is not None), default=None)
    calm = int(np.flatnonzero(np.append(rows[::-1], 1))[0])
    newest = (
        f"the newest row is of {parse_moment(last):%Y-%m-%d %H:%M} UTC"
        if last
        else f"no row in {duration_text(window)}"
    )
    if asked is not None and calm >= _CALM_STEPS:
        answered = _answered(asked, window.total_seconds() / plan.slices)
        before, requests = answered[:-calm].sum(), answered[-calm:].sum()
        # A log may be a sample.
        logged = min(rows.sum() / before, 1.0) if rows.any() and before else 1.0
        if requests * logged >= _PROOF:
            return f"{newest}, and the service answered {requests:,.0f} requests since: the log does not arrive"
    if last is not None and tolerated is None and calm >= _CALM_STEPS:
        before = rows[: plan.slices - calm]
        if len(before) >= _STEADY_SHARE * plan.slices and before.min() >= _STEADY_ROWS:
            step = duration_text(window / plan.slices)
            return f"{newest}, after at least {int(before.min())} rows in each {step} before"
    age = plan.until - parse_moment(last) if last else window
    limit = window if tolerated is None else tolerated
    if due_since is None or plan.until - due_since < limit or age < limit:
        return ""
    if count.bad_lines and not count.rows:
        return f"{newest}: none of the log's {count.bad_lines:,} lines can be read"
    return f"{newest}: no traffic, or the log does not arrive"


def _answered(asked: Trend, seconds: float) -> FloatArray:
    """Requests of each step that did not fail: one that does leaves no row."""
    figures = zip(asked.throughput, asked.error_rate, strict=True)
    return np.array([(rate or 0.0) * (1.0 - (failed or 0.0)) * seconds for rate, failed in figures])


def labels_in_runs(documents: Sequence[Mapping[str, Any]]) -> int:
    """The most labels that the file held in earlier runs, by what these kept.

    Args:
        documents: Observations as the journal has them.
    """
    totals = [
        flaw["whole"]
        for document in documents
        for flaw in document.get("flaws", ())
        if flaw["name"] == "unknown_labels"
    ]
    return max(totals, default=0)
