"""A family's data file as text cells with their lines: CSV as its section `data` says it is written, or Parquet."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from promotion.config.training import Data
from promotion.data.days import as_written
from promotion.data.header import names_in, require_unique
from promotion.errors import DataError

MISSING_MARKS = (
    *("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None"),
    *("#N/A", "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""Cells that are missing in any file, unless they are one of a column's own labels."""
_UNNAMED = "(a separator at each line's end, or an index without a name?)"
_ALL_TOO_LONG = "Length of header or names does not match"
_TOO_MANY_CELLS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


_NO_CSV = {
    b"\x1f\x8b": "gzip (.gz)",
    b"BZh": "bzip2 (.bz2)",
    b"\xfd7zXZ\0": "xz (.xz)",
    b"PK\x03\x04": "a ZIP archive (.zip) or a workbook (.xlsx)",
    b"PAR1": "Parquet (.parquet)",
}
"""How the bytes begin of what has another name than it should."""


def _unzipped(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise zipfile.BadZipFile(f"it holds {len(names)} files, expected one")
        return archive.read(names[0])


_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zip": _unzipped,
}


def text_cells(content: bytes, path: Path, data: Data) -> pd.DataFrame:
    """Read a file's bytes.

    Args:
        content: CSV, packed or not, or Parquet; the file's name says which.
        path: The file, for its name and the message.
        data: Says how a CSV is written.

    Returns:
        Cells as text, missing ones NaN; the index holds each row's line in the file, in a Parquet file its number.

    Raises:
        DataError: It is none of these, has no header, or no rows.
    """
    rows = parquet_cells(content, path) if path.suffix.lower() == ".parquet" else _csv(content, path, data)
    if rows.empty:
        raise DataError(f"{path}: has a header but no rows")
    return rows


def parquet_cells(content: bytes, path: Path) -> pd.DataFrame:
    """A Parquet file's cells as `text_cells` returns them.

    Raises:
        DataError: It is none, or names a column twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        require_unique(path, pq.read_schema(io.BytesIO(content)).names)
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {' '.join(str(error).split())}") from error
    frame = table.to_pandas(ignore_metadata=True)
    texts: pd.DataFrame = frame.astype("object").where(frame.notna()).map(as_written, na_action="ignore")
    return texts.rename(index=lambda row: row + 1)


def _csv(content: bytes, path: Path, data: Data) -> pd.DataFrame:
    text = csv_text(content, path, data)
    header = names_in(io.StringIO(text, newline=""), path, data.columns, data.delimiter, "delimiter under data")
    marks = {*MISSING_MARKS, *data.na_values}
    missing: Any = {place: sorted(marks - _labels(name, data)) for place, name in enumerate(header)}
    try:
        # Without header and with blank lines, row number and line number go together.
        table = pd.read_csv(
            io.StringIO(text),
            header=None,
            dtype=str,
            skip_blank_lines=False,
            sep=data.delimiter,
            keep_default_na=False,
            na_values=missing,
        )
    except pd.errors.ParserError as error:
        raise DataError(f"{path}: {why_unreadable(error)}") from error
    rows = table.iloc[1:].dropna(how="all")
    return rows.set_axis(header, axis="columns").rename(index=lambda row: row + 1)


def _labels(name: str, data: Data) -> set[str]:
    return set(data.columns[name].labels or ()) if name in data.columns else set()


def csv_text(content: bytes, path: Path, data: Data) -> str:
    """What a CSV file's bytes say, unpacked where its name says that they are packed.

    Raises:
        DataError: They cannot be unpacked, are no text in the encoding that `data` names, or say nothing.
    """
    if unpack := _UNPACK.get(path.suffix.lower()):
        try:
            content = unpack(content)
        # RuntimeError: an archive with a password, or packed in a way that Python does not know.
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: cannot be unpacked: {error}") from error
    if kind := next((kind for start, kind in _NO_CSV.items() if content.startswith(start)), None):
        raise DataError(f"{path}: its content is {kind}, not CSV: let its name end so, or save it as CSV")
    encoding = "utf-8-sig" if data.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else data.encoding
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        shown = data.encoding.upper()
        probable = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "latin-1"
        raise DataError(
            f"{path}: line {line} is not {shown} text ({found}); save the file as {shown} CSV, or write its encoding "
            f"under data (encoding: {probable})"
        ) from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty, expected a CSV file with a header and rows")
    return text


def why_unreadable(error: Exception) -> str:
    """What pandas stumbled over in a CSV's text, in words of ours where they say more."""
    summary = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
    if summary.startswith(_ALL_TOO_LONG):
        return f"the rows have more cells than the header names {_UNNAMED}"
    if found := _TOO_MANY_CELLS.search(summary):
        names, line, cells = found.groups()
        return f"line {line} has {cells} cells, the header {names} names {_UNNAMED}"
    return f"not readable as CSV: {summary}"
