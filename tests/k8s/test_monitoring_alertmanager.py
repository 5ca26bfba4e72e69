"""Alerts reach the people the guidelines name: by `amtool`, and by a real Alertmanager and receivers on loopback."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.k8s.rules import alerts
from tests.programs import needed
from tests.promotion.monitoring.receivers import Mailbox, Receiver, free_port, mailing, receiving

from promotion.config.policy import Monitoring
from promotion.config.settings import REPOSITORY

FOLDER = REPOSITORY / "k8s" / "monitoring" / "alertmanager"
CONFIG = FOLDER / "alertmanager.yaml"
PRODUCTION = "models-production"
SECONDS = 20
KEY = "k" * 32


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
    command = [needed("amtool"), "config", "routes", "test", f"--config.file={CONFIG}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.system
def test_the_configuration_is_one() -> None:
    """`amtool check-config` has no objection, and no secret stands in it."""
    done = subprocess.run([needed("amtool"), "check-config", CONFIG], capture_output=True, text=True, check=False)
    text = CONFIG.read_text(encoding="utf-8")

    assert 0 == done.returncode, done.stderr
    assert [] == re.findall(
        r"(?m)^\s*(?:- )?(?:api_url|service_key|routing_key|auth_password|smtp_auth_password):", text
    )


@pytest.mark.system
def test_every_alert_goes_where_its_level_says() -> None:
    """Routing as in the families' files; what is not about models is somebody else's."""
    routing = Monitoring().routing
    for name, rule in alerts().items():
        labels = rule["labels"] | {"alertname": name}
        wanted = set(getattr(routing, labels["severity"]))

        assert wanted == channels(routed(namespace=PRODUCTION, **labels)), name
    assert set() == channels(routed(alertname="NodeDown", severity="critical"))


def test_alerts_are_repeated_as_the_monitor_repeats_its_own() -> None:
    """The same cool-down for both."""
    hours = int(Monitoring().cool_down.total_seconds() // 3600)

    assert f"{hours}h" == config()["route"]["repeat_interval"]


@pytest.fixture
def inbox() -> Iterator[tuple[Receiver, Receiver, Mailbox]]:
    """Receivers on loopback: Slack's, PagerDuty's, and of mail."""
    with receiving() as slack, receiving() as pagerduty, mailing() as mailbox:
        yield slack, pagerduty, mailbox


@pytest.fixture
def alertmanager(tmp_path: Path, inbox: tuple[Receiver, Receiver, Mailbox]) -> Iterator[str]:
    """A real Alertmanager with our configuration, whose addresses lead to the receivers."""
    slack, pagerduty, mailbox = inbox
    for name, secret in {
        "slack-url": f"http://127.0.0.1:{slack.port}/",
        "pagerduty-key": KEY,
        "smtp-password": "p",
    }.items():
        (tmp_path / name).write_text(secret)
    document = yaml.safe_load(
        CONFIG.read_text()
        .replace("/etc/alertmanager/secrets/model-alerting", str(tmp_path))
        .replace("/etc/alertmanager/config", str(FOLDER))
    )
    document["global"] |= {"pagerduty_url": f"http://127.0.0.1:{pagerduty.port}/"}
    document["global"] |= {"smtp_smarthost": f"127.0.0.1:{mailbox.port}", "smtp_require_tls": False}
    # It sends no password over a connection that is not encrypted.
    del document["global"]["smtp_auth_username"], document["global"]["smtp_auth_password_file"]
    # An alert older than this is told at once, before its neighbour can silence it.
    document["route"] |= {"group_wait": "2s"}
    for route in document["route"]["routes"]:
        route["group_wait"] = "2s"
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(document))
    url = f"127.0.0.1:{free_port()}"
    arguments = [f"--config.file={tmp_path}/alertmanager.yaml", f"--storage.path={tmp_path}/data"]
    arguments += [f"--web.listen-address={url}", "--cluster.listen-address="]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([needed("prometheus-alertmanager"), *arguments], stderr=log)
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
    alertmanager: str, inbox: tuple[Receiver, Receiver, Mailbox]
) -> None:
    """PagerDuty, Slack and e-mail, once, with what, how bad, since when, the command and the runbook."""
    version = {"namespace": PRODUCTION, "family": "iris-classifier", "model": "iris", "version": "4"}
    said = {
        "summary": "iris v4 fails 6% of its requests",
        "description": "Bad.",
        "command": "do this",
        "runbook_url": "https://r.example/r.md",
    }
    begun = datetime.now(UTC)
    common = {"annotations": said, "startsAt": begun.isoformat()}
    sent = [
        {"labels": version | {"alertname": name} | alerts()[name]["labels"]} | common
        for name in ("ModelErrorRateTakesBack", "ModelErrorRateCritical")
    ]
    assert requests.post(f"{alertmanager}/api/v2/alerts", json=sent, timeout=5).ok
    slack, pagerduty, mailbox = inbox
    deadline = time.monotonic() + SECONDS
    while not (slack.got and pagerduty.got and mailbox.mails) and time.monotonic() < deadline:
        time.sleep(0.05)
    (posted,), (paged,), (mail,) = slack.got, pagerduty.got, mailbox.mails
    (shown,) = posted["attachments"]
    text = shown["text"]

    assert ("[CRITICAL] iris v4 fails 6% of its requests", "danger") == (shown["title"], shown["color"])
    assert ["What", "How bad", "Since", "Run", "Runbook"] == [line.split(":")[0] for line in text.strip().splitlines()]
    assert f"Since: {begun:%Y-%m-%d %H:%M} UTC" in text
    assert (KEY, "critical") == (paged["routing_key"], paged["payload"]["severity"])
    assert "[CRITICAL] iris v4 fails 6% of its requests" == mail["Subject"]
    body = mail.get_body(("plain",))
    assert body is not None
    assert text.strip() == body.get_content().replace("\r", "").strip()
