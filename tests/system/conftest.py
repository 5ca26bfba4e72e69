"""Real parts for the system tests: a host for commands, an MLflow server, a PostgreSQL cluster, files to register."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from sqlalchemy import create_engine, text
from tests.programs import needed
from tests.system.drivers.commands import Commands
from tests.system.drivers.steps import Steps, every, sample


@pytest.fixture(scope="session")
def commands() -> Iterator[Commands]:
    """Runs real command files."""
    with Commands() as host:
        yield host


@pytest.fixture(params=[sample, pytest.param(every, marks=pytest.mark.peers)])
def steps(request: pytest.FixtureRequest) -> Steps:
    """Which of a command's steps it is killed at, a copy of the world for each."""
    chosen: Steps = request.param
    return chosen


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that stand for a model: an unconfigured family's artifact is digested and never loaded."""
    folder = tmp_path_factory.mktemp("artifact") / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server on SQLite, storing artifacts itself."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_until_healthy(uri, folder / "log")
            yield uri
        finally:
            process.terminate()
            process.wait(timeout=30)


def _wait_until_healthy(uri: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    pytest.fail(f"the MLflow server did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL cluster with the databases `journal` and `mlflow`; the URL has `{}` for the database's name.

    It listens on a socket in its own folder only, so it needs no port and meets no other server.
    """
    binaries = Path(needed("initdb")).parent
    # Its socket's path may have 107 characters at most, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def call(program: str, *arguments: str) -> None:
        command = [str(binaries / program), *arguments]
        subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    data = str(folder / "data")
    try:
        call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        for name in ("journal", "mlflow"):
            call("createdb", "-h", str(folder), "-U", "postgres", name)
        yield f"postgresql+psycopg://postgres@/{{}}?host={folder}"
    finally:
        call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture
def database(postgresql: str) -> Iterator[str]:
    """The URL of a database of the test's own: what it does there concerns nobody else."""
    name = f"test_{uuid4().hex[:12]}"
    engine = create_engine(postgresql.format("journal"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield postgresql.format(name)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
