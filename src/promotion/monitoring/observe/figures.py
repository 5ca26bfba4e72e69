"""Turn what was counted of one version into the figures somebody judges: performance, drift, values, the trend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from promotion.data.arrays import FloatArray, IntArray
from promotion.gates.evidence import Interval
from promotion.monitoring.drift.comparison import compare_distributions, unknown
from promotion.monitoring.label_bias import NEARLY_ALL, label_bias
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
        others: Predicted classes and probabilities of the rows without a label; none where nearly all have one.
        bias: In which way these rows differ from all rows of the period; empty where they look alike.
    """

    since: datetime
    until: datetime
    rows: int
    times: IntArray
    chosen: Any
    label: Any
    probability: FloatArray
    others: tuple[Any, FloatArray] | None = None
    bias: str = ""

    @property
    def coverage(self) -> float:
        """Share of the period's rows that have a label."""
        return len(self.label) / self.rows


def labelled_period(
    tally: Tally, window: timedelta, names: Sequence[str], minimum: int, needed: float | None
) -> Labelled | None:
    """The newest stretch of rows whose labels have arrived; None without any.

    Labels arrive late. Rows of the last days without one, or with a few that came early, say nothing of the
    performance, so the stretch ends where the labels thin out; and it is as long as the window, or longer where that
    holds too few.

    Args:
        tally: What was counted.
        window: Its least length.
        names: Of the classes; none of a regression.
        minimum: How many labels it is to hold, as far as there are so many.
        needed: Share of the rows that is to be labelled, as far as so many ever are; None where nobody says.
    """
    if not tally.labelled:
        return None
    labelled, everything = (np.concatenate([part[0] for part in parts]) for parts in (tally.labelled, tally.answers))
    length = window // timedelta(microseconds=1)
    newest = newest_labelled(labelled, everything, length, minimum, needed)
    times = np.sort(labelled[labelled <= newest])
    return labelled_between(tally, min(newest - length, int(times[-min(minimum, len(times))]) - 1), newest, names)


def labelled_between(tally: Tally, after: int, newest: int, names: Sequence[str]) -> Labelled:
    """The labelled rows of a time, and how they look beside all of it.

    Args:
        tally: What was counted, labels among it.
        after: Before the first row, microseconds since 1970.
        newest: Of the last row, likewise.
        names: Of the classes; none of a regression.
    """
    columns = [np.concatenate(parts) for parts in zip(*tally.labelled, strict=True)]
    answers = [np.concatenate(parts) for parts in zip(*tally.answers, strict=True)]
    inside = (columns[0] > after) & (columns[0] <= newest)
    times, chosen, label, probability = (part[inside] for part in columns)
    within = (answers[0] > after) & (answers[0] <= newest)
    everything = [part[within] for part in answers]
    rows = len(everything[0])
    return Labelled(
        parse_moment(after),
        parse_moment(newest),
        rows,
        times,
        chosen,
        label,
        probability,
        None if len(label) >= NEARLY_ALL * rows else _without((chosen, probability), everything[1:]),
        label_bias((times, chosen, probability), everything, names),
    )


def _without(labelled: Sequence[Any], everything: Sequence[Any]) -> tuple[Any, FloatArray]:
    """Answers and probabilities of the rows that are not among the labelled ones."""
    # As precise as all rows' are kept; numbers that are none equal each other.
    keys = [
        np.asarray(chosen, dtype=np.float32) + 1j * np.nan_to_num(np.asarray(figure, dtype=np.float32), nan=-1.0)
        for chosen, figure in (everything, labelled)
    ]
    values, place = np.unique(np.concatenate(keys), return_inverse=True)
    of_all, ours = (np.bincount(it, minlength=len(values)) for it in np.split(place, [len(keys[0])]))
    rest = np.repeat(values, np.maximum(of_all - ours, 0))
    return rest.real.astype(np.asarray(labelled[0]).dtype), np.where(rest.imag < 0, np.nan, rest.imag)


def newest_labelled(labelled: IntArray, everything: IntArray, window: int, minimum: int, needed: float | None) -> int:
    """The newest row whose labels have arrived: its window has as many as are needed, or a quarter of the best one's.

    Args:
        labelled: Times of the labelled rows, microseconds, shape (rows,), at least one.
        everything: Of all rows, likewise.
        window: Microseconds.
        minimum: Labels below which a window is no measure of how often rows are labelled.
        needed: Share of the rows that is to be labelled; None where nobody says.
    """
    last, step = int(labelled.max()), max(window // _STEPS, 1)
    ages = [(last - times[times <= last]) // step for times in (labelled, everything)]
    size = int(ages[1].max()) + 1 + _STEPS
    sums = [np.concatenate([[0], np.bincount(age, minlength=size).cumsum()]) for age in ages]
    # Of the windows that end so many steps before the newest label.
    some, rows = (total[_STEPS:] - total[:-_STEPS] for total in sums)
    coverage = np.divide(some, rows, out=np.zeros(len(some)), where=rows > 0)
    best = coverage[some >= minimum].max(initial=0.0)
    least = best / _THIN if needed is None or needed > best else max(needed, best / _THIN)
    thin = int(np.argmax(coverage >= least)) if best else 0
    return int(labelled[(last - labelled) // step >= thin].max())


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
    none = np.empty(0, dtype=np.int64)
    chosen, label = (found.chosen, found.label) if found else (none, none)
    probability = found.probability if found else np.empty(0)

    def measured(chosen: Any, label: Any, probability: FloatArray) -> dict[str, Reading]:
        if not names:
            return error_readings(chosen - label, reference, minimum)
        return readings(chosen, label, probability, classes=len(names), reference=reference, minimum=minimum)

    metrics = measured(chosen, label, probability)
    if found and found.others:
        # As if all rows without a label had been answered right.
        answers, figures = found.others
        parts = (chosen, answers), (label, answers), (probability, figures)
        best = measured(*(np.concatenate(part) for part in parts))
        metrics = {name: replace(it, at_best=best[name].value) for name, it in metrics.items()}
    if not names:
        return metrics, {}
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
