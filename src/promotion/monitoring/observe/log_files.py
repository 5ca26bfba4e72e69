"""Find the files of a prediction log, wherever they lie, and read them a block at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from promotion.errors import DataError, UsageError
from promotion.monitoring.observe.log_rows import Block, goes_on, is_whole, log_schema, parse_lines, parse_parquet

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK = 8 << 20
"""Bytes of JSON lines parsed at once; small enough that the memory of one block serves for the next."""
SHARE = 64 << 20
"""Bytes of one file that a worker of the spark engine reads."""
_LONGEST_LINE = 16 << 20
_PIECE = 64 << 10
"""Bytes before a share that hold the last piece of a line; container runtimes cut at 16 KB."""
_LINES, _PARQUET = frozenset({".jsonl", ".ndjson", ".json"}), ".parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker reads: a file, or the lines of it that start between two positions."""

    url: str
    start: int
    stop: int | None
    inode: int | None = None


def find_parts(source: str, earliest: datetime, *, split: bool = False) -> list[Part]:
    """The files of a log.

    Args:
        source: A file of JSON lines, whose rotated and compressed siblings (`….1`, `….2.gz`) belong to it; a folder of
            such files or of Parquet files; or either as a URL of fsspec (`s3://bucket/folder`).
        earliest: Local files that were last written before have nothing of the window; where all were, the newest is
            one of the log all the same.
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
    written = {name: info.get("mtime") for name, info in listed}
    dated = {name: at for name, at in written.items() if isinstance(at, int | float)}
    old = {name for name, at in dated.items() if at < earliest.timestamp()}
    if len(old) == len(listed):  # then the newest says how old its rows are
        old -= {max(dated, key=dated.__getitem__)}
    for name, info in listed:
        if name in old:
            continue
        url, size = filesystem.unstrip_protocol(name), int(info.get("size") or 0)
        if split and size > SHARE and PurePosixPath(name).suffix not in {".gz", _PARQUET}:
            parts += [Part(url, at, min(at + SHARE, size), info.get("ino")) for at in range(0, size, SHARE)]
        else:
            parts.append(Part(url, 0, None, info.get("ino")))
    return parts


def read(part: Part, features: Sequence[str], schema: pa.Schema | None = None) -> Iterator[Block]:
    """The rows of one part.

    Args:
        part: One of `find_parts`.
        features: Names of the features to read.
        schema: Of the rows; by default that of numbers to which a class is answered.

    Raises:
        DataError: The file cannot be read.
    """
    filesystem, path = _filesystem(part.url)
    columns = schema or log_schema(features)
    try:
        with _opened(filesystem, path, part.inode) as file:
            if PurePosixPath(path).suffix == _PARQUET:
                yield from parse_parquet(file, columns)
            elif PurePosixPath(path).suffix == ".gz":
                import gzip

                with gzip.open(file) as lines:
                    yield from _parsed(_lines(lines, part), columns)  # type: ignore[arg-type]  # reads like a file
            else:
                yield from _parsed(_lines(file, part), columns)
    except (OSError, EOFError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{part.url}: the prediction log cannot be read: {reason}") from error


def _filesystem(source: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(source)
    except ImportError as error:
        raise UsageError(
            f"{source}: reading it needs a package that is missing: {error} "
            "(for s3://: pip install 'promotion-layer[s3]')"
        ) from error
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


def _rest_of_line(file: BinaryIO, block: bytes) -> bytes:
    """The pieces behind a block of the line that it ends with, and what else was put out between them."""
    pieces: list[bytes] = []
    is_open = goes_on(block)
    while is_open and (line := file.readline(_LONGEST_LINE)):
        pieces.append(line)
        is_open = goes_on(line, is_open=True)
    return b"".join(pieces)


def _parsed(blocks: Iterator[bytes], schema: pa.Schema) -> Iterator[Block]:
    """The rows of blocks in their order; each core parses one, and one more is ready."""
    with ThreadPoolExecutor(pa.cpu_count()) as parsers:
        coming: deque[Future[Block]] = deque()
        for block in blocks:
            coming.append(parsers.submit(parse_lines, block, schema))
            if len(coming) > pa.cpu_count():
                yield coming.popleft().result()
        for parsed in coming:
            yield parsed.result()


def _lines(file: BinaryIO, part: Part) -> Iterator[bytes]:
    if part.start:
        # The line that straddles the border belongs to the share before, with all its pieces.
        file.seek(max(part.start - _PIECE, 0))
        behind = file.read(part.start - 1 - file.tell()) + file.readline()
        _rest_of_line(file, behind)
    while part.stop is None or file.tell() < part.stop:
        room = BLOCK if part.stop is None else min(BLOCK, part.stop - file.tell())
        block = file.read(room)
        if not block:
            return
        if not block.endswith(b"\n"):
            block += file.readline(_LONGEST_LINE)
        block += _rest_of_line(file, block)
        if not block.endswith(b"\n") and (end := block.rfind(b"\n") + 1) < len(block):
            # Without its line end it is still being written, unless it is whole already.
            block = block if is_whole(block[end:]) else block[:end]
        yield block
