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
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

from promotion.artifacts.description import NAME, read_description
from promotion.artifacts.pickles import TooLong, hidden_pickle, is_pickle
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.errors import ArtifactRefused, ArtifactUnsafe

PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".cloudpickle", ".dill"})
# Who may turn the files into a model: MLflow's own flavours (pyfunc's own loader unpickles), and this project.
_TRUSTED_LOADER = re.compile(r"(?:mlflow\.(?!pyfunc\b)\w+|models)(?:\.\w+)*")
# MLflow's loader of models from code; a pickle instead of the code would lie under the other key.
_CODE_LOADER, _PICKLED = "mlflow.pyfunc.loaders.code_model", "python_model"
# Keys by which MLflow imports Python that lies in the artifact.
_CODE_KEYS = frozenset({"code", "model_code_path"})
_OUTSIDE = re.compile(r"[/\\~]|[A-Za-z][\w+.-]*:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)", re.DOTALL)
_UNREADABLE_COMPRESSION = {b"\x04\x22\x4d\x18": "LZ4", b"\x28\xb5\x2f\xfd": "Zstandard", b"ZF0x": "old joblib"}
_OBJECT_DTYPE = re.compile(rb"'[|<>=]?O\d*'")
# Where a flavour says which of the files is the model; MLflow's readers of one model use different ones.
_MODEL_KEYS = frozenset({"data", "model_data", "model_path", "pickled_model"})
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
    description = folder / NAME
    if description.is_file() and not description.is_symlink():
        scan.description(description)
    return scan.found


def entries(folder: Path) -> Iterator[Path]:
    """Every file, folder, link and device below a folder, links not followed, in a stable order.

    Raises:
        ArtifactUnsafe: The folder, or one below it, is missing or cannot be listed; it is never passed over.
    """

    def refuse(error: OSError) -> NoReturn:
        raise ArtifactUnsafe(f"{error.filename}: cannot be listed ({error.strerror}): make it readable") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
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
        if format_ := _UNREADABLE_COMPRESSION.get(content[:4]):
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
                    if _OUTSIDE.match(info.filename):
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
                    if _OUTSIDE.match(info.name):
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

    def description(self, path: Path) -> None:
        """Judge MLflow's description of the model: the files it names, the types it trusts, the code it would run."""
        try:
            flavours = read_description(path.parent)["flavors"]
            function = flavours.get("python_function", {})
            loader = function.get("loader_module")
            is_vouched = self._code_is_vouched and loader == _CODE_LOADER and _PICKLED not in function
        except ArtifactRefused as error:
            self.report(path.name, str(error).removeprefix(f"{NAME}: missing or "))
            return
        except (TypeError, AttributeError) as error:
            self.report(path.name, f"is not an MLmodel file: {type(error).__name__}")
            return
        leaves = list(_leaves(flavours))
        for place, value in leaves:
            keys = set(place.split("."))
            if reason := _objection(keys, value, is_vouched=is_vouched):
                # Whatever path MLflow wrote for a model's code: nothing outside is seen from inside the sandbox.
                is_path = isinstance(value, str) and _OUTSIDE.match(value) and _CODE_KEYS.isdisjoint(keys)
                (self.report if is_path else self.suspect)(path.name, f"flavors.{place}: {value!r} {reason}")
        files = {place: str(value) for place, value in leaves if value and place.rpartition(".")[2] in _MODEL_KEYS}
        if len({file for file in files.values() if not _OUTSIDE.match(file)}) > 1:
            named = ", ".join(f"{place} says {value!r}" for place, value in files.items())
            self.suspect(path.name, f"flavours disagree on which file is the model: {named}")
        if loader is not None and not is_vouched and not _TRUSTED_LOADER.fullmatch(str(loader)):
            self.suspect(path.name, f"flavors.python_function.loader_module: {loader!r} is not a loader we trust")


def _objection(keys: set[str], value: Any, *, is_vouched: bool) -> str:
    """What is wrong with one value of MLmodel; empty when nothing is.

    Args:
        keys: Under which it stands.
        value: A scalar.
        is_vouched: Whether a signature covers a model from code.
    """
    if isinstance(value, str) and _OUTSIDE.match(value):
        return "leads out of the artifact"
    if value and not is_vouched and not _CODE_KEYS.isdisjoint(keys):
        return "is Python that would run when the model is loaded"
    if value and "skops_trusted_types" in keys and value not in TRUSTED_TYPES:
        return "is a type that nobody but the model itself trusts"
    return ""


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
    # A NumPy array: its header, a Python literal that ends its line, says whether objects are pickled behind it.
    if content[:6] == b"\x93NUMPY" and _OBJECT_DTYPE.search(content[8 : content.find(b"\n") + 1]):
        return "is an array of pickled objects"
    return "is named as a pickle" if PurePosixPath(name).suffix.lower() in PICKLE_SUFFIXES else None


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


def _leaves(document: Any) -> Iterable[tuple[str, Any]]:
    """All scalars with their dotted place; a YAML anchor that is used again is visited once."""
    waiting, seen = [("", document)], set[int]()
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, Mapping | list):
            if id(value) not in seen:
                seen.add(id(value))
                pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
                waiting.extend((f"{place}.{key}".lstrip("."), child) for key, child in reversed(list(pairs)))
        else:
            yield place, value
