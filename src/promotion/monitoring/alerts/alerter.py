"""Tell people what is wrong with the version that serves: once, the right ones, and again when it is over."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from promotion.config.family import FamilyConfig
from promotion.journal.journal import Journal
from promotion.journal.monitoring import ACTOR, AlertBook, open_book
from promotion.journal.records import Alert, AlertState, DueNotice, Event, version_name
from promotion.monitoring.alerts.channels import Channel, Patience, dispatch, pages
from promotion.monitoring.alerts.messages import Guide, Kind, Level, Message, Notice, compose
from promotion.monitoring.alerts.records import Delivery, Tested, Told
from promotion.monitoring.alerts.rules import Rules
from promotion.monitoring.done import rollback_text
from promotion.rollbacks import ACTION as ROLLBACK
from promotion.rollbacks import target_beyond_doubt

if TYPE_CHECKING:
    from promotion.monitoring.finding import Finding
    from promotion.monitoring.observe.observation import Observation

REPORTS_URL = "REPORTS_URL"
"""Where `reports/` is published on the web, if it is; without it messages name the page's path."""
ALERTMANAGER_OWNS = "ALERTMANAGER_OWNS"
"""Keys of the findings that Alertmanager tells people of, so that nobody is paged twice for one cause."""
RUNBOOK = "docs/runbooks/alert.md"
"""What to do, where the family's file names nothing else under `contacts.runbooks.alert`."""


class Alerter:
    """Tells the channels of one family.

    Args:
        journal: Knows what was told already.
        config: The family's; without a section `monitoring` the documented defaults count.
        environment: Holds the channels' URLs.
        report: Address or path of the family's page; made from `REPORTS_URL` when None.
        patience: How long each channel is given.
        look: Arguments that the command to look again needs beside the family's name.
    """

    def __init__(
        self,
        journal: Journal,
        config: FamilyConfig,
        environment: Mapping[str, str] | None = None,
        *,
        report: str | None = None,
        patience: Patience | None = None,
        look: Sequence[str] = (),
    ) -> None:
        self._journal = journal
        self._config = config
        self._environment = os.environ if environment is None else environment
        self._policy = config.monitoring_policy
        self._patience = patience or Patience()
        self._look = look
        self._report = report or _page(config.family, self._environment)

    def tell(self, findings: Sequence[Finding], observation: Observation) -> Told:
        """Take over what one run found of one version, and deliver what people do not know yet.

        An alert is told when it is new, worse, or lasts longer than the cool-down; when it is better or over; and when
        another version answers. Challengers, shadows and versions that answer no more wake nobody. What was not
        measured changes nothing.

        Args:
            findings: Of the version; a check without one is healthy, if it was measured.
            observation: What was measured.

        Returns:
            What was delivered, and what was not.

        Raises:
            JournalError: The journal cannot be written; what was sent is sent again then.
        """
        with open_book(self._journal, self._config.family) as book:
            if observation.role == "champion" and observation.serves:
                version_id = book.version_id(_Version(observation.model, observation.version))
                rules = Rules(
                    book, self._policy, self._environment.get(ALERTMANAGER_OWNS, "").replace(",", " ").split()
                )
                rules.end_others(version_id)
                rules.note(version_id, findings, observation)
            due = book.claim(self._policy.channels)
        return self._deliver(due, ACTOR)

    def announce(self, event: Event) -> Told:
        """Tell the channels that hear of warnings that a version was promoted, or rolled back; once for each operation.

        A channel whose variable is not set is passed over: not every workspace that promotes has one.

        Args:
            event: The move into Production.

        Returns:
            What was delivered; nothing where no channel is set, or all were told already.
        """
        is_rollback = event.action == ROLLBACK
        level = Level.WARNING if is_rollback else Level.INFO
        if is_rollback:
            text = f"{event.action}: {rollback_text(self._journal, event)}"
        else:
            before = self._journal.previous(event.family)
            text = (
                f"{event.action}: in {event.to_stage} since {event.at:%H:%M} UTC, by {event.actor}: {event.reason}"
                + (f"; before it served {version_name(before.model, before.number, before.version)}" if before else "")
            )
        key = f"{event.action} {event.operation}"
        entry = self._journal.entry(event.model, event.number)
        channels = [name for name in self._policy.routing.warning if self._url(name)]
        with open_book(self._journal, self._config.family) as book:
            if entry is not None and channels and not book.is_announced(key):
                alert_id = book.add(entry.id, key, level, {"text": text}, AlertState.ANNOUNCED)
                book.queue(alert_id, channels, Kind.ANNOUNCEMENT)
            due = book.claim(self._policy.channels)
        return self._deliver(due, event.actor)

    def test(self, actor: str) -> Tested:
        """Send a test message to every channel, and close at once what it opened at a pager.

        Args:
            actor: Who asks.
        """
        now, family = self._journal.now(), self._config.family
        serving = self._journal.production(family) if self._journal.exists else None
        version = version_name(serving.model, serving.number, serving.version) if serving else family
        text = f"a test of the alert channels, asked for by {actor}; nothing is wrong"
        opening = Notice(Kind.TEST, Level.INFO, family, version, "test", text, now)
        closing = replace(opening, kind=Kind.RECOVERY, until=now)
        post = {
            channel: [
                compose([notice], Guide(self._report))
                for notice in ([opening, closing] if pages(self._url(channel.name)) else [opening])
            ]
            for channel in (Channel(*item) for item in self._policy.channels.items())
        }
        tested = Tested(
            {
                channel.name: next((answer for answer in given if not answer.accepted), given[0])
                for channel, given in dispatch(post, self._environment, self._patience).items()
            }
        )
        if serving is not None:
            with open_book(self._journal, family) as book:
                book.record(serving.id, f"test of the alert channels of {family}", tested.as_json(), actor)
        return tested

    # Telling them

    def _deliver(self, due: Sequence[DueNotice], actor: str) -> Told:
        """One message for all a channel has to hear of a version; a pager gets one for each alert."""
        letters: dict[Channel, list[tuple[Message, list[DueNotice]]]] = defaultdict(list)
        for channel_name, items in _grouped(due, lambda item: item.channel).items():
            channel = Channel(channel_name, self._policy.channels.get(channel_name, ""))
            batches = (
                [[item] for item in items] if pages(self._url(channel.name)) else _grouped(items, _subject).values()
            )
            letters[channel] = [(self._message(batch), batch) for batch in batches]
        post = {channel: [message for message, _ in batches] for channel, batches in letters.items()}
        answers = dispatch(post, self._environment, self._patience)
        deliveries = [
            Delivery(item, message.title, answer)
            for channel, batches in letters.items()
            for (message, batch), answer in zip(batches, answers[channel], strict=True)
            for item in batch
        ]
        if deliveries:
            with open_book(self._journal, self._config.family) as book:
                _settle(book, deliveries, actor)
        return Told(deliveries)

    def _message(self, batch: Sequence[DueNotice]) -> Message:
        notices = [_notice(item) for item in batch]
        worst = min(notices, key=lambda notice: notice.level.rank)
        return compose(notices, self._guide(worst, batch[0].alert))

    def _guide(self, notice: Notice, alert: Alert) -> Guide:
        runbook = self._config.contacts.runbooks.get("alert", RUNBOOK)
        family = shlex.quote(self._config.family)
        if notice.kind is Kind.ANNOUNCEMENT:
            return Guide(self._report, runbook, f"python scripts/promote-model.py --history --model {family}")
        look = shlex.join(["python", "scripts/monitor-model.py", "--model", self._config.family, "--once", *self._look])
        back = self._way_back(notice, alert) if notice.level is Level.CRITICAL else None
        return Guide(self._report, runbook, back or look)

    def _way_back(self, notice: Notice, alert: Alert) -> str | None:
        """The command that takes the version back; None when no version that served before is beyond doubt."""
        serving = self._journal.production(self._config.family)
        if serving is None or serving.id != alert.version_id:
            return None
        target, _ = target_beyond_doubt(self._journal, self._config.family, serving)
        if target is None:
            return None
        return (
            f"python mlops/registry/rollback_model.py --model-name {shlex.quote(target.model)} "
            f"--to-version {shlex.quote(target.version)} --reason {shlex.quote(notice.text)}"
        )

    def _url(self, channel: str) -> str:
        return self._environment.get(self._policy.channels.get(channel, ""), "").strip()


