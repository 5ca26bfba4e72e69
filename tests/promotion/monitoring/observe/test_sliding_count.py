"""A window that slides is counted as one that is counted anew."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.promotion.monitoring.logs import (
    DAY,
    NOON,
    Traffic,
    a_watch,
    known,
    write_export,
    write_labels,
    write_log,
)

from promotion.monitoring.observe.counting import Count, CountingPlan, Tally
from promotion.monitoring.observe.log_rows import Block, parse_lines
from promotion.monitoring.observe.sliding_count import SlidingCount


def _plan(folder: Path, traffic: list[Traffic], references: Any) -> CountingPlan:
    watch = a_watch(folder, write_labels(folder / "labels.csv", traffic[:1]))
    return CountingPlan(
        family="churn",
        features=watch.contract.columns,
        references=references,
        classes=2,
        since=NOON - DAY,
        until=NOON,
        earliest=NOON - DAY,
        slices=24,
        labels=watch.read_labels(),
        segments=["c"],
    )


def _figures(tally: Tally) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(tally, name).tolist() for name in ("rows", "missing", "outside", "classes")}
    found |= {name: counts.tolist() for name, counts in tally.values.items()}
    found["probability"] = None if tally.probability is None else tally.probability.tolist()
    found |= {"latency": tally.latency.sum(axis=0).tolist(), "first": tally.first, "last": tally.last}
    for name in ("answers", "labelled"):
        parts = getattr(tally, name)
        found[name] = [np.concatenate(part).tolist() for part in zip(*parts, strict=True)]
    return found


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.system
def test_a_window_that_slides_is_counted_as_one_that_is_counted_anew(tmp_path: Path, *, is_known: bool) -> None:
    """Two versions and a shadow, missing and odd values, labels of one; steps small and large, and backward."""
    traffic = [
        Traffic(700, since=NOON - 6 * DAY, missing=0.2, shift=60.0),
        Traffic(300, version=3, since=NOON - 4 * DAY, until=NOON - 2 * DAY, seed=2),
        Traffic(100, role="shadow", version=4, since=NOON - 3 * DAY, seed=3),
    ]
    traffic[1].lines[0]["class"] = 7
    log = write_log(tmp_path / "log.jsonl", traffic)
    plan = _plan(tmp_path, traffic, known(write_export(tmp_path / "export")).references if is_known else {})
    rows = parse_lines(log.read_bytes(), plan.schema).rows.sort_by("time")
    sliding = SlidingCount(rows)
    hours = [-5 * 24, -5 * 24 + 1, -4 * 24, -4 * 24 + 0.1, -50, -49.97, -20, -119, -0.5, 0, 20, 100]

    for until in (NOON + timedelta(hours=hour) for hour in hours):
        then = CountingPlan(**(vars_of(plan) | {"since": until - DAY, "until": until, "earliest": until - 3 * DAY}))
        anew = Count()
        anew.take(then, Block(rows, 0))
        slid = sliding("", then.earliest, then)

        assert {key: _figures(it) for key, it in anew.answerers.items()} == {
            key: _figures(it) for key, it in slid.answerers.items()
        }
        assert {key: _figures(it) for key, it in anew.groups.items()} == {
            key: _figures(it) for key, it in slid.groups.items()
        }
        assert anew.example == slid.example


def vars_of(plan: CountingPlan) -> dict[str, Any]:
    """What a plan was made of."""
    return {name: getattr(plan, name) for name in CountingPlan.__dataclass_fields__}


def test_a_row_that_stands_there_twice_counts_once(tmp_path: Path) -> None:
    """And so does one of a role that is none."""
    traffic = [Traffic(50)]
    plan = _plan(tmp_path, traffic, {})
    rows = parse_lines(write_log(tmp_path / "log.jsonl", traffic).read_bytes(), plan.schema).rows
    twice = pa.concat_tables([rows, rows]).sort_by("time")

    (tally,) = SlidingCount(twice)("", plan.earliest, plan).answerers.values()

    assert 50 == tally.rows.sum()
