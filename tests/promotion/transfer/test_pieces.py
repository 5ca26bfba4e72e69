"""Files of a server as streams: in pieces where it gives pieces, gone on with where they ended, told as they come."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository
from mlflow.tracking.request_auth import registry as auth_registry
from mlflow.tracking.request_header import registry
from mlflow.utils import rest_utils
from mlflow.utils.rest_utils import http_request

from promotion.transfer import pieces
from promotion.transfer.files import Stored
from promotion.transfer.pieces import FileServer, ServedFile, fetch_pieces, is_served

CONTENT = bytes(range(95))


class Server(ThreadingHTTPServer):
    """Gives one file, and keeps what it is sent.

    Attributes:
        gives_pieces: Whether it knows ranges.
        fails_from: Requests from this one on are answered with an error that nobody repeats.
        busy: Numbers of the requests that are answered with 503.
        asked: Ranges of the requests so far.
        credentials: What the requests so far were sent with.
        got: What was put.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.gives_pieces, self.fails_from = True, 1000
        self.busy: set[int] = set()
        self.asked: list[str] = []
        self.credentials: list[tuple[str | None, ...]] = []
        self.got: dict[str, bytes] = {}

    def file(self, size: int = len(CONTENT)) -> ServedFile:
        """As a transfer reads it."""
        return ServedFile(FileServer(HttpArtifactRepository(f"http://127.0.0.1:{self.server_port}")), "model.bin", size)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """All of it, or the piece."""
        if self._is_busy():
            return
        said = self.headers.get("Range", "")
        if len(self.server.asked) > self.server.fails_from:
            self.send_error(404)
            return
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", said) if self.server.gives_pieces else None
        body = CONTENT[int(found[1]) : int(found[2]) + 1] if found else CONTENT
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        """Kept."""
        if self._is_busy():
            return
        self.server.got[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_busy(self) -> bool:
        """Note the request; returns whether it was refused for now, after all of it was read."""
        self.server.asked.append(self.headers.get("Range", ""))
        self.server.credentials.append((self.headers.get("Authorization"), self.headers.get("X-Plugin")))
        if len(self.server.asked) not in self.server.busy:
            return False
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def log_message(self, *_arguments: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10)
    with Server() as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield found
        found.shutdown()


@pytest.mark.parametrize("gives_pieces", [True, False])
def test_a_large_file_comes_in_pieces_or_whole(server: Server, tmp_path: Path, *, gives_pieces: bool) -> None:
    """A server without ranges is asked once; either way all of it is there, and told in its bytes."""
    server.gives_pieces = gives_pieces
    told: list[int] = []

    assert fetch_pieces(server.file(), tmp_path / "model.part", told.append)

    assert (CONTENT, len(CONTENT)) == ((tmp_path / "model.part").read_bytes(), sum(told))
    assert (10 if gives_pieces else 1) == len(server.asked) == len(set(server.asked))
    assert ["model.part"] == [path.name for path in tmp_path.iterdir()]


def test_pieces_that_are_there_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    """Cut off after some, also in the middle of a line of the list of them: only the others are asked for."""
    server.fails_from = 4
    with pytest.raises(Exception, match="404"):
        fetch_pieces(server.file(), tmp_path / "model.part", lambda _more: None)
    kept = tmp_path / "pieces-of-model.part"
    whole = kept.read_text().splitlines()
    assert 0 < len(whole) <= 4
    kept.write_text(kept.read_text() + "9")
    server.fails_from, server.asked = 1000, []
    told: list[int] = []

    assert fetch_pieces(server.file(), tmp_path / "model.part", told.append)

    assert (CONTENT, len(CONTENT)) == ((tmp_path / "model.part").read_bytes(), sum(told))
    assert not {begin for begin in whole if any(said.startswith(f"bytes={begin}-") for said in server.asked)}


def test_another_length_is_not_taken_for_the_file(server: Server, tmp_path: Path) -> None:
    """Shorter or longer than was listed."""
    assert not fetch_pieces(server.file(size=120), tmp_path / "model.part", lambda _more: None)
    server.gives_pieces = False
    assert not fetch_pieces(server.file(size=40), tmp_path / "other.part", lambda _more: None)


def test_a_file_is_sent_as_it_is_and_told_as_it_goes(server: Server, tmp_path: Path) -> None:
    """Chunk by chunk."""
    (tmp_path / "model.bin").write_bytes(CONTENT * 30_000)
    told: list[int] = []

    server.file(len(CONTENT) * 30_000).write(tmp_path / "model.bin", told.append)

    assert CONTENT * 30_000 == server.got["/model.bin"]
    assert (True, len(CONTENT) * 30_000) == (len(told) > 2, sum(told))


def note_mlflows_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Methods of the requests that MLflow itself sends."""
    asked: list[str] = []

    def noted(*given: Any, **said: Any) -> Any:
        asked.append(given[2])
        return http_request(*given, **said)

    monkeypatch.setattr(rest_utils, "http_request", noted)
    return asked


def test_mlflow_says_once_how_a_server_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each request says is what MLflow said in the first; only what a plugin adds may be another each time."""
    asked, tokens, file = note_mlflows_requests(monkeypatch), count(), server.file()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    monkeypatch.setattr(registry, "resolve_request_headers", lambda: {"X-Plugin": str(next(tokens))})

    for _ in range(2):
        assert file.read(lambda _at, _chunk: None)

    assert ["GET"] == asked
    assert {"Bearer secret"} == {token for token, _ in server.credentials}
    assert 20 == len({plugin for _, plugin in server.credentials}) == len(server.asked)


@pytest.mark.parametrize("busy", [{1}, {2}, {2, 3}])
def test_what_a_server_refuses_for_now_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: set[int]
) -> None:
    """At the first request or a later one; what was sent in vain does not count as sent."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    (tmp_path / "model.bin").write_bytes(CONTENT)
    file, server.busy = server.file(), busy
    told: list[int] = []
    found: dict[int, bytes] = {}

    file.write(tmp_path / "model.bin", told.append)
    file.write(tmp_path / "model.bin", told.append)
    assert file.read(found.__setitem__)

    assert 2 * len(CONTENT) == sum(told)
    assert CONTENT == b"".join(found[at] for at in sorted(found))


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_AUTH", "HTTP_PROXY"])
def test_signed_and_passed_on_requests_stay_mlflows(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each is signed anew, or goes where the environment sends it."""
    asked = note_mlflows_requests(monkeypatch)
    monkeypatch.setenv(name, {"HTTP_PROXY": f"http://127.0.0.1:{server.server_port}"}.get(name, "signed"))
    monkeypatch.setattr(auth_registry, "fetch_auth", lambda _name: lambda request: request)
    address = "http://models.example.com" if name == "HTTP_PROXY" else f"http://127.0.0.1:{server.server_port}"
    file = ServedFile(FileServer(HttpArtifactRepository(address)), "model.bin", len(CONTENT))

    assert file.read(lambda _at, _chunk: None)

    assert len(server.asked) == len(asked)


