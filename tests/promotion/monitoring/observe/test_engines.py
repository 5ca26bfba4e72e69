"""Counting a log: it comes to the same wherever blocks are cut, and one is read while one is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.promotion.monitoring.logs import DAY, NOON, Traffic, churn

from promotion.errors import DataError
from promotion.export.contract import contract_of
from promotion.monitoring.observe import engines, log_files
from promotion.monitoring.observe.counting import Count, CountingPlan
from promotion.monitoring.observe.engines import count_here
from promotion.monitoring.observe.log_rows import Block, log_schema

PLAN = CountingPlan("churn", contract_of(churn()).columns, {}, 2, NOON - DAY, NOON, NOON - DAY, 24)


def hostile_lines() -> list[str]:
    """Good rows, among them two that stand there again, and lines that are no row."""
    rows = Traffic(60).lines
    lines = [json.dumps(row) for row in rows]
    lines[5:5] = ["oops", "", json.dumps(rows[4]), json.dumps(rows[4] | {"version": "2"})]
    lines[20:20] = ["{", json.dumps(rows[9] | {"request_id": "Zürich, \\ \N{SNOWMAN}", "row": None}), "[" * 3_000]
    lines[40:40] = [json.dumps(rows[30] | {"request_id": "many", "row": row}) for row in (0, 1, 2, 1)]
    lines.append(json.dumps(rows[3] | {"role": "bystander", "request_id": "else"}))
    return lines


def in_a_container(lines: list[str]) -> list[str]:
    """As a container runtime writes them down: in pieces of 100 characters, with talk in between."""
    found = []
    for line in lines:
        *pieces, last = [line[at : at + 100] for at in range(0, len(line), 100)] or [""]
        found += [f"2026-11-21T10:00:00.1Z stdout P {piece}" for piece in pieces]
        found += ["2026-11-21T10:00:00.1Z stderr F a word", f"2026-11-21T10:00:00.1Z stdout F {last}"]
    return found


def figures(count: Count) -> dict[str, Any]:
    """What was counted, in all and of each who answered."""
    names = ("rows", "bad_lines", "repeated", "from_the_future", "before_the_window", "other_families", "example")
    by_answerer = {
        str(key): [it.rows.tolist(), it.missing.tolist(), it.classes.tolist(), int(it.latency.sum())]
        for key, it in count.answerers.items()
    }
    return {name: getattr(count, name) for name in names} | by_answerer


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.system
def test_it_does_not_matter_where_blocks_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_wrapped: bool
) -> None:
    """Bad lines, rows that stand there again and lines in pieces come to the same in blocks, and in workers' shares."""
    log, lines = tmp_path / "log.jsonl", hostile_lines()
    log.write_text("\n".join(in_a_container(lines) if is_wrapped else lines) + "\n", encoding="utf-8")
    whole = figures(count_here(str(log), PLAN.earliest, PLAN))

    assert (67, 5, 2) == (whole["rows"], whole["bad_lines"], whole["repeated"])
    for size in (150, 2_000):
        monkeypatch.setattr(log_files, "BLOCK", size)

        assert whole == figures(count_here(str(log), PLAN.earliest, PLAN)), size
    monkeypatch.setattr(log_files, "_PIECE", 500)
    for size in (777, 5_000):
        monkeypatch.setattr(log_files, "SHARE", size)
        shared = Count()
        for part in log_files.find_parts(str(log), PLAN.earliest, split=True):
            for block in log_files.read(part, PLAN.names, PLAN.schema):
                shared.take(PLAN, block)

        assert whole == figures(shared), size


def test_the_next_block_is_read_while_one_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and counting share the cores, and one block is read ahead."""
    begun, waited = Event(), []
    blocks = [Block(log_schema(PLAN.names).empty_table(), bad_lines) for bad_lines in (1, 2)]

    def read(*_: object) -> Iterator[Block]:
        yield blocks[0]
        begun.set()
        yield blocks[1]

    def take(count: Count, _plan: CountingPlan, block: Block) -> None:
        waited.append(begun.wait(30))
        count.bad_lines += block.bad_lines

    log = tmp_path / "log.jsonl"
    log.touch()
    monkeypatch.setattr(engines, "read", read)
    monkeypatch.setattr(Count, "take", take)

    assert count_here(str(log), PLAN.earliest, PLAN).bad_lines == 3
    assert [True, True] == waited


def test_a_file_that_breaks_off_after_a_block_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though somebody else reads it: the error is the reader's."""
    import gzip

    log = tmp_path / "log.jsonl.1.gz"
    text = "\n".join(json.dumps(row) for row in Traffic(400).lines) + "\n"
    log.write_bytes(gzip.compress(text.encode())[:-400])
    monkeypatch.setattr(log_files, "BLOCK", 4_000)

    with pytest.raises(DataError, match="cannot be read"):
        count_here(str(log), PLAN.earliest, PLAN)
