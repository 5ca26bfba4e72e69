"""What in a model artifact could do harm when somebody loads it, found without loading anything.

Pickles are recognised by content, also inside archives and compressed streams; paths must stay inside the folder;
MLflow must not be told to run code that the artifact brings along. The types inside a skops file are not judged here:
who loads one compares them with an allow-list.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import mmap
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from promotion.artifacts.declared_dangers import LEADS_OUT, declared_dangers
from promotion.artifacts.description import NAME
from promotion.artifacts.files import DEEPEST_FOLDER
from promotion.artifacts.pickles import TooLong, hidden_pickle, is_pickle
from promotion.errors import ArtifactUnsafe

PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"})
_UNREADABLE_COMPRESSION = {
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x02\x21\x4c\x18": "LZ4",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"ZF0x": "old joblib",
    b"\x2a\x4d\x18": "LZ4 or Zstandard, behind a frame that is skipped",
    b"7z\xbc\xaf": "7z",
}
# Behind a NumPy header's quotes: a type of objects, also one in a list of types, or letters that are spelled out.
_OBJECT_DTYPE = re.compile(rb"""['"](?:[^'"]*[^\w'"])?(?:O\d*|object\w*)(?:,[^'"]*)?['"]|\\""")
_LONGEST_HEADER = 64 * 1024
_MAX_DEPTH = 4
_MAX_UNPACKED_BYTES = 1024**3
_MAX_RATIO = 100
"""Bytes that one byte of the artifact may unpack to, once it is more than `_SMALL`."""
_SMALL = 100 * 1024**2
_MAX_MEMBERS = 5000
"""Of all archives together; a model has some dozens."""
_CHUNK_BYTES = 1024**2


def problems(folder: Path, *, code_is_vouched: bool = False, code_is_boxed: bool = False) -> list[str]:
    """Everything dangerous in a model artifact, one line each, in the order of the paths.

    Args:
        folder: The model artifact; without an MLmodel file it is scanned just the same.
        code_is_vouched: Whether a trusted signature covers every file: Python inside is then what was registered, and a
            model from code is no danger. Nothing else is allowed by it, least of all a pickle.
        code_is_boxed: Whether the model is loaded in the sandbox alone: code, and what may hide code, is then no
            danger. What leads out of the artifact still is one.

    Returns:
        Empty when nothing was found. Each line starts with the path below `folder`; an archive's member follows a `!`.

    Raises:
        ArtifactUnsafe: The folder, or one in it, is missing or cannot be listed.
    """
    paths = list(entries(folder))
    size = sum(path.lstat().st_size for path in paths)
    scan = _Scan(size, code_is_vouched=code_is_vouched, code_is_boxed=code_is_boxed)
    for path in paths:
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if stat.S_ISREG(mode):
            scan.file(name, path)
        elif not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "neither file nor folder"
            scan.report(name, f"is {kind}, which may lead out of the artifact")
    for path in paths:
        # Also one in a folder below: a flavour may be told that its model begins there.
        if path.name == NAME and path.is_file() and not path.is_symlink():
            scan.description(path.relative_to(folder).as_posix(), path)
    return scan.found


def entries(folder: Path) -> Iterator[Path]:
    """Every file, folder, link and device below a folder, links not followed, in a stable order.

    Raises:
        ArtifactUnsafe: The folder, or one below it, is missing or cannot be listed; it is never passed over.
    """

    def refuse(error: OSError) -> NoReturn:
        raise ArtifactUnsafe(f"{error.filename}: cannot be listed ({error.strerror}): make it readable") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        if len(Path(parent).relative_to(folder).parts) > DEEPEST_FOLDER:
            raise ArtifactUnsafe(f"{folder}: folders in folders, more than {DEEPEST_FOLDER} deep: register again")
        folders.sort()
        yield from (Path(parent, name) for name in sorted(folders + files))


class _Scan:
    """Collects what is found, and bounds what is unpacked on the way."""

    def __init__(self, size: int, *, code_is_vouched: bool, code_is_boxed: bool) -> None:
        self.found: list[str] = []
        self._code_is_vouched = code_is_vouched
        self._code_is_boxed = code_is_boxed
        self._limit = self._budget = min(_MAX_UNPACKED_BYTES, max(_SMALL, _MAX_RATIO * size))
        self._members = 0
        self._is_spent = False

    def suspect(self, name: str, reason: str) -> None:
        """Report what runs code when it is loaded, or may hide what does."""
        if not self._code_is_boxed:
            self.report(name, reason)

    def report(self, name: str, reason: str) -> None:
        self.found.append(f"{name if name.isprintable() else ascii(name)}: {reason}")

    def file(self, name: str, path: Path) -> None:
        if not path.stat().st_size:
            return
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                self._look_into(name, content, file, 0)
        except OSError as error:
            self.report(name, f"cannot be read: {error.strerror}")

    def _look_into(self, name: str, content: bytes | mmap.mmap, file: IO[bytes], depth: int) -> None:
        """Judge one file or member, given as bytes and as a file that can seek."""
        try:
            self._judge(name, content, file, depth)
        except TooLong:
            self.suspect(name, "could be a pickle, and takes too long to follow: save the model with skops")

    def _judge(self, name: str, content: bytes | mmap.mmap, file: IO[bytes], depth: int) -> None:
        if kind := _pickle_in(name, content):
            self.suspect(name, f"{kind}, which runs code when it is loaded: save the model with skops")
        if depth == _MAX_DEPTH:
            self.suspect(name, f"is nested deeper than {_MAX_DEPTH} archives, where nothing was looked into")
            return
        if zipfile.is_zipfile(file):
            self._archive(name, file, depth)
        elif _is_tar(content):
            self._tar(name, file, depth)
        elif not kind and (start := hidden_pickle(content)) is not None:
            self.suspect(name, f"holds a pickle behind its first {start} bytes: save the model with skops")
        if format_ := _UNREADABLE_COMPRESSION.get(content[:4]) or _UNREADABLE_COMPRESSION.get(content[1:4]):
            self.suspect(name, f"is compressed ({format_}) and cannot be looked into")
        if read := _decompressor(content, file):
            self._member(f"{name}!", read, depth)

    def _archive(self, name: str, file: IO[bytes], depth: int) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                before = min((info.header_offset for info in archive.infolist()), default=0)
                file.seek(0)
                if before and hidden_pickle(file.read(before)) is not None:
                    self.suspect(name, "holds a pickle before the archive that it also is")
                for info in archive.infolist():
                    member = f"{name}!{info.filename}"
                    if LEADS_OUT.match(info.filename):
                        self.report(member, "is a path that leads out of the archive")
                    if not info.is_dir():
                        self._member(member, archive.open(info).read, depth)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, OSError) as error:
            self.suspect(name, f"is a zip archive that cannot be looked into: {error}")

    def _tar(self, name: str, file: IO[bytes], depth: int) -> None:
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    member = f"{name}!{info.name}"
                    if LEADS_OUT.match(info.name):
                        self.report(member, "is a path that leads out of the archive")
                    content = archive.extractfile(info) if info.isfile() else None
                    if content:
                        self._member(member, content.read, depth)
                    elif not info.isdir():
                        self.report(member, "is neither file nor folder, and may lead out of the archive")
        except (tarfile.TarError, ValueError, OSError) as error:
            self.suspect(name, f"is a tar archive that cannot be looked into: {error}")

    def _member(self, name: str, read: Callable[[int], bytes], depth: int) -> None:
        if self._is_spent:
            return
        self._members += 1
        if self._members > _MAX_MEMBERS:
            self._is_spent = True
            self.suspect(name, f"and what follows was not looked into: more than {_MAX_MEMBERS:,} members")
            return
        unpacked = bytearray()
        try:
            while len(unpacked) <= self._budget and (chunk := read(_CHUNK_BYTES)):
                unpacked += chunk
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
            self.suspect(name, f"is damaged and cannot be looked into: {error}")
            return
        if len(unpacked) > self._budget:
            self.suspect(name, f"was not looked into: the artifact unpacks to more than {self._limit} bytes")
            self._is_spent = True
            return
        self._budget -= len(unpacked)
        content = bytes(unpacked)
        self._look_into(name, content, io.BytesIO(content), depth + 1)

    def description(self, name: str, path: Path) -> None:
        """Judge MLflow's description of the model."""
        for danger in declared_dangers(path.parent, code_is_vouched=self._code_is_vouched):
            (self.suspect if danger.is_code else self.report)(name, danger.what)


