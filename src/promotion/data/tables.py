"""Tables to score and scored ones: CSV or Parquet, read a chunk at a time, written whole or not at all."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from promotion.data.files import file_sha256, whole_file, write_whole
from promotion.data.header import names_in, require_unique
from promotion.data.parsing import why_unreadable
from promotion.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 200_000
"""Rows held in memory at once."""
# Without, a Parquet file is read as a whole.
_BUFFER = 1 << 20
_FORMATS = {".csv": "CSV", ".parquet": "Parquet"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that follow each other in a file.

    Attributes:
        rows: Their cells; the index holds each row's line in a CSV (the header is line 1), its number in a Parquet file
            (from 1).
        first: Number of the first row, from 0; blank lines do not count.
        done: Share of the file that has been read with it, 0 to 1.
    """

    rows: pd.DataFrame
    first: int
    done: float


def require_format(path: Path) -> str:
    """The format a file's name says: `.csv` or `.parquet`.

    Raises:
        UsageError: It says another one, or none.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"{path}: tables are CSV or Parquet: give it a name that ends in .csv or .parquet")
    return suffix


def read_chunks(path: Path, *, as_text: bool, texts: tuple[str, ...] = (), most: int | None = None) -> Iterator[Chunk]:
    """Read a table chunk by chunk.

    Args:
        path: CSV in UTF-8, or Parquet; its name says which.
        as_text: Leave the cells of a CSV as they stand there; otherwise numbers become numbers.
        texts: Columns of a CSV that stay text in any case.
        most: Rows of a chunk, where these are fewer than usual.

    Yields:
        At least one chunk, none of them empty.

    Raises:
        UsageError: The name says neither format.
        DataError: The file is missing or unreadable, names a column twice, or has no rows.
    """
    is_csv = require_format(path) == ".csv"
    found, rows = False, min(CHUNK_ROWS, most or CHUNK_ROWS)
    with _readable(path):
        types = str if as_text else dict.fromkeys(texts, "string")
        chunks = _read_csv(path, types, rows) if is_csv else _read_parquet(path, rows)
        for chunk in chunks:
            if len(chunk.rows):
                found = True
                yield chunk
    if not found:
        raise DataError(f"{path}: has a header but no rows")


def _read_csv(path: Path, types: Any, most: int) -> Iterator[Chunk]:
    size = path.stat().st_size
    with path.open(encoding="utf-8-sig", newline="") as text:
        names_in(text, path)
    first = 0
    with path.open("rb") as file, warnings.catch_warnings():
        # Cells behind the last column would be dropped with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        reader = pd.read_csv(
            file, dtype=types, chunksize=most, skip_blank_lines=False, index_col=False, encoding="utf-8-sig"
        )
        for frame in reader:
            rows = frame.dropna(how="all")
            rows.index += 2
            yield Chunk(rows, first, min(1.0, file.tell() / size))
            first += len(rows)


def _read_parquet(path: Path, most: int) -> Iterator[Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
        require_unique(path, file.schema_arrow.names)
        total, first = file.metadata.num_rows, 0
        for batch in file.iter_batches(most):
            rows = pa.Table.from_batches([batch]).to_pandas(ignore_metadata=True)
            rows.index += first + 1
            yield Chunk(rows, first, (first + len(rows)) / max(1, total))
            first += len(rows)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one line why a file cannot be read."""
    kind = _FORMATS[path.suffix.lower()]
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a {kind} file with rows to predict") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, expected a {kind} file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text; save the file as UTF-8 CSV") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path}: the file is empty, expected a CSV file with a header and rows") from error
    except (OSError, ValueError, pd.errors.ParserWarning) as error:
        reason = why_unreadable(error) if kind == "CSV" else f"not readable as {kind}: {' '.join(str(error).split())}"
        raise DataError(f"{path}: {reason}") from error


class _NotPublished(Exception):
    """Ends a table that is thrown away."""


class TableFile:
    """A table that appears whole, together with a JSON file that says where it comes from, or not at all.

    Both are written under hidden names beside it. `publish` gives first the JSON file, then the table its final name:
    a table that is there has its origin beside it, and `output_sha256` in there says whether it is the same table.

    Args:
        path: Final name, which says the format.

    Raises:
        UsageError: The name says neither format.
        DataError: Nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sidecar = path.with_name(f"{path.name}.json")
        self._is_csv = require_format(path) == ".csv"
        self._parquet: Any = None
        self._schema: pa.Schema | None = None
        with self._writable():
            if path.is_dir():
                raise IsADirectoryError(21, "is a folder")
            self._whole = whole_file(path)
            self._file = self._whole.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._parquet is not None:
            # Its footer may not find room; the table is thrown away or complete, so nobody needs to know.
            with suppress(OSError, ValueError):
                self._parquet.close()
        if not self._file.closed:
            with suppress(OSError, _NotPublished):
                self._whole.__exit__(_NotPublished, _NotPublished(), None)

    def write(self, rows: pd.DataFrame) -> None:
        """Append rows, every time of the same columns.

        Raises:
            DataError: They cannot be written.
        """
        with self._writable():
            if self._is_csv:
                if self._file.tell() == 0:
                    rows[:0].to_csv(self._file, index=False, lineterminator="\n")
                _write_csv(rows, self._file)
            else:
                self._write_parquet(rows)

    def publish(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Make the table and its JSON file visible.

        Args:
            facts: What the JSON file says; the digest of the table is added.

        Returns:
            What it says.

        Raises:
            DataError: They cannot be written; nothing became visible.
        """
        with self._writable():
            if self._parquet is not None:
                self._parquet.close()
            self._file.flush()
            document = {**facts, "output": self.path.name, "output_sha256": file_sha256(Path(self._file.name))}
            write_whole(self.sidecar, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
            self._whole.__exit__(None, None, None)
        return document

    def _write_parquet(self, rows: pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(rows, schema=self._schema, preserve_index=False)
        if self._parquet is None:
            self._schema = table.schema
            self._parquet = pq.ParquetWriter(self._file, table.schema)
        self._parquet.write_table(table)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise DataError(f"{self.path}: cannot write predictions: {reason}; nothing was written") from error


def _write_csv(rows: pd.DataFrame, file: Any) -> None:
    """Append lines without a header: ten times as fast as pandas does, and as pandas does what needs quotes."""
    import pyarrow as pa
    import pyarrow.csv as pc

    lines = pa.BufferOutputStream()
    try:
        table = pa.Table.from_pandas(rows, preserve_index=False)
        for place, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(pa.date32()))
        pc.write_csv(table, lines, pc.WriteOptions(include_header=False, quoting_style="none"))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        rows.to_csv(file, index=False, header=False, lineterminator="\n", date_format="%Y-%m-%d")
    else:
        file.write(lines.getvalue())
