"""The facts of one month in the terms an auditor thinks in: who served, who moved it, against which rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self

from promotion.config.policy import Review
from promotion.errors import UsageError
from promotion.journal.periods import ReportDigest
from promotion.journal.records import Event
from promotion.registry.stages import Stage

_MONTHS_A_YEAR = 12


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, from `start` until before `end`."""

    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `2026-10`.

        Raises:
            UsageError: It is no month.
        """
        found = re.fullmatch(r"(\d{4})-(\d{2})", text.strip())
        try:
            year, month = map(int, found.groups()) if found else (0, 0)
            following = (year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1)
            return cls(datetime(year, month, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC))
        except ValueError as error:
            raise UsageError(f"{text!r} is no month: expected YYYY-MM such as 2026-10") from error

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Act:
    """A recorded event and the gate report it rests on.

    The version is named as the chain names it, so that a row which was renamed later does not rename the past.
    """

    event: Event
    report: ReportDigest | None

    @property
    def model(self) -> str:
        """Registered model."""
        return str(self.event.details.get("model", self.event.model))

    @property
    def number(self) -> int:
        """MLflow's integer."""
        return int(self.event.details.get("number", self.event.number))

    @property
    def version(self) -> str:
        """Semantic version."""
        return str(self.event.details.get("version", self.event.version))

    @property
    def digest(self) -> str:
        """sha256 of the artifact; empty when none was recorded."""
        return str(self.event.details.get("digest") or "")

    @property
    def approver(self) -> str:
        """Who answers for it, when that is not the actor."""
        return str(self.event.details.get("approver", ""))

    @property
    def overridden(self) -> list[str]:
        """Gates that refused and were overridden."""
        return list(self.event.details.get("override", []))

    @property
    def refused(self) -> list[str]:
        """Gates that refused, and that was that."""
        return list(self.event.details.get("refused", []))

    @property
    def is_rehearsal(self) -> bool:
        """Whether the clock was set by hand."""
        return "clock" in self.event.details

    @property
    def is_forced(self) -> bool:
        """Whether a guard was overridden with `--force`."""
        return bool(self.event.details.get("forced"))

    @property
    def is_entry(self) -> bool:
        """Whether the version came into Production by it."""
        return self.event.is_move and self.event.to_stage is Stage.PRODUCTION

    @property
    def is_exit(self) -> bool:
        """Whether the version left Production by it."""
        return self.event.is_move and self.event.from_stage is Stage.PRODUCTION


@dataclass(frozen=True, slots=True)
class MisdatedAct:
    """An act whose date cannot be right, and between which dates it was recorded by its place in the chain.

    Attributes:
        act: With the date that it claims.
        after: UTC; None when nothing was recorded before.
        before: UTC.
    """

    act: Act
    after: datetime | None
    before: datetime


@dataclass(frozen=True, slots=True)
class Operation:
    """The acts that were committed together."""

    acts: tuple[Act, ...]

    @property
    def main(self) -> Act:
        """The one the others make room for."""
        return next((act for act in self.acts if act.is_entry), self.acts[-1])

    @property
    def replaced(self) -> Act | None:
        """The version that left Production."""
        return next((act for act in self.acts if act.is_exit), None)


@dataclass(frozen=True, slots=True)
class Tenure:
    """A time during which one version, or none, was in Production of a family, clipped to the month.

    Attributes:
        family: The family.
        since: When it began, UTC; the month's start for what was there already.
        until: When it ended, UTC; None when it lasts beyond what the report covers.
        entry: The act that put the version there, perhaps long ago; None when nobody served.
    """

    family: str
    since: datetime
    until: datetime | None
    entry: Act | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version that entered Production, as it was then.

    Attributes:
        act: How it got there last.
        metrics: Scored by the gates for this move, by name; empty when no gate scored it.
        registered_metrics: As training recorded them.
        feature_hash: Of the feature schema it was trained on.
        lineage: Where it comes from.
        signature: Over its artifact's files; None when it is not signed.
        trainer: The persons behind its training.
        is_report_intact: Whether the kept gate report still has its digest; None without report.
        is_registration_intact: Whether what training recorded still is what the chain says; None when it says nothing.
    """

    act: Act
    metrics: Mapping[str, float]
    registered_metrics: Mapping[str, float]
    feature_hash: str | None
    lineage: Mapping[str, Any]
    signature: str | None
    trainer: str | None
    is_report_intact: bool | None
    is_registration_intact: bool | None

    @property
    def is_altered(self) -> bool:
        """Whether something kept about it is not what was recorded."""
        return self.is_report_intact is False or self.is_registration_intact is False


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that is archived, by which act, and until when it must be kept."""

    act: Act
    until: datetime


@dataclass(frozen=True, slots=True)
class DueReview:
    """A review of the rules or of a version, and when it is due; `last` is None when nobody ever did it."""

    family: str
    what: str
    last: date | None
    on: date


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of auditing the whole journal.

    Attributes:
        intact: Whether nothing is wrong.
        summary: How much was read, as text.
        findings: What is wrong; of very many the first.
        count: How much is wrong.
        notes: What the audit could not see.
    """

    intact: bool
    summary: str
    findings: Sequence[str] = ()
    count: int = 0
    notes: Sequence[str] = ()


def tenures(family: str, before: Act | None, acts: Collection[Act], start: datetime, end: datetime) -> list[Tenure]:
    """Who served when, by the newest act before the time covered that touched Production, and those in it, in order.

    Returns:
        Without gaps from `start`; empty when nobody ever served.
    """
    found: list[Tenure] = []
    serving = before if before and before.is_entry else None
    has_served, since = before is not None, start
    for act in acts:
        at = min(max(act.event.at, since), end)
        # The version that leaves and the one that enters are two events of one moment: no gap between them.
        if has_served and at > since:
            found.append(Tenure(family, since, at, serving))
        serving, has_served, since = (act if act.is_entry else None), True, at
    if has_served:
        found.append(Tenure(family, since, None, serving))
    return found


def review_dates(family: str, review: Review, serving: Act | None, today: date) -> list[DueReview]:
    """When the rules of a family, and what serves there, are to be looked at; what nobody ever did is due today."""
    found = []
    for what, last, days in (
        ("promotion criteria", review.last_criteria, review.criteria_days),
        ("promotion process", review.last_process, review.process_days),
    ):
        found.append(DueReview(family, what, last, last + timedelta(days=days) if last else today))
    if serving:
        promoted = serving.event.at.date()
        what = f"performance of {serving.model} {serving.version}"
        found.append(DueReview(family, what, promoted, promoted + timedelta(days=review.performance_days)))
    return found
