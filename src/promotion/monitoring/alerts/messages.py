"""What people read when something is wrong, or right again: what, how bad, since when, which version, what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from promotion.config.printable import printable

_LONGEST_TITLE = 200
_MENTION = re.compile(r"@(?=everyone|here|channel|all\b)", re.IGNORECASE)
"""Slack's own calls are escaped by Apprise; others are plain text."""


class Level(StrEnum):
    """How bad it is, the worst first."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return list(Level).index(self)


class Kind(StrEnum):
    """Why a message is sent."""

    ALERT = "alert"
    REMINDER = "reminder"
    EASED = "eased"
    RECOVERY = "recovery"
    ENDED = "ended"
    ANNOUNCEMENT = "announcement"
    TEST = "test"

    @property
    def is_over(self) -> bool:
        """Whether it says that nothing needs to be done any more."""
        return self in {Kind.RECOVERY, Kind.ENDED}


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that one message tells.

    Attributes:
        kind: Why.
        level: How bad it is; of something that is over, how bad it was.
        family: Whose version.
        version: Which version, as people call it.
        key: What tells this alert apart from others of the version.
        text: What was found.
        since: Since when, UTC.
        until: Until when, UTC; None while it lasts.
        measure: Value, reference and bound, in words; empty where nothing was measured.
    """

    kind: Kind
    level: Level
    family: str
    version: str
    key: str
    text: str
    since: datetime
    until: datetime | None = None
    measure: str = ""

    @property
    def mark(self) -> str:
        """The word a title begins with."""
        words = {
            Kind.REMINDER: f"STILL {self.level.upper()}",
            Kind.EASED: f"EASED TO {self.level.upper()}",
            # Whoever does not hear of what it eased to is told that it is over for them, not that it is well.
            Kind.RECOVERY: "RECOVERED" if self.until else f"EASED TO {self.level.upper()}, OVER HERE",
            Kind.ENDED: "ENDED, SERVES NO MORE",
            Kind.ANNOUNCEMENT: "NOTICE",
            Kind.TEST: "TEST",
        }
        return words.get(self.kind, self.level.upper())

    @property
    def incident(self) -> str:
        """What a pager groups by: the same from the first alert to the recovery, another for another version."""
        return f"{self.family}/{self.version}/{self.key}"


@dataclass(frozen=True, slots=True)
class Guide:
    """Where to read on, and what to do; each None when there is nothing to name.

    Attributes:
        report: Address or path of the family's page.
        runbook: Address or path of what to do at night.
        command: The one command to run.
    """

    report: str | None = None
    runbook: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What is handed to a channel.

    Attributes:
        title: One line: how bad, which version, what.
        body: All of it, as plain text, one `Name: value` a line.
        level: The worst level in it.
        is_over: Whether it closes what an earlier message opened.
        incident: See `Notice.incident`, of the first notice.
        link: The page to open; None when it is not on the web.
        details: The lines of the body, by name.
    """

    title: str
    body: str
    level: Level
    is_over: bool
    incident: str
    link: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)


def compose(notices: Sequence[Notice], guide: Guide) -> Message:
    """One message about notices of one version, all of them over or none.

    Args:
        notices: At least one; the worst leads.
        guide: Where to read on.

    Returns:
        The message; its text has no markup, so that every channel shows it as it is.
    """
    ordered = sorted(notices, key=lambda notice: (notice.level.rank, notice.since))
    first = ordered[0]
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    was = ", was" if first.until else ""
    title = f"[{first.mark}] {_line(first.version)}{was}: {_shortened(_line(first.text))}{more}"
    details = _details(ordered, guide)
    return Message(
        title=title,
        body="\n".join(f"{name}: {value}" for name, value in details.items()),
        level=first.level,
        is_over=first.kind.is_over,
        incident=first.incident,
        link=guide.report if guide.report and guide.report.startswith(("http://", "https://")) else None,
        details=details,
    )


def measure_text(value: float | None, reference: float | None, bound: float | None, rows: int | None) -> str:
    """Figures in words, those that are known: `0.8 against 0.872 at promotion, bound 0.05, on 512 rows`."""
    parts = [f"{value:.4g}" if value is not None else ""]
    if value is not None and reference is not None:
        parts[0] += f" against {reference:.4g} at promotion"
    parts.append(f"bound {bound:.4g}" if bound is not None else "")
    parts.append(f"on {rows:,} rows" if rows is not None else "")
    return ", ".join(part for part in parts if part)


def moment_text(at: datetime) -> str:
    """A time as people read it."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _details(notices: Sequence[Notice], guide: Guide) -> dict[str, str]:
    first = notices[0]
    if len(notices) == 1:
        found = {"What was wrong" if first.until else "What": _line(first.text), **_extent(first)}
    else:
        found = {
            f"{number}. {notice.mark.lower()}": f"{_line(notice.text)} ({_period(notice)})"
            for number, notice in enumerate(notices, start=1)
        }
    return found | {
        name: value
        for name, value in (
            ("Version", _line(first.version)),
            ("Family", _line(first.family)),
            ("Report", guide.report),
            ("Runbook", guide.runbook),
            ("Run", None if first.kind.is_over else guide.command),
        )
        if value
    }


def _extent(notice: Notice) -> dict[str, str]:
    if notice.kind in {Kind.ANNOUNCEMENT, Kind.TEST}:
        return {"When": moment_text(notice.since)}
    words = f"{notice.level} until then" if notice.until else str(notice.level)
    figures = f" ({notice.measure})" if notice.measure and not notice.until else ""
    return {"How bad": words + figures, "Since": _period(notice).removeprefix("since ")}


def _period(notice: Notice) -> str:
    return (
        f"from {moment_text(notice.since)} until {moment_text(notice.until)}"
        if notice.until
        else f"since {moment_text(notice.since)}"
    )


def _line(text: str) -> str:
    """One line that calls nobody: what was found may quote a feature's name, and a name may hold anything."""
    return _MENTION.sub("@ ", printable(" ".join(text.split())))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TITLE else text[: _LONGEST_TITLE - 1] + "…"
