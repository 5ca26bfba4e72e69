"""Really fitted models in exported folders, and the real server on a free port."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import uvicorn
from tests.promotion.serving import exporting

from promotion.config.settings import REPOSITORY
from promotion.serving.__main__ import StoppableServer
from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.scoring import Scorer
from promotion.serving.settings import ServerSettings
from promotion.signing.keys import Keys, public_pem, ssh_public_key
from promotion.signing.ssh import sign
from promotion.signing.sshsig import EXPORT

START_SECONDS = 10


@dataclass(frozen=True)
class Fitted:
    """An exported folder, and what it was made of."""

    folder: Path
    pipeline: Any
    rows: pd.DataFrame


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    answering: ModelEndpoint
    session: requests.Session

    def post(self, path: str, content: object, **headers: str) -> requests.Response:
        """Send JSON, or text as it is."""
        body = {"data": content} if isinstance(content, str | bytes) else {"json": content}
        return self.session.post(self.url + path, headers=headers, timeout=10, **body)

    def get(self, path: str, **headers: str) -> requests.Response:
        """Ask for a document."""
        return self.session.get(self.url + path, headers=headers, timeout=10)


def _fitted(tmp_path_factory: pytest.TempPathFactory, family: str, algorithm: str, **options: Any) -> Fitted:
    home = tmp_path_factory.mktemp("home")
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    config, parts, pipeline = exporting.fit(family, algorithm, home)
    folder = exporting.export(tmp_path_factory.mktemp("export") / family, config, parts, pipeline, **options)
    return Fitted(folder, pipeline, parts.test_features)


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Heart disease by logistic regression, version 3."""
    return _fitted(tmp_path_factory, "heart-disease", "logistic_regression")


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Heart disease by a random forest, version 7."""
    model = "heart-disease-random_forest"
    return _fitted(tmp_path_factory, "heart-disease", "random_forest", version=7, model=model)


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Heart disease by logistic regression, not converted."""
    return _fitted(tmp_path_factory, "heart-disease", "logistic_regression", engine="native")


Serve = Callable[..., Served]


def _serve(started: list[uvicorn.Server], variables: dict[str, str], engine: Any = None) -> Served:
    settings = ServerSettings.from_environment({"HOST": "127.0.0.1", "SHUTDOWN_SECONDS": "5", **variables})
    answering = ModelEndpoint(settings, Scorer(settings))
    if engine is not None:
        object.__setattr__(answering.scorer.champion, "engine", engine)
    listener = socket.create_server(("127.0.0.1", 0))
    server = StoppableServer(answering)
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    started.append(server)
    return Served(f"http://127.0.0.1:{listener.getsockname()[1]}", answering, requests.Session())


def _stop(started: list[uvicorn.Server]) -> None:
    for server in started:
        server.should_exit = True


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers with the environment variables given."""
    started: list[uvicorn.Server] = []
    yield lambda folder, engine=None, **variables: _serve(started, {"MODEL_DIR": str(folder), **variables}, engine)
    _stop(started)


@pytest.fixture(scope="session")
def server(linear: Fitted) -> Iterator[Served]:
    """The logistic regression, served with small limits."""
    started: list[uvicorn.Server] = []
    yield _serve(started, {"MODEL_DIR": str(linear.folder), "MAX_BATCH": "100", "MAX_BODY_BYTES": "50000"})
    _stop(started)


@pytest.fixture
def row(linear: Fitted) -> dict[str, Any]:
    """A held-out patient without missing values."""
    return exporting.records(linear.rows.dropna().head(1))[0]


@pytest.fixture
def signed(linear: Fitted, tmp_path: Path) -> Path:
    """An exported folder with its signature; the keys that are trusted lie beside it."""
    folder = shutil.copytree(linear.folder, tmp_path / "model")
    key = Keys(tmp_path / "own" / "key.pem").signing_key()
    (folder / "manifest.sig").write_text(sign((folder / "manifest.json").read_bytes(), key, EXPORT))
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    Keys(tmp_path / "stranger" / "key.pem").signing_key()
    (trusted / "older.pem").write_bytes(public_pem(Keys(tmp_path / "older" / "key.pem").signing_key()))
    (trusted / "pipeline.pub").write_text(ssh_public_key(key))
    return folder
