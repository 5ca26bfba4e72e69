"""Files behind a server that serves artifacts, as streams: several pieces of a large one at once, none read twice."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

PIECE_BYTES = 32 * 1024**2
"""What one request of a large file asks for, and what an interrupted one may have to ask for again."""

MoreBytes = Callable[[int], object]
"""Told how many bytes more are done."""

_PieceDone = Callable[[int], object]
_CHUNK_BYTES = 1024**2
_PIECES_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file that a tracking server serves.

    Attributes:
        store: MLflow's access to the folder it is in.
        path: Its path there.
        size: Bytes.
    """

    store: Any
    path: str
    size: int

    def read(
        self,
        sink: Callable[[int, bytes], None],
        *,
        done: Collection[int] = (),
        finished: _PieceDone = lambda _begin: None,
    ) -> bool:
        """Read it, or what is left of it; a server that cannot give a piece gives all of it.

        Args:
            sink: Given a place in the file and the bytes there, from several threads.
            done: Where the pieces begin that are not wanted again.
            finished: Told where each piece begins that is complete.

        Returns:
            Whether it came as long as it is.
        """
        begins = [begin for begin in range(0, max(self.size, 1), PIECE_BYTES) if begin not in done]
        whole, is_piece = self._piece(begins[0], sink, finished) if begins else (True, False)
        if not is_piece:
            return whole
        with ThreadPoolExecutor(_PIECES_AT_ONCE) as pool:
            try:
                return all(
                    [whole, *(all(it) for it in pool.map(lambda at: self._piece(at, sink, finished), begins[1:]))]
                )
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def write(self, file: Path, told: MoreBytes) -> None:
        """Send what it shall be, as a stream."""
        from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

        headers = {"Content-Type": "application/octet-stream"}
        content = _Content(file, self.size, told)
        answer = http_request(self.store._host_creds, self._address, "PUT", data=content, extra_headers=headers)  # noqa: SLF001
        augmented_raise_for_status(answer)

    @property
    def _address(self) -> str:
        return posixpath.join("/", self.path)

    def _piece(self, begin: int, sink: Callable[[int, bytes], None], finished: _PieceDone) -> tuple[bool, bool]:
        """Read from one place on; returns whether all of it came, and whether that is just the piece."""
        from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

        end = min(begin + PIECE_BYTES, self.size)
        headers = {"Range": f"bytes={begin}-{end - 1}"} if self.size > PIECE_BYTES else {}
        host = self.store._host_creds  # noqa: SLF001  # as MLflow's own downloads ask
        with http_request(host, self._address, "GET", stream=True, extra_headers=headers) as answer:
            augmented_raise_for_status(answer)
            is_piece = bool(answer.status_code == HTTPStatus.PARTIAL_CONTENT)
            at, end = (begin, end) if is_piece else (0, self.size)
            for chunk in answer.iter_content(_CHUNK_BYTES):
                sink(at, chunk)
                at += len(chunk)
        if at == end:
            finished(begin)
        return at == end, is_piece


def fetch_pieces(file: ServedFile, part: Path, told: MoreBytes) -> bool:
    """Fetch a file, or those pieces of it that an interrupted attempt left out.

    Args:
        file: Which.
        part: Where it is as long as it is unfinished; beside it is kept which pieces are there.
        told: Told how many bytes more are there.

    Returns:
        Whether it came as long as it is.
    """
    kept = part.with_name(f"pieces-of-{part.name}")
    # The last line may be cut off.
    lines = kept.read_text(encoding="ascii").split("\n")[:-1] if kept.is_file() and part.is_file() else []
    done = {int(line) for line in lines}
    if not done:
        part.write_bytes(b"")
    told(sum(min(PIECE_BYTES, file.size - begin) for begin in done))
    with part.open("r+b") as content, kept.open("ab" if done else "wb", buffering=0) as ledger:

        def keep(at: int, chunk: bytes) -> None:
            os.pwrite(content.fileno(), chunk, at)
            told(len(chunk))

        whole = file.read(keep, done=done, finished=lambda begin: ledger.write(f"{begin}\n".encode()))
    kept.unlink()
    return whole


def is_served(store: Any, way: str) -> bool:
    """Whether a tracking server itself takes and gives the files of a store, and not one whose addresses it names.

    Args:
        store: MLflow's access to it.
        way: `upload` or `download`.
    """
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    elsewhere = getattr(store, f"_is_multipart_{way}_enabled", lambda: False)
    return isinstance(store, HttpArtifactRepository) and not elsewhere()


def tells_itself(store: Any, told: MoreBytes) -> bool:
    """Let a store whose client says how far it is within a file say it; returns whether it is such a one.

    Args:
        store: MLflow's access to it; S3's, which goes through boto3, is one.
        told: Told how many bytes more are there, or fewer where a piece is asked for again.
    """
    client = getattr(store, "_get_s3_client", None)
    if client is None:
        return False
    store._get_s3_client = lambda: _TellingClient(client(), told)  # noqa: SLF001
    return True


@dataclass(frozen=True, slots=True)
class _TellingClient:
    """boto3's client, asked for a file as MLflow asks."""

    client: Any
    told: MoreBytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def upload_file(self, *place: str, **said: Any) -> None:
        self.client.upload_file(*place, Callback=self.told, **said)

    def download_file(self, *place: str, **said: Any) -> None:
        self.client.download_file(*place, Callback=self.told, **said)


@dataclass(frozen=True, slots=True)
class _Content:
    """A file as the body of a request: read again from its beginning where the request is sent again."""

    file: Path
    size: int
    told: MoreBytes

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        with self.file.open("rb") as content:
            try:
                while chunk := content.read(_CHUNK_BYTES):
                    yield chunk
                    sent += len(chunk)
                    self.told(len(chunk))
            finally:
                if sent < self.size:
                    self.told(-sent)
