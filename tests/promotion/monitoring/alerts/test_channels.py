"""Channels: what each service gets, how patiently it is asked, and that nobody learns its secrets."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from tests.promotion.monitoring.receivers import (
    PAGERDUTY,
    SLACK,
    TOKEN,
    Mailbox,
    free_port,
    mailing,
    pagerduty_is,
    receiving,
    slack_is,
)

from promotion.monitoring.alerts.channels import Answer, Channel, Patience, dispatch
from promotion.monitoring.alerts.messages import Guide, Kind, Level, Message, Notice, compose

# Apprise looks for a module that Python 3.13 has no more.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

QUICK = Patience(attempts=4, seconds=5, first_wait=0.02, longest_wait=0.05)
TEN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
GUIDE = Guide("https://ci.example.org/churn.html", "docs/runbooks/rollback.md", "python go-back.py --reason 'so what'")


def a_message(kind: Kind = Kind.ALERT, level: Level = Level.CRITICAL, *more: Notice) -> Message:
    until = datetime(2026, 11, 21, 13, 0, tzinfo=UTC) if kind.is_over else None
    notice = Notice(
        kind,
        level,
        "churn",
        "churn-model 1.2.0 (v3)",
        "accuracy",
        "accuracy 0.80, 0.07 below its 0.87",
        TEN,
        until,
        "0.8 against 0.87 at promotion, bound 0.05, on 512 rows",
    )
    return compose([notice, *more], GUIDE)


def send(url: str, *messages: Message, patience: Patience = QUICK) -> list[Answer]:
    channel = Channel("team", "TEAM_URL")
    return dispatch({channel: messages or [a_message()]}, {"TEAM_URL": url}, patience)[channel]


def test_a_message_says_what_how_bad_since_when_and_what_to_do() -> None:
    """One line for the title, one `Name: value` a line below."""
    message = a_message()

    assert "[CRITICAL] churn-model 1.2.0 (v3): accuracy 0.80, 0.07 below its 0.87" == message.title
    assert [
        "What: accuracy 0.80, 0.07 below its 0.87",
        "How bad: critical (0.8 against 0.87 at promotion, bound 0.05, on 512 rows)",
        "Since: 2026-11-21 10:00 UTC",
        "Version: churn-model 1.2.0 (v3)",
        "Family: churn",
        "Report: https://ci.example.org/churn.html",
        "Runbook: docs/runbooks/rollback.md",
        "Run: python go-back.py --reason 'so what'",
    ] == message.body.splitlines()


def test_a_recovery_says_how_long_it_lasted_and_asks_for_nothing() -> None:
    """Nobody has to run anything any more."""
    message = a_message(Kind.RECOVERY)

    assert message.is_over
    assert message.title.startswith("[RECOVERED] ")
    assert "How bad: critical until then" in message.body
    assert "Since: from 2026-11-21 10:00 UTC until 2026-11-21 13:00 UTC" in message.body
    assert "Run:" not in message.body


def test_several_alerts_are_one_message_led_by_the_worst() -> None:
    """A morning on which thirteen features drift is one message, with all of them in it."""
    drift = Notice(Kind.ALERT, Level.WARNING, "churn", "churn-model 1.2.0 (v3)", "drift:age", "age\n drifted", TEN)
    message = a_message(Kind.ALERT, Level.CRITICAL, drift)

    assert Level.CRITICAL == message.level
    assert message.title.endswith("(and 1 more)")
    assert "2. warning: age drifted (since 2026-11-21 10:00 UTC)" in message.body


@pytest.mark.system
def test_slack_gets_a_title_a_colour_and_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through Slack's own plugin; no picture is fetched from elsewhere."""
    with receiving() as slack:
        slack_is(slack, monkeypatch)
        (answer,) = send(SLACK, a_message())

    (attachment,) = slack.got[0]["attachments"]
    assert Answer(accepted=True, attempts=1, recipient="Slack") == answer
    assert a_message().title == attachment["title"]
    assert a_message().body == attachment["text"]
    assert "#A32037" == attachment["color"]
    assert "icon_url" not in slack.got[0]


def test_a_page_is_opened_and_resolved_under_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """PagerDuty: severity, a key for the incident, details by name, a link; the recovery resolves it."""
    with receiving() as pager:
        pagerduty_is(pager, monkeypatch)
        answers = send(PAGERDUTY, a_message(), a_message(Kind.RECOVERY))

    opened, resolved = pager.got
    assert [True, True] == [answer.accepted for answer in answers]
    assert ("trigger", "critical") == (opened["event_action"], opened["payload"]["severity"])
    assert a_message().title == opened["payload"]["summary"]
    assert "churn" == opened["payload"]["source"]
    assert GUIDE.command == opened["payload"]["custom_details"]["Run"]
    assert [{"href": GUIDE.report}] == opened["links"]
    assert "resolve" == resolved["event_action"]
    assert "churn/churn-model 1.2.0 (v3)/accuracy" == opened["dedup_key"] == resolved["dedup_key"]


