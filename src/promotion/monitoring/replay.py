"""Rehearse a family's bounds on its own past: what would have been told and done, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc

from promotion.errors import UsageError
from promotion.journal.records import Alert, AlertState, Event
from promotion.monitoring.alerts.messages import Kind
from promotion.monitoring.alerts.rules import Rules
from promotion.monitoring.finding import LevelName
from promotion.monitoring.observe.log_files import find_parts, read
from promotion.monitoring.observe.log_rows import log_schema
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.observe.sliding_count import SlidingCount
from promotion.monitoring.observe.watch import KnownVersion, Past, VersionKey, Watch
from promotion.monitoring.rollback_trigger import triggers
from promotion.monitoring.thresholds import judge
from promotion.registry.stages import Stage

LOOKS = 400
"""As many as a rehearsal makes at most, where nobody says how often to look."""
Deed = Literal["told", "eased", "over", "rollback"]
_LONG_AGO = datetime.fromisoformat("1970-01-02T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class ReplayedAct:
    """What the monitor would have done at one look.

    Attributes:
        at: When, UTC.
        act: `told`; `eased`, when it was less bad than told; `over`; or `rollback`: the version taken back, or with
            `alert-only` a person asked to.
        version: Of which version.
        level: Of what was told; None of what is over.
        channels: Who would have heard.
        text: Why.
    """

    at: datetime
    act: Deed
    version: str
    level: LevelName | None
    channels: Sequence[str]
    text: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        fields = {name: getattr(self, name) for name in ("act", "version", "level", "text")}
        return {"at": self.at.isoformat(), **fields, "channels": list(self.channels)}


def replay(
    watch: Watch, known: KnownVersion, history: Sequence[Event], every: timedelta | None = None
) -> Iterator[ReplayedAct]:
    """Look at the whole log as if it were then, again and again.

    A label counts from its row's time on: when it arrived is not in the file. What is in Production is what the journal
    says of that time; before it knew anything, what answered at the look before. The log is read once, and kept.

    Args:
        watch: What to look at; its end is not.
        known: What is known of the versions.
        history: The family's events.
        every: Between two looks; otherwise a 24th of the window, or longer for at most `LOOKS` of them.

    Raises:
        UsageError: There is no log, or no row in it.
    """
    rows, (first, last) = _remember(watch)
    past = Past(watch.read_labels(), SlidingCount(rows))
    step = every or max(watch.window / 24, (last - first) / LOOKS)
    book = _Book(watch.config.family)
    gone: set[str] = set()
    served: tuple[VersionKey, datetime] | None = None
    at = first + step
    while at < last + step:
        production = _in_production(history, at) or served
        version, since = production or (None, None)
        before = served[0] if served else None
        then = replace(known, production=version, live_since=since, last_served=before, is_recorded=bool(history))
        for now in observe(watch.at(at), then, past):
            # Log and labels are today's: what was wrong with them then is not in them.
            seen = replace(now, flaws=())
            if seen.serves:
                yield from _told(seen, watch, book)
                if served is None or served[0] != (seen.model, seen.version):
                    served = (seen.model, seen.version), max(at - step, first)
            yield from _rolled_back(seen, watch, gone)
        at += step


def _remember(watch: Watch) -> tuple[pa.Table, list[datetime]]:
    """The family's rows in the order of their times, and the first and the last of these."""
    schema = log_schema(list(watch.contract.columns), watch.contract.texts, is_regression=not watch.contract.classes)
    rows = [
        block.rows.filter(
            pc.and_(pc.equal(block.rows["family"], watch.config.family), pc.less(block.rows["time"], watch.until))
        )
        for part in find_parts(watch.source, _LONG_AGO)
        for block in read(part, list(watch.contract.columns), schema)
    ]
    table = pa.concat_tables(rows).sort_by("time") if rows else schema.empty_table()
    if not table.num_rows:
        raise UsageError(f"{watch.source}: no row of {watch.config.family!r} to rehearse on")
    return table, [table["time"][place].as_py() for place in (0, table.num_rows - 1)]


