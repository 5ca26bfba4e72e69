"""Count a log's rows block by block; what several workers counted adds up to the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from promotion.config.printable import printable
from promotion.data.arrays import FloatArray, IntArray
from promotion.export.contract import FeatureRules, group_name
from promotion.monitoring.labels.labels import UNKNOWN, Labels
from promotion.monitoring.observe.log_rows import Block, MetRows, log_schema
from promotion.monitoring.observe.reference import Reference

ROLES = ("champion", "challenger", "shadow")
SKEW_SECONDS = 60
"""How much later than now a row may be stamped: the log goes on while it is read, and clocks differ a little."""
LATENCY_EDGES = np.logspace(-2, 5, 1401)
"""Milliseconds: from 0.01 to 100 s, each class 1.2 % wide."""


class Answerer(NamedTuple):
    """A version in a role."""

    role: str
    model: str
    version: int


@dataclass(frozen=True)
class CountingPlan:
    """What to count.

    Attributes:
        family: Whose rows.
        features: Columns of its features, by name.
        references: Classes of values by registered model and version; without one, drift is not counted.
        classes: Number of classes of the target; none of a regression.
        since: Start of the window.
        until: Its end.
        earliest: How far back labelled rows are collected.
        slices: Steps of the trend.
        labels: Labels by request; None when there are none.
        segments: Features by whose values rows are counted apart as well.
    """

    family: str
    features: Mapping[str, FeatureRules]
    references: Mapping[tuple[str, int], Reference]
    classes: int
    since: datetime
    until: datetime
    earliest: datetime
    slices: int
    labels: Labels | None = None
    segments: Sequence[str] = ()

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the log's rows."""
        texts = [name for name, rules in self.features.items() if rules.type == "text"]
        return log_schema(self.names, texts, is_regression=not self.classes)

    @cached_property
    def names(self) -> list[str]:
        """Of the features."""
        return list(self.features)


@dataclass
class Tally:
    """What was counted of one version in one role; arrays of one row a slice, or one a feature.

    Attributes:
        rows: Rows of each slice.
        missing: Rows without a value, of each feature.
        outside: Values outside the allowed range, of each feature.
        values: Rows of each class of values, by feature; empty without a reference.
        classes: Rows given each class of the target, and last those given one it does not have.
        probability: Rows of each class of probability; None without a reference.
        latency: Requests of each slice and class of latency.
        first: Time of the oldest row in the window, microseconds since 1970; None without rows.
        last: Of the newest.
        answers: Of all rows since the earliest, where labels are given: time in microseconds, predicted class,
            probability; one array a block. Of a regression the numbers stand for both.
        labelled: Of the labelled rows among them: time, predicted class, label, probability; likewise.
    """

    rows: IntArray
    missing: IntArray
    outside: IntArray
    values: dict[str, IntArray]
    classes: IntArray
    probability: IntArray | None
    latency: IntArray
    first: int | None = None
    last: int | None = None
    answers: list[tuple[IntArray, Any, Any]] = field(default_factory=list)
    labelled: list[tuple[IntArray, Any, Any, FloatArray]] = field(default_factory=list)

    @classmethod
    def empty(cls, plan: CountingPlan, reference: Reference | None) -> Self:
        """Nothing counted yet."""
        width = len(plan.features)
        return cls(
            rows=np.zeros(plan.slices, dtype=np.int64),
            missing=np.zeros(width, dtype=np.int64),
            outside=np.zeros(width, dtype=np.int64),
            values={name: np.zeros_like(bins.counts) for name, bins in reference.features.items()} if reference else {},
            classes=np.zeros(plan.classes + 1, dtype=np.int64),
            probability=np.zeros_like(reference.probability.counts) if reference else None,
            latency=np.zeros((plan.slices, len(LATENCY_EDGES) + 1), dtype=np.int64),
        )

    def add(self, other: Tally) -> None:
        """Take over what somebody else counted by the same plan."""
        for name in ("rows", "missing", "outside", "classes", "latency"):
            getattr(self, name).__iadd__(getattr(other, name))
        for name, counts in other.values.items():
            self.values[name] += counts
        if self.probability is not None and other.probability is not None:
            self.probability += other.probability
        self.first = min((at for at in (self.first, other.first) if at is not None), default=None)
        self.last = max((at for at in (self.last, other.last) if at is not None), default=None)
        self.answers += other.answers
        self.labelled += other.labelled


