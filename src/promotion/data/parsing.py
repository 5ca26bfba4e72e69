"""A family's data file as text cells with their lines: CSV as its section `data` says it is written, or Parquet."""

from __future__ import annotations

import bz2
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
_TOO_MANY_CELLS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


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
    rows = _parquet(content, path) if path.suffix.lower() == ".parquet" else _csv(content, path, data)
    if rows.empty:
        raise DataError(f"{path}: has a header but no rows")
    return rows


def _parquet(content: bytes, path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not readable as Parquet: {' '.join(str(error).split())}") from error
    require_unique(path, table.column_names)
    frame = table.to_pandas(ignore_metadata=True)
    texts: pd.DataFrame = frame.astype("object").where(frame.notna()).map(as_written, na_action="ignore")
    return texts.rename(index=lambda row: row + 1)


def _csv(content: bytes, path: Path, data: Data) -> pd.DataFrame:
    text = _text(content, path, data)
    if not text.strip():
        raise DataError(f"{path}: the file is empty, expected a CSV file with a header and rows")
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
        raise DataError(f"{path}: {_unreadable(error)}") from error
    rows = table.iloc[1:].dropna(how="all")
    return rows.set_axis(header, axis="columns").rename(index=lambda row: row + 1)


def _labels(name: str, data: Data) -> set[str]:
    return set(data.columns[name].labels or ()) if name in data.columns else set()


def _text(content: bytes, path: Path, data: Data) -> str:
    if unpack := _UNPACK.get(path.suffix.lower()):
        try:
            content = unpack(content)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: cannot be unpacked: {error}") from error
    encoding = "utf-8-sig" if data.encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else data.encoding
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}"
        shown = data.encoding.upper()
        raise DataError(
            f"{path}: line {line} is not {shown} text ({found}); save the file as {shown} CSV, or write its encoding "
            "under data (encoding: latin-1)"
        ) from error


def _unreadable(error: Exception) -> str:
    summary = " ".join(str(error).removeprefix("Error tokenizing data. C error: ").split())
    if found := _TOO_MANY_CELLS.search(summary):
        names, line, cells = found.groups()
        return (
            f"line {line} has {cells} cells, the header {names} names (a separator at each line's end, or an index "
            "without a name?)"
        )
    return f"not readable as CSV: {summary}"