def _settle(book: AlertBook, deliveries: Sequence[Delivery], actor: str) -> None:
    """Write down the answers, and in the chain what is new in them."""
    for item in deliveries:
        # What may have arrived is told once more, and not for ever.
        book.answered(item.due, item.as_json(), gives_up=item.answer.is_unanswered and item.due.tried)
    news = [item for item in deliveries if item.is_news]
    for version_id in sorted({item.due.alert.version_id for item in news}):
        ours = [item for item in news if item.due.alert.version_id == version_id]
        book.record(version_id, ours[0].title, [item.as_json() for item in ours], actor)


@dataclass(frozen=True, slots=True)
class _Version:
    """What identifies a version that the journal may not know."""

    model: str
    number: int
    run_id: str | None = None


def _notice(due: DueNotice) -> Notice:
    alert, kind = due.alert, Kind(due.kind)
    return Notice(
        kind,
        Level(alert.level),
        alert.family,
        alert.version,
        alert.key,
        str(alert.finding["text"]),
        alert.opened_at,
        alert.closed_at if kind.is_over else None,
        str(alert.finding.get("measure", "")),
    )


def _subject(due: DueNotice) -> tuple[int, bool, bool]:
    """What goes into one message."""
    kind = Kind(due.kind)
    return due.alert.version_id, kind.is_over, kind is Kind.ANNOUNCEMENT


def _page(family: str, environment: Mapping[str, str]) -> str:
    base = environment.get(REPORTS_URL, "").rstrip("/") or "reports"
    return f"{base}/monitoring/{family}.html"


def _grouped(items: Iterable[DueNotice], key: Any) -> dict[Any, list[DueNotice]]:
    found: dict[Any, list[DueNotice]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return found
