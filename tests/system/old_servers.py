"""MLflow 2.7.1, which hosted servers ran for years, installed beside ours and serving behind its own login."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from tests.system.peer_environments import peer_python
from tests.system.representer_servers import HEALTHY_WITHIN, environment

OLD = "2.7.1"
LOWEST = "2.9.2"
"""The oldest MLflow that is promised to work, as its newest release of that number."""
# Upper bounds that these do not set themselves.
BOUNDS = ("sqlalchemy<2.1", "setuptools<81")
ADMIN = ("admin", "correct horse")


@dataclass(frozen=True, slots=True)
class OldServer:
    """A running server of MLflow 2.7.1.

    Attributes:
        url: Where it answers.
        log: What it writes.
    """

    url: str
    log: Path

    @property
    def credentials(self) -> dict[str, str]:
        """The variables with which a client logs in as the administrator."""
        user, password = ADMIN
        return {
            "MLFLOW_TRACKING_URI": self.url,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
        }


def old_python(release: str = OLD) -> Path:
    """The python of an installation of an old MLflow."""
    return peer_python(f"mlflow-{release}", f"mlflow=={release}", *BOUNDS)


@contextlib.contextmanager
def serve_old(folder: Path) -> Iterator[OldServer]:
    """`mlflow server` 2.7.1 with basic auth on SQLite, storing artifacts itself, answering until the block ends."""
    python = old_python()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    users = folder / "auth.ini"
    users.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\n"
        f"admin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
    )
    server = OldServer(f"http://127.0.0.1:{port}", folder / "old-server.log")
    # It starts gunicorn by name, which must be its own.
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [
                *(str(python), "-m", "mlflow", "server", "--app-name", "basic-auth", "--serve-artifacts"),
                *("--workers", "1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "mlartifacts")),
            ],
            stdout=log,
            stderr=log,
            env=environment(PATH=path, MLFLOW_AUTH_CONFIG_PATH=users),
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + HEALTHY_WITHIN
        while not _is_healthy(server):
            assert process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.2)
        yield server
    finally:
        # Gunicorn's workers outlive a parent that is ended alone.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _is_healthy(server: OldServer) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{server.url}/health", timeout=2, auth=ADMIN).ok
    return False
