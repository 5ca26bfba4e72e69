"""`python -m promotion.serving` as a process: how it starts, how it stops, what it says and what it never imports."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted
from tests.promotion.serving.mixed import export_of_every_kind, rows_of_every_kind
from tests.promotion.serving.requests_by_protocol import Row

from promotion.config.settings import REPOSITORY
from promotion.export.folder import ServingEngine

READY_SECONDS = 20
ABSENT = {"mlflow", "sklearn", "skops", "pandas", "scipy", "sqlalchemy", "models"}


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "src"), "HOST": "127.0.0.1", **variables}


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def call(module: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module]
    return subprocess.run(
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=60
    )


Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """A server process that is ready, and its port."""
    processes: list[subprocess.Popen[str]] = []

    def launch(folder: Path, program: str | None = None, **variables: str) -> tuple[subprocess.Popen[str], str]:
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, *(["-m", "promotion.serving"] if program is None else ["-c", program])],
            env=environment(MODEL_DIR=str(folder), PORT=port, **variables),
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if requests.get(f"http://127.0.0.1:{port}/ready", timeout=1).ok:
                    return process, port
            except requests.ConnectionError:
                time.sleep(0.02)
        raise AssertionError(f"not ready: {process.communicate()[1]}")

    yield launch
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.system
def test_requests_in_flight_are_finished(start: Start, linear: Fitted, row: Row) -> None:
    """Asked to stop while a request is half sent: it is answered, then the process ends with 0."""
    process, port = start(linear.folder)
    body = json.dumps(row).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + body[:20])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=1)
        connection.sendall(body[20:])
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 200")
    assert 0 == process.wait(10)


@pytest.mark.system
def test_a_request_that_never_ends_does_not_keep_the_server(start: Start, linear: Fitted) -> None:
    """After SHUTDOWN_SECONDS the process ends, whoever is still sending."""
    process, port = start(linear.folder, SHUTDOWN_SECONDS="1")
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(10)


SLOW_SHADOW = """
import runpy, sys, time
from promotion.serving.exported.engines import OnnxEngine

answer, asked = OnnxEngine.predict, set()

def slowly(engine, matrix):
    if engine._shadow and engine in asked:
        time.sleep(60)
    asked.add(engine)
    return answer(engine, matrix)

start = OnnxEngine.__init__

def begun(engine, export):
    engine._shadow = export.manifest.version == 7
    start(engine, export)

