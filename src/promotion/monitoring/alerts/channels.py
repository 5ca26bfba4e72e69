"""Hand messages to channels: many at once, each with its own patience, and without a word about their secrets."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from threading import Thread
from typing import TYPE_CHECKING

from promotion.monitoring.alerts.messages import Level, Message

if TYPE_CHECKING:
    from apprise import AppriseAsset, AppriseResult, NotifyBase

_THREADS = "alert-channel-"
_STATUS = re.compile(r"error=(\d{3})\b")
# A 4xx says that the message or the credentials are wrong, which a second attempt does not change; these do pass.
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_SMTP_CODE = re.compile(r"\((\d{3}), b")
_NOT_AUTHENTICATED = {530, 534, 535, 538}
_FOR_GOOD = 500
# Limits of PagerDuty's Events API v2, characters.
_LONGEST_SUMMARY = 1024
_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go.

    Attributes:
        name: As the family's file calls it.
        variable: The environment variable that holds its Apprise URL.
    """

    name: str
    variable: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a channel is given; what it does not take then, the next run offers again.

    Attributes:
        attempts: Tries for each message.
        seconds: For all messages to one channel together.
        first_wait: Seconds before the second try; doubled each time, up to `longest_wait`, with a random part added.
        longest_wait: Seconds.
    """

    attempts: int = 4
    seconds: float = 30.0
    first_wait: float = 1.0
    longest_wait: float = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a message.

    Attributes:
        accepted: Whether the channel took it.
        attempts: How often it was tried.
        recipient: The kind of service, of e-mail with the addresses; empty when there is none.
        problem: Why it was not taken, in our words: a service's own may quote its URL.
        may_pass: Whether another try may help.
        is_unanswered: Whether it may have arrived all the same.
    """

    accepted: bool
    attempts: int = 0
    recipient: str = ""
    problem: str = ""
    may_pass: bool = False
    is_unanswered: bool = False


def dispatch(
    post: Mapping[Channel, Sequence[Message]], environment: Mapping[str, str], patience: Patience
) -> dict[Channel, list[Answer]]:
    """Send to all channels at once; none waits for another, and none is waited for longer than its patience.

    Args:
        post: Messages by channel, in order.
        environment: Holds the channels' URLs.
        patience: How long each channel is given.

    Returns:
        By channel an answer for each message, in order.
    """
    if post:
        _load()
    rounds = {channel: _Round(channel, messages, environment, patience) for channel, messages in post.items()}
    deadline = time.monotonic() + patience.seconds
    for channel, current in rounds.items():
        # Daemons: a service that never answers must not keep the process from ending.
        thread = Thread(target=current.run, name=_THREADS + channel.name, daemon=True)
        current.thread = thread
        thread.start()
    for current in rounds.values():
        if current.thread:
            current.thread.join(max(0.0, deadline - time.monotonic()))
    return {channel: current.answered() for channel, current in rounds.items()}


class _Round:
    """One channel's messages of one run."""

    def __init__(
        self, channel: Channel, messages: Sequence[Message], environment: Mapping[str, str], patience: Patience
    ) -> None:
        self.thread: Thread | None = None
        self._channel = channel
        self._messages = messages
        self._url = environment.get(channel.variable, "").strip()
        self._patience = patience
        self._answers: list[Answer] = []
        self._deadline = time.monotonic() + patience.seconds

    def run(self) -> None:
        for message in self._messages:
            answer = self._deliver(message)
            self._answers.append(answer)
            # What is down takes nothing else either; one message that is refused says nothing of the next.
            if answer.may_pass:
                break

    def answered(self) -> list[Answer]:
        """The answers there are; one that is still awaited, and those behind it, did not come."""
        answers = list(self._answers)
        if len(answers) < len(self._messages) and not any(answer.may_pass for answer in answers):
            late = f"no answer within {self._patience.seconds:g} s"
            answers.append(Answer(accepted=False, attempts=1, problem=late, is_unanswered=True))
        untried = Answer(accepted=False, problem="not tried, because the message before it was not taken")
        return answers + [untried] * (len(self._messages) - len(answers))

    def _deliver(self, message: Message) -> Answer:
        from tenacity import (
            RetryCallState,
            Retrying,
            retry_if_result,
            stop_after_attempt,
            wait_exponential,
            wait_random,
        )

        def last(state: RetryCallState) -> Answer:
            answer: Answer = state.outcome.result() if state.outcome else Answer(accepted=False)
            return answer

        patience = self._patience
        if not self._url:
            return Answer(accepted=False, problem=f"{self._channel.variable} is not set")
        tried = stop_after_attempt(patience.attempts)
        # After the deadline nobody waits any more: what was taken then would be told twice.
        retrying = Retrying(
            stop=lambda state: tried(state) or time.monotonic() >= self._deadline,
            wait=wait_exponential(multiplier=patience.first_wait, max=patience.longest_wait)
            + wait_random(0, patience.first_wait),
            retry=retry_if_result(lambda answer: answer.may_pass),
            retry_error_callback=last,
        )
        answer = retrying(self._attempt, message)
        tries = int(retrying.statistics.get("attempt_number", 1))
        return replace(answer, attempts=tries)

    def _attempt(self, message: Message) -> Answer:
        try:
            service = _open(self._url)
            if service is None:
                return Answer(accepted=False, problem=f"{self._channel.variable} holds no URL that Apprise understands")
            # Whoever is slow is waited for: a second try would tell people twice.
            service.socket_read_timeout = max(service.socket_read_timeout, self._patience.seconds)
            heard = _overhear(service)
            return _answer(service, _notify(service, message), " ".join(heard))
        except Exception as error:  # noqa: BLE001  # a plugin's own words may quote its URL: its class has to do
            return Answer(accepted=False, problem=f"failed inside ({type(error).__name__})", may_pass=True)


