"""What a download does when the server, the network or the disk misbehaves; the server is a real one."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.data.download import provide
from models.data.transfer import DownloadPatience, SourceUnavailable, fetch
from promotion.config.family import FamilyConfig, load_config
from promotion.data.files import file_sha256
from promotion.errors import DataError

REPOSITORY = Path(__file__).resolve().parents[3]
CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = DownloadPatience(connect=1, read=0.3, attempts=4, first_pause=0.01)


@dataclass
class Behaviour:
    """How the server answers, and what it was asked.

    Attributes:
        content: What it serves.
        statuses: Error statuses to answer first, one a request.
        cut_after: Per request, after how many bytes the connection is closed; whole answers once used up.
        pauses: Per request, seconds of silence in the middle of the body.
        headers: Sent along; they win over the usual ones.
        requests: How many there were.
    """

    content: bytes = CONTENT
    statuses: list[int] = field(default_factory=list)
    cut_after: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: int = 0


class Handler(BaseHTTPRequestHandler):
    """Answers as the server's `behaviour` says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        behaviour: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        behaviour.requests += 1
        status = behaviour.statuses.pop(0) if behaviour.statuses else 200
        body = behaviour.content if status == 200 else b""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | behaviour.headers).items():
            self.send_header(name, value)
        self.end_headers()
        end = behaviour.cut_after.pop(0) if behaviour.cut_after else len(body)
        half = min(end, len(body)) // 2
        self.wfile.write(body[:half])
        if behaviour.pauses:
            self.wfile.flush()
            time.sleep(behaviour.pauses.pop(0))
        self.wfile.write(body[half:end])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Stay silent."""


class Server(ThreadingHTTPServer):
    """A server whose clients may go away while it writes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = Behaviour()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: broken connections are what the tests are about."""

    @property
    def url(self) -> str:
        """Address of the one file it serves."""
        return f"http://127.0.0.1:{self.server_port}/data.csv"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """A URL on this machine that nobody listens to."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/data.csv"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "data.csv"


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def test_file_arrives_whole(server: Server, target: Path) -> None:
    """A plain download creates the folder, leaves only the file, and tells its progress up to the last byte."""
    told: list[tuple[int, int | None]] = []
    fetch(server.url, target, SHA256, progress=lambda done, total: told.append((done, total)), patience=QUICK)
    assert CONTENT == target.read_bytes()
    assert ["data.csv"] == files(target)
    assert (0, len(CONTENT)) == told[0]
    assert (len(CONTENT), len(CONTENT)) == told[-1]


def test_503_is_retried(server: Server, target: Path) -> None:
    """Two 503 answers in a row cost two pauses, not the download."""
    server.behaviour.statuses = [503, 503]
    fetch(server.url, target, SHA256, patience=QUICK)
    assert CONTENT == target.read_bytes()
    assert 3 == server.behaviour.requests


def test_pauses_double(server: Server, target: Path) -> None:
    """The waits between attempts grow: 0.1 s, then 0.2 s."""
    server.behaviour.statuses = [500, 502]
    started = time.monotonic()
    fetch(server.url, target, SHA256, patience=DownloadPatience(attempts=3, first_pause=0.1))
    assert 0.3 <= time.monotonic() - started < 1


def test_attempts_are_bounded(server: Server, target: Path) -> None:
    """A server that stays broken is given up on after the configured attempts, with its answer in the message."""
    server.behaviour.statuses = [503] * 9
    with pytest.raises(SourceUnavailable, match="answered 503 Service Unavailable"):
        fetch(server.url, target, SHA256, patience=QUICK)
    assert 4 == server.behaviour.requests
    assert [] == files(target)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429])
def test_4xx_is_not_retried(status: int, server: Server, target: Path) -> None:
    """An answer that will not change is not asked for again."""
    server.behaviour.statuses = [status] * 9
    with pytest.raises(SourceUnavailable, match=rf"answered {status} .*; check data\.url"):
        fetch(server.url, target, SHA256, patience=QUICK)
    assert 1 == server.behaviour.requests
    assert [] == files(target)


