"""Tell receivers what is queued for them: in order, several at once, each with its own patience."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from threading import Thread
from time import monotonic

from promotion.config.events import Receiver
from promotion.config.family import FamilyConfigs, load_configs
from promotion.errors import ChannelFailed, PromotionError
from promotion.events.messages import compose_request
from promotion.events.post import post
from promotion.events.receivers import receivers_of
from promotion.journal.journal import Journal
from promotion.journal.records import Event
from promotion.journal.systems.outbox import Letter, claim, drop, due_queues, event_of, release, settle

ALL_SECONDS, SECONDS = 20.0, 8.0
"""How long a command tells others at most, and how long one of them may take for an event."""
_TRIES, _FIRST_WAIT = 3, 0.5
"""Of one process, and seconds before its second; the journal's own waits follow."""
_FINAL = frozenset({400, 404, 405, 410, 413, 415, 422})
"""Answers that another attempt does not change: the message, or where it goes, is wrong."""


@dataclass(frozen=True, slots=True)
class Postman:
    """Tells what is due.

    Attributes:
        journal: Holds what is queued.
        folder: Where the families' files are.
        report: Told what was not taken.
        environment: Holds addresses, keys and tokens.
        seconds: How long one receiver may take for an event.
    """

    journal: Journal
    folder: Path
    report: Callable[[str], None] = lambda _line: None
    environment: Mapping[str, str] | None = None
    seconds: float = SECONDS

    def deliver(self) -> int:
        """Tell all whose time has come; whatever fails is said, and fails nothing else.

        Returns:
            How many events were taken.
        """
        taken, until = 0, monotonic() + ALL_SECONDS
        try:
            queues = due_queues(self.journal)
            configs = load_configs(self.folder) if queues else FamilyConfigs({})
            letters = [letter for queue in queues if (letter := claim(self.journal, queue))]
            while letters and monotonic() < until:
                rounds = [found for letter in letters if (found := self._round(letter, configs))]
                for current in rounds:
                    current.thread.start()
                for current in rounds:
                    current.thread.join(max(0.0, current.until - monotonic()))
                following = [self._settled(current) for current in rounds]
                taken += sum(not current.problem for current in rounds)
                letters = [letter for letter in following if letter is not None]
            for letter in letters:
                release(self.journal, letter)
        except PromotionError as error:
            self.report(f"⚠️ events are told later: {error}")
        return taken

    def _round(self, letter: Letter, configs: FamilyConfigs) -> _Round | None:
        """One letter on its way; None where this process has nothing to say to its receiver."""
        environment = os.environ if self.environment is None else self.environment
        receiver = receivers_of(self.folder, configs, letter.family).get(letter.receiver)
        if receiver is None:
            if letter.family in configs.broken:  # who knows whom it names
                release(self.journal, letter)
                return None
            following = drop(self.journal, letter)
            return self._round(following, configs) if following else None
        needed = [name for name in (receiver.url, receiver.key, receiver.token) if name]
        if missing := [name for name in needed if not environment.get(name, "").strip()]:
            release(self.journal, letter)
            self.report(f"⚠️ {letter.family}: {letter.receiver} is told later: {', '.join(missing)} is not set here")
            return None
        event, replaced = event_of(self.journal, letter)
        return _Round(letter, receiver, event, replaced, environment, self.journal.real_time(), self.seconds)

    def _settled(self, current: _Round) -> Letter | None:
        """Write down what became of a letter; returns the next one of its queue, if its time has come."""
        letter, problem = current.letter, current.problem
        if problem:
            so = "given up: promotion doctor shows it" if current.is_final else "tried again later"
            self.report(f"⚠️ {letter.receiver} was not told of event {letter.sequence}: {problem}; {so}")
        return settle(self.journal, letter, problem, is_final=current.is_final)


class _Round:
    """One request, in a thread that ends with the process: who never answers keeps nobody waiting."""

    def __init__(
        self,
        letter: Letter,
        receiver: Receiver,
        event: Event,
        replaced: Event | None,
        environment: Mapping[str, str],
        now: datetime,
        seconds: float,
    ) -> None:
        self.letter = letter
        self.problem = f"no answer within {seconds:g} s"
        self.is_final = False
        self.until = monotonic() + seconds
        self._receiver, self._seconds = receiver, seconds
        self._url = environment[receiver.url].strip()
        self._request = compose_request(receiver, event, replaced, environment, now)
        self.thread = Thread(target=self._run, name=f"event-{letter.receiver}", daemon=True)

    def _run(self) -> None:
        from tenacity import Retrying, retry_if_result, stop_after_attempt, stop_after_delay, wait_exponential

        retrying = Retrying(
            stop=stop_after_attempt(_TRIES) | stop_after_delay(self._seconds / 2),
            wait=wait_exponential(multiplier=_FIRST_WAIT),
            retry=retry_if_result(lambda answer: answer[0] and not answer[1]),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        self.problem, self.is_final = retrying(self._attempt)

    def _attempt(self) -> tuple[str, bool]:
        """Why the event was not taken, empty when it was; and whether that will not change."""
        is_private = self._receiver.network == "private"
        try:
            status = post(
                self._url, self._request.body, self._request.headers, is_private=is_private, seconds=self._seconds
            )
        except ChannelFailed as error:
            return str(error), False
        except Exception as error:  # noqa: BLE001  # its own words may quote the address: its class has to do
            return f"failed inside ({type(error).__name__})", False
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return "", False
        phrase = HTTPStatus(status).phrase.lower() if status in set(HTTPStatus) else "unknown status"
        return f"HTTP {status}, {phrase}", status in _FINAL
