"""A served model, people who ask it through a proxy that can make it slow, and a real Prometheus that scrapes it."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.programs import needed

from promotion.config.settings import REPOSITORY

START_SECONDS = 60
ASKERS = 8
PAUSE = 0.15
"""Seconds each of them waits between two requests."""

Row = dict[str, Any]


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def process(command: Sequence[str], healthy: str, log: Path, **environment: str) -> Iterator[None]:
    """A process that answers at a URL."""
    with log.open("wb") as output:
        running = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and running.poll() is None:
            with suppress(requests.RequestException):
                if requests.get(healthy, timeout=1).ok:
                    break
            time.sleep(0.1)
        else:
            pytest.fail(f"{command[0]} did not start: {log.read_text()[-2000:]}")
        yield
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def serving(export: Path, log: Path, folder: Path) -> Iterator[int]:
    """`python -m promotion.serving` on a free port, writing its prediction log."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "src"), "PREDICTION_LOG": str(log)}
    environment |= {"MODEL_DIR": str(export), "HOST": "127.0.0.1", "PORT": str(port)}
    with process(
        [sys.executable, "-m", "promotion.serving"],
        f"http://127.0.0.1:{port}/ready",
        folder / "serving.txt",
        **environment,
    ):
        yield port


@contextmanager
def scraping(port: int, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes a port every second; its address."""
    prometheus = needed("prometheus")
    own = free_port()
    targets = [{"targets": [f"127.0.0.1:{port}"]}]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "models", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")  # YAML takes JSON
    url = f"http://127.0.0.1:{own}"
    command = [
        prometheus,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    with process(command, f"{url}/-/ready", folder / "prometheus.txt", PATH=os.environ["PATH"]):
        yield url


class _Proxy(BaseHTTPRequestHandler):
    """Hands on a request's head at once and its body after a delay, as a bad line does."""

    protocol_version = "HTTP/1.1"
    port: int
    delay: Callable[[], float]

    def do_POST(self) -> None:
        """Ask the server."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        upstream = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        upstream.putrequest("POST", self.path)
        upstream.putheader("Content-Type", "application/json")
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders()
        time.sleep(type(self).delay())
        upstream.send(body)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@dataclass
class People:
    """Who asks the server, all the time, in one of several manners.

    Attributes:
        rows: What they ask, by manner.
        delays: Seconds the proxy holds a request back, by manner; 0 without one.
        statuses: Of the answers.
    """

    rows: dict[str, Sequence[Row]]
    delays: dict[str, float]
    manner: str = "healthy"
    since: float = field(default_factory=time.monotonic)
    statuses: list[int] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, manner: str, seconds: float) -> None:
        """Ask in a manner until it has lasted so long."""
        if manner != self.manner:
            self.manner, self.since = manner, time.monotonic()
        time.sleep(max(0.0, self.since + seconds - time.monotonic()))

    def delay(self) -> float:
        """Of a request now."""
        return self.delays.get(self.manner, 0.0)

    def asker(self, url: str, turns: Iterator[int]) -> None:
        """One of them."""
        while not self.stopped.wait(PAUSE):
            rows = self.rows.get(self.manner, self.rows["healthy"])
            # After a fault the service may be away for a moment; they ask again.
            with suppress(requests.RequestException):
                answer = requests.post(f"{url}/predict", json=rows[next(turns) % len(rows)], timeout=30)
                self.statuses.append(answer.status_code)


@contextmanager
def asking(port: int, people: People) -> Iterator[None]:
    """People who ask the server at a port, through the proxy."""
    handler = type("Proxy", (_Proxy,), {"port": port, "delay": staticmethod(people.delay)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy, ExitStack() as stack:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(proxy.shutdown)
        url, turns = f"http://127.0.0.1:{proxy.server_address[1]}", itertools.count()
        askers = [threading.Thread(target=people.asker, args=(url, turns)) for _ in range(ASKERS)]
        for asker in askers:
            asker.start()
        try:
            yield
        finally:
            people.stopped.set()
            for asker in askers:
                asker.join()


def shuffled(rows: Sequence[Row]) -> list[Row]:
    """In an order that says nothing."""
    return random.Random(1).sample(list(rows), len(rows))  # noqa: S311  # no secret


def fails_from(model: Path, feature: str, value: int) -> None:
    """Change an ONNX file so that rows with this value or more cannot be scored, as a bad model cannot score some.

    The value is looked up in a table of zeros that ends there, and added.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = onnx.load(model)
    table = numpy_helper.from_array(np.zeros(value, dtype=np.float32), "limit")
    graph.graph.initializer.append(table)
    nodes = [
        helper.make_node("Cast", [feature], ["limit_index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["limit", "limit_index"], ["limit_zero"]),
        helper.make_node("Add", [feature, "limit_zero"], ["limit_sum"]),
    ]
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if name == feature:
                node.input[place] = "limit_sum"
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    onnx.checker.check_model(graph)
    onnx.save(graph, model)