def _is_tar(content: bytes | mmap.mmap) -> bool:
    """Whether the first block is a member's header, by its checksum: old archives have no other mark."""
    try:
        tarfile.TarInfo.frombuf(content[: tarfile.BLOCKSIZE], tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _pickle_in(name: str, content: bytes | mmap.mmap) -> str | None:
    if is_pickle(content):
        return "is a pickle"
    # A NumPy array: its header, a Python literal, says whether objects are pickled behind it.
    if content[:6] == b"\x93NUMPY" and _OBJECT_DTYPE.search(_numpy_header(content)):
        return "is an array of pickled objects"
    return "is named as a pickle" if PurePosixPath(name).suffix.lower() in PICKLE_SUFFIXES else None


def _numpy_header(content: bytes | mmap.mmap) -> bytes:
    """The literal before an array's numbers; its length stands before it, in two bytes or, from version 2 on, four."""
    begin = 10 if content[6:7] == b"\x01" else 12
    return content[begin : begin + min(int.from_bytes(content[8:begin], "little"), _LONGEST_HEADER)]


def _decompressor(content: bytes | mmap.mmap, file: IO[bytes]) -> Callable[[int], bytes] | None:
    """Unpacks up to so many bytes of what is compressed here, in a format that pickle-based libraries open unasked."""
    file.seek(0)
    start = content[:6]
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file).read
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file).read
    if start.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return lzma.LZMAFile(file).read
    return _zlib(content[:]) if start.startswith(b"x") else None


def _zlib(content: bytes) -> Callable[[int], bytes] | None:
    """The format has a weak mark, two bytes: text is none of it, nor what does not give up a first byte."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        unpacker = zlib.decompressobj()
    else:
        return None
    try:
        first = iter([unpacker.decompress(content, 1)])
    except zlib.error:
        return None
    return lambda size: next(first, b"") or unpacker.decompress(unpacker.unconsumed_tail, size)