def test_cut_transfer_is_begun_anew(server: Server, target: Path) -> None:
    """A connection that closes before the last byte is tried again; one that keeps closing leaves nothing."""
    server.behaviour.cut_after = [100_000, 50_000]
    fetch(server.url, target, SHA256, patience=QUICK)
    assert CONTENT == target.read_bytes()
    assert 3 == server.behaviour.requests
    target.unlink()
    server.behaviour.cut_after = [200_000]
    with pytest.raises(SourceUnavailable, match="the transfer broke off"):
        fetch(server.url, target, SHA256, patience=DownloadPatience(attempts=1))
    assert [] == files(target)


def test_slow_server_times_out_and_is_retried(server: Server, target: Path) -> None:
    """Silence in the middle of the body ends at the read time-out, and the next attempt succeeds."""
    server.behaviour.pauses = [2]
    started = time.monotonic()
    fetch(server.url, target, SHA256, patience=QUICK)
    assert time.monotonic() - started < 1.5
    assert CONTENT == target.read_bytes()


def test_server_that_stays_slow_is_given_up(server: Server, target: Path) -> None:
    """The message says how long nobody answered."""
    server.behaviour.pauses = [2, 2]
    with pytest.raises(SourceUnavailable, match=r"no answer for 0\.3 s$"):
        fetch(server.url, target, SHA256, patience=DownloadPatience(read=0.3, attempts=2, first_pause=0.01))
    assert not target.exists()


def test_unreachable_port_is_one_short_line(nobody: str, target: Path) -> None:
    """The operating system's own words, without the library's layers around them."""
    with pytest.raises(SourceUnavailable) as caught:
        fetch(nobody, target, SHA256, patience=QUICK)
    assert f"{nobody}: Connection refused" == str(caught.value)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/data.csv", "data.csv", "http://"])
def test_unusable_url(url: str, target: Path) -> None:
    """What is no http address is refused at once."""
    with pytest.raises(SourceUnavailable, match="cannot be fetched"):
        fetch(url, target, SHA256, patience=DownloadPatience(first_pause=60))


def test_wrong_bytes_replace_nothing(server: Server, target: Path) -> None:
    """Another digest discards the download and keeps the file that was there."""
    target.parent.mkdir()
    target.write_text("precious", encoding="utf-8")
    server.behaviour.content = b"age,sex\n1,2\n"
    with pytest.raises(DataError, match=f"expected {SHA256}; these are other bytes; discarded"):
        fetch(server.url, target, SHA256, patience=QUICK)
    assert "precious" == target.read_text(encoding="utf-8")
    assert ["data.csv"] == files(target)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sign in</title>", b"\n <HTML><body>busy</body></HTML>"])
def test_error_page_is_recognised(page: bytes, server: Server, target: Path) -> None:
    """A web page served with 200 is called what it is."""
    server.behaviour.content = page
    with pytest.raises(DataError, match="it looks like HTML"):
        fetch(server.url, target, SHA256, patience=QUICK)
    assert [] == files(target)


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    """A file where the folder should be is one clear line."""
    (tmp_path / "data").write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match=r"data\.csv: cannot be written: .*; make room or give write permission"):
        fetch(server.url, tmp_path / "data" / "data.csv", SHA256, patience=QUICK)


