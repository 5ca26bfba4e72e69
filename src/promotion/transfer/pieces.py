"""Files behind a server that serves artifacts, as streams: several pieces of a large one at once, none read twice."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
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
_OF_ONE = {"Content-Length", "Content-Type", "Range"}
"""What a request says of itself alone."""


@dataclass(slots=True)
class FileServer:
    """A tracking server, asked for files as MLflow asks, without what MLflow finds out again for each of them.

    The first answer says where, with which credentials and over which connection; that took longer than a small file.

    Attributes:
        store: MLflow's access to the folder the files are in.
    """

    store: Any
    _pool: Any = field(default=None, init=False)
    _headers: Mapping[str, str] = field(default_factory=dict, init=False)

    @contextmanager
    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Any = None
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Send one request.

        Args:
            method: Of HTTP.
            path: Of the file.
            headers: What the request says beside what each says.
            body: What is sent; it may be read again from its beginning.

        Yields:
            The status, which is no failure, and the content as it comes.

        Raises:
            Exception: As MLflow's own request does, after as many attempts.
        """
        from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

        if answer := self._directly(method, path, headers, body):
            try:
                yield answer.status, answer.stream(_CHUNK_BYTES)
            except BaseException:
                answer.close()
                raise
            finally:
                answer.release_conn()
            return
        host, address = self.store._host_creds, posixpath.join("/", path)  # noqa: SLF001
        with http_request(host, address, method, stream=True, data=body, extra_headers=headers) as answer:
            augmented_raise_for_status(answer)
            self._learn(host, answer)
            yield answer.status_code, answer.iter_content(_CHUNK_BYTES)

    def _directly(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Any:
        """The answer; None where MLflow has to ask, which tries again and says what is wrong."""
        if self._pool is None:
            return None
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
        from mlflow.tracking.request_header.registry import resolve_request_headers
        from requests import PreparedRequest
        from urllib3.exceptions import HTTPError

        # A plugin's token may be another by now, and a path is spelled as MLflow's own downloads will spell it.
        said = {**resolve_request_headers(), **self._headers, **headers}
        place = PreparedRequest()
        place.prepare_url(self.store.artifact_uri.rstrip("/") + posixpath.join("/", path), None)
        try:
            answer = self._pool.urlopen(
                method,
                place.path_url,
                body,
                said,
                retries=False,
                redirect=False,
                timeout=MLFLOW_HTTP_REQUEST_TIMEOUT.get(),
                preload_content=False,
            )
        except HTTPError:
            return None
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        answer.close()
        return None

    def _learn(self, host: Any, answer: Any) -> None:
        """Keep what a plain request was sent with; one that is signed, sent on or goes through a proxy is not plain."""
        from mlflow.tracking.request_header.registry import resolve_request_headers
        from requests import Session
        from requests.utils import select_proxy

        found = Session().merge_environment_settings(
            answer.url, {}, stream=True, verify=host.verify, cert=host.client_cert_path
        )
        connect = getattr(answer.connection, "get_connection_with_tls_context", None)
        is_signed = host.auth or host.aws_sigv4 or host.use_databricks_sdk
        if connect is None or is_signed or answer.history or select_proxy(answer.url, found["proxies"]):
            return
        # Credentials of the environment win over a plugin's.
        own = {"Authorization"} if host.token or host.username else set()
        others = resolve_request_headers().keys() - own | _OF_ONE
        self._headers = {name: text for name, text in answer.request.headers.items() if name not in others}
        self._pool = connect(answer.request, found["verify"], cert=found["cert"])


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file that a tracking server serves.

    Attributes:
        server: Which.
        path: Its path there.
        size: Bytes.
    """

    server: FileServer
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
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self.size)}
        with self.server.ask("PUT", self.path, headers, _Content(file, self.size, told)) as (_status, rest):
            for _ in rest:
                pass

    def _piece(self, begin: int, sink: Callable[[int, bytes], None], finished: _PieceDone) -> tuple[bool, bool]:
        """Read from one place on; returns whether all of it came, and whether that is just the piece."""
        end = min(begin + PIECE_BYTES, self.size)
        headers = {"Range": f"bytes={begin}-{end - 1}"} if self.size > PIECE_BYTES else {}
        with self.server.ask("GET", self.path, headers) as (status, content):
            is_piece = status == HTTPStatus.PARTIAL_CONTENT
            at, end = (begin, end) if is_piece else (0, self.size)
            for chunk in content:
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


@dataclass(slots=True)
class _Content:
    """A file as the body of a request: read, and told, again from its beginning where the request is sent again."""

    file: Path
    size: int
    told: MoreBytes
    _sent: int = field(default=0, init=False)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        self.told(-self._sent)
        self._sent = 0
        with self.file.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                yield chunk
                self._sent += len(chunk)
                self.told(len(chunk))
