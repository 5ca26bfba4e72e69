"""Reading logs: lines and Parquet, one file and many, whole and damaged."""

from __future__ import annotations

import gzip
import json
import os
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.promotion.monitoring.logs import DAY, NOON, Traffic, write_log

from promotion.errors import DataError, UsageError
from promotion.monitoring.observe import log_files as predictions
from promotion.monitoring.observe import log_rows
from promotion.monitoring.observe.log_files import find_parts, read
from promotion.monitoring.observe.log_rows import log_schema, parse_lines

FEATURES = ["x", "c"]


def rows_of(source: str | Path, *, split: bool = False) -> tuple[int, int]:
    """Rows and bad lines."""
    blocks = [block for part in find_parts(str(source), NOON - DAY, split=split) for block in read(part, FEATURES)]
    return sum(block.rows.num_rows for block in blocks), sum(block.bad_lines for block in blocks)


@pytest.mark.parametrize(
    "bad",
    [
        "not JSON",
        "{",
        "[]",
        "null",
        '{"time": "2026-11-21T10:00:00Z"}',
        json.dumps(Traffic(1).lines[0] | {"version": "two"}),
        json.dumps(Traffic(1).lines[0] | {"time": "yesterday"}),
        json.dumps(Traffic(1).lines[0] | {"features": {"x": "high", "c": 1}}),
        json.dumps(Traffic(1).lines[0] | {"features": {"x": True, "c": 1}}),
        json.dumps(Traffic(1).lines[0] | {"request_id": None}),
        "\x00\x01",
        "[" * 10_000,
    ],
)
def test_a_bad_line_is_counted_and_the_rest_is_read(tmp_path: Path, bad: str) -> None:
    """Whatever is wrong with it: it costs one line."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(50)], bad)
    with log.open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps(Traffic(1, seed=2).lines[0]) + "\n")

    assert (51, 1) == rows_of(log)


def test_a_large_block_gives_up_only_its_bad_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are cut at line ends, and searched for bad lines by halves."""
    monkeypatch.setattr(predictions, "BLOCK", 40_000)
    monkeypatch.setattr(log_rows, "_SMALL", 2_000)
    lines = [json.dumps(line) for line in Traffic(500).lines]
    lines[3:3], lines[300:300] = ["oops"], ["{"]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")

    assert (500, 2) == rows_of(log)


def test_blocks_that_are_parsed_side_by_side_come_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bad line among them, and the one that is longer than what the parser takes at once."""
    monkeypatch.setattr(predictions, "BLOCK", 3_000)
    lines = [json.dumps(line) for line in Traffic(400).lines]
    lines[200:200] = ["oops", json.dumps(Traffic(1).lines[0] | {"request_id": "long", "note": "x" * (2 << 20)})]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")

    blocks = [block for part in find_parts(str(log), NOON - DAY) for block in read(part, FEATURES)]
    found = [request for block in blocks for request in block.rows["request_id"].to_pylist()]
    assert found == [json.loads(line)["request_id"] for line in lines if line != "oops"]
    assert ["no JSON: oops"] == [block.problem for block in blocks if block.bad_lines]


@pytest.mark.system
def test_shares_of_a_file_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line belongs to one worker, wherever the borders fall."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(300)])
    for size in (777, 5000, log.stat().st_size, 10**9):
        monkeypatch.setattr(predictions, "SHARE", size)

        assert (300, 0) == rows_of(log, split=True)


def test_the_line_that_is_being_written_is_left_for_the_next_run(tmp_path: Path) -> None:
    """Half a line at the end is not damage; a whole one without its line end counts."""
    log = write_log(tmp_path / "log.jsonl", [Traffic(10)])
    whole = json.dumps(Traffic(1, seed=2).lines[0])
    complete = log.read_text(encoding="utf-8")
    log.write_text(complete + whole[:40], encoding="utf-8")

    assert (10, 0) == rows_of(log)
    log.write_text(complete + whole, encoding="utf-8")
    assert (11, 0) == rows_of(log)
    log.write_text(complete + whole.replace('"role": "', '"rôle": "'), encoding="utf-8")
    assert (10, 1) == rows_of(log)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"version": "1"}, 'version "1" is not a whole number'),
        ({"features": {"x": "63", "c": 1}}, 'features.x "63" is not a number, or null'),
        ({"time": "yesterday"}, 'time "yesterday" is not a time in ISO 8601 with its zone'),
        ({"role": None}, "a row without 'role'"),
        ({"class": 0.5}, "class 0.5 is not a whole number"),
        ({"row": None}, ""),
    ],
)
def test_a_bad_line_says_which_value_is_wrong(wrong: dict[str, object], problem: str) -> None:
    """With the value as it stands there; a row without its number is the request's first."""
    line = json.dumps(Traffic(1).lines[0] | wrong) + "\n"
    good = json.dumps(Traffic(1).lines[0] | {"class": "?"}) + "\n"

    found = parse_lines((line if problem else line + good).encode(), log_schema(FEATURES))

    assert found.problem.startswith(problem or 'class "?" is not'), found.problem
    assert found.rows.num_rows == (not problem)


