"""Turn what was counted of one version into the figures somebody judges: performance, drift, values, the trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from promotion.data.arrays import FloatArray, IntArray
from promotion.gates.evidence import Interval
from promotion.monitoring.drift.comparison import compare_distributions, unknown
from promotion.monitoring.label_bias import label_bias
from promotion.monitoring.observe.counting import CountingPlan, Tally, latency_quantile, parse_moment
from promotion.monitoring.observe.observation import Drift, Quality, Reading, Service, Slice
from promotion.monitoring.observe.performance import (
    concept,
    confusion,
    error_readings,
    performance_scores,
    readings,
    roc_auc,
)
from promotion.monitoring.observe.prometheus import Trend
from promotion.monitoring.observe.reference import Reference

_LEAST_IN_A_STEP = 10
_STEPS = 24
# Labels that are so many times rarer than they become are still arriving.
_THIN = 4
_P95 = 0.95
_BINARY = 2


@dataclass(frozen=True)
class Labelled:
    """The labelled rows of one version in its newest period that has labels, as long as the window.

    Attributes:
        since: Start of the period.
        until: Its end, the time of the newest labelled row.
        rows: All rows in it, with a label or without.
        times: Of the labelled rows, microseconds since 1970, shape (rows,).
        chosen: Predicted classes, likewise.
        label: What they are, likewise.
        probability: Likewise.
        bias: In which way these rows differ from all rows of the period; empty where they look alike.
    """

    since: datetime
    until: datetime
    rows: int
    times: IntArray
    chosen: Any
    label: Any
    probability: FloatArray
    bias: str = ""

    @property
    def coverage(self) -> float:
        """Share of the period's rows that have a label."""
        return len(self.label) / self.rows


