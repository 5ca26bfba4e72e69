"""Read prediction logs a block at a time, wherever they lie; what cannot be read is counted and never ends a run."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from promotion.errors import DataError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK = 48 << 20
"""Bytes of JSON lines parsed at once."""
SHARE = 64 << 20
"""Bytes of one file that a worker of the spark engine reads."""
_SMALL = 128 << 10
_PIECES = 8
_LONGEST_LINE = 16 << 20
_BATCH = 131_072
_LINES, _PARQUET = frozenset({".jsonl", ".ndjson", ".json"}), ".parquet"
_MOMENT = pa.timestamp("us", "UTC")
_REQUIRED = ("time", "request_id", "model", "version", "role", "class")


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker reads: a file, or the lines of it that start between two positions."""

    url: str
    start: int
    stop: int | None
    inode: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a log, and how many lines beside them could not be read."""

    rows: pa.Table
    bad_lines: int


def log_schema(features: Sequence[str]) -> pa.Schema:
    """The columns of a log; every feature is a number, missing where it is null."""
    return pa.schema(
        [
            ("time", _MOMENT),
            ("request_id", pa.string()),
            ("row", pa.int32()),
            ("family", pa.string()),
            ("model", pa.string()),
            ("version", pa.int32()),
            ("role", pa.string()),
            ("features", pa.struct([(name, pa.float64()) for name in features])),
            ("class", pa.int32()),
            ("probability", pa.float64()),
            ("latency_ms", pa.float64()),
        ]
    )


def find_parts(source: str, earliest: datetime, *, split: bool = False) -> list[Part]:
    """The files of a log.

    Args:
        source: A file of JSON lines, whose rotated and compressed siblings (`….1`, `….2.gz`) belong to it; a folder of
            such files or of Parquet files; or either as a URL of fsspec (`s3://bucket/folder`).
        earliest: Local files that were last written before have nothing of the window.
        split: Whether large plain files are cut into shares for several workers.

    Raises:
        UsageError: There is no such file or folder, it holds no log, or the URL's kind needs a package that is missing.
    """
    filesystem, path = _filesystem(source)
    try:
        found = _files(filesystem, path)
        listed = [(name, filesystem.info(name)) for name in found]
    except OSError as error:
        raise UsageError(f"{source}: the prediction log cannot be listed: {error.strerror or error}") from error
    if not listed:
        raise UsageError(
            f"{source}: no prediction log here: expected a .jsonl file, or a folder of these or of Parquet"
        )
    parts = []
    for name, info in listed:
        written = info.get("mtime")
        if isinstance(written, int | float) and written < earliest.timestamp():
            continue
        url, size = filesystem.unstrip_protocol(name), int(info.get("size") or 0)
        if split and size > SHARE and PurePosixPath(name).suffix not in {".gz", _PARQUET}:
            parts += [Part(url, at, min(at + SHARE, size), info.get("ino")) for at in range(0, size, SHARE)]
        else:
            parts.append(Part(url, 0, None, info.get("ino")))
    return parts


def read(part: Part, features: Sequence[str]) -> Iterator[Block]:
    """The rows of one part.

    Args:
        part: One of `find_parts`.
        features: Names of the features to read.

    Raises:
        DataError: The file cannot be read.
    """
    filesystem, path = _filesystem(part.url)
    try:
        with _opened(filesystem, path, part.inode) as file:
            if PurePosixPath(path).suffix == _PARQUET:
                yield from _parquet(file, features)
            elif PurePosixPath(path).suffix == ".gz":
                import gzip

                with gzip.open(file) as lines:
                    yield from _lines(lines, part, features)  # type: ignore[arg-type]  # reads like a file
            else:
                yield from _lines(file, part, features)
    except (OSError, EOFError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{part.url}: the prediction log cannot be read: {reason}") from error


def _filesystem(source: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(source)
    except ImportError as error:
        raise UsageError(f"{source}: reading it needs a package that is missing: {error}") from error
    except (ValueError, TypeError) as error:
        raise UsageError(f"{source}: not a place a prediction log can be: {error}") from error
    return filesystem, path


def _files(filesystem: AbstractFileSystem, path: str) -> list[str]:
    """The log's files, oldest name last; empty when there is none."""
    if not filesystem.isdir(path):
        # A rotated log between two renames has no first file for a moment: its siblings are enough.
        return sorted(
            name for name in {path, *filesystem.glob(f"{path}.*")} if filesystem.isfile(name) and _is_log(name)
        )
    return sorted(name for name in filesystem.find(path) if _is_log(name))


def _is_log(name: str) -> bool:
    suffixes = PurePosixPath(name).suffixes
    return bool(suffixes) and (suffixes[-1] == _PARQUET or not _LINES.isdisjoint(suffixes))


def _opened(filesystem: AbstractFileSystem, path: str, inode: int | None) -> BinaryIO:
    """The file that was listed, under whatever name a rotation has given it since."""
    file: BinaryIO = filesystem.open(path, "rb")
    if inode is None or os.fstat(file.fileno()).st_ino == inode:
        return file
    file.close()
    folder, _, name = path.rpartition("/")
    for sibling in filesystem.glob(f"{folder}/{name.split('.')[0]}*"):
        with suppress(FileNotFoundError):
            file = filesystem.open(sibling, "rb")
            if os.fstat(file.fileno()).st_ino == inode:
                return file
            file.close()
    raise FileNotFoundError(2, "it was rotated away while it was read; run it again", path)


