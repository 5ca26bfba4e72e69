"""Files as other programs write them: read as the family's file says, or refused with what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from promotion.config.training import Column, Data
from promotion.data.parsing import text_cells
from promotion.errors import DataError

TABLE = "age,note,num\n63,none,0\n67,?,2\n\n41,None,1\n"


def data(**changes: object) -> Data:
    columns = {"age": Column(type="number"), "note": Column(type="ignored"), "num": Column(type="number")}
    return Data.model_validate({"path": "x.csv", "columns": columns, **changes})


def refusal(content: str | bytes, name: str = "x.csv", **changes: object) -> str:
    with pytest.raises(DataError) as refused:
        text_cells(content if isinstance(content, bytes) else content.encode(), Path(name), data(**changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "63.0,1.0,0\n67.0,4.0,2\n",
            "the first line holds values, not names: it is a row, put a header above it (age,",
        ),
        (",age,note,num\n0,63,a,0\n", "column 1 of the header has no name (an index that pandas wrote? save the file"),
        ("age,note,num,\n63,a,0,\n", "column 4 of the header has no name (a separator ends each line? remove it)"),
        ("age,note,num\n63,a,0,\n", "line 2 has 4 cells, the header 3 names (a separator at each line's end,"),
        ("<<<<<<< HEAD\nage,note,num\n63,a,0\n", "line 1 is a mark of an unfinished merge (<<<<<<< HEAD), no header"),
        ("sep=,\nage,note,num\n63,a,0\n", "line 1 (sep=…) tells a spreadsheet the separator and is no header: remove"),
        ("# cleveland\nage,note,num\n63,a,0\n", "line 1 is a comment, no header: remove it"),
        ("age;note;num\n63;a;0\n", "separated by a semicolon, expected a comma: save it with that, or write delimiter"),
        ("age\tnote\tnum\n63\ta\t0\n", "separated by a tab, expected a comma"),
        ("age, note ,num\n63,a,0\n", "the header has blanks around ' note ': remove them"),
        ("age,note,age\n63,a,0\n", "the header names age more than once"),
        ("age,note,num\n", "has a header but no rows"),
    ],
)
def test_what_is_no_table_says_what_to_do(content: str, message: str) -> None:
    """The advice mends the file and never destroys a row of it."""
    assert message in refusal(content)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (gzip.compress(TABLE.encode(), mtime=0), "gzip (.gz)"),
        (bz2.compress(TABLE.encode()), "bzip2 (.bz2)"),
        (lzma.compress(TABLE.encode()), "xz (.xz)"),
        (b"PK\x03\x04" + bytes(60), "a workbook (.xlsx)"),
        (b"PAR1" + bytes(60), "Parquet (.parquet)"),
    ],
)
def test_what_is_no_text_at_all_is_named(content: bytes, kind: str) -> None:
    """An encoding in which every byte is a letter would be the wrong advice."""
    assert kind in refusal(content)
    assert kind in refusal(content, encoding="latin-1")


def test_an_archive_with_a_password_is_one_line() -> None:
    """Its flag alone is enough for the reader to ask for one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.csv", TABLE)
    locked = bytearray(packed.getvalue())
    locked[6] |= 1
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    assert "x.csv.zip: cannot be unpacked: " in refusal(bytes(locked), "x.csv.zip")


def test_a_byte_that_is_no_text_names_its_line_and_the_key() -> None:
    """Latin-1 is read where the file says so, and named otherwise."""
    content = "age,note,num\n63,Müller,0\n".encode("latin-1")
    assert "line 2 is not UTF-8 text (byte 0xfc)" in refusal(content)
    assert "encoding: latin-1" in refusal(content)
    assert "Müller" == text_cells(content, Path("x.csv"), data(encoding="latin-1"))["note"].iloc[0]


def test_separators_and_missing_marks_are_those_of_the_file() -> None:
    """Semicolons and question marks are read where the family's file names them."""
    rows = text_cells(TABLE.replace(",", ";").encode(), Path("x.csv"), data(delimiter=";", na_values=["?"]))
    assert ["63", "67", "41"] == list(rows["age"])
    assert [2, 3, 5] == list(rows.index)
    assert [False, True, True] == list(rows["note"].isna())


def test_a_label_is_no_missing_value() -> None:
    """A column whose labels contain `None` has that label, as other columns have an empty cell there."""
    columns = {
        "age": Column(type="number"),
        "note": Column(type="label", labels=["none", "?", "None"]),
        "num": Column(type="number"),
    }
    assert ["none", "?", "None"] == list(text_cells(TABLE.encode(), Path("x.csv"), data(columns=columns))["note"])


def test_packed_files_and_parquet_hold_the_same(tmp_path: Path) -> None:
    """One table in every packing gives the same cells."""
    content = TABLE.replace("\n\n", "\n").encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("x.csv", content)
    files = {"x.csv": content, "x.csv.gz": gzip.compress(content), "x.csv.bz2": bz2.compress(content)}
    files |= {"x.csv.xz": lzma.compress(content), "x.zip": archive.getvalue()}
    expected = text_cells(content, Path("x.csv"), data())
    for name, packing in files.items():
        pd.testing.assert_frame_equal(expected, text_cells(packing, Path(name), data()))
    expected.to_parquet(tmp_path / "x.parquet", index=False)
    read = text_cells((tmp_path / "x.parquet").read_bytes(), tmp_path / "x.parquet", data())
    assert expected.to_numpy().tolist()[:2] == read.to_numpy().tolist()[:2]


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.bz2", "x.csv.xz", "x.zip", "x.parquet"])
def test_a_broken_packing_is_one_line(name: str) -> None:
    """Bytes that are something else than the name says are said to be unreadable."""
    message = refusal(b"age,note,num\n63,a,0\n", name)
    assert "cannot be unpacked" in message or "not readable as Parquet" in message


@pytest.mark.parametrize(
    "changes", [{"encoding": "klingon"}, {"encoding": "base64"}, {"delimiter": "ab"}, {"decimal": "x"}]
)
def test_a_way_of_writing_that_does_not_exist_is_refused(changes: dict[str, object]) -> None:
    """Mistakes in these keys are mistakes in the family's file."""
    with pytest.raises(ValidationError):
        data(**changes)
