"""Measures `promotion doctor` on a registry of 500 models x 20 versions, whole processes from their start.

Two versions of each model are in a stage and a third has an alias; each of these has a run and files of its own, which
are looked at whole. On SQLite all of the time is ours; of a real `mlflow server` the same questions are asked once more
by a client that does nothing with the answers, as many at once, and the seconds of that are the server's own.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import requests

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.registry_read import build, serving

Question = tuple[str, str, bytes]
"""Method, path with its query, and body of one call."""

AT_ONCE = 8
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
        with serving(database) as uri:
            with recorded(uri) as (address, questions):
                measured(address, folder)
            found = [(*measured(uri, folder), asked_barely(uri, questions)) for _ in range(rounds)]
            row("HTTP", found)
        click.echo(
            f"\n{len(questions):,} calls; the server's own: the same, {AT_ONCE} at once, by a client that only reads"
        )


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


def asked_barely(uri: str, questions: list[Question]) -> float:
    """Seconds in which the server answers all of them to a client that takes no time of its own."""
    address, of_thread = uri.removeprefix("http://"), threading.local()

    def ask(question: Question) -> None:
        method, path, body = question
        if not hasattr(of_thread, "line"):
            of_thread.line = HTTPConnection(address, timeout=60)
        of_thread.line.request(method, path, body or None, {"content-type": "application/json"} if body else {})
        of_thread.line.getresponse().read()

    started = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(ask, questions))
    return time.perf_counter() - started


@contextmanager
def recorded(uri: str) -> Iterator[tuple[str, list[Question]]]:
    """A proxy in front of a server; its address, and what went through it."""
    questions: list[Question] = []
    of_thread = threading.local()

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            """Note the question, hand it on."""
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            questions.append((self.command, self.path, body))
            if not hasattr(of_thread, "session"):
                of_thread.session = requests.Session()
            found = of_thread.session.request(
                self.command, uri + self.path, data=body, headers={"content-type": "application/json"}, timeout=60
            )
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
        yield f"http://127.0.0.1:{proxy.server_port}", questions
        proxy.shutdown()


if __name__ == "__main__":
    main()
