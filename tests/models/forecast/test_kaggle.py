"""Kaggle's files come with the user's own account, whole or not at all; a real server on this machine plays Kaggle."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.forecast.data.kaggle import credentials, fetch_competition
from promotion.errors import DataError

NAMES = ("train.csv", "store.csv")


@dataclass
class Kaggle:
    """What the server answers, and what it was asked."""

    address: str = ""
    status: int = 200
    body: bytes = b""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def kaggle() -> Iterator[Kaggle]:
    state = Kaggle()

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.address = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()
        thread.join()


def _archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, f"content of {name}")
    return buffer.getvalue()


def test_both_files_arrive(kaggle: Kaggle, tmp_path: Path) -> None:
    """The archive is fetched with the account and unpacked; nothing else is left behind."""
    kaggle.body = _archive(*NAMES, "test.csv")

    fetch_competition("some-sales", NAMES, tmp_path / "data", ("anna", "secret"), server=kaggle.address)

    assert set(NAMES) == {path.name for path in (tmp_path / "data").iterdir()}
    assert "content of store.csv" == (tmp_path / "data" / "store.csv").read_text()
    assert [("/api/v1/competitions/data/download-all/some-sales", "Basic YW5uYTpzZWNyZXQ=")] == kaggle.asked


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [(403, b"", "accept the rules"), (500, b"", "try again later"), (200, _archive("train.csv"), "no archive with")],
)
def test_a_refusal_leaves_the_folder_as_it_was(
    kaggle: Kaggle, tmp_path: Path, status: int, body: bytes, message: str
) -> None:
    """One clear line, and no half of the data."""
    kaggle.status, kaggle.body = status, body

    with pytest.raises(DataError, match=message):
        fetch_competition("some-sales", NAMES, tmp_path, ("anna", "secret"), server=kaggle.address)
    assert [] == list(tmp_path.iterdir())


def test_the_account_is_looked_for_in_two_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment first, then Kaggle's own file; none of them is no error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.delenv("KAGGLE_KEY", raising=False)
    assert credentials() is None

    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "kaggle.json").write_text('{"username": "anna", "key": "filed"}')
    assert ("anna", "filed") == credentials()

    monkeypatch.setenv("KAGGLE_USERNAME", "ben")
    monkeypatch.setenv("KAGGLE_KEY", "exported")
    assert ("ben", "exported") == credentials()
