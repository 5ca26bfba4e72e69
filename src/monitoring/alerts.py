"""What the journal holds on alerts, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from monitoring.channels import Answer
from monitoring.messages import Kind, Level


class State(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    RECOVERED = "recovered"
    ENDED = "ended"
    ANNOUNCED = "announced"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is, or was, wrong with one version.

    Attributes:
        id: Row.
        family: Whose version.
        version_id: Row of the version.
        version: As people call it.
        key: What tells it apart from others of the version.
        level: How bad it is, as people were told last.
        state: Where it stands.
        flapping: Whether it came back shortly after it had been called better.
        finding: What was found last: `text` and the figures.
        opened_at: When it was found first, UTC.
        told_at: When something was last told about it, UTC.
        better_since: Since when it looks better than was told, UTC; None when it does not.
        eased_at: When people were last told that it is better, UTC.
        closed_at: When it was over, UTC.
    """

    id: int
    family: str
    version_id: int
    version: str
    key: str
    level: Level
    state: State
    flapping: bool
    finding: Mapping[str, Any]
    opened_at: datetime
    told_at: datetime
    better_since: datetime | None
    eased_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    """One alert that one channel has not taken yet."""

    id: int
    alert: Alert
    channel: str
    kind: Kind
    tried: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one message about an alert went, to one channel.

    Attributes:
        due: What was to be told.
        title: Of the message.
        answer: What the channel said.
    """

    due: Due
    title: str
    answer: Answer

    @property
    def is_news(self) -> bool:
        """Whether the chain has to hear of it: a repeated failure is in the table alone."""
        return self.answer.accepted or not self.due.tried