def _in_production(history: Sequence[Event], at: datetime) -> tuple[VersionKey, datetime] | None:
    """The version that was there at a time, and since when."""
    arrivals = [it for it in history if it.is_move and it.to_stage is Stage.PRODUCTION and it.at <= at]
    newest = max(arrivals, key=lambda it: (it.at, it.sequence), default=None)
    return None if newest is None else ((newest.model, newest.number), newest.at)


def _told(seen: Observation, watch: Watch, book: _Book) -> Iterator[ReplayedAct]:
    """What people would have heard of after this look, by the rules that the monitor goes by."""
    book.now, version_id = seen.until, book.version_id(str(seen))
    rules = Rules(book, watch.policy)
    rules.end_others(version_id)
    rules.note(version_id, judge(seen, watch.policy), seen)
    for alert, channels, kind in book.said:
        if kind is Kind.REMINDER:
            continue
        if not kind.is_over:
            act: Deed = "eased" if kind is Kind.EASED else "told"
            yield ReplayedAct(
                seen.until, act, alert.version, cast(LevelName, alert.level), channels, alert.finding["text"]
            )
        elif channels or alert.state is not AlertState.OPEN:
            text = f"{alert.key} ended: {seen} answers now" if kind is Kind.ENDED else f"{alert.key} is well again"
            text = f"{alert.key} eased to {alert.level}" if alert.state is AlertState.OPEN else text
            yield ReplayedAct(seen.until, "over", alert.version, None, channels, text)
    book.said.clear()


class _Book:
    """The alerts of a rehearsal: in memory, and asked as `AlertBook` is.

    Attributes:
        now: When the look is, UTC.
        said: What was to be told since it was emptied last: the alert as it stood then, to whom, and why.
    """

    def __init__(self, family: str) -> None:
        self.now = _LONG_AGO
        self.said: list[tuple[Alert, list[str], Kind]] = []
        self._family = family
        self._versions: list[str] = []
        self._alerts: dict[int, Alert] = {}
        self._heard: dict[int, dict[str, str]] = {}

    def version_id(self, version: str) -> int:
        if version not in self._versions:
            self._versions.append(version)
        return self._versions.index(version)

    def open_alerts(self) -> list[Alert]:
        return [it for it in self._alerts.values() if it.state is AlertState.OPEN]

    def recent(self, version_id: int, key: str, since: datetime) -> Alert | None:
        found = [
            it
            for it in self._alerts.values()
            if it.state is AlertState.RECOVERED and (it.version_id, it.key) == (version_id, key)
        ]
        return found[-1] if found and found[-1].closed_at and found[-1].closed_at > since else None

    def add(self, version_id: int, key: str, level: str, finding: Mapping[str, Any]) -> int:
        number = len(self._alerts)
        self._alerts[number] = Alert(
            id=number,
            family=self._family,
            version_id=version_id,
            version=self._versions[version_id],
            key=key,
            level=level,
            state=AlertState.OPEN,
            flapping=False,
            finding=finding,
            opened_at=self.now,
            told_at=self.now,
            better_since=None,
            eased_at=None,
            closed_at=None,
        )
        self._heard[number] = {}
        return number

    def change(self, known: Alert, **values: Any) -> None:
        values.pop("seen_at", None)
        self._alerts[known.id] = replace(self._alerts[known.id], **values)

    def told(self, known: Alert) -> dict[str, str]:
        return self._heard[known.id]

    def queue(self, alert_id: int, channels: Iterable[str], kind: Kind) -> None:
        hearers = list(channels)
        self._heard[alert_id] |= dict.fromkeys(hearers, kind)
        self.said.append((self._alerts[alert_id], hearers, kind))


def _rolled_back(seen: Observation, watch: Watch, gone: set[str]) -> Iterator[ReplayedAct]:
    """That a version goes, once: in the log it goes on answering."""
    fired = [trigger.text for trigger in triggers(seen, watch.policy) if trigger.fires]
    if fired and str(seen) not in gone:
        gone.add(str(seen))
        did = {"rollback": "taken back", "alert-only": "a person is asked to take it back"}[watch.policy.action]
        text = f"{did}: {'; '.join(fired)}"
        yield ReplayedAct(seen.until, "rollback", str(seen), "critical", watch.policy.routing.critical, text)