def test_rotated_and_compressed_siblings_belong_to_the_log(tmp_path: Path) -> None:
    """Named by the file or by its folder; other files are left alone."""
    log = write_log(tmp_path / "predictions.jsonl", [Traffic(10)])
    write_log(tmp_path / "predictions.jsonl.1", [Traffic(20, seed=2)])
    older = write_log(tmp_path / "older", [Traffic(30, seed=3)])
    with gzip.open(tmp_path / "predictions.jsonl.2.gz", "wb") as file:
        file.write(older.read_bytes())
    older.unlink()
    (tmp_path / "notes.txt").write_text("nothing")

    assert (60, 0) == rows_of(log)
    assert (60, 0) == rows_of(tmp_path)


def test_a_file_that_was_rotated_between_listing_and_reading_is_found(tmp_path: Path) -> None:
    """By what it is, not by its name; the new file of that name is not read twice."""
    log = write_log(tmp_path / "predictions.jsonl", [Traffic(10)])
    parts = find_parts(str(log), NOON - DAY)
    log.rename(tmp_path / "predictions.jsonl.1")
    write_log(log, [Traffic(3, seed=2)])

    assert 10 == sum(block.rows.num_rows for part in parts for block in read(part, FEATURES))


def test_old_files_are_not_opened(tmp_path: Path) -> None:
    """What was last written before the window has nothing of it."""
    log = write_log(tmp_path / "predictions.jsonl", [Traffic(10)])
    old = write_log(tmp_path / "predictions.jsonl.1", [Traffic(20, seed=2)])
    before = (NOON - DAY - timedelta(hours=1)).timestamp()
    os.utime(old, (before, before))

    assert (10, 0) == rows_of(log)
    os.utime(log, (before - 1, before - 1))
    assert (20, 0) == rows_of(log), "where all are old, the newest says how old its rows are"


@pytest.mark.parametrize("layout", ["struct", "columns"])
def test_a_parquet_folder_is_a_log_too(tmp_path: Path, layout: str) -> None:
    """Features as a struct, or each in a column of its own."""
    lines = Traffic(40).lines
    table = pa.Table.from_pylist(lines)
    if layout == "columns":
        for name in FEATURES:
            table = table.append_column(name, [[line["features"][name] for line in lines]])
        table = table.drop_columns("features")
    pq.write_table(table, tmp_path / "part-1.parquet")
    pq.write_table(table, tmp_path / "part-2.parquet")
    (block, *_rest) = [block for part in find_parts(str(tmp_path), NOON - DAY) for block in read(part, FEATURES)]

    assert (80, 0) == rows_of(tmp_path)
    assert [line["features"]["x"] for line in lines] == [it["x"] for it in block.rows["features"].to_pylist()]
    assert lines[0]["time"][:19] == block.rows["time"][0].as_py().isoformat()[:19]


def test_a_url_is_read_through_fsspec() -> None:
    """Here the memory's own file system; buckets go the same way."""
    import fsspec

    with fsspec.open("memory://logs/predictions.jsonl", "wt") as file:
        file.write("".join(json.dumps(line) + "\n" for line in Traffic(10).lines))

    assert (10, 0) == rows_of("memory://logs/predictions.jsonl")
    assert (10, 0) == rows_of("memory://logs")


@pytest.mark.parametrize("source", ["nowhere.jsonl", "empty", "gopher://hole/log", "s4://bucket"])
def test_no_log_is_a_usage_error(tmp_path: Path, source: str) -> None:
    """One line that names the place."""
    (tmp_path / "empty").mkdir()
    place = source if "://" in source else str(tmp_path / source)

    with pytest.raises(UsageError, match=r"prediction log|place") as refused:
        find_parts(place, NOON)
    assert place in str(refused.value)


def test_a_damaged_archive_is_a_data_error(tmp_path: Path) -> None:
    """Not gzip, not Parquet: said with the file's name."""
    for name in ("log.jsonl.gz", "log.parquet"):
        path = tmp_path / name
        path.write_bytes(b"neither of both")
        with pytest.raises(DataError, match=name):
            rows_of(path)