def test_what_arrived_is_compared_byte_by_byte(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever piece it differs, and where it is shorter; how far it is is told within a file."""
    store = server.file().server.store
    monkeypatch.setattr(Stored, "_open", lambda _stored: nullcontext(store))
    for number, content in enumerate((CONTENT, CONTENT[:57] + b"!" + CONTENT[58:], CONTENT + b"!")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "model.bin").write_bytes(content)
        told: list[int] = []

        def progress(_step: str, done: int, _total: int, told: list[int] = told) -> None:
            told.append(done)

        found = Stored("mlflow-artifacts:/x").differing(folder, ["model.bin"], progress)

        assert (["model.bin"] if number else []) == found
        assert (True, len(CONTENT)) == (len(told) > 9, told[-1])


def test_stores_with_addresses_of_their_own_keep_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MLflow would go past the server for a file, it still does."""
    store: Any = HttpArtifactRepository("http://127.0.0.1:9")
    assert is_served(store, "upload")
    assert is_served(store, "download")
    monkeypatch.setattr(store, "_is_multipart_upload_enabled", lambda: True)
    assert not is_served(store, "upload")
    assert not is_served(object(), "download")


class Bucket:
    """Stands in for boto3's client: the two calls that MLflow makes of it for a file, half of the file at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def upload_file(self, Filename: str, Bucket: str, Key: str, ExtraArgs: Any, Callback: Any) -> None:  # noqa: N803
        """A file goes there."""
        assert ("models", True) == (Bucket, isinstance(ExtraArgs, dict))
        self._copy(Path(Filename), self.folder / Key, Callback)

    def download_file(self, bucket: str, key: str, file: str, Callback: Any) -> None:  # noqa: N803
        """A file comes."""
        assert "models" == bucket
        self._copy(self.folder / key, Path(file), Callback)

    def _copy(self, here: Path, there: Path, told: Any) -> None:
        there.parent.mkdir(parents=True, exist_ok=True)
        content = here.read_bytes()
        there.write_bytes(content)
        for half in (content[: len(content) // 2], content[len(content) // 2 :]):
            told(len(half))


def test_a_bucket_says_how_far_it_is_within_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent, fetched and read again, each byte is told once; a stand-in, as boto3 is no part of the tests."""
    store = S3ArtifactRepository("s3://models/run")
    monkeypatch.setattr(store, "_get_s3_client", lambda: Bucket(tmp_path / "bucket"))
    monkeypatch.setattr(Stored, "_open", lambda _stored: nullcontext(store))
    monkeypatch.setattr(Stored, "listing", lambda _stored: {"data/model.bin": len(CONTENT)})
    real, told = store._get_s3_client, []
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "model.bin").write_bytes(CONTENT)

    def progress(_step: str, done: int, _total: int) -> None:
        told.append(done)

    stored = Stored("s3://models/run")
    for act in (
        lambda: stored.put(tmp_path, ["data/model.bin"], progress),
        lambda: stored.fetch(tmp_path / "fetched", progress),
        lambda: stored.differing(tmp_path / "fetched", ["data/model.bin"], progress),
    ):
        told.clear()
        monkeypatch.setattr(store, "_get_s3_client", real)
        act()
        assert [0, len(CONTENT) // 2, len(CONTENT)] == told
    assert CONTENT == (tmp_path / "fetched" / "data" / "model.bin").read_bytes()


def test_modules_that_mlflow_looks_for_at_every_request_are_looked_for_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine times a request, one thread at a time, it took longer than a small file; afterwards all is as before."""
    searched: list[str] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, *_where: object) -> None:
            searched.append(name)

    monkeypatch.delitem(sys.modules, "dbruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with Stored(f"http://127.0.0.1:{server.server_port}")._open():
        for _ in range(3):
            server.file().read(lambda _at, _chunk: None)

    assert 1 >= searched.count("dbruntime")
    assert "dbruntime" not in sys.modules