OnnxEngine.__init__ = begun
OnnxEngine.predict = slowly
runpy.run_module("promotion.serving", run_name="__main__")
"""


@pytest.mark.system
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("variable", ["SHADOW_MODEL", "AB_MODEL"])
def test_a_slow_second_version_does_not_keep_the_server(
    variable: str, asked: signal.Signals, start: Start, linear: Fitted, forest: Fitted, row: Row, tmp_path: Path
) -> None:
    """What was answered is in the log, the process ends with 0 and within its time."""
    log = tmp_path / "log.jsonl"
    variables = {variable: str(forest.folder), "PREDICTION_LOG": str(log), "SHUTDOWN_SECONDS": "4"}
    variables |= {"AB_PERCENT": "100"} if variable == "AB_MODEL" else {}
    process, port = start(linear.folder, program=SLOW_SHADOW, **variables)
    for _ in range(5):
        assert requests.post(f"http://127.0.0.1:{port}/predict", json=row, timeout=10).ok
    begun = time.monotonic()
    process.send_signal(asked)

    assert 0 == process.wait(10)
    assert time.monotonic() - begun < 5
    assert ["champion"] * 5 == [json.loads(line)["role"] for line in log.read_text().splitlines()]


def answer(connection: socket.socket) -> bytes:
    """One, whose body ends with the identifier."""
    received = b""
    while b'"request_id"' not in received:
        received += connection.recv(65536)
    return received


@pytest.mark.system
def test_clients_are_told_that_the_server_goes(start: Start, linear: Fitted, row: Row) -> None:
    """Whoever keeps a connection hears `Connection: close` with the answer, instead of a reset with the next one."""
    process, port = start(linear.folder)
    body = json.dumps(row).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
        connection.sendall(head + body)
        assert b"connection: close" not in answer(connection)
        connection.sendall(head + body[:20])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        connection.sendall(body[20:])
        assert b"\r\nconnection: close\r\n" in answer(connection)
        assert b"" == connection.recv(65536)

    assert 0 == process.wait(10)


@pytest.mark.system
def test_refused_bodies_leave_nothing_behind(start: Start, linear: Fitted) -> None:
    """Clients that announce too much, send the beginning and hear of it: their buffers are given back."""
    process, port = start(linear.folder)
    beginning = b" " * 1_000_000

    def refuse(times: int) -> int:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as connection:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
                with suppress(ConnectionError):
                    connection.sendall(beginning)
                    assert connection.recv(100).startswith(b"HTTP/1.1 413")
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])

    before = refuse(100)
    grown = refuse(300) - before

    assert grown < 8_000, f"{grown} kB"


MOST = 16 * 1024 * 1024
MANIFEST_LIMIT = 512 * 1024
TRIES = 3


def large_bodies(rows: list[Row]) -> list[tuple[str, bytes, dict[str, str]]]:
    """The most a client may send: millions of nothing, all rows that are permitted, and what grows when it is read."""
    many, names = (rows * 200)[:10_000], list(rows[0])
    json_type, csv_type = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
    split = {"dataframe_split": {"columns": names, "data": [list(row.values()) for row in many]}}
    tensor = {"name": "x", "shape": [MOST], "datatype": "INT8", "parameters": {"binary_data_size": MOST - 200}}
    head = json.dumps({"inputs": [tensor]}).encode()
    typed = json.dumps({"rows": many}).encode()
    return [
        ("/predict", b'{"rows":[' + b"{}," * (MOST // 3 - 10) + b"{}]}", json_type),
        ("/predict", b'{"rows":[' + b"[" * (MOST - 20), json_type),
        ("/predict", b'{"rows":"' + b"x" * (MOST - 20) + b'"}', json_type),
        ("/predict", typed, json_type),
        ("/predict", gzip.compress(typed), {**json_type, "Content-Encoding": "gzip"}),
        ("/predict", gzip.compress(b" " * 10 * MOST), {**json_type, "Content-Encoding": "gzip"}),
        ("/invocations", json.dumps(split).encode(), json_type),
        ("/invocations", b"age\n" + b"\n" * (MOST - 10), csv_type),
        ("/invocations", b"age" + b"," * (MOST - 10), csv_type),
        ("/invocations", b'a,"' + "\U0001f600".encode() * (MOST // 4 - 10), csv_type),
        (
            "/v2/models/heart-disease/infer",
            head + bytes(MOST - 200),
            {"Inference-Header-Content-Length": str(len(head))},
        ),
    ]


def large_texts(row: Row, path: str) -> list[tuple[str, bytes, dict[str, str]]]:
    """The longest texts a client may send: one alone and among many rows, many of them, each wider in memory."""
    json_type, csv_type = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
    longest, wide = "x" * (MOST - 3_000_000), "x" * 1_200 + "\U0001f600"
    alone, many = {**row, "plan": longest + "\U0001f600"}, [{**row, "plan": wide}] * 10_000
    among = [{**row, "plan": longest if place == 7 else "x"} for place in range(10_000)]
    names = list(row)
    split = {"dataframe_split": {"columns": names, "data": [list(each.values()) for each in many]}}
    tensors = [
        {"name": name, "shape": [len(among)], "datatype": "BYTES", "data": [each[name] for each in among]}
        for name in names
    ]
    lines = [",".join(names), *(",".join(map(str, each.values())) for each in many)]
    size = MOST - 3_000
    binary: list[dict[str, Any]] = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [row[name]]} for name in names if name != "plan"
    ]
    binary.append({"name": "plan", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": size}})
    head = json.dumps({"inputs": binary}).encode()
    content = (size - 4).to_bytes(4, "little") + b"x" * (size - 8) + "\U0001f600".encode()
    texts = [("/predict", alone), ("/predict", {"rows": among}), ("/predict", {"rows": many}), ("/invocations", split)]
    return [
        *((place, json.dumps(body, ensure_ascii=False).encode(), json_type) for place, body in texts),
        ("/invocations", "\n".join(lines).encode(), csv_type),
        (path, json.dumps({"inputs": tensors}).encode(), json_type),
        (path, head + content, {"Inference-Header-Content-Length": str(len(head))}),
    ]


@pytest.mark.system
def test_no_mix_of_bodies_takes_the_pods_memory(start: Start, forest: Fitted) -> None:
    """Twenty clients at once with the largest there are, and as many that never finish: below 80 % of the limit."""
    peak, statuses = besieged(start(forest.folder), large_bodies(exporting.records(forest.rows.dropna())))

    assert {200, 413} <= statuses <= {200, 400, 413, 422, 503}
    assert peak < 0.8 * MANIFEST_LIMIT, f"{peak} kB"


@pytest.mark.system
@pytest.mark.parametrize("engine", ["onnx", "catboost"])
def test_no_mix_of_texts_takes_the_pods_memory(start: Start, engine: ServingEngine, tmp_path: Path) -> None:
    """Rows with texts are as long as their texts, in the model, in the log and on the way there."""
    folder = export_of_every_kind(tmp_path / "model", engine)
    row = next(row for row in rows_of_every_kind(engine, 2) if None not in row.values())
    server = start(folder, PREDICTION_LOG=str(tmp_path / "log"))
    peak, statuses = besieged(server, large_texts(row, "/v2/models/churn/infer"), unfinished=4)

    assert {200} <= statuses <= {200, 503}
    assert peak < 0.8 * MANIFEST_LIMIT, f"{peak} kB"


def besieged(
    server: tuple[subprocess.Popen[str], str], bodies: list[tuple[str, bytes, dict[str, str]]], unfinished: int = 20
) -> tuple[int, set[int]]:
    """Twenty clients send each of these, and again while the server is busy, beside some that never finish.

    Returns:
        The most memory the server ever had, in kB, and what it answered.
    """
    process, port = server
    url = f"http://127.0.0.1:{port}"
    statuses: set[int] = set()

    def send(number: int) -> None:
        for path, body, headers in bodies[number % len(bodies) :] + bodies[: number % len(bodies)]:
            tries = (answered(url + path, body, headers) for _ in range(TRIES))
            statuses.add(next((status for status in tries if status != 503), 503))

    connections = [half_sent(port) for _ in range(unfinished)]
    clients = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert requests.get(f"{url}/ready", timeout=10).ok
    for connection in connections:
        connection.close()
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]), statuses


def answered(url: str, body: bytes, headers: dict[str, str]) -> int:
    """The status; 503 too where the connection is closed on a client that is still sending."""
    try:
        return requests.post(url, body, headers=headers, timeout=60).status_code
    except requests.ConnectionError:
        return 503


def half_sent(port: str) -> socket.socket:
    """A connection on which the end of the largest body never comes."""
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.settimeout(0)
    with suppress(OSError):
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {MOST}\r\n\r\n"
        connection.send(head.encode() + b" " * MOST)
    return connection


@pytest.mark.system
def test_everything_queued_is_in_the_log_at_the_end(start: Start, linear: Fitted, tmp_path: Path) -> None:
    """Stopping writes what was predicted before."""
    log = tmp_path / "log.jsonl"
    process, port = start(linear.folder, PREDICTION_LOG=str(log))
    rows = {"rows": exporting.records(linear.rows) * 20}
    assert requests.post(f"http://127.0.0.1:{port}/predict", json=rows, timeout=10).ok
    process.send_signal(signal.SIGTERM)

    assert 0 == process.wait(10)
    assert len(rows["rows"]) == len(log.read_text().splitlines())


@pytest.mark.system
def test_probes_are_answered_while_batches_are_scored(start: Start, forest: Fitted) -> None:
    """A batch of ten thousand rows runs in a thread; `/health` does not wait for it."""
    _process, port = start(forest.folder)
    rows = {"rows": exporting.records(forest.rows.dropna().head(50)) * 200}
    url = f"http://127.0.0.1:{port}"
    batches = [
        threading.Thread(target=requests.post, args=(f"{url}/predict",), kwargs={"json": rows}) for _ in range(4)
    ]
    for batch in batches:
        batch.start()
    slowest = 0.0
    while any(batch.is_alive() for batch in batches):
        begun = time.perf_counter()
        assert requests.get(f"{url}/health", timeout=5).ok
        slowest = max(slowest, time.perf_counter() - begun)

    assert slowest < 0.5


@pytest.mark.system
def test_the_health_check_tells_ready_from_not(start: Start, linear: Fitted) -> None:
    """What the image's HEALTHCHECK runs: 0 when ready, 1 with one line when nobody answers."""
    _process, port = start(linear.folder)
    absent = call("promotion.serving.healthcheck", PORT=free_port())

    assert 0 == call("promotion.serving.healthcheck", PORT=port).returncode
    assert 1 == absent.returncode
    assert ["not ready"] == [line.partition(":")[0] for line in absent.stderr.splitlines()]