@dataclass
class Count:
    """What was counted of a whole log.

    Attributes:
        answerers: By version and role.
        groups: Of these by the value of a segment, such as `sex=1`.
        rows: That could be read, of any family.
        bad_lines: That could not be read.
        problem: Why not, of the first of them.
        local_times: Rows whose time has no zone.
        local_time: One of these times.
        from_the_future: Rows stamped later than now.
        before_the_window: Rows that are too old to count, of the files that were read.
        other_families: Rows of another family.
        repeated: Rows that stand there again.
        shared: Of what was added: rows that both had counted, and which are counted twice now.
        example: Request and row of one of the family's rows.
        met: Which rows were counted.
    """

    answerers: dict[Answerer, Tally] = field(default_factory=dict)
    groups: dict[tuple[Answerer, str], Tally] = field(default_factory=dict)
    rows: int = 0
    bad_lines: int = 0
    problem: str = ""
    local_times: int = 0
    local_time: str = ""
    from_the_future: int = 0
    before_the_window: int = 0
    other_families: int = 0
    repeated: int = 0
    shared: int = 0
    example: str = ""
    met: MetRows = field(default_factory=MetRows)

    def add(self, other: Count) -> None:
        """Take over what somebody else counted by the same plan."""
        for name in ("rows", "bad_lines", "local_times", "from_the_future", "before_the_window", "other_families"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.repeated += other.repeated
        for name in ("problem", "local_time", "example"):
            setattr(self, name, getattr(self, name) or getattr(other, name))
        self.shared += other.shared + self.met.add(other.met)
        _take_over(self.answerers, other.answerers)
        _take_over(self.groups, other.groups)

    def take(self, plan: CountingPlan, block: Block) -> None:
        """Count a block."""
        self.rows += block.rows.num_rows
        self.bad_lines += block.bad_lines
        self.problem = self.problem or block.problem
        self.local_times += block.local_times
        self.local_time = self.local_time or block.local_time
        ours = _where(block.rows, pc.equal(block.rows["family"], plan.family))
        self.other_families += block.rows.num_rows - ours.num_rows
        is_known = pc.is_in(ours["role"], value_set=pa.array(ROLES))
        strange = ours["role"].filter(pc.invert(is_known))
        self.bad_lines += len(strange)
        if len(strange) and not self.problem:
            self.problem = f"role {printable(strange[0].as_py())!r} is none of {', '.join(ROLES)}"
        ours = _where(ours, is_known)
        now, skew = microseconds(plan.until), SKEW_SECONDS * 1_000_000
        times = _numbers(ours["time"].cast(pa.int64()))
        self.from_the_future += int((times > now + skew).sum())
        self.before_the_window += int((times < microseconds(plan.earliest)).sum())
        ours = _where(ours, pa.array((times >= microseconds(plan.earliest)) & (times < now)))
        first = self.met.first(ours)
        self.repeated += ours.num_rows - int(first.sum())
        ours = _where(ours, pa.array(first))
        if ours.num_rows and not self.example:
            self.example = row_name(ours, 0)
        for answerer, rows in by_answerer(ours):
            reference = plan.references.get((answerer.model, answerer.version))
            if answerer not in self.answerers:
                self.answerers[answerer] = Tally.empty(plan, reference)
            _count(self.answerers[answerer], plan, reference, rows)
            for name, part in by_group(plan, rows):
                apart = reference.groups.get(name) if reference else None
                if (answerer, name) not in self.groups:
                    self.groups[answerer, name] = Tally.empty(plan, apart)
                _count(self.groups[answerer, name], plan, apart, part)


def row_name(rows: pa.Table, place: int) -> str:
    """Request and row of one row, as labels name it."""
    return f"{rows['request_id'][place]}/{rows['row'][place].as_py() or 0}"


def _where(rows: pa.Table, mask: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Rows of which something is true; mostly it is of all, and they need not be copied."""
    return rows if pc.all(mask).as_py() else rows.filter(mask)


def _take_over(ours: dict[Any, Tally], theirs: Mapping[Any, Tally]) -> None:
    for key, tally in theirs.items():
        if key in ours:
            ours[key].add(tally)
        else:
            ours[key] = tally


def by_answerer(rows: pa.Table) -> Iterator[tuple[Answerer, pa.Table]]:
    """Rows by the version and the role that answered."""
    for found in rows.group_by(["role", "model", "version"]).aggregate([]).to_pylist():
        part = rows
        for name, value in found.items():
            part = _where(part, pc.equal(part[name], value))
        yield Answerer(**found), part


def by_group(plan: CountingPlan, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Rows by the values of each segment."""
    for column in plan.segments:
        cells = pc.struct_field(rows["features"].combine_chunks(), column)
        for value in pc.unique(cells).to_pylist():
            if value is not None:
                yield group_name(column, value), rows.filter(pc.equal(cells, value))


def _count(tally: Tally, plan: CountingPlan, reference: Reference | None, rows: pa.Table) -> None:
    times = _numbers(rows["time"].cast(pa.int64()))
    if plan.labels is not None:
        collect_labelled(tally, plan.labels, rows, times)
    since = microseconds(plan.since)
    inside = times >= since
    if not inside.any():
        return
    rows, times = _where(rows, pa.array(inside)), times[inside]
    tally.first = min(int(times.min()), tally.first or int(times.min()))
    tally.last = max(int(times.max()), tally.last or 0)
    place = (times - since) * plan.slices // (microseconds(plan.until) - since)
    tally.rows += np.bincount(place, minlength=plan.slices)
    for counter, places in places_in(tally, plan, reference, rows, place):
        is_flag = places.dtype == np.bool_
        counter[:] += places.sum() if is_flag else np.bincount(places[places >= 0], minlength=len(counter))


def places_in(
    tally: Tally, plan: CountingPlan, reference: Reference | None, rows: pa.Table, steps: IntArray
) -> Iterator[tuple[IntArray, Any]]:
    """The counters of a tally, always in the same order, and where in each of them every row belongs.

    Args:
        tally: Whose counters.
        plan: What is counted.
        reference: Of the version.
        rows: Of the log, at least one.
        steps: The slice of each row, shape (rows,).

    Yields:
        A counter, one-dimensional, and places in it, shape (rows,), -1 for none; of a counter of one cell whether each
        row counts.
    """
    yield from _features_in(tally, plan, reference, rows)
    answer = "probability"
    if plan.classes:
        chosen = _numbers(rows["class"])
        known = (chosen >= 0) & (chosen < plan.classes)
        yield tally.classes, np.where(known, chosen, plan.classes)
    else:
        answer = "prediction"
    if reference is not None and tally.probability is not None:
        yield tally.probability, reference.probability.places(_floats(rows[answer]))
    # Every request once: by its first row.
    latency = _floats(rows["latency_ms"])
    known = (_numbers(pc.fill_null(rows["row"], 0)) == 0) & ~np.isnan(latency)
    cells = steps * tally.latency.shape[1] + np.searchsorted(LATENCY_EDGES, latency, side="right")
    yield tally.latency.reshape(-1), np.where(known, cells, -1)


def _features_in(
    tally: Tally, plan: CountingPlan, reference: Reference | None, rows: pa.Table
) -> Iterator[tuple[IntArray, Any]]:
    features = rows["features"].combine_chunks()
    for column, (name, allowed) in enumerate(plan.features.items()):
        cells, bins = pc.struct_field(features, name), reference.features.get(name) if reference else None
        missing, outside = (counter[column : column + 1] for counter in (tally.missing, tally.outside))
        if allowed.type == "text":
            yield missing, np.asarray(cells.is_null())
            if bins is not None:
                yield tally.values[name], bins.places_of_texts(cells)
            continue
        values = _floats(cells)
        yield missing, np.isnan(values)
        yield outside, _outside(values, allowed)
        if bins is not None:
            yield tally.values[name], bins.places(values)


def _outside(values: FloatArray, allowed: FeatureRules) -> NDArray[np.bool_]:
    # Comparisons with NaN, a row without a value, are false: neither is outside.
    outside = np.zeros(len(values), dtype=np.bool_)
    if allowed.minimum is not None:
        outside |= values < allowed.minimum
    if allowed.maximum is not None:
        outside |= values > allowed.maximum
    if allowed.codes is not None:
        outside |= ~np.isin(values, allowed.codes) & ~np.isnan(values)
    return outside


def collect_labelled(tally: Tally, labels: Labels, rows: pa.Table, times: IntArray) -> None:
    """Keep what was answered to each row, and of those with a label what they are."""
    label = labels.of(rows["request_id"], pc.fill_null(rows["row"], 0))
    if "class" not in rows.column_names:
        known, answered = ~np.isnan(label), _floats(rows["prediction"])
        tally.answers.append((times, kept := answered.astype(np.float32), kept))
        if known.any():
            tally.labelled.append((times[known], answered[known], label[known], answered[known]))
        return
    known = label != UNKNOWN
    chosen, probability = _numbers(rows["class"]), _floats(rows["probability"])
    tally.answers.append((times, chosen.astype(np.int32), probability.astype(np.float32)))
    if known.any():
        tally.labelled.append((times[known], chosen[known], label[known], probability[known]))


def latency_quantile(counts: IntArray, share: float) -> float | None:
    """A quantile of counted latencies, milliseconds: the upper edge of the class it lies in; None without any.

    Args:
        counts: Requests of each class, shape (len(LATENCY_EDGES) + 1,).
        share: Between 0 and 1.
    """
    total = int(counts.sum())
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(counts), share * total))
    return float(LATENCY_EDGES[min(place, len(LATENCY_EDGES) - 1)])


def parse_moment(microseconds: int) -> datetime:
    """A counted time."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def microseconds(at: datetime) -> int:
    """A time as it is counted: since 1970."""
    return round(at.timestamp() * 1e6)


def _numbers(column: Any) -> IntArray:
    return np.asarray(column.to_numpy(), dtype=np.int64)


def _floats(column: pa.Array | pa.ChunkedArray) -> FloatArray:
    """Numbers, NaN where there is none."""
    array: Sequence[float] = column.to_numpy(
        **({} if isinstance(column, pa.ChunkedArray) else {"zero_copy_only": False})
    )
    return np.asarray(array, dtype=np.float64)
