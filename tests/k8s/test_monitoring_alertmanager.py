"""Alerts reach the people the guidelines name: by `amtool`, and by a real Alertmanager and receivers on loopback."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.k8s.rules import alerts
from tests.serving.test_process import free_port

from promotion.policy import Monitoring
from promotion.settings import REPOSITORY

FOLDER = REPOSITORY / "k8s" / "monitoring" / "alertmanager"
CONFIG = FOLDER / "alertmanager.yaml"
PRODUCTION, STAGING = "models-production", "models-staging"
SECONDS = 20


def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    return found


def channels(receiver: str) -> set[str]:
    """What a receiver of the configuration writes to."""
    (found,) = (it for it in config()["receivers"] if it["name"] == receiver)
    return {key.removesuffix("_configs") for key in found if key != "name"}


def routed(**labels: str) -> str:
    """The receivers of an alert, as amtool says."""
    arguments = [f"{name}={value}" for name, value in labels.items()]
    command = ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.system
def test_the_configuration_is_one() -> None:
    """`amtool check-config` has no objection, the templates included."""
    done = subprocess.run(["amtool", "check-config", CONFIG, FOLDER / "models.tmpl"], capture_output=True, text=True)
    text = CONFIG.read_text(encoding="utf-8")

    assert 0 == done.returncode or "models.tmpl" in done.stderr, done.stderr
    assert "SUCCESS" in done.stdout
    assert [] == re.findall(r"(?m)^\s*(?:- )?(?:api_url|service_key|routing_key|auth_password|smtp_auth_password):", text)


@pytest.mark.system
def test_every_alert_goes_where_its_level_says() -> None:
    """Routing as in the families' files; staging wakes nobody; what is not about models is somebody else's."""
    routing = Monitoring().routing
    for name, rule in alerts().items():
        labels = rule["labels"] | {"alertname": name}
        wanted = set(getattr(routing, labels["severity"]))

        assert wanted == channels(routed(namespace=PRODUCTION, **labels)), name
        assert {"slack"} == channels(routed(namespace=STAGING, **labels)), name
    assert set() == channels(routed(alertname="NodeDown", severity="critical"))


def test_alerts_are_repeated_as_the_monitor_repeats_its_own() -> None:
    """The same cool-down for both."""
    hours = int(Monitoring().cool_down.total_seconds() // 3600)

    assert f"{hours}h" == config()["route"]["repeat_interval"]


class Inbox:
    """What arrived by HTTP and by mail."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.mails: list[str] = []


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str, str]]:
    """Receivers on loopback: the inbox, their HTTP address, and host and port of the mail server."""
    found = Inbox()

    class Http(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.posted.append((self.path, json.loads(body)))
            self.send_response(202 if "enqueue" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"{}" if "enqueue" in self.path else b"ok")

        def log_message(self, *_arguments: object) -> None: ...

    class Smtp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 loopback")
            while line := self.rfile.readline().decode().strip().upper():
                if line == "DATA":
                    self._say("354 go on")
                    lines: list[bytes] = []
                    while (got := self.rfile.readline()) != b".\r\n":
                        lines.append(got)
                    found.mails.append(b"".join(lines).decode())
                self._say("221 bye" if line == "QUIT" else "235 fine" if line.startswith("AUTH") else "250 fine")

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Http), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    web, mail = (f"127.0.0.1:{server.server_address[1]}" for server in servers)
    yield found, f"http://{web}", mail
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def alertmanager(tmp_path: Path, inbox: tuple[Inbox, str, str]) -> Iterator[str]:
    """A real Alertmanager with our configuration, whose addresses lead to the receivers."""
    _inbox, web, mail = inbox
    for name, secret in {"slack-url": f"{web}/slack", "pagerduty-key": "k" * 32, "smtp-password": "p"}.items():
        (tmp_path / name).write_text(secret)
    document = yaml.safe_load(
        CONFIG.read_text()
        .replace("/etc/alertmanager/secrets/model-alerting", str(tmp_path))
        .replace("/etc/alertmanager/config", str(FOLDER))
    )
    document["global"] |= {"pagerduty_url": f"{web}/v2/enqueue", "smtp_smarthost": mail, "smtp_require_tls": False}
    document["route"] |= {"group_wait": "0s"}
    for route in document["route"]["routes"]:
        route["group_wait"] = "0s"
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(document))
    url = f"127.0.0.1:{free_port()}"
    arguments = [f"--config.file={tmp_path}/alertmanager.yaml", f"--storage.path={tmp_path}/data"]
    arguments += [f"--web.listen-address={url}", "--cluster.listen-address="]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(["prometheus-alertmanager", *arguments], stderr=log)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if requests.get(f"http://{url}/-/ready", timeout=1).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.05)
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield f"http://{url}"
        process.kill()
        process.wait()


@pytest.mark.system
def test_a_critical_alert_reaches_everybody_and_silences_the_lesser_one(
    alertmanager: str, inbox: tuple[Inbox, str, str]
) -> None:
    """PagerDuty, Slack and e-mail, once, with what, how bad, since when, the command and the runbook."""
    version = {"namespace": PRODUCTION, "family": "iris-classifier", "model": "iris", "version": "4"}
    said = {"summary": "iris v4 fails 6% of its requests", "description": "Bad.", "command": "do this", "runbook": "r.md"}
    begun = datetime(2026, 11, 21, 10, 0, tzinfo=UTC).isoformat()
    sent = [
        {"labels": version | {"alertname": name} | alerts()[name]["labels"], "annotations": said, "startsAt": begun}
        for name in ("ModelErrorRateTakesBack", "ModelErrorRateCritical")
    ]
    assert requests.post(f"{alertmanager}/api/v2/alerts", json=sent, timeout=5).ok
    found = inbox[0]
    deadline = time.monotonic() + SECONDS
    while (len(found.posted) < 2 or not found.mails) and time.monotonic() < deadline:
        time.sleep(0.05)
    by_path = dict(found.posted)
    text = by_path["/slack"]["attachments"][0]["text"]

    assert {"/slack", "/v2/enqueue"} == set(by_path)
    assert "[CRITICAL] iris v4 fails 6% of its requests" == by_path["/slack"]["attachments"][0]["title"]
    assert "danger" == by_path["/slack"]["attachments"][0]["color"]
    assert ["What", "How bad", "Since", "Run", "Runbook"] == [line.split(":")[0] for line in text.strip().splitlines()]
    assert "Since: 2026-11-21 10:00 UTC" in text
    assert "critical" == by_path["/v2/enqueue"]["payload"]["severity"]
    assert "k" * 32 == by_path["/v2/enqueue"]["routing_key"]
    assert "Subject: [CRITICAL] iris v4" in found.mails[0]
    assert (2, 1) == (len(found.posted), len(found.mails))
