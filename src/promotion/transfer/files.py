"""A version's files on their way: several at once, each whole or not there, and read again where they arrived."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from promotion.artifacts.files import copy_files, plain_files
from promotion.errors import ArtifactMissing, ArtifactUnsafe, RegistryError
from promotion.registry.contract import without_password
from promotion.registry.failures import registry_error
from promotion.transfer.pieces import FileServer, MoreBytes, ServedFile, fetch_pieces, is_served, tells_itself

ByteProgress = Callable[[str, int, int], None]
"""Told a task, how many bytes of it are done, and how many there are."""

AT_ONCE = 8
_MOST = 10_000
_PART = ".part"
_CHUNK_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Stored:
    """A folder in an artifact store.

    Attributes:
        uri: Its address.
    """

    uri: str

    def listing(self) -> dict[str, int]:
        """Size of every file below it, by its path.

        Raises:
            ArtifactUnsafe: A path leads out of the folder, or there are more files than any model has.
            RegistryError: The store does not answer.
        """
        if local := _local(self.uri):
            return {str(it): (local / it).stat().st_size for it in plain_files(local)} if local.is_dir() else {}
        found: dict[str, int] = {}
        with self._open() as store:
            waiting: list[str | None] = [None]
            while waiting:
                for item in store.list_artifacts(waiting.pop()):
                    _require_inside(item.path)
                    if item.is_dir:
                        waiting.append(item.path)
                    else:
                        found[item.path] = int(item.file_size or 0)
                if len(found) + len(waiting) > _MOST:
                    raise ArtifactUnsafe(f"{self.shown}: more than {_MOST:,} files: pack them, and register again")
        return found

    def fetch(self, folder: Path, progress: ByteProgress) -> None:
        """Bring everything into `folder`; what is there already, whole, is not fetched again.

        Raises:
            ArtifactMissing: There are no files.
            RegistryError: A file cannot be fetched; those that were stay.
        """
        if local := _local(self.uri):
            _copy(local, folder)
            return
        sizes = self.listing()
        if not sizes:
            raise ArtifactMissing(f"{self.shown}: there are no files")
        for path in set(local_files(folder)) - set(sizes):
            (folder / path).unlink()

        def one(server: FileServer, path: str, told: MoreBytes, whole: MoreBytes) -> None:
            final = folder / path
            final.parent.mkdir(parents=True, exist_ok=True)
            part = final.with_name(final.name + _PART)
            if is_served(server.store, "download"):
                is_whole = fetch_pieces(ServedFile(server, path, sizes[path]), part, told)
            else:
                server.store._download_file(path, str(part))  # noqa: SLF001  # what every store implements, without a listing
                whole(part.stat().st_size)
                is_whole = part.stat().st_size == sizes[path]
            if not is_whole:
                raise RegistryError(f"{self.shown}: {path} has not the {sizes[path]:,} bytes that are listed")
            part.replace(final)

        missing = [path for path in sizes if not (folder / path).is_file()]
        self._all("fetching", sizes, missing, one, progress)

    def put(self, folder: Path, paths: Iterable[str], progress: ByteProgress) -> None:
        """Bring files of `folder` there.

        Args:
            folder: Where they are.
            paths: Which of them.
            progress: Told of each.

        Raises:
            RegistryError: A file cannot be stored.
        """
        sizes = file_sizes(folder)

        def one(server: FileServer, path: str, told: MoreBytes, whole: MoreBytes) -> None:
            if sizes[path] and is_served(server.store, "upload"):
                ServedFile(server, path, sizes[path]).write(folder / path, told)
                return
            parent = str(PurePosixPath(path).parent) if "/" in path else None
            server.store.log_artifact(str(folder / path), parent)
            whole(sizes[path])

        self._all("sending", sizes, list(paths), one, progress)

    def differing(self, folder: Path, paths: Iterable[str], progress: ByteProgress) -> list[str]:
        """Read files where they are, and compare every byte with the same files in `folder`.

        Args:
            folder: Where they are as they shall be.
            paths: Which of them.
            progress: Told of each.

        Returns:
            Those that differ.

        Raises:
            RegistryError: A file cannot be read.
        """
        sizes = file_sizes(folder)
        found: set[str] = set()

        def one(server: FileServer, path: str, told: MoreBytes, whole: MoreBytes) -> None:
            streamed = ServedFile(server, path, sizes[path]) if is_served(server.store, "download") else None
            with (folder / path).open("rb") as wanted:

                def compare(at: int, chunk: bytes) -> None:
                    if os.pread(wanted.fileno(), len(chunk), at) != chunk:
                        found.add(path)
                    if streamed:
                        told(len(chunk))

                is_as_long = (
                    streamed.read(compare) if streamed else _read_whole(server.store, path, sizes[path], compare)
                )
            if not is_as_long:
                found.add(path)
            if not streamed:
                whole(sizes[path])

        self._all("verifying", sizes, list(paths), one, progress)
        return sorted(found)

    @property
    def shown(self) -> str:
        """Its address without a password."""
        return without_password(self.uri)

    def _all(
        self,
        task: str,
        sizes: Mapping[str, int],
        paths: Sequence[str],
        one: Callable[[FileServer, str, MoreBytes, MoreBytes], None],
        progress: ByteProgress,
    ) -> None:
        total = sum(sizes.values())
        done = total - sum(sizes[path] for path in paths)
        lock = Lock()

        def told(more: int) -> None:
            nonlocal done
            with lock:
                done += more
                progress(task, done, total)

        told(0)
        with self._open() as store, ThreadPoolExecutor(AT_ONCE) as pool:
            whole = (lambda _size: None) if tells_itself(store, told) else told
            server = FileServer(store)
            waiting = [pool.submit(one, server, path, told, whole) for path in paths]
            try:
                for future in as_completed(waiting):
                    future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """MLflow's access to the store, its failures in our words."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            with _absent("dbruntime", "IPython"):
                yield get_artifact_repository(self.uri)
        except (RegistryError, ArtifactUnsafe, ArtifactMissing):
            raise
        except Exception as error:
            raise registry_error(self.shown, error) from error


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of the whole files below a folder, by their paths."""
    return {path: (folder / path).stat().st_size for path in local_files(folder)}


@contextmanager
def _absent(*names: str) -> Iterator[None]:
    """Let Python know which modules are missing: MLflow looks for them nine times a request, one thread at a time."""
    missing = [name for name in names if name not in sys.modules and find_spec(name) is None]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None is what the import system expects
    try:
        yield
    finally:
        for name in missing:
            sys.modules.pop(name, None)


def _read_whole(store: Any, path: str, size: int, sink: Callable[[int, bytes], None]) -> bool:
    """Read a file that its store gives only as one, to disk; returns whether it is as long as that."""
    with TemporaryDirectory(prefix="transfer-") as scratch:
        local = Path(scratch) / "file"
        store._download_file(path, str(local))  # noqa: SLF001
        with local.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                sink(content.tell() - len(chunk), chunk)
        return local.stat().st_size == size


def local_files(folder: Path) -> list[str]:
    """Paths of the whole files below a folder, sorted."""
    if not folder.is_dir():
        return []
    found = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.endswith(_PART))


def _copy(local: Path, folder: Path) -> None:
    if not local.is_dir():
        raise ArtifactMissing(f"{local}: no such folder on this machine")
    if not folder.exists():
        # A copy that was interrupted never has the final name.
        with TemporaryDirectory(dir=folder.parent) as unfinished:
            copy_files(local, Path(unfinished) / "files", f"the artifact {local}").rename(folder)


def _require_inside(path: str) -> None:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path or path.endswith(_PART):
        raise ArtifactUnsafe(f"{path!r} is no plain path inside the artifact: register it again")


def _local(uri: str) -> Path | None:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        from urllib.request import url2pathname

        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(uri)
