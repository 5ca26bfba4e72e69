"""Measures `promotion doctor` on a registry of 500 models x 20 versions, whole processes from their start.

Two versions of each model are in a stage and a third has an alias; each of these has a run and files of its own, which
are looked at whole. On SQLite all of the time is ours; through a real `mlflow server` the seconds that the server took
for its answers are told apart, by a proxy that adds them up.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.registry_read import build, serving

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "doctor.py"
FILES = {
    "MLmodel": "flavors:\n  xgboost: {data: model.ubj}\n",
    "model.ubj": "{" + "L" * 20_000,
    "requirements.txt": "xgboost==3.2.0\n",
    "conda.yaml": "name: mlflow-env\n",
    "python_env.yaml": "python: 3.11.7\n",
}


@click.command(help=__doc__)
@click.option("--models", default=500, show_default=True, help="Registered models.")
@click.option("--versions", default=20, show_default=True, help="Versions of each.")
@click.option("--rounds", default=3, show_default=True, help="Measurements of each; the median is printed.")
def main(models: int, versions: int, rounds: int) -> None:
    """Build, measure, print a Markdown table."""
    with TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        build(database, models, versions)
        give_files(database, Path(folder) / "files")
        click.echo(f"{models} models x {versions} versions, whole processes, median of {rounds}, in seconds\n")
        click.echo("| store | whole | server's own | ours | processor time of ours |")
        click.echo("|---|---:|---:|---:|---:|")
        row("SQLite", [(*measured(f"sqlite:///{database}", folder), 0.0) for _ in range(rounds)])
        with serving(database) as uri, timed(uri) as (address, answers):
            found = []
            for _ in range(rounds):
                answers.clear()
                found.append((*measured(address, folder), covered(answers)))
            row("HTTP", found)


def give_files(database: Path, folder: Path) -> None:
    """A run and files for every version in a stage or with an alias; the newest of each model gets an alias."""
    with closing(sqlite3.connect(database)) as store, store:
        store.execute(
            "INSERT INTO registered_model_aliases (name, alias, version)"
            " SELECT name, 'champion', max(version) FROM model_versions GROUP BY name"
        )
        wanted = store.execute(
            "SELECT name, version FROM model_versions WHERE current_stage IN ('Production', 'Staging')"
            " UNION SELECT name, version FROM registered_model_aliases"
        ).fetchall()
        for name, version in wanted:
            files = folder / name / str(version)
            files.mkdir(parents=True)
            for file, text in FILES.items():
                (files / file).write_text(text, encoding="utf-8")
            run = f"{name}-{version}"
            store.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,"
                " start_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
                " VALUES (?, '', 'LOCAL', '', '', 'tina', 'FINISHED', 0, '', 'active', '', 0)",
                (run,),
            )
            store.execute(
                "UPDATE model_versions SET source = ?, run_id = ? WHERE name = ? AND version = ?",
                (str(files), run, name, version),
            )


def measured(uri: str, folder: str) -> tuple[float, float]:
    """Seconds of one examination, and of processor time; 3 is its answer, because nobody signed what serves."""
    environment = {**os.environ, "PROMOTION_HOME": folder, "PROMOTION_KEYS": f"{folder}/keys"}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, SCRIPT, "--json"],
        env=environment | {"MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 3:  # noqa: PLR2004
        raise click.ClickException(f"exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def row(store: str, found: list[tuple[float, float, float]]) -> None:
    """Print one row of the table."""
    whole, processor, server = (statistics.median(values) for values in zip(*found, strict=True))
    click.echo(f"| {store} | {whole:.1f} | {server:.1f} | {whole - server:.1f} | {processor:.1f} |")


def covered(answers: list[tuple[float, float]]) -> float:
    """Seconds in which the server had at least one answer to give."""
    total, end = 0.0, 0.0
    for begin, until in sorted(answers):
        total += max(0.0, until - max(begin, end))
        end = max(end, until)
    return total


@contextmanager
def timed(uri: str) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """A proxy in front of a server; its address, and begin and end of each answer."""
    answers: list[tuple[float, float]] = []
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Ask the server, note how long it took."""
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            begin = time.perf_counter()
            found = session.request(
                self.command,
                uri + self.path,
                data=body,
                headers={"content-type": "application/json"},
                timeout=60,
            )
            answers.append((begin, time.perf_counter()))
            self.send_response(found.status_code)
            self.send_header("content-type", found.headers.get("content-type", "text/plain"))
            self.send_header("content-length", str(len(found.content)))
            self.end_headers()
            self.wfile.write(found.content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the library's names

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}", answers
        proxy.shutdown()


if __name__ == "__main__":
    main()
