"""What an auditor asks about one month, answered from the journal alone."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Self

from promotion.errors import UsageError
from promotion.records import Entry, Event, Incident
from promotion.stages import Stage

ROLLBACK = "rollback"
OUTSIDE = ("quarantine", "restore", "adopt", "genesis")
"""What is recorded of changes that were made past the journal."""
_SAID = ("approve", "reject")
_INCIDENTS = ("incident", "incident closed")
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
class Report:
    """What is known of a gate report beside the answers themselves."""

    id: int
    digest: str
    evidence: str | None
    passed: bool


@dataclass(frozen=True, slots=True)
class Act:
    """A recorded event and the gate report it rests on.

    The version is named as the chain names it, so that a row which was renamed later does not rename the past.
    """

    event: Event
    report: Report | None

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
    def is_entry(self) -> bool:
        """Whether the version came into Production by it."""
        return self.event.is_move and self.event.to_stage is Stage.PRODUCTION

    @property
    def is_exit(self) -> bool:
        """Whether the version left Production by it."""
        return self.event.is_move and self.event.from_stage is Stage.PRODUCTION


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
        lineage: Where it comes from, flat.
        signed_by: Id of the key that signed its artifact; empty when it is not signed.
        trainer: The persons behind its training.
        is_report_intact: Whether the kept gate report still has its digest; None without report.
        is_registration_intact: Whether what training recorded still is what the chain says; None when it says nothing.
    """

    act: Act
    metrics: Mapping[str, float]
    registered_metrics: Mapping[str, float]
    feature_hash: str | None
    lineage: Mapping[str, str]
    signed_by: str
    trainer: str | None
    is_report_intact: bool | None
    is_registration_intact: bool | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that served and left: `until` when it must be kept."""

    family: str
    entry: Entry
    until: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A review of the rules or of a version, and when it is due; `last` is None when nobody ever did it."""

    family: str
    what: str
    last: date | None
    on: date


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of verifying the hash chain."""

    intact: bool
    summary: str


@dataclass(frozen=True)
class Compliance:
    """The facts of a month.

    Attributes:
        month: Which.
        family: The only family it covers; None for all.
        journal: Where they come from, a URL without password.
        written_at: UTC.
        acts: In the order they were recorded.
        tenures: By family, in order.
        snapshots: Versions that entered Production.
        kept: Versions that served, left, and had to be kept in this month.
        incidents: Open at some time of the month.
        reviews: When they are due.
        stray_approvals: Approvals in the table that no event vouches for.
        verification: Of the hash chain; None when it was not asked for.
    """

    month: Month
    family: str | None
    journal: str
    written_at: datetime
    acts: Sequence[Act]
    tenures: Sequence[Tenure]
    snapshots: Sequence[Snapshot]
    kept: Sequence[Kept]
    incidents: Sequence[Incident]
    reviews: Sequence[Due]
    stray_approvals: Sequence[str]
    verification: Verification | None

    @property
    def covered_until(self) -> datetime:
        """The month's end, or now while it lasts."""
        return min(self.month.end, max(self.written_at, self.month.start))

    @cached_property
    def operations(self) -> list[Operation]:
        """What was committed together, in order."""
        grouped: dict[str, list[Act]] = {}
        for act in self.acts:
            grouped.setdefault(act.event.operation, []).append(act)
        return [Operation(tuple(acts)) for acts in grouped.values()]

    @cached_property
    def overrides(self) -> list[Operation]:
        """Moves in spite of gates that refused."""
        return [operation for operation in self.operations if operation.main.overridden]

    @cached_property
    def promotions(self) -> list[Operation]:
        """Moves into Production, but those back."""
        return [
            operation
            for operation in self.operations
            if operation.main.is_entry and not _is_any(operation.main, ROLLBACK, *OUTSIDE)
        ]

    @cached_property
    def rollbacks(self) -> list[Operation]:
        """Moves back."""
        return [operation for operation in self.operations if _is_any(operation.main, ROLLBACK)]

    def of(self, *actions: str) -> list[Act]:
        """The acts of some kinds, in order."""
        return [act for act in self.acts if _is_any(act, *actions)]

    @property
    def reviewed(self) -> list[Act]:
        """Approvals and rejections."""
        return self.of(*_SAID)

    @property
    def outside(self) -> list[Act]:
        """What happened past the journal, and what was done about it."""
        return self.of(*OUTSIDE)

    @property
    def rehearsals(self) -> list[Act]:
        """Records made under a clock that was set by hand."""
        return [act for act in self.acts if act.is_rehearsal]

    @cached_property
    def others(self) -> list[Act]:
        """What has no section of its own, so that nothing is left out."""
        shown = {
            id(act) for operation in (*self.overrides, *self.promotions, *self.rollbacks) for act in operation.acts
        }
        named = (*_SAID, *OUTSIDE, *_INCIDENTS, "refuse", "register", "stage")
        return [act for act in self.acts if id(act) not in shown and not _is_any(act, *named)]

    @property
    def vacancies(self) -> list[Tenure]:
        """Times without any version in Production after there had been one."""
        served: set[str] = set()
        found = []
        for tenure in self.tenures:
            if tenure.entry:
                served.add(tenure.family)
            elif tenure.family in served:
                found.append(tenure)
        return found

    @property
    def overdue(self) -> list[Due]:
        """Reviews that should have been done."""
        return [due for due in self.reviews if due.on < self.covered_until.date()]

    @property
    def alerts(self) -> list[str]:
        """What must not be overlooked, one sentence each, the worst first."""
        altered = [
            snapshot
            for snapshot in self.snapshots
            if False in {snapshot.is_report_intact, snapshot.is_registration_intact}
        ]
        critical = [item for item in self.incidents if item.severity == "critical" and item.closed_at is None]
        broken = self.verification if self.verification and not self.verification.intact else None
        found = (
            (broken, f"The hash chain does not verify: {broken.summary}" if broken else ""),
            (self.overrides, _count(self.overrides, "move overrode gates that refused", "moves overrode gates that refused")),
            (altered, _count(altered, "promoted version's evidence was altered", "promoted versions' evidence was altered")),
            (
                self.stray_approvals,
                f"Approvals that no event vouches for: {', '.join(self.stray_approvals)}",
            ),
            (
                self.of("quarantine"),
                _count(self.of("quarantine"), "change outside the rules was quarantined", "changes outside the rules were quarantined"),
            ),
            (self.vacancies, _count(self.vacancies, "time without any version in Production", "times without any version in Production")),
            (critical, _count(critical, "critical incident is open", "critical incidents are open")),
            (
                self.rehearsals,
                _count(self.rehearsals, "record was made under a clock set by hand", "records were made under a clock set by hand"),
            ),
            (self.overdue, _count(self.overdue, "review is overdue", "reviews are overdue")),
        )
        return [text for facts, text in found if facts]


