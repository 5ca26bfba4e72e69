"""Count a window that moves through rows which are kept: what enters is added, what leaves is taken off again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from promotion.data.arrays import IntArray
from promotion.monitoring.observe.counting import (
    ROLES,
    Answerer,
    Count,
    CountingPlan,
    Tally,
    by_answerer,
    by_group,
    collect_labelled,
    microseconds,
    places_in,
    row_name,
)
from promotion.monitoring.observe.log_rows import MetRows
from promotion.monitoring.observe.reference import Reference


class SlidingCount:
    """Counts rows of a time by plans that differ in it alone; a row that stands there again counts once in all.

    Log and labels are not judged: no count says how many lines were odd. A tally is good until the next count.

    Args:
        rows: Of one family, in the order of their times.
    """

    def __init__(self, rows: pa.Table) -> None:
        roles = rows.filter(pc.is_in(rows["role"], value_set=pa.array(ROLES)))
        self._rows = roles.filter(pa.array(MetRows().first(roles))).combine_chunks()
        self._times = _times(self._rows)
        self._answerers: dict[Answerer, _Part] = {}
        self._groups: dict[tuple[Answerer, str], _Part] = {}

    def __call__(self, _source: str, earliest: datetime, plan: CountingPlan) -> Count:
        """What is there from the earliest time to the plan's end."""
        if not self._answerers:
            self._cut(plan)
        start, end = np.searchsorted(self._times, [microseconds(earliest), microseconds(plan.until)])
        answerers = {key: part.tally for key, part in self._answerers.items() if part.move(plan, earliest)}
        groups = {key: part.tally for key, part in self._groups.items() if part.move(plan, earliest)}
        example = row_name(self._rows, int(start)) if start < end else ""
        return Count(answerers, groups, rows=int(end - start), example=example)

    def _cut(self, plan: CountingPlan) -> None:
        for answerer, rows in by_answerer(self._rows):
            reference = plan.references.get((answerer.model, answerer.version))
            self._answerers[answerer] = _Part(plan, reference, rows)
            for name, part in by_group(plan, rows):
                apart = reference.groups.get(name) if reference else None
                self._groups[answerer, name] = _Part(plan, apart, part)


class _Part:
    """The rows of one version in one role, or of a group of them, and the tally of the window.

    Args:
        plan: What to count.
        reference: Of the version, or the group.
        rows: In the order of their times, at least one.
    """

    def __init__(self, plan: CountingPlan, reference: Reference | None, rows: pa.Table) -> None:
        # The whole window's latencies are one step: a trend is not drawn.
        self.tally = Tally.empty(replace(plan, slices=1), reference)
        self._times = _times(rows)
        if plan.labels is not None:
            collect_labelled(self.tally, plan.labels, rows, self._times)
        self._answers, self._labelled = self.tally.answers, self.tally.labelled
        steps = np.zeros(rows.num_rows, dtype=np.int64)
        places = list(places_in(self.tally, plan, reference, rows, steps))
        self._counters = [counter for counter, _ in places]
        # One cell before all others for what belongs nowhere.
        self._ends = np.cumsum([1, *map(len, self._counters)])
        kind = np.min_scalar_type(int(self._ends[-1]))
        cells = [_cells(found, begin).astype(kind) for (_, found), begin in zip(places, self._ends, strict=False)]
        self._cells = np.stack(cells, axis=1)
        self._counts = np.zeros(self._ends[-1], dtype=np.int64)
        self._start = self._end = 0

    def move(self, plan: CountingPlan, earliest: datetime) -> bool:
        """Count the plan's window; whether there is any row since the earliest time."""
        since, until = microseconds(plan.since), microseconds(plan.until)
        first, last = np.searchsorted(self._times, [microseconds(earliest), until])
        steps = [since - (since - until) * place // plan.slices for place in range(plan.slices + 1)]
        edges = np.searchsorted(self._times, steps)
        start, end = int(edges[0]), int(edges[-1])
        if not self._start <= start <= self._end <= end:
            self._counts[:] = 0
            self._start = self._end = start
        self._counts += self._counted(self._end, end) - self._counted(self._start, start)
        self._start, self._end = start, end
        tally = self.tally
        for counter, begin in zip(self._counters, self._ends, strict=False):
            counter[:] = self._counts[begin : begin + len(counter)]
        tally.rows = np.diff(edges)
        tally.first, tally.last = (int(self._times[start]), int(self._times[end - 1])) if start < end else (None, None)
        tally.answers = _between(self._answers, int(first), int(last))
        if self._labelled:
            labelled = np.searchsorted(self._labelled[0][0], [microseconds(earliest), until])
            tally.labelled = _between(self._labelled, *map(int, labelled))
        return bool(first < last)

    def _counted(self, start: int, end: int) -> IntArray:
        return np.bincount(self._cells[start:end].reshape(-1), minlength=len(self._counts))


def _cells(found: Any, begin: int) -> IntArray:
    """Each row's cell, of a counter whose first one that is."""
    places = np.where(found, 0, -1) if found.dtype == np.bool_ else found
    return np.where(places >= 0, places + begin, 0)


def _between(columns: list[Any], start: int, end: int) -> list[Any]:
    return [tuple(column[start:end] for column in part) for part in columns] if start < end else []


def _times(rows: pa.Table) -> IntArray:
    return np.asarray(rows["time"].cast(pa.int64()).to_numpy(), dtype=np.int64)
