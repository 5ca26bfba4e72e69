"""A version's files on their way: several at once, each whole or not there, and read again where they arrived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from promotion.artifacts.files import copy_files
from promotion.data.files import file_sha256
from promotion.errors import ArtifactMissing, ArtifactUnsafe, RegistryError
from promotion.registry.contract import without_password
from promotion.registry.failures import registry_error

ByteProgress = Callable[[str, int, int], None]
"""Told a task, how many bytes of it are done, and how many there are."""

_AT_ONCE = 8
_MOST = 10_000
_PART = ".part"


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
            if not local.is_dir():
                raise ArtifactMissing(f"{self.shown}: no such folder on this machine")
            if not folder.exists():
                # A copy that was interrupted never has the final name.
                with TemporaryDirectory(dir=folder.parent) as unfinished:
                    copy_files(local, Path(unfinished) / "files", f"the artifact {local}").rename(folder)
            return
        sizes = self.listing()
        if not sizes:
            raise ArtifactMissing(f"{self.shown}: there are no files")
        for path in set(local_files(folder)) - set(sizes):
            (folder / path).unlink()

        def one(store: Any, path: str) -> None:
            final = folder / path
            final.parent.mkdir(parents=True, exist_ok=True)
            part = final.with_name(final.name + _PART)
            store._download_file(path, str(part))  # noqa: SLF001  # what every store implements: one file, no listing
            if part.stat().st_size != sizes[path]:
                raise RegistryError(f"{self.shown}: {path} has {part.stat().st_size:,} bytes, not {sizes[path]:,}")
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
        sizes = {path: (folder / path).stat().st_size for path in local_files(folder)}

        def one(store: Any, path: str) -> None:
            store.log_artifact(str(folder / path), str(PurePosixPath(path).parent) if "/" in path else None)

        self._all("sending", sizes, list(paths), one, progress)

    def digests(self, paths: Sequence[str], sizes: Mapping[str, int], progress: ByteProgress) -> dict[str, str]:
        """Read files where they are; returns the sha256 of each.

        Raises:
            RegistryError: A file cannot be read.
        """
        found: dict[str, str] = {}
        with TemporaryDirectory(prefix="transfer-") as folder:

            def one(store: Any, path: str) -> None:
                local = Path(folder) / str(paths.index(path))
                store._download_file(path, str(local))  # noqa: SLF001
                found[path] = file_sha256(local)
                local.unlink()

            self._all("verifying", sizes, paths, one, progress)
        return found

    @property
    def shown(self) -> str:
        """Its address without a password."""
        return without_password(self.uri)

    def _all(
        self,
        task: str,
        sizes: Mapping[str, int],
        paths: Sequence[str],
        one: Callable[[Any, str], None],
        progress: ByteProgress,
    ) -> None:
        total = sum(sizes.values())
        done = total - sum(sizes[path] for path in paths)
        progress(task, done, total)
        with self._open() as store, ThreadPoolExecutor(_AT_ONCE) as pool:
            waiting = {pool.submit(one, store, path): path for path in paths}
            try:
                for future in as_completed(waiting):
                    future.result()
                    done += sizes[waiting[future]]
                    progress(task, done, total)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """MLflow's access to the store, its failures in our words."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            yield get_artifact_repository(self.uri)
        except (RegistryError, ArtifactUnsafe, ArtifactMissing):
            raise
        except Exception as error:
            raise registry_error(self.shown, error) from error


def local_files(folder: Path) -> list[str]:
    """Paths of the whole files below a folder, sorted."""
    if not folder.is_dir():
        return []
    found = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    return sorted(path.relative_to(folder).as_posix() for path in found if not path.name.endswith(_PART))


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
