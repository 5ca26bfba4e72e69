"""Prometheus: figures of a real one that scrapes real metrics, and silence of everything else."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from tests.programs import needed

from promotion.monitoring.observe import prometheus
from promotion.monitoring.observe.prometheus import Prometheus

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5)


@contextmanager
def answering(status: int, body: bytes, delay: float = 0.0) -> Iterator[str]:
    """An HTTP server that always says the same; not a Prometheus."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def silence(url: str) -> str:
    now = datetime.now(UTC)
    service, trend = Prometheus(url).observe("churn", now - timedelta(hours=1), now, steps=4, minimum_requests=10)

    assert (None, None, None, None) == (
        service.latency_p95_ms,
        service.error_rate,
        service.throughput,
        service.requests,
    )
    assert service.is_blind
    assert [None] * 4 == list(trend.error_rate)
    return service.problem or ""


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, b"<html>", "does not answer"),
        (500, b'{"status": "error", "error": "query timed out"}', "answered 500: query timed out"),
        (400, b'{"status": "error"}', "not what it documents"),
        (200, b'{"status": "success"}', "without a result"),
        (200, b"[]", "not what it documents"),
        (200, b'{"status": "success", "data": {"result": []}}', "has scraped no server of churn"),
    ],
)
def test_what_is_no_answer_is_unknown_and_said(status: int, body: bytes, says: str) -> None:
    """Never zero errors, never zero milliseconds."""
    with answering(status, body) as url:
        assert says in silence(url)


@pytest.mark.system
def test_a_slow_one_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on without it."""
    monkeypatch.setattr(prometheus, "_TIMEOUT", (0.2, 0.2))
    with answering(200, b"{}", delay=1.0) as url:
        assert "did not answer in time" in silence(url)


def test_a_password_in_the_address_is_not_repeated() -> None:
    """In no message."""
    assert "secret" not in silence("http://user:secret@127.0.0.1:9")
    assert "http://127.0.0.1:9" == Prometheus("http://user:secret@127.0.0.1:9/").name


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def scraper(tmp_path: Path) -> Iterator[tuple[str, list[int]]]:
    """A real Prometheus that scrapes four servers every second; its address and their ports."""
    program = needed("prometheus")
    ports = [free_port() for _ in range(4)]
    targets = [f"127.0.0.1:{port}" for port in ports]
    config = {"job_name": "models", "scrape_interval": "1s", "static_configs": [{"targets": targets}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [config]}), encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [
            program,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until(lambda: requests.get(f"{url}/-/ready", timeout=2).ok)
            yield url, ports
        finally:
            process.terminate()


def wait_until(holds: object, seconds: float = 60) -> None:
    assert callable(holds)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except requests.RequestException:
            pass
        time.sleep(0.3)
    pytest.fail("it did not happen in time")


class Emitter:
    """What the model server says of itself, under the same names."""

    def __init__(self, port: int, family: str, **roles: int) -> None:
        registry = CollectorRegistry()
        self.requests = Counter("http_requests", "Requests.", ("route", "method", "status"), registry=registry)
        self.seconds = Histogram(
            "http_request_duration_seconds", "Time.", ("route",), buckets=BUCKETS, registry=registry
        )
        info = Gauge("model_info", "Versions.", ("role", "family", "model", "version"), registry=registry)
        for role, version in (roles or {"champion": 2, "shadow": 3}).items():
            info.labels(role, family, f"{family}-forest", str(version)).set(1)
        self.serve(0, 200)
        self.serve(0, 500)
        self.serve(0, 200, route="/health")
        self.server, self.thread = start_http_server(port, "127.0.0.1", registry)

    def serve(self, count: int, status: int, seconds: float = 0.002, route: str = "/predict") -> None:
        """Answer so many requests; none only make the series appear."""
        self.requests.labels(route, "POST", str(status)).inc(count)
        duration = self.seconds.labels(route)
        for _ in range(count):
            duration.observe(seconds)

    def close(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.mark.system
@pytest.mark.timeout(180)
def test_a_real_prometheus_says_latency_errors_and_throughput(scraper: tuple[str, list[int]]) -> None:
    """Of the family's instances only, of the routes that predict only; a family nobody serves is unknown."""
    url, ports = scraper
    ours, other = Emitter(ports[0], "churn"), Emitter(ports[1], "tiny")
    try:
        query = {"query": 'count(http_requests_total{status="500"})'}
        wait_until(lambda: requests.get(f"{url}/api/v1/query", params=query, timeout=2).json()["data"]["result"])
        time.sleep(3)
        ours.serve(900, 200)
        ours.serve(100, 500, seconds=0.3)
        ours.serve(1000, 200, seconds=2.0, route="/health")
        other.serve(1000, 500, seconds=2.0)
        time.sleep(6)
        now = datetime.now(UTC)
        service, trend = Prometheus(url).observe("churn", now - timedelta(minutes=4), now, steps=4, minimum_requests=50)
        blind = Prometheus(url).observe("nobody", now - timedelta(minutes=4), now, steps=4, minimum_requests=50)[0]
    finally:
        ours.close()
        other.close()

    assert ("prometheus", None, True) == (service.source, service.problem, service.enough)
    # Prometheus extrapolates an increase to the ends of its range, so counts are near, and shares exact.
    assert service.requests == pytest.approx(1000, rel=0.6)
    assert service.error_rate == pytest.approx(0.1, abs=0.005)
    assert service.latency_p95_ms is not None
    assert 200 < service.latency_p95_ms <= 500
    assert trend.error_rate[-1] == pytest.approx(0.1, abs=0.005)
    assert trend.error_rate[0] is None
    assert blind.is_blind


@pytest.mark.system
@pytest.mark.timeout(180)
def test_one_version_is_judged_by_the_servers_that_answer_with_it_alone(scraper: tuple[str, list[int]]) -> None:
    """Not by those of the version before, nor where a challenger answers, too; a shadow answers nobody."""
    url, ports = scraper
    version = prometheus.ServedVersion("churn", "churn-forest", 2)
    emitters = [
        Emitter(ports[0], "churn", champion=2),
        Emitter(ports[1], "churn", champion=2, shadow=3),
        Emitter(ports[2], "churn", champion=1),
        Emitter(ports[3], "churn", champion=2, challenger=3),
    ]
    try:
        query = {"query": 'count(http_requests_total{status="500"}) == 4'}
        wait_until(lambda: requests.get(f"{url}/api/v1/query", params=query, timeout=2).json()["data"]["result"])
        time.sleep(3)
        for emitter, failed in zip(emitters, (10, 30, 300, 300), strict=True):
            emitter.serve(100, 200)
            emitter.serve(failed, 500)
        time.sleep(4)
        now = datetime.now(UTC)
        ours = Prometheus(url).observe_version(version, now - timedelta(minutes=1), now, 50)
        absent = Prometheus(url).observe_version(version._replace(number=7), now - timedelta(minutes=1), now, 50)
    finally:
        for emitter in emitters:
            emitter.close()

    assert (None, True) == (ours.problem, ours.enough)
    assert ours.error_rate == pytest.approx(40 / 240, abs=0.005)
    assert "has scraped no server of churn-forest v7 alone in the window" in str(absent.problem)
    assert absent.error_rate is None