def tenures(
    family: str, before: Act | None, acts: Collection[Act], start: datetime, end: datetime
) -> list[Tenure]:
    """Who served when.

    Args:
        family: The family.
        before: The newest act before the month that touched Production.
        acts: Those of the month that touched it, in order.
        start: Of the time covered.
        end: Of the time covered.

    Returns:
        Without gaps from `start`; empty when nobody ever served.
    """
    found: list[Tenure] = []
    serving = before if before and before.is_entry else None
    since = start
    for act in acts:
        at = min(max(act.event.at, since), end)
        # The version that leaves and the one that enters are two events of one moment: no gap between them.
        if at > since:
            found.append(Tenure(family, since, at, serving))
        serving, since = (act if act.is_entry else None), at
    if serving or found or acts:
        found.append(Tenure(family, since, None, serving))
    return found if any(tenure.entry for tenure in found) or before else []


def review_dates(family: str, review: Any, serving: Act | None, today: date) -> list[Due]:
    """When the rules of a family, and the version it has in Production, are to be looked at.

    Args:
        family: The family.
        review: Its `policy.Review`.
        serving: How the version in Production got there.
        today: A review nobody ever did is due today.
    """
    found = []
    for what, last, days in (
        ("promotion criteria", review.last_criteria, review.criteria_days),
        ("promotion process", review.last_process, review.process_days),
    ):
        found.append(Due(family, what, last, last + timedelta(days=days) if last else today))
    if serving:
        promoted = serving.event.at.date()
        what = f"performance of {serving.model} {serving.version}"
        found.append(Due(family, what, promoted, promoted + timedelta(days=review.performance_days)))
    return found


def _is_any(act: Act, *actions: str) -> bool:
    return act.event.action in actions


def _count(items: Collection[Any], one: str, many: str) -> str:
    return f"{len(items):,} {one if len(items) == 1 else many}"
