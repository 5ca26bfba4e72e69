"""Measures our registry reads beside the obvious MlflowClient loop, each as a whole process from its start.

A registry of 500 models x 20 versions is built; every version has three tags, 500 carry best_model. Listing and tag
search run on the SQLite file and through a real `mlflow server`, five times each in turns; medians are printed.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests

SOURCE = Path(__file__).resolve().parents[1] / "src"
START_SECONDS = 120

OURS = """
import sys
from pathlib import Path
sys.path.insert(0, {source!r})
from promotion.registry.open import open_registry
from promotion.config.settings import Settings
registry = open_registry(Settings(Path('.'), {uri!r}, {uri!r}, ''))
"""
OBVIOUS = """
from mlflow import MlflowClient
client = MlflowClient({uri!r}, {uri!r})
"""
# What each program prints is compared, so that nobody is fast by finding less.
PROGRAMS = {
    ("list", "ours"): OURS
    + """
models = registry.models()
print(len(models), sum(len(model.versions) for model in models))
""",
    ("list", "MlflowClient"): OBVIOUS
    + """
models, versions, token = 0, set(), None
while True:
    page = client.search_registered_models(max_results=100, page_token=token)
    for model in page:
        models += 1
        for version in client.search_model_versions(f"name='{{model.name}}'"):
            versions.add((model.name, version.current_stage))
    token = page.token
    if not token:
        break
print(models, len(versions))
""",
    ("best_model", "ours"): OURS + "print(len(registry.tagged('best_model', 'true')))",
    ("best_model", "MlflowClient"): OBVIOUS
    + """print(len(client.search_model_versions("tags.best_model = 'true'", max_results=1000)))""",
}


@click.command(help=__doc__)
@click.option("--models", default=500, show_default=True, help="Registered models.")
@click.option("--versions", default=20, show_default=True, help="Versions of each.")
@click.option("--rounds", default=5, show_default=True, help="Measurements of each; the median is printed.")
def main(models: int, versions: int, rounds: int) -> None:
    """Build, measure, print a Markdown table."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        build(database, models, versions)
        click.echo(f"{models} models x {versions} versions, whole processes, median of {rounds}, in seconds\n")
        click.echo("| store | search | ours | MlflowClient | factor | server's own answer |")
        click.echo("|---|---|---:|---:|---:|---:|")
        measure("SQLite", f"sqlite:///{database}", rounds)
        with serving(database) as uri:
            measure("HTTP", uri, rounds)


def build(database: Path, models: int, versions: int) -> None:
    """Let MLflow create the schema, then fill it in bulk."""
    program = OBVIOUS.format(uri=f"sqlite:///{database}") + "client.search_registered_models()"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)  # noqa: S603 - our own program
    now = int(time.time() * 1000)
    every = [(f"model-{model:03}", version) for model in range(models) for version in range(1, versions + 1)]
    stages = {versions: "None", versions - 1: "Production", versions - 2: "Staging"}
    with closing(sqlite3.connect(database)) as store, store:
        store.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, ?, ?)",
            [(f"model-{model:03}", now, now) for model in range(models)],
        )
        store.executemany(
            "INSERT INTO model_versions"
            " (name, version, creation_time, last_updated_time, current_stage, status, source)"
            " VALUES (?, ?, ?, ?, ?, 'READY', '/srv/models')",
            [(name, version, now, now, stages.get(version, "Archived")) for name, version in every],
        )
        store.executemany(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
            [
                *((name, version, "roc_auc", "0.9665") for name, version in every),
                *((name, version, "git_commit", "0123456789abcdef") for name, version in every),
                *((name, version, "algorithm", "random_forest") for name, version in every),
                *((name, version, "best_model", "true") for name, version in every if version == versions),
            ],
        )
        store.executemany(
            "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?, 'production', ?)",
            [(f"model-{model:03}", versions - 1) for model in range(models)],
        )


def measure(store: str, uri: str, rounds: int) -> None:
    """Print one row a search; ours and the obvious way take turns."""
    for search in ("list", "best_model"):
        seconds: dict[str, list[float]] = {"ours": [], "MlflowClient": []}
        found = set()
        for _ in range(rounds):
            for way, measured in seconds.items():
                program = PROGRAMS[search, way].format(source=str(SOURCE), uri=uri)
                started = time.perf_counter()
                done = subprocess.run(  # noqa: S603 - our own program
                    [sys.executable, "-c", program], check=True, capture_output=True, text=True
                )
                measured.append(time.perf_counter() - started)
                found.add(done.stdout)
        if len(found) != 1:
            raise click.ClickException(f"{store} {search}: the two ways found different things: {sorted(found)}")
        ours, obvious = (statistics.median(measured) for measured in seconds.values())
        server = f"{server_answer(uri, search, rounds):.2f}" if uri.startswith("http") else "-"
        click.echo(f"| {store} | {search} | {ours:.2f} | {obvious:.2f} | {obvious / ours:.0f} | {server} |")


def server_answer(uri: str, search: str, rounds: int) -> float:
    """Median seconds the server needs for the one request behind a search, on a warm connection."""
    endpoint, query = {
        "list": ("registered-models", {"max_results": "1000"}),
        "best_model": ("model-versions", {"max_results": "1000", "filter": "tags.best_model = 'true'"}),
    }[search]
    with requests.Session() as session:
        times = [
            session.get(f"{uri}/api/2.0/mlflow/{endpoint}/search", params=query, timeout=60).elapsed.total_seconds()
            for _ in range(rounds)
        ]
    return statistics.median(times)


@contextmanager
def serving(database: Path, workers: int = 1) -> Iterator[str]:
    """A real `mlflow server` on that database, with one process or several."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    uri = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(  # noqa: S603 - our own command
        [
            *(
                sys.executable,
                "-m",
                "mlflow",
                "server",
                "--workers",
                str(workers),
                "--host",
                "127.0.0.1",
                "--port",
                port,
            ),
            *("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(database.parent)),
        ],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_healthy(uri)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_until_healthy(uri: str) -> None:
    """Return once the server answers.

    Raises:
        click.ClickException: It does not within two minutes.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{uri}/health", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise click.ClickException(f"mlflow server did not become healthy within {START_SECONDS} s")


if __name__ == "__main__":
    main()
