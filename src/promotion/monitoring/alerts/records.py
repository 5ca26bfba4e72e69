"""Alerts and their deliveries, as plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from promotion.errors import ChannelFailed
from promotion.journal.records import DueNotice
from promotion.monitoring.alerts.channels import Answer
from promotion.monitoring.alerts.messages import Kind


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one message about an alert went, to one channel.

    Attributes:
        due: What was to be told.
        title: Of the message.
        answer: What the channel said.
    """

    due: DueNotice
    title: str
    answer: Answer

    @property
    def is_news(self) -> bool:
        """Whether the chain has to hear of it: a repeated failure is in the table alone."""
        return self.answer.accepted or not self.due.tried

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "channel": self.due.channel,
            "recipient": self.answer.recipient,
            "kind": str(self.due.kind),
            "level": str(self.due.alert.level),
            "key": self.due.alert.key,
            "title": self.title,
            "accepted": self.answer.accepted,
            "attempts": self.answer.attempts,
            "problem": self.answer.problem,
        }


@dataclass(frozen=True, slots=True)
class Told:
    """What one call told, and to whom."""

    deliveries: Sequence[Delivery] = ()

    def as_json(self) -> list[dict[str, Any]]:
        """Plain data, one document a delivery."""
        return [item.as_json() for item in self.deliveries]

    def lines(self) -> list[str]:
        """What a command says of it, a line a message and channel."""
        found = {
            (item.due.channel, item.title): _line(item.due.channel, item.title, item.answer, "the next run tries again")
            for item in self.deliveries
        }
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of a test message, by channel."""

    answers: Mapping[str, Answer]

    def as_json(self) -> list[dict[str, Any]]:
        """Plain data, one document a channel."""
        return [{"channel": name, "kind": str(Kind.TEST), **asdict(answer)} for name, answer in self.answers.items()]

    def lines(self) -> list[str]:
        """What a command says of it, a line a channel."""
        return [_line(name, "test message", answer, "check its URL") for name, answer in self.answers.items()]

    def require_accepted(self) -> None:
        """Make sure that everybody can be told.

        Raises:
            ChannelFailed: A channel did not take the message, or there is none.
        """
        failed = [f"{name} ({answer.problem})" for name, answer in self.answers.items() if not answer.accepted]
        if failed:
            raise ChannelFailed(f"these channels take no alert: {', '.join(failed)}", deliveries=self.as_json())
        if not self.answers:
            raise ChannelFailed("the family has no channels, so nobody would be told: see monitoring.channels")


def _line(channel: str, title: str, answer: Answer, advice: str) -> str:
    if answer.accepted:
        return f"✅ {channel} ({answer.recipient}): {title}"
    return f"⚠️ {channel}: not delivered, {answer.problem}; {advice}: {title}"
