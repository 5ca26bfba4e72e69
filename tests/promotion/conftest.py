"""Real registries, seeded once a session and put back to their seed before each test."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from tests.promotion.factories import Store
from tests.promotion.shared_home import SharedHome, restore

from promotion.config.settings import Settings
from promotion.registry.client import ClientRegistry
from promotion.registry.contract import Registry
from promotion.registry.rest import RestRegistry
from promotion.registry.sqlite import SqliteRegistry

SERVER_START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A running `mlflow server` and what it keeps its data in."""

    uri: str
    database: Path
    artifacts: Path


@pytest.fixture(scope="session")
def seeded_database(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that compete, one without versions, a deleted version and a prompt.

    `forest` has 1 Archived, 2 Production (`@production`), 3 Production with best_model and odd tags, 4 None, 5 deleted;
    `linear` has 1 with best_model=true and 2 with best_model=false; `bare` has nothing. One run has three metrics.
    """
    from mlflow import MlflowClient

    folder = tmp_path_factory.mktemp("seed")
    database = Path(shutil.copy(empty_store, folder / "mlflow.db"))
    client = MlflowClient(f"sqlite:///{database}", f"sqlite:///{database}")
    for model, versions in {"forest": 5, "linear": 2, "bare": 0}.items():
        client.create_registered_model(model)
        for number in range(1, versions + 1):
            artifact = folder / model / str(number)
            artifact.mkdir(parents=True)
            (artifact / "MLmodel").write_text(f"{model} {number}\n")
            client.create_model_version(model, source=str(artifact))
    for number, stage in ((1, "Archived"), (2, "Production"), (3, "Production")):
        client.transition_model_version_stage("forest", str(number), stage)
    client.set_registered_model_alias("forest", "production", "2")
    client.delete_model_version("forest", "5")
    for name, version, key, value in (
        ("forest", "3", "best_model", "true"),
        ("forest", "3", "note", "Anna's \U0001f3c6"),
        ("forest", "3", "empty", ""),
        ("linear", "1", "best_model", "true"),
        ("linear", "1", "roc_auc", "0.9665"),
        ("linear", "2", "best_model", "false"),
    ):
        client.set_model_version_tag(name, version, key, value)
    run = client.create_run("0").info.run_id
    for metric, figure in {"roc_auc": 0.9, "undefined": math.nan, "endless": -math.inf}.items():
        client.log_metric(run, metric, figure)
    if hasattr(client, "register_prompt"):  # MLflow 2.22 brought them
        client.register_prompt("greeting", "Hello {{name}}", tags={"best_model": "true"})
    return database


@pytest.fixture(scope="session")
def mlflow_server(seeded_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real `mlflow server` with one worker on a free port."""
    folder = tmp_path_factory.mktemp("server")
    database, artifacts = folder / "mlflow.db", folder / "artifacts"
    artifacts.mkdir()
    restore(seeded_database, database)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(artifacts)),
    ]
    uri = f"http://127.0.0.1:{port}"
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_healthy(uri, server, log)
        yield Server(uri, database, artifacts)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="session")
def _sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteRegistry, Path]:
    path = tmp_path_factory.mktemp("sqlite") / "mlflow.db"
    return SqliteRegistry(f"sqlite:///{path}", path), path


@pytest.fixture(scope="session")
def _client_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClientRegistry, Path]:
    path = tmp_path_factory.mktemp("client") / "mlflow.db"
    return ClientRegistry(f"sqlite:///{path}"), path


@pytest.fixture
def sqlite_registry(seeded_database: Path, _sqlite_store: tuple[SqliteRegistry, Path]) -> SqliteRegistry:
    """The seeded registry, read from its file."""
    registry, path = _sqlite_store
    restore(seeded_database, path)
    return registry


@pytest.fixture
def client_registry(seeded_database: Path, _client_store: tuple[ClientRegistry, Path]) -> ClientRegistry:
    """The seeded registry through MLflow's own client."""
    registry, path = _client_store
    restore(seeded_database, path)
    return registry


@pytest.fixture
def rest_registry(seeded_database: Path, mlflow_server: Server) -> RestRegistry:
    """The seeded registry behind a real server."""
    restore(seeded_database, mlflow_server.database)
    return RestRegistry(mlflow_server.uri)


@pytest.fixture(params=["sqlite", "client", pytest.param("rest", marks=pytest.mark.system)])
def registry(request: pytest.FixtureRequest) -> Registry:
    """Each implementation in turn, all with the same seed."""
    chosen: Registry = request.getfixturevalue(f"{request.param}_registry")
    return chosen


@pytest.fixture
def store(settings: Settings, shared_home: SharedHome) -> Store:
    """MLflow's SQLite store in the test's home, with short verbs to register and move versions."""
    return shared_home.store


def wait_until_healthy(uri: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    pytest.fail(f"mlflow server did not become healthy: {log.read_text(errors='replace')[-2000:]}")
