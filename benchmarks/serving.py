"""The server of the image against `mlflow models serve`: the same version, one worker, one row a request, keep-alive.

Trains heart-disease into a temporary registry, exports a linear model and a forest of 100 trees, and lets wrk (Debian
and Ubuntu: apt-get install wrk) ask both servers the same in turns. Then: cold start, memory, batches of 10,000 rows.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import requests

REPOSITORY = Path(__file__).resolve().parents[1]
ALGORITHMS = ("logistic_regression", "random_forest")
CONNECTIONS = (1, 16)
START_SECONDS = 120
WARM_UP_SECONDS = 2
INFER = "/v2/models/heart-disease/infer"
JSON_TYPE = {"Content-Type": "application/json"}
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests a second, and two percentiles of the latency in milliseconds."""

    rate: float
    median: float
    slowest: float


@click.command(help=__doc__)
@click.option("--seconds", default=10, show_default=True, help="Length of each measurement with wrk.")
@click.option("--algorithm", "algorithms", multiple=True, default=ALGORITHMS, show_default=True)
@click.option("--batch", default=10_000, show_default=True, help="Rows of a batch.")
@click.option("--repeats", default=25, show_default=True, help="How often a batch is sent; a fifth as many starts.")
def main(seconds: int, algorithms: tuple[str, ...], batch: int, repeats: int) -> None:
    """Measure, print Markdown tables."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is missing: apt-get install wrk")
    with TemporaryDirectory() as folder:
        home = Path(folder)
        train(home)
        exports = {algorithm: export(home, algorithm) for algorithm in algorithms}
        click.echo(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.2f}\n")
        compare(home, exports, seconds)
        start_and_memory(exports, batch, max(1, repeats // 5))
        batches(home, exports, batch, repeats)


def environment(home: Path) -> dict[str, str]:
    """Everything in the temporary home."""
    store = f"sqlite:///{home}/mlflow.db"
    ours = {"PROMOTION_HOME": str(home), "PROMOTION_KEYS": str(home / "keys"), "PYTHONPATH": str(REPOSITORY / "src")}
    return {**os.environ, **ours, "MLFLOW_TRACKING_URI": store, "MLFLOW_DISABLE_TELEMETRY": "true"}


def command(home: Path, *arguments: str) -> None:
    """Run one of the project's commands."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, *arguments], cwd=REPOSITORY, env=environment(home), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(f"{arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")


def train(home: Path) -> None:
    """Register a version of each algorithm."""
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    command(home, "src/models/train.py", "--model", "heart-disease")


def export(home: Path, algorithm: str) -> Path:
    """The version's folder for the server."""
    folder = home / "export" / algorithm
    name = f"heart-disease-{algorithm}"
    command(home, "scripts/export-model.py", "--model", name, "--version", "1", "--output", str(folder))
    return folder


def compare(home: Path, exports: dict[str, Path], seconds: int) -> None:
    """Print throughput and latency of both servers."""
    click.echo("| model | connections | server | requests/s | p50 ms | p99 ms | throughput | p99 |")
    click.echo("|---|---:|---|---:|---:|---:|---:|---:|")
    for algorithm, folder in exports.items():
        row = one_row(folder)
        split = {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}
        routes = {"/invocations": split, "/predict": row}
        with mlflow_server(home, algorithm) as url:
            theirs = {count: wrk(home, f"{url}/invocations", split, count, seconds) for count in CONNECTIONS}
        with our_server(folder) as (url, _process):
            ours = {
                (route, count): wrk(home, url + route, body, count, seconds)
                for route, body in routes.items()
                for count in CONNECTIONS
            }
        for count in CONNECTIONS:
            base = theirs[count]
            click.echo(f"| {algorithm} | {count} | mlflow models serve | {cells(base)} | 1 | 1 |")
            for route in routes:
                load = ours[route, count]
                gain = f"{load.rate / base.rate:.1f} × | 1/{base.slowest / load.slowest:.1f}"
                click.echo(f"| {algorithm} | {count} | ours, {route} | {cells(load)} | {gain} |")


def cells(load: Load) -> str:
    """Three columns."""
    return f"{load.rate:,.0f} | {load.median:.2f} | {load.slowest:.2f}"