def _lines(file: BinaryIO, part: Part, features: Sequence[str]) -> Iterator[Block]:
    if part.start:
        # The line that straddles the border belongs to the share before.
        file.seek(part.start - 1)
        file.readline()
    schema = log_schema(features)
    while part.stop is None or file.tell() < part.stop:
        room = BLOCK if part.stop is None else min(BLOCK, part.stop - file.tell())
        block = file.read(room)
        if not block:
            return
        if not block.endswith(b"\n"):
            block += file.readline(_LONGEST_LINE)
        if not block.endswith(b"\n") and (end := block.rfind(b"\n") + 1) < len(block):
            # Without its line end it is still being written, unless it is whole already.
            block = block if _parsed(block[end:], schema).num_rows else block[:end]
        yield _checked(_tables(block, schema), schema)


def _tables(block: bytes, schema: pa.Schema) -> Iterator[Block]:
    """A block's rows; where a line is bad, the lines around it are halved off until it is found."""
    if not block.strip():
        return
    try:
        yield Block(_arrow(block, schema), 0)
    except pa.ArrowException:
        if len(block) <= _SMALL:
            rows = _parsed(block, schema)
            yield Block(rows, sum(1 for line in block.splitlines() if line.strip()) - rows.num_rows)
            return
        for piece in _pieces(block):
            yield from _tables(piece, schema)


def _pieces(block: bytes) -> Iterator[bytes]:
    start, step = 0, max(len(block) // _PIECES, _SMALL)
    while start < len(block):
        end = block.find(b"\n", min(start + step, len(block) - 1)) + 1 or len(block)
        yield block[start:end]
        start = end


def _arrow(block: bytes, schema: pa.Schema) -> pa.Table:
    options = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    reading = pj.ReadOptions(block_size=max(1 << 20, min(8 << 20, len(block))))
    table = pj.read_json(io.BytesIO(block), read_options=reading, parse_options=options)
    return table.select(schema.names)


def _parsed(block: bytes, schema: pa.Schema) -> pa.Table:
    """The good lines of a block, read one by one."""
    features = [field.name for field in schema.field("features").type]
    found = []
    for line in block.splitlines():
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            found.append(_record(json.loads(line, parse_constant=_refuse), features))
    return pa.Table.from_pylist(found, schema=schema)


def _record(document: dict[str, Any], features: list[str]) -> dict[str, Any]:
    given = document["features"]
    moment = datetime.fromisoformat(document["time"])
    return {
        "time": moment if moment.tzinfo else moment.replace(tzinfo=UTC),
        "request_id": _text(document["request_id"]),
        "row": _whole(document.get("row", 0)),
        "family": _text(document["family"]),
        "model": _text(document["model"]),
        "version": _whole(document["version"]),
        "role": _text(document["role"]),
        "features": {name: _number(given.get(name)) for name in features},
        "class": _whole(document["class"]),
        "probability": _number(document.get("probability")),
        "latency_ms": _number(document.get("latency_ms")),
    }


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 31:
        raise TypeError
    return value


def _number(value: Any) -> float | None:
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise TypeError
    return None if value is None else float(value)


def _parquet(file: BinaryIO, features: Sequence[str]) -> Iterator[Block]:
    """Rows of a Parquet file: features as a struct like the lines', or each in a column of its own name."""
    import pyarrow.parquet as pq

    schema = log_schema(features)
    whole = pq.ParquetFile(file)
    present = set(whole.schema_arrow.names)
    wanted = [name for name in (*schema.names, *features) if name in present]
    for batch in whole.iter_batches(_BATCH, columns=wanted):
        yield _checked(iter([Block(_cast(pa.Table.from_batches([batch]), schema), 0)]), schema)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for column in schema:
        if column.name == "features":
            columns.append(_features(table, column.type))
        elif column.name in table.column_names:
            columns.append(table[column.name].cast(column.type))
        else:
            columns.append(pa.nulls(table.num_rows, column.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _features(table: pa.Table, kind: pa.StructType) -> pa.Array:
    is_struct = "features" in table.column_names
    given = table["features"].combine_chunks() if is_struct else None
    arrays = []
    for field in kind:
        if given is not None and given.type.get_field_index(field.name) >= 0:
            arrays.append(pc.struct_field(given, field.name).cast(field.type))
        elif given is None and field.name in table.column_names:
            arrays.append(table[field.name].combine_chunks().cast(field.type))
        else:
            arrays.append(pa.nulls(table.num_rows, field.type))
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _checked(blocks: Iterator[Block], schema: pa.Schema) -> Block:
    """One table, without the rows that lack what every row has."""
    found = list(blocks)
    table = pa.concat_tables([block.rows for block in found]) if found else schema.empty_table()
    whole = pc.is_valid(table["time"])
    for name in _REQUIRED[1:]:
        whole = pc.and_(whole, pc.is_valid(table[name]))
    kept = table.filter(whole)
    return Block(kept, sum(block.bad_lines for block in found) + table.num_rows - kept.num_rows)