def test_a_mail_has_a_subject_and_plain_text() -> None:
    """Through a real SMTP server; the record says to whom it went."""
    with mailing() as mailbox:
        (answer,) = send(mailbox.url, a_message())

    (mail,) = mailbox.mails
    assert "E-Mail to oncall@example.org" == answer.recipient
    assert a_message().title == mail["Subject"]
    assert "oncall@example.org" == mail["To"]
    body = mail.get_body(("plain",))
    assert body is not None
    assert a_message().body == body.get_content().replace("\r\n", "\n").strip()


def test_what_was_found_cannot_address_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature's name or a person's reason mentions no channel in Slack and adds no recipient to a mail."""
    message = compose(
        [
            Notice(
                Kind.ALERT,
                Level.INFO,
                "churn",
                "churn v2",
                "drift:x",
                "<!channel> drifted\r\nBcc: eve@example.org",
                TEN,
            )
        ],
        Guide(),
    )
    with receiving() as slack, mailing() as mailbox:
        slack_is(slack, monkeypatch)
        send(SLACK, message)
        send(mailbox.url, message)

    (attachment,) = slack.got[0]["attachments"]
    assert "[INFO] churn v2: &lt;!channel&gt; drifted Bcc: eve@example.org" == attachment["title"]
    assert "<" not in attachment["text"]
    assert "[INFO] churn v2: <!channel> drifted Bcc: eve@example.org" == mailbox.mails[0]["Subject"]
    assert mailbox.mails[0]["Bcc"] is None


@pytest.mark.parametrize("script", [(429, 429), (500, 503), (408,)])
def test_what_may_pass_is_tried_again(script: tuple[int, ...]) -> None:
    """A service that is busy or broken for a moment gets the message once it accepts, with a growing pause."""
    with receiving(*script) as team:
        (answer,) = send(team.url)

    pauses = [after - before for before, after in zip(team.times, team.times[1:], strict=False)]
    assert Answer(accepted=True, attempts=len(script) + 1, recipient="JSON") == answer
    assert len(script) + 1 == len(team.got)
    assert all(pause >= QUICK.first_wait for pause in pauses)


@pytest.mark.parametrize("status", [401, 404, 301])
def test_what_does_not_pass_is_tried_once(status: int) -> None:
    """A wrong token stays wrong, and a redirect is not an answer."""
    with receiving(*[status] * 4) as team:
        (answer,) = send(team.url)

    assert (False, 1, 1) == (answer.accepted, answer.attempts, len(team.got))
    assert f"HTTP {status}" in answer.problem


def test_a_service_that_stays_busy_is_left_to_the_next_run() -> None:
    """Four tries, then the reason; the message behind it is not tried at all."""
    with receiving(*[429] * 8) as team:
        answers = send(team.url, a_message(), a_message(Kind.RECOVERY))

    assert [(False, 4, "HTTP 429, too many requests")] == [(a.accepted, a.attempts, a.problem) for a in answers[:1]]
    assert (False, 0) == (answers[1].accepted, answers[1].attempts)
    assert 4 == len(team.got)


def test_a_service_that_is_down_says_so() -> None:
    """Nothing listens there."""
    (answer,) = send(f"json://127.0.0.1:{free_port()}")
    (mail,) = send(f"mailto://127.0.0.1:{free_port()}/?from=a@example.org&to=b@example.org")

    assert (False, 4, "no connection") == (answer.accepted, answer.attempts, answer.problem)
    assert (False, 4, "no connection") == (mail.accepted, mail.attempts, mail.problem)


def test_a_slow_channel_holds_nobody_up() -> None:
    """The quick channel has its message at once, the slow one is given up when its time is over."""
    slow, quick = Channel("slow", "SLOW_URL"), Channel("quick", "QUICK_URL")
    patience = Patience(attempts=2, seconds=0.6, first_wait=0.02, longest_wait=0.05)
    with receiving(delay=60) as sleeper, receiving() as team:
        started = time.monotonic()
        answers = dispatch(
            {slow: [a_message()], quick: [a_message()]}, {"SLOW_URL": sleeper.url, "QUICK_URL": team.url}, patience
        )
        took = time.monotonic() - started
        arrived = team.times[0] - started

    assert answers[quick][0].accepted
    assert "no answer within 0.6 s" == answers[slow][0].problem
    assert arrived < 0.5
    assert took < 1.5


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "TEAM_URL is not set"),
        (f"slack://{TOKEN}", "TEAM_URL holds no URL that Apprise understands"),
        (f"nonsense-{TOKEN}", "TEAM_URL holds no URL that Apprise understands"),
    ],
)
def test_a_channel_without_address_is_named_by_its_variable(url: str, problem: str) -> None:
    """What the variable holds is a secret and is not shown, be it ever so wrong."""
    assert [Answer(accepted=False, attempts=0 if not url else 1, problem=problem)] == send(url)


def test_no_secret_reaches_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Even whoever logs everything at DEBUG sees no URL of a channel, accepted or refused."""
    lines: list[str] = []
    listener = logging.Handler(logging.NOTSET)
    listener.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.NOTSET)
    try:
        with receiving(500) as team:
            send(team.url)
        send(f"json://{TOKEN}:{TOKEN}@127.0.0.1:{free_port()}/{TOKEN}")
        send(f"slack://{TOKEN}")
        send(f"pagerduty://%20@{TOKEN}")
        logging.getLogger("urllib3.connectionpool").debug("somebody else's request")
    finally:
        root.removeHandler(listener)
        root.setLevel(level)

    # Servers of other tests may still be talking in this process.
    assert [] == [line for line in lines if TOKEN in line or f":{team.port}" in line]
    assert "somebody else's request" in lines
    assert ("", "") == tuple(capfd.readouterr())


