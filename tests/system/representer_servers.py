"""An affected MLflow installation, MLflow servers on any store, and an eye kept on their stages."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tests.system.peer_environments import peer_python

AFFECTED = "3.4.0"
# MLflow 3.4.0 sets no upper bounds here: SQLAlchemy 2.1 breaks it, the next Starlette announces that it will.
REQUIREMENTS = (f"mlflow=={AFFECTED}", "sqlalchemy<2.1", "fastapi==0.165.0", "starlette==1.10.0")
HEALTHY_WITHIN = 90.0  # seconds


def affected_python() -> Path:
    """The python of an installation of the affected MLflow."""
    return peer_python(f"mlflow-{AFFECTED}", *REQUIREMENTS)


def environment(**variables: object) -> dict[str, str]:
    """This process's environment without its MLflow and promotion settings, and with our python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PROMOTION_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return (
        kept
        | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        | {name: str(value) for name, value in variables.items()}
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A running MLflow server, asked by plain REST about the model `churn`.

    Attributes:
        url: Where it answers.
        log: What it writes.
    """

    url: str
    log: Path

    def versions(self) -> dict[int, dict[str, Any]]:
        """Every version by number."""
        answer = requests.get(
            f"{self.url}/api/2.0/mlflow/model-versions/search", params={"filter": "name = 'churn'"}, timeout=10
        )
        answer.raise_for_status()
        return {int(version["version"]): version for version in answer.json()["model_versions"]}

    def stages(self) -> dict[int, str]:
        """The stage of every version."""
        return {number: str(version["current_stage"]) for number, version in self.versions().items()}

    def tags(self, number: int) -> dict[str, str]:
        """The tags of one version."""
        return {tag["key"]: tag["value"] for tag in self.versions()[number].get("tags", [])}

    def aliases(self) -> dict[str, int]:
        """What each alias points at."""
        answer = requests.get(
            f"{self.url}/api/2.0/mlflow/registered-models/get", params={"name": "churn"}, timeout=10
        ).json()
        return {item["alias"]: int(item["version"]) for item in answer["registered_model"]["aliases"]}


@contextlib.contextmanager
def serve(python: Path, store: str, folder: Path, **variables: str) -> Iterator[Server]:
    """`mlflow server` of one installation on one store, answering until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", folder / f"server-{port}.log")
    with server.log.open("w") as log:
        process = subprocess.Popen(
            [
                *(str(python), "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
                *("--backend-store-uri", store, "--artifacts-destination", str(folder / "mlartifacts")),
            ],
            stdout=log,
            stderr=log,
            env=environment(**variables),
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
        # The server's worker outlives a parent that is ended alone.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _is_healthy(server: Server) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(f"{server.url}/health", timeout=2).ok
    return False


@contextlib.contextmanager
def watched(server: Server) -> Iterator[list[dict[int, str]]]:
    """Ask the server for all stages, again and again, while the block runs."""
    seen: list[dict[int, str]] = [server.stages()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(server.stages())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        seen.append(server.stages())