def labelled_period(tally: Tally, window: timedelta, names: Sequence[str], minimum: int) -> Labelled | None:
    """The newest stretch of rows whose labels have arrived; None without any.

    Labels arrive late. Rows of the last days without one, or with a few that came early, say nothing of the
    performance, so the stretch ends where the labels thin out; and it is as long as the window, or longer where that
    holds too few.

    Args:
        tally: What was counted.
        window: Its least length.
        names: Of the classes; none of a regression.
        minimum: How many labels it is to hold, as far as there are so many.
    """
    if not tally.labelled:
        return None
    columns = [np.concatenate(parts) for parts in zip(*tally.labelled, strict=True)]
    answers = [np.concatenate(parts) for parts in zip(*tally.answers, strict=True)]
    after, newest = _stretch(columns[0], answers[0], window // timedelta(microseconds=1), minimum)
    inside = (columns[0] > after) & (columns[0] <= newest)
    times, chosen, label, probability = (part[inside] for part in columns)
    within = (answers[0] > after) & (answers[0] <= newest)
    bias = label_bias((times, chosen, probability), [part[within] for part in answers], names)
    period = parse_moment(after), parse_moment(newest)
    return Labelled(*period, int(within.sum()), times, chosen, label, probability, bias)


def _stretch(labelled: IntArray, everything: IntArray, window: int, minimum: int) -> tuple[int, int]:
    """Before its first row, and its last: the newest whose rows are labelled at least a quarter as often as the best.

    Args:
        labelled: Times of the labelled rows, microseconds, shape (rows,).
        everything: Of all rows, likewise.
        window: Microseconds.
        minimum: Labels below which a window is no measure of how often rows are labelled.
    """
    last, step = int(labelled.max()), max(window // _STEPS, 1)
    ages = [(last - times[times <= last]) // step for times in (labelled, everything)]
    size = int(ages[1].max()) + 1 + _STEPS
    sums = [np.concatenate([[0], np.bincount(age, minlength=size).cumsum()]) for age in ages]
    # Of the windows that end so many steps before the newest label.
    some, rows = (total[_STEPS:] - total[:-_STEPS] for total in sums)
    coverage = np.divide(some, rows, out=np.zeros(len(some)), where=rows > 0)
    best = coverage[some >= minimum].max(initial=0.0)
    thin = int(np.argmax(coverage >= best / _THIN)) if best else 0
    ends = np.sort(labelled[(last - labelled) // step >= thin])
    newest = int(ends[-1])
    return min(newest - window, int(ends[-min(minimum, len(ends))]) - 1), newest


def performance(
    found: Labelled | None,
    names: Sequence[str],
    reference: Mapping[str, Interval],
    held_out: Mapping[str, int],
    minimum: int,
) -> tuple[dict[str, Reading], dict[str, Reading]]:
    """Metrics, and the share of positives by predicted class.

    Args:
        found: The labelled rows; None without any.
        names: Of the classes.
        reference: Values at promotion by name.
        held_out: Rows these were measured on, by predicted class; empty when that is not known.
        minimum: Labelled rows below which a reading is not enough.
    """
    if not names:
        return error_readings(found.chosen - found.label if found else np.empty(0), reference, minimum), {}
    none = np.empty(0, dtype=np.int64)
    chosen, label = (found.chosen, found.label) if found else (none, none)
    probability = found.probability if found else np.empty(0)
    metrics = readings(chosen, label, probability, classes=len(names), reference=reference, minimum=minimum)
    meaning = concept(chosen, label, names=names, reference=reference, held_out=held_out, minimum=minimum)
    return metrics, meaning


def drifts(
    tally: Tally, plan: CountingPlan, names: Sequence[str], reference: Reference | None, minimum: int
) -> list[Drift]:
    """Every feature, the predicted class and the probability against the reference.

    Args:
        tally: What was counted.
        plan: How.
        names: Of the classes.
        reference: None where the version's export is not at hand.
        minimum: Rows below which nothing is said.
    """
    rows = int(tally.rows.sum())
    if reference is None:
        unseen = [unknown(name, "feature", rows, minimum_rows=minimum) for name in plan.features]
        answer = "predicted class" if names else "predicted value"
        return [*unseen, unknown(answer, "prediction", rows, minimum_rows=minimum)]

    weights = reference.importance
    found = [
        compare_distributions(
            name, "feature", bins, tally.values[name], minimum_rows=minimum, importance=weights.get(name)
        )
        for name, bins in reference.features.items()
    ]
    if names:
        # No row is without a class: the place for missing values is there for features only.
        answered = np.append(tally.classes, 0)
        found.append(
            compare_distributions("predicted class", "prediction", reference.classes, answered, minimum_rows=minimum)
        )
    if tally.probability is not None:
        answer = "probability" if names else "predicted value"
        found.append(
            compare_distributions(answer, "prediction", reference.probability, tally.probability, minimum_rows=minimum)
        )
    return found


def qualities(tally: Tally, plan: CountingPlan, reference: Reference | None, minimum: int) -> list[Quality]:
    """Missing and out-of-range values of every feature; see `drifts` for the arguments."""
    rows = int(tally.rows.sum())
    found = []
    for name, missing, outside in zip(plan.features, tally.missing, tally.outside, strict=True):
        present = rows - int(missing)
        found.append(
            Quality(
                feature=name,
                missing=int(missing) / rows if rows else 0.0,
                reference_missing=reference.missing.get(name) if reference else None,
                out_of_range=int(outside) / present if present else 0.0,
                rows=rows,
                enough=rows >= minimum,
            )
        )
    return found


def service_from_log(tallies: Sequence[Tally], minimum: int) -> Service:
    """What the log alone knows of the service: how long its requests took.

    Args:
        tallies: Of all versions whose answers were returned.
        minimum: Requests below which nothing is said.
    """
    counts = sum((tally.latency.sum(axis=0) for tally in tallies), start=np.zeros(1, dtype=np.int64))
    requests = int(counts.sum())
    return Service(
        latency_p95_ms=latency_quantile(counts, _P95) if requests else None,
        requests=requests,
        source="prediction log",
        problem="PROMETHEUS_URL is not set",
        enough=requests >= minimum,
    )


def trend(
    tally: Tally, plan: CountingPlan, found: Labelled | None, names: Sequence[str], asked: Trend | None
) -> list[Slice]:
    """The steps of the window with what the service did, and those of the labelled period with the performance.

    Args:
        tally: What was counted.
        plan: How.
        found: The labelled rows.
        names: Of the classes.
        asked: What Prometheus said; None where nobody asked it.
    """
    step = (plan.until - plan.since) / plan.slices
    steps = []
    for place in range(plan.slices):
        values: dict[str, float | None] = {}
        if asked is not None:
            values = {
                "latency_p95_ms": asked.latency_p95_ms[place],
                "error_rate": asked.error_rate[place],
                "throughput": asked.throughput[place],
            }
        elif tally.latency[place].any():
            values = {"latency_p95_ms": latency_quantile(tally.latency[place], _P95)}
        since = plan.since + step * place
        steps.append(Slice(since, since + step, int(tally.rows[place]), 0, values))
    return [*steps, *_labelled_trend(found, plan.slices, len(names))]


def _labelled_trend(found: Labelled | None, count: int, classes: int) -> list[Slice]:
    if found is None:
        return []
    step = (found.until - found.since) / count
    edges = [round((found.since + step * place).timestamp() * 1e6) for place in range(count + 1)]
    # A period holds its end, the newest row, and not its start.
    place = np.searchsorted(edges[1:], found.times, side="left")
    steps = []
    for number in range(count):
        inside = place == number
        labelled = int(inside.sum())
        values: dict[str, float | None] = {}
        if labelled >= _LEAST_IN_A_STEP and not classes:
            errors = found.chosen[inside] - found.label[inside]
            values |= {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
        elif labelled >= _LEAST_IN_A_STEP:
            chosen, label = found.chosen[inside], found.label[inside]
            legal = (chosen >= 0) & (chosen < classes)
            values |= {
                name: float(value)
                for name, value in performance_scores(confusion(chosen[legal], label[legal], classes)).items()
            }
            if classes == _BINARY and (area := roc_auc(label, found.probability[inside])):
                values["roc_auc"] = area[0]
        since = found.since + step * number
        steps.append(Slice(since, since + step, 0, labelled, values))
    return steps