def _open(url: str) -> NotifyBase | None:
    from apprise import Apprise

    return Apprise.instantiate(url, asset=_asset())


def _asset() -> AppriseAsset:
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="Model promotion",
        app_desc="Model promotion",
        app_url="",
        # Without masks no message points at pictures on somebody else's server.
        image_url_mask="",
        image_url_logo="",
        # requests follows a redirected POST with a GET, and a login page's 200 would count as accepted.
        http_redirects=False,
        async_mode=False,
        service_timeout=0,  # the thread's deadline is the one
    )


def _notify(service: NotifyBase, message: Message) -> AppriseResult:
    from apprise import Apprise, NotifyFormat, NotifyType
    from apprise.plugins.pagerduty import NotifyPagerDuty

    kinds = {Level.CRITICAL: NotifyType.FAILURE, Level.WARNING: NotifyType.WARNING, Level.INFO: NotifyType.INFO}
    title, body = message.title, message.body
    if isinstance(service, NotifyPagerDuty):
        # A pager shows one line and has its own places for the rest; its key ties the recovery to the incident.
        title, body = "", message.title[:_LONGEST_SUMMARY]
        service.action = "map"
        service.dedup = message.incident[-_LONGEST_KEY:]
        if service.source == service.template_tokens["source"]["default"]:
            service.source = message.details.get("Family", service.source)
        service.details = {**service.details, **message.details}
        service.click = message.link or service.click
    manager = Apprise(asset=service.asset)
    manager.add(service)
    return manager.notify(
        body=body,
        title=title,
        notify_type=NotifyType.SUCCESS if message.is_over else kinds[message.level],
        body_format=NotifyFormat.TEXT,
    )


def pages(url: str) -> bool:
    """Whether a channel opens incidents, one for each alert, rather than showing messages."""
    return url.lower().startswith("pagerduty:")


def _overhear(service: NotifyBase) -> list[str]:
    """What a mail server says, which Apprise tells its log alone: into a list that nobody else reads."""
    from apprise.plugins.email import NotifyEmail

    heard: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        heard.append(record.getMessage())
        return False

    if isinstance(service, NotifyEmail):
        service.logger = logging.Logger(_THREADS)  # noqa: LOG001  # private: what it says names addresses
        service.logger.addFilter(hear)
    return heard


def _mail_problem(said: str) -> tuple[str, bool]:
    """Why a mail was not taken, in our words, and whether another try may help."""
    if found := _SMTP_CODE.search(said):
        code = int(found[1])
        if code in _NOT_AUTHENTICATED:
            return f"authentication failed, SMTP {code}: check user and password", False
        return f"refused, SMTP {code}", code < _FOR_GOOD
    if "AUTH extension" in said or "No suitable authentication" in said:
        return "authentication is not offered: mailtos:// if TLS comes first, or a URL without a password", False
    if "SSL" in said or "STARTTLS" in said or "certificate" in said:
        return "TLS failed: check the port, the certificate, and mailto:// or mailtos://", False
    if "Sending email" in said:
        return "refused by the mail server", False
    return ("timed out" if "timed out" in said else "no connection"), True


def _answer(service: NotifyBase, result: AppriseResult, heard: str = "") -> Answer:
    recipient = _recipient(service)
    if result:
        return Answer(accepted=True, recipient=recipient)
    if heard:
        problem, may_pass = _mail_problem(heard)
        return Answer(accepted=False, recipient=recipient, problem=problem, may_pass=may_pass)
    log = " ".join(entry.message for sent in result for entry in sent.logs())
    found = _STATUS.search(log)
    if found is None:
        reached = "connection error" not in log.lower()
        return Answer(
            accepted=False, recipient=recipient, problem="refused" if reached else "no connection", may_pass=True
        )
    status = int(found[1])
    phrase = HTTPStatus(status).phrase.lower() if status in set(HTTPStatus) else "unknown status"
    may_pass = status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Answer(accepted=False, recipient=recipient, problem=f"HTTP {status}, {phrase}", may_pass=may_pass)


def _recipient(service: NotifyBase) -> str:
    from apprise.plugins.email import NotifyEmail

    name = str(service.service_name)
    if isinstance(service, NotifyEmail):
        return f"{name} to {', '.join(address for _name, address in service.targets)}"
    return name


def _load() -> None:
    """Read Apprise's plugins, which takes a moment that is not the channels' to answer for."""
    _silence()  # first: it talks while it loads
    from apprise import Apprise

    Apprise.instantiate("json://localhost", asset=_asset())


def _silence() -> None:
    """Keep what libraries log about a delivery, URLs with their tokens, from whoever listens to the root logger."""
    apprise = logging.getLogger("apprise")
    apprise.propagate = False
    apprise.setLevel(logging.WARNING)  # below, it quotes URLs; the warnings are what we read the status from
    if not apprise.handlers:
        apprise.addHandler(logging.NullHandler())
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logger = logging.getLogger(name)
        if _is_not_ours not in logger.filters:
            logger.addFilter(_is_not_ours)


def _is_not_ours(record: logging.LogRecord) -> bool:
    return not (record.threadName or "").startswith(_THREADS)