@pytest.mark.system
def test_exit_codes_of_what_cannot_start(linear: Fitted, tmp_path: Path) -> None:
    """2 and one line for the environment or a taken port, 3 and one line for a changed folder."""
    folder = shutil.copytree(linear.folder, tmp_path / "model")
    (folder / "schema.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = call("promotion.serving", MODEL_DIR=str(linear.folder), PORT=str(taken.getsockname()[1]))
    wrong, changed = call("promotion.serving", PORT="x"), call("promotion.serving", MODEL_DIR=str(folder))

    assert [2, 2, 3] == [busy.returncode, wrong.returncode, changed.returncode]
    assert [1, 1, 1] == [len(result.stderr.splitlines()) for result in (busy, wrong, changed)]
    assert "cannot listen there" in busy.stderr
    assert "schema.json was changed after the export" in changed.stderr


@pytest.mark.system
def test_the_server_imports_nothing_of_training(signed: Path) -> None:
    """The image has no MLflow, no scikit-learn and no pandas, and of the rest only how signatures are checked."""
    program = (
        "import os, sys\nimport promotion.serving.__main__\n"
        "from promotion.serving.settings import ServerSettings\nfrom promotion.serving.scoring import Scorer\n"
        "from promotion.serving.endpoint import ModelEndpoint\n"
        "from promotion.serving.application import build_application\n"
        "settings = ServerSettings.from_environment(os.environ)\n"
        "build_application(ModelEndpoint(settings, Scorer(settings)))\n"
        f"print(sorted({ABSENT!r} & set(sys.modules)))\n"
        "ours = {name.split('.')[1] for name in sys.modules if name.startswith('promotion.')}\nprint(sorted(ours))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(MODEL_DIR=str(signed), TRUSTED_KEYS=str(signed.parent / "trusted")),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "[]\n['errors', 'serving', 'signing']\n" == result.stdout, result.stderr