def test_write_that_fails_in_the_middle(server: Server, target: Path) -> None:
    """When the disk takes no more bytes, nothing has the final name and the old file stays."""
    target.parent.mkdir()
    target.write_text("precious", encoding="utf-8")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DataError, match="cannot be written: File too large"):
            fetch(server.url, target, SHA256, patience=QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "precious" == target.read_text(encoding="utf-8")


def test_more_bytes_than_the_disk_has(server: Server, target: Path) -> None:
    """A file announced as larger than the free space is refused before its first byte."""
    server.behaviour.headers = {"Content-Length": str(10**18)}
    with pytest.raises(DataError, match=r"needs 1,000,000,000,000,000,000 bytes, [0-9,]+ are free"):
        fetch(server.url, target, SHA256, patience=QUICK)
    assert [] == files(target)


def _fetch_in_child(url: str, target: Path) -> None:
    fetch(url, target, SHA256, patience=QUICK)


def test_two_processes_at_once(server: Server, target: Path) -> None:
    """Two downloads of the same file do not mix their bytes."""
    server.behaviour.pauses = [0.2, 0.2]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_fetch_in_child, args=(server.url, target)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    assert [0, 0] == [child.exitcode for child in children]
    assert CONTENT == target.read_bytes()
    assert ["data.csv"] == files(target)


@pytest.fixture
def family(server: Server) -> FamilyConfig:
    """The heart-disease family, its data on the test server."""
    return with_data(load_config(REPOSITORY / "config", "heart-disease"), url=server.url, sha256=SHA256)


def with_data(config: FamilyConfig, **changes: object) -> FamilyConfig:
    return config.model_copy(update={"data": config.data.model_copy(update=changes)})


@pytest.fixture
def place(family: FamilyConfig, tmp_path: Path) -> Path:
    path = tmp_path / family.data.path
    path.parent.mkdir()
    return path


def test_verified_file_is_not_fetched(family: FamilyConfig, server: Server, place: Path, tmp_path: Path) -> None:
    """A file with the configured digest is used as it is, and nobody is contacted."""
    place.write_bytes(CONTENT)
    provided = provide(family, tmp_path)
    assert ("cached", True, SHA256, place) == (provided.origin, provided.verified, provided.sha256, provided.path)
    assert 0 == server.behaviour.requests


def test_force_fetches_again(family: FamilyConfig, server: Server, place: Path, tmp_path: Path) -> None:
    """`force` asks the server although the file is fine; `offline` wins over it."""
    place.write_bytes(CONTENT)
    assert "cached" == provide(family, tmp_path, force=True, offline=True).origin
    assert "fetched" == provide(family, tmp_path, force=True, patience=QUICK).origin
    assert 1 == server.behaviour.requests


def test_wrong_file_is_replaced_and_said_so(family: FamilyConfig, place: Path, tmp_path: Path) -> None:
    """A file with another digest is fetched anew, and the report says that it was replaced."""
    place.write_text("old", encoding="utf-8")
    provided = provide(family, tmp_path, patience=QUICK)
    assert CONTENT == place.read_bytes()
    assert "replaced by the download" in str(provided.reason)


def test_verified_file_survives_a_missing_network(
    family: FamilyConfig, nobody: str, place: Path, tmp_path: Path
) -> None:
    """Without network, `force` ends with the verified file that is there, and says why."""
    place.write_bytes(CONTENT)
    provided = provide(with_data(family, url=nobody), tmp_path, force=True, patience=QUICK)
    assert ("kept", f"{nobody}: Connection refused") == (provided.origin, provided.reason)


@pytest.mark.parametrize("content", [None, b"wrong"])
def test_no_verified_file_and_no_network(
    content: bytes | None, family: FamilyConfig, nobody: str, place: Path, tmp_path: Path
) -> None:
    """Without network and without a verified file it fails, names both reasons, and changes nothing."""
    if content:
        place.write_bytes(content)
    with pytest.raises(SourceUnavailable, match=r"Connection refused; .*so there is no verified file"):
        provide(with_data(family, url=nobody), tmp_path, patience=QUICK)
    assert content == (place.read_bytes() if place.exists() else None)


def test_force_with_wrong_bytes_fails_and_keeps_the_file(
    family: FamilyConfig, server: Server, place: Path, tmp_path: Path
) -> None:
    """Wrong bytes from the URL are a failure even when the verified file stays: somebody must look."""
    place.write_bytes(CONTENT)
    server.behaviour.content = b"wrong"
    with pytest.raises(DataError, match="nothing replaced"):
        provide(family, tmp_path, force=True, patience=QUICK)
    assert SHA256 == file_sha256(place)


def test_offline_never_contacts_anyone(family: FamilyConfig, server: Server, place: Path, tmp_path: Path) -> None:
    """`offline` without a verified file fails and says what to do, and the server was not asked."""
    with pytest.raises(DataError, match="it is missing; run without --offline to fetch it"):
        provide(family, tmp_path, offline=True)
    place.write_text("old", encoding="utf-8")
    with pytest.raises(DataError, match=rf"its sha256 is [0-9a-f]+, expected {SHA256}; run without --offline"):
        provide(family, tmp_path, offline=True)
    assert 0 == server.behaviour.requests


def test_family_without_url_or_digest(family: FamilyConfig, place: Path, tmp_path: Path) -> None:
    """A user's own file needs neither: it is used as it is, unverified, and asked for when missing."""
    own = with_data(family, url=None, sha256=None)
    with pytest.raises(DataError, match=r"it is missing, and config/heart-disease\.yaml has no data\.url"):
        provide(own, tmp_path)
    place.write_text("mine", encoding="utf-8")
    provided = provide(own, tmp_path, force=True)
    assert ("cached", False) == (provided.origin, provided.verified)