@pytest.mark.parametrize(
    "service",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?blocks=yes",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "pagerduty://abcdefghijklmnopqrstuvwxyz123456@abcdefghijklmnopqrstuvwxyz123456",
    ],
)
def test_what_is_quoted_calls_nobody_and_forges_no_line(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature's name or a reason may hold anything: no mention, no hidden link, no break, no escape."""
    sent: list[str] = []

    def request(_self: object, *_where: str, **options: Any) -> requests.Response:
        sent.append(options["data"])
        answer = requests.Response()
        answer.status_code, answer._content = 200, b"ok"  # as a service answers
        return answer

    monkeypatch.setattr(requests.Session, "request", request)
    text = "drift of <!channel> @everyone <https://evil.example|here>\n✅ recovered \x1b[2K \u202e \u200b"
    notice = Notice(Kind.ALERT, Level.CRITICAL, "churn\u200b", "v2 @here", "k", text, datetime(2026, 1, 1, tzinfo=UTC))

    dispatch({Channel("x", "URL"): [compose([notice], Guide())]}, {"URL": service}, Patience(1))

    (told,) = sent
    shown = [leaf for leaf in _texts(json.loads(told)) if "drift" in leaf]
    assert shown
    for leaf in shown:
        assert not service.startswith("slack") or "<" not in leaf
        assert "@everyone" not in leaf
        assert "@here" not in leaf
        assert not [letter for letter in leaf if not letter.isprintable() and letter not in "\r\n"]
        assert not [line for line in leaf.splitlines() if line.startswith("✅")]


def _texts(document: Any) -> list[str]:
    if isinstance(document, dict | list):
        inside = document.values() if isinstance(document, dict) else document
        return [text for value in inside for text in _texts(value)]
    return [document] if isinstance(document, str) else []


@pytest.mark.system
def test_a_slow_answer_is_waited_for() -> None:
    """A second try would tell people twice: within its patience a channel has all the time it takes."""
    with receiving(delay=4.5) as sleeper:
        (answer,) = send(sleeper.url, patience=Patience(attempts=4, seconds=8, first_wait=0.02))

    assert (True, 1, 1) == (answer.accepted, answer.attempts, len(sleeper.got))


def test_a_mail_server_that_asks_for_no_password_is_no_lost_connection() -> None:
    """Or asks for it after TLS alone: trying again helps nobody."""
    with mailing() as mailbox:
        (answer,) = send(mailbox.url.replace("mailto://", f"mailto://monitor:{TOKEN}@"))

    assert (False, 1) == (answer.accepted, answer.attempts)
    assert answer.problem == "authentication is not offered: mailtos:// if TLS comes first, or a URL without a password"


class _Wary(Mailbox):
    """A mail server that wants a password, and does not like the recipient."""

    async def handle_RCPT(self, *_arguments: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Nobody lives here."""
        return "550 no such person"


@pytest.mark.parametrize(
    ("login", "problem"),
    [
        ("", "refused by the mail server"),
        (f"monitor:{TOKEN}@", "authentication failed, SMTP 535: check user and password"),
    ],
)
def test_a_mail_server_says_why(login: str, problem: str) -> None:
    """Password, recipient and encryption are mended in different places; none of the answers quotes the URL."""
    controller = Controller(
        _Wary(),
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=lambda *_: AuthResult(success=False, handled=False),
        auth_require_tls=False,
    )
    controller.start()
    try:
        (answer,) = send(
            f"mailto://{login}127.0.0.1:{controller.port}/?from=a@example.org&to=b@example.org&mode=insecure"
        )
        (encrypted,) = send(f"mailtos://127.0.0.1:{controller.port}/?from=a@example.org&to=b@example.org&mode=starttls")
    finally:
        controller.stop()

    assert (problem, 1) == (answer.problem, answer.attempts)
    assert encrypted.problem.startswith("TLS failed")
    assert TOKEN not in answer.problem
