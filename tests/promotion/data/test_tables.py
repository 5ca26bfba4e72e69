"""Tables come in chunks of bounded size with the right line numbers, and go out whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from promotion.data import tables
from promotion.data.tables import TableFile, read_chunks
from promotion.errors import DataError, UsageError

ROWS = pd.DataFrame({"a": range(7), "b": [f"é{row}" for row in range(7)]})


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("suffix", "first_line"), [("csv", 2), ("parquet", 1)])
def test_a_file_comes_in_chunks(suffix: str, first_line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk is larger than asked, rows are numbered through, and the last chunk ends the file."""
    monkeypatch.setattr(tables, "CHUNK_ROWS", 3)
    path = tmp_path / f"rows.{suffix}"
    if suffix == "csv":
        ROWS.to_csv(path, index=False)
    else:
        ROWS.to_parquet(path, index=False)

    chunks = list(read_chunks(path, as_text=False))

    assert [3, 3, 1] == [len(chunk.rows) for chunk in chunks]
    assert [0, 3, 6] == [chunk.first for chunk in chunks]
    assert list(range(first_line, first_line + 7)) == [line for chunk in chunks for line in chunk.rows.index]
    assert 1.0 == chunks[-1].done
    pd.testing.assert_frame_equal(ROWS, pd.concat([chunk.rows for chunk in chunks], ignore_index=True))


def test_blank_lines_count_as_lines_and_not_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor shows the line that a message names; the output numbers the rows."""
    monkeypatch.setattr(tables, "CHUNK_ROWS", 2)
    path = written(tmp_path / "rows.csv", "\ufeffa,b\n1,x\n\n2,y\n3,z\n")

    chunks = list(read_chunks(path, as_text=True))

    assert [(0, [2]), (1, [4, 5])] == [(chunk.first, list(chunk.rows.index)) for chunk in chunks]
    assert ["1", "2", "3"] == [cell for chunk in chunks for cell in chunk.rows["a"]]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.csv", None, "no such file, expected a CSV file"),
        ("gone.parquet", None, "no such file, expected a Parquet file"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"a,b\n", "has a header but no rows"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "the header names a more than once"),
        ("latin.csv", "a,b\n1,é\n".encode("latin-1"), "is not UTF-8 text"),
        ("long.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the header 2 names"),
        ("always_long.csv", b"a,b\n1,2,3\n1,2,3\n", "more cells than the header names"),
        ("text.parquet", b"a,b\n1,2\n", "not readable as Parquet"),
    ],
)
def test_an_unreadable_file_is_one_line(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    """Which file, and what is wrong with it; nothing is guessed."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DataError, match=says) as refusal:
        list(read_chunks(path, as_text=False))

    assert str(path) in str(refusal.value)
    assert 1 == len(str(refusal.value).splitlines())


@pytest.mark.parametrize("name", ["rows.xlsx", "rows"])
def test_another_format_is_a_matter_of_usage(name: str, tmp_path: Path) -> None:
    """The line says which names are understood; for reading and for writing."""
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet"):
        list(read_chunks(tmp_path / name, as_text=False))
    with pytest.raises(UsageError, match=r"ends in \.csv or \.parquet"):
        TableFile(tmp_path / name)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_appears_with_its_origin(suffix: str, tmp_path: Path) -> None:
    """Chunks become one table; the JSON beside it holds its digest; no other file is left."""
    path = tmp_path / f"out.{suffix}"

    with TableFile(path) as table:
        table.write(ROWS[:4])
        table.write(ROWS[4:])
        assert [] == [found for found in tmp_path.iterdir() if not found.name.startswith(".")]
        document = table.publish({"rows": 7})

    found = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    pd.testing.assert_frame_equal(ROWS, found)
    assert document == json.loads((tmp_path / f"out.{suffix}.json").read_text(encoding="utf-8"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == document["output_sha256"]
    assert 2 == len(list(tmp_path.iterdir()))


def test_what_needs_quotes_is_quoted(tmp_path: Path) -> None:
    """Commas, quotes and line ends come back as they were; days are days, every digit is there."""
    rows = pd.DataFrame(
        {
            "text": ["a,b", 'say "x"', "two\nlines", "plain"],
            "day": pd.to_datetime(["2015-07-31"] * 4),
            "number": [0.1 + 0.2, 1e-20, 1e300, float("nan")],
            "empty": [None] * 4,
        }
    )

    with TableFile(tmp_path / "out.csv") as table:
        table.write(rows[3:])
        table.write(rows[:3])
        table.publish({})

    found = pd.read_csv(tmp_path / "out.csv")
    assert ["plain", "a,b", 'say "x"', "two\nlines"] == list(found["text"])
    assert {"2015-07-31"} == set(found["day"])
    assert list(rows["number"][:3]) == list(found["number"][1:])
    assert found["empty"].isna().all()


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    """Half a table replaces nothing, and no hidden file stays behind."""
    path = written(tmp_path / "out.csv", "before\n")

    def fail() -> None:
        with TableFile(path) as table:
            table.write(ROWS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()

    assert [path] == list(tmp_path.iterdir())
    assert "before\n" == path.read_text()


def test_columns_that_change_their_type_are_refused(tmp_path: Path) -> None:
    """A Parquet file has one type a column: one line, and nothing is left."""

    def change() -> None:
        with TableFile(tmp_path / "out.parquet") as table:
            table.write(pd.DataFrame({"Id": [1, 2]}))
            table.write(pd.DataFrame({"Id": ["x", "y"]}))

    with pytest.raises(DataError, match="nothing was written"):
        change()

    assert [] == list(tmp_path.iterdir())


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    """Said before anything is computed."""
    (tmp_path / "out.csv").mkdir()

    with pytest.raises(DataError, match="is a folder"):
        TableFile(tmp_path / "out.csv")