def one_row(folder: Path) -> dict[str, float]:
    """A held-out row without missing values, whole numbers as MLflow's signature wants them."""
    rows: list[dict[str, float]] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))["rows"]
    return next(row for row in rows if None not in row.values())


def wrk(home: Path, url: str, body: object, connections: int, seconds: int) -> Load:
    """One thread of wrk, keep-alive; anything but 200 ends the measurement."""
    script, content = home / "wrk.lua", home / "body.json"
    content.write_text(json.dumps(body), encoding="utf-8")
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'local file = io.open("{content}")\nwrk.body = file:read("*a")\nfile:close()\n',
        encoding="utf-8",
    )
    for duration in (min(WARM_UP_SECONDS, seconds), seconds):
        line = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{duration}s",
            "--latency",
            "--timeout",
            "10s",
            "-s",
            str(script),
            url,
        ]
        text = subprocess.run(line, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own command
    if "Non-2xx" in text or "Socket errors" in text:
        raise click.ClickException(f"{url}: {text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    found = {share: re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s)", text) for share in (50, 99)}
    median, slowest = (float(hit[1]) * UNITS[hit[2]] if hit else float("nan") for hit in found.values())
    return Load(float(rate[1]) if rate else float("nan"), median, slowest)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def mlflow_server(home: Path, algorithm: str) -> Iterator[str]:
    """`mlflow models serve` of the registered version, with one worker."""
    port = str(free_port())
    line = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/heart-disease-{algorithm}/1"),
        *("--env-manager", "local", "--workers", "1", "--host", "127.0.0.1", "--port", port),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with process(line, {**environment(home), "PATH": path}, f"http://127.0.0.1:{port}", "/ping"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def our_server(folder: Path, *, program: str = "", **variables: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`python -m promotion.serving` of the exported folder, or a program that starts it."""
    port = str(free_port())
    ours = {"MODEL_DIR": str(folder), "HOST": "127.0.0.1", "PORT": port, "PYTHONPATH": str(REPOSITORY / "src")}
    url = f"http://127.0.0.1:{port}"
    line = [sys.executable, *(("-c", program) if program else ("-m", "promotion.serving"))]
    with process(line, {**os.environ, **ours, **variables}, url, "/ready") as started:
        yield url, started


@contextmanager
def process(line: list[str], variables: dict[str, str], url: str, probe: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, from its first answer until the block ends."""
    server = subprocess.Popen(  # noqa: S603 - our own command
        line, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            try:
                if requests.get(url + probe, timeout=2).ok:
                    break
            except requests.RequestException:
                time.sleep(0.01)
        else:
            raise click.ClickException(f"{' '.join(line[1:4])} did not answer within {START_SECONDS} s")
        yield server
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def start_and_memory(exports: dict[str, Path], batch: int, starts: int) -> None:
    """Print the time from the process's start to its readiness, and its memory before and after requests."""
    click.echo("\n| model | start to ready s | RSS MB at start | after 10 batches |")
    click.echo("|---|---:|---:|---:|")
    for algorithm, folder in exports.items():
        seconds = []
        for _ in range(starts):
            begun = time.perf_counter()
            with our_server(folder) as (url, server):
                seconds.append(time.perf_counter() - begun)
                before = resident(server.pid)
                body = {"rows": [one_row(folder)] * batch}
                for _ in range(10):
                    requests.post(f"{url}/predict", json=body, timeout=60).raise_for_status()
                after = resident(server.pid)
        click.echo(f"| {algorithm} | {statistics.median(seconds):.2f} | {before:.0f} | {after:.0f} |")


def resident(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def batches(home: Path, exports: dict[str, Path], batch: int, repeats: int) -> None:
    """Print the time of a batch in each protocol against onnxruntime's own, and against MLflow's server.

    Over HTTP is what a client waits for; in the server is reading, scoring and writing without the transfer.
    """
    click.echo(f"\n| model | {batch:,} rows | over HTTP ms | against onnxruntime | in the server ms | |")
    click.echo("|---|---|---:|---:|---:|---:|")
    for algorithm, folder in exports.items():
        rows = [one_row(folder)] * batch
        bare = median_ms(bare_call(folder, rows), repeats)
        click.echo(f"| {algorithm} | onnxruntime alone, one thread | | | {bare:.1f} | 1 |")
        bodies = batch_bodies(rows)
        handle = in_process(folder)
        with our_server(folder) as (url, _server), connection(url) as client:
            for name, (path, body, headers) in bodies.items():
                took = median_ms(partial(post, client, path, body, headers), repeats)
                inside = median_ms(partial(handle, path, body, headers), repeats)
                cells = f"{took:.1f} | {took / bare:.1f} × | {inside:.1f} | {inside / bare:.1f} ×"
                click.echo(f"| {algorithm} | {name} | {cells} |")
        with mlflow_server(home, algorithm) as url, connection(url) as client:
            path, body, headers = bodies["/invocations, dataframe_split"]
            took = median_ms(partial(post, client, path, body, headers), repeats)
            click.echo(f"| {algorithm} | mlflow models serve, dataframe_split | {took:.1f} | {took / bare:.1f} × | | |")


def in_process(folder: Path) -> Callable[[str, bytes, dict[str, str]], bytes]:
    """What the server does with a body, called without HTTP."""
    # This file has the package's name and would hide it.
    sys.path[0] = str(REPOSITORY / "src")
    from promotion.serving.exported.rows import RowReader
    from promotion.serving.protocols import Read
    from promotion.serving.protocols.inference import InferenceProtocol
    from promotion.serving.protocols.mlflow import MlflowProtocol
    from promotion.serving.protocols.typed import TypedProtocol
    from promotion.serving.scoring import Scorer, Ticket
    from promotion.serving.settings import ServerSettings

    gc.freeze()
    settings = ServerSettings.from_environment({"MODEL_DIR": str(folder)})
    scorer = Scorer(settings)
    reader = RowReader(scorer.champion.schema, settings.max_batch)
    reads: dict[str, Read] = {
        INFER: InferenceProtocol(reader).read,
        "/invocations": MlflowProtocol(reader).read,
        "/predict": TypedProtocol(reader).read,
    }

    def handle(path: str, body: bytes, headers: dict[str, str]) -> bytes:
        matrix, write, _identifier = reads[path](body, {name.lower(): value for name, value in headers.items()})
        prediction = scorer.score(scorer.champion, matrix, Ticket("1", "1", time.perf_counter()))
        content, _headers = write(scorer.champion, prediction, "1")
        return content

    return handle


def batch_bodies(rows: list[dict[str, float]]) -> dict[str, tuple[str, bytes, dict[str, str]]]:
    """Path, body and headers of the same batch in each protocol."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    split = {"dataframe_split": {"columns": list(columns), "data": [list(row.values()) for row in rows]}}
    tensor = {"datatype": "FP32", "shape": [len(rows), 1]}
    tensors = {"inputs": [{"name": name, **tensor, "data": values} for name, values in columns.items()]}
    size = {"binary_data_size": 4 * len(rows)}
    sizes = [{"name": name, **tensor, "parameters": size} for name in columns]
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": sizes}).encode()
    raw = head + np.array(list(columns.values()), dtype="<f4").tobytes()
    return {
        "/v2, binary tensors": (INFER, raw, {"Inference-Header-Content-Length": str(len(head))}),
        "/v2, JSON tensors": (INFER, json.dumps(tensors).encode(), JSON_TYPE),
        "/invocations, dataframe_split": ("/invocations", json.dumps(split).encode(), JSON_TYPE),
        "/predict, rows": ("/predict", json.dumps({"rows": rows}).encode(), JSON_TYPE),
    }


def bare_call(folder: Path, rows: list[dict[str, float]]) -> Callable[[], Any]:
    """The model alone, on arrays that lie ready, with the server's own options."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = str(folder / "model.onnx")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = {name: np.array([[row[name]] for row in rows], dtype=np.float32) for name in rows[0]}
    return partial(session.run, ["label", "probabilities"], inputs)


@contextmanager
def connection(url: str) -> Iterator[HTTPConnection]:
    """Keep-alive by the standard library's client, the one that adds least of its own."""
    client = HTTPConnection(url.removeprefix("http://"), timeout=60)
    client.connect()
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    yield client
    client.close()


def post(client: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> None:
    """One request that must succeed; the answer is read to its end."""
    client.request("POST", path, body, headers)
    answer = client.getresponse()
    content = answer.read()
    if answer.status != HTTPStatus.OK:
        raise click.ClickException(f"{path}: {answer.status}: {content[:200]!r}")


def median_ms(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call after two for warming up."""
    times = []
    for _ in range(repeats + 2):
        begun = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
