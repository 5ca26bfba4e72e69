"""Real receivers of alerts on loopback: an HTTP server that answers as it is told, and an SMTP server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from apprise.plugins import pagerduty
from apprise.plugins.slack import NotifySlack

TOKEN = "s3cr3t-t0ken"  # noqa: S105  # looked for where it must not appear
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23ml"
PAGERDUTY = f"pagerduty://{TOKEN}@{TOKEN}-key"


@dataclass
class Receiver:
    """What one HTTP receiver got, and how it answers.

    Attributes:
        port: On 127.0.0.1.
        script: The statuses of the first answers; every later one is 200.
        delay: Seconds before each answer.
        got: The JSON bodies, accepted or not, in order.
        times: When each came, by a monotonic clock.
        headers: What each came with.
        bodies: What each said, byte for byte.
    """

    port: int = 0
    script: Sequence[int] = ()
    delay: float = 0.0
    got: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    headers: list[Message] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As Apprise's JSON channel is addressed."""
        return f"json://127.0.0.1:{self.port}/{TOKEN}?+X-Token={TOKEN}"

    @property
    def titles(self) -> list[str]:
        """Of the messages that were accepted."""
        return [body["title"] for body in self.got[len(self.script) :]]


@contextmanager
def receiving(*script: int, delay: float = 0.0) -> Iterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(script=script, delay=delay)
    hurry = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = (*script, *[200] * (len(receiver.got) + 1))[len(receiver.got)]
            receiver.got.append(json.loads(body))
            receiver.times.append(time.monotonic())
            receiver.headers.append(self.headers)
            receiver.bodies.append(body)
            hurry.wait(receiver.delay)
            self.send_response(status)
            if status in range(300, 400):
                self.send_header("Location", "/login")
            self.end_headers()
            # What Slack's webhooks answer.
            self.wfile.write(b"ok" if status == 200 else b"no")

        def do_GET(self) -> None:
            """A login page: it answers everybody."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        hurry.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Mailbox:
    """What an SMTP server got."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []

    @property
    def url(self) -> str:
        """As Apprise's e-mail channel is addressed."""
        return f"mailto://127.0.0.1:{self.port}/?from=monitor@example.org&to=oncall@example.org"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Keep a mail."""
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@contextmanager
def mailing() -> Iterator[Mailbox]:
    """An SMTP server on a free port."""
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()


def free_port() -> int:
    """A port on which nothing listens."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return int(server.server_address[1])


def slack_is(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Slack's plugin talk to a receiver instead of hooks.slack.com."""
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{receiver.port}/services")


def pagerduty_is(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PagerDuty's plugin talk to a receiver instead of events.pagerduty.com."""
    monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{receiver.port}/v2/enqueue")
