"""What an auditor asks about one month, from the journal alone; nothing is loaded, scored or changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from promotion.audit import verify_journal
from promotion.audit.attestations import read_attestations
from promotion.audit.checkpoints import checkpoint_folder, read_checkpoints
from promotion.audit.source import JournalSource
from promotion.compliance.facts import (
    Act,
    DueReview,
    Kept,
    MisdatedAct,
    Month,
    Operation,
    Snapshot,
    Tenure,
    Verification,
    review_dates,
)
from promotion.compliance.queries import acts_of, misdated_acts, retained, snapshots_of, tenures_of
from promotion.compliance.rule_steps import RuleStep, in_no_commit, rule_steps
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.config.policy import Review
from promotion.config.settings import Settings
from promotion.errors import UnknownFamily
from promotion.journal.journal import Journal
from promotion.journal.periods import Period
from promotion.journal.records import Incident
from promotion.signing.keys import Keys

ROLLBACK = "rollback"
OUTSIDE = ("quarantine", "restore", "adopt", "genesis")
"""What is recorded of changes that were made past the journal."""
_RULE_ALERTS = 5
"""Sentences about loosened rules at the top; the section has all."""
_SAID = ("approve", "reject")
_NAMED = {*_SAID, *OUTSIDE, "incident", "incident closed", "refuse", "register", "stage", "cleanup"}


@dataclass(frozen=True)
class Compliance:
    """The facts of a month.

    Attributes:
        month: Which.
        family: The only family it covers; None for all.
        journal: Where they come from, a URL without password.
        written_at: UTC.
        acts: In the order they were recorded.
        misdated: Acts whose dates cannot be right; some were recorded in this month and are dated in another.
        tenures: By family, in order.
        snapshots: Versions that entered Production.
        kept: Archived versions that had to be kept in this month.
        incidents: Open at some time of the month.
        reviews: When they are due.
        rule_steps: Every change of a family's rules.
        stray_approvals: Approvals in the table that no event vouches for.
        unreadable: Families whose files are broken, each with why; what their rules ask for is not in the report.
        verification: Of the hash chain; None when it was not asked for.
    """

    month: Month
    family: str | None
    journal: str
    written_at: datetime
    acts: Sequence[Act]
    misdated: Sequence[MisdatedAct]
    tenures: Sequence[Tenure]
    snapshots: Sequence[Snapshot]
    kept: Sequence[Kept]
    incidents: Sequence[Incident]
    reviews: Sequence[DueReview]
    rule_steps: Sequence[RuleStep]
    stray_approvals: Sequence[str]
    unreadable: Sequence[str]
    verification: Verification | None

    @property
    def covered_until(self) -> datetime:
        """The month's end, or now while it lasts."""
        return covered_until(self.month, self.written_at)

    @property
    def remark(self) -> str:
        """Why the month is not complete; empty when it is."""
        if self.written_at < self.month.start:
            return (
                f"The month has not begun: it is {self.written_at:%Y-%m-%d}, and nothing can have been recorded in it."
            )
        if self.written_at < self.month.end:
            return f"The month has not ended: this is what was recorded until {self.written_at:%Y-%m-%d %H:%M:%S}."
        return ""

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

    @property
    def override_lines(self) -> list[str]:
        """Who overrode which gates, for which version, and why."""
        return [
            f"{act.approver or act.event.actor} overrode {', '.join(act.overridden)} for {act.model} {act.version}: "
            f"{act.event.reason}"
            for act in (operation.main for operation in self.overrides)
        ]

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
        found = [act for action in actions for act in self._by_action.get(action, [])]
        return sorted(found, key=lambda act: act.event.sequence)

    @cached_property
    def _by_action(self) -> dict[str, list[Act]]:
        grouped: dict[str, list[Act]] = {}
        for act in self.acts:
            grouped.setdefault(act.event.action, []).append(act)
        return grouped

    @property
    def reviewed(self) -> list[Act]:
        """Approvals and rejections."""
        return self.of(*_SAID)

    @property
    def outside(self) -> list[Act]:
        """What happened past the journal, and what was done about it."""
        return self.of(*OUTSIDE)

    @cached_property
    def rehearsals(self) -> list[Act]:
        """Records made under a clock that was set by hand."""
        return [act for act in self.acts if act.is_rehearsal]

    @cached_property
    def others(self) -> list[Act]:
        """What has no section of its own, so that nothing is left out."""
        shown = {
            act.event.sequence
            for operation in (*self.overrides, *self.promotions, *self.rollbacks)
            for act in operation.acts
        }
        return [act for act in self.of(*(self._by_action.keys() - _NAMED)) if act.event.sequence not in shown]

    @property
    def vacancies(self) -> list[Tenure]:
        """Times without any version in Production after there had been one."""
        return [tenure for tenure in self.tenures if tenure.entry is None]

    @cached_property
    def overdue(self) -> list[DueReview]:
        """Reviews that should have been done."""
        return [due for due in self.reviews if due.on < min(self.covered_until, self.written_at).date()]

    @property
    def is_loosened(self) -> bool:
        """Whether rules were loosened, for a promotion or for good."""
        return any(step.alerts for step in self.rule_steps)

    @cached_property
    def alerts(self) -> list[str]:
        """What must not be overlooked, one sentence each, the worst first."""
        altered = [snapshot for snapshot in self.snapshots if snapshot.is_altered]
        critical = [item for item in self.incidents if item.severity == "critical" and item.closed_at is None]
        counted: tuple[tuple[Collection[Any], str, str], ...] = (
            (self.overrides, "move overrode gates that refused", "moves overrode gates that refused"),
            (
                in_no_commit(self.acts),
                "version was promoted by rules that are in no commit",
                "versions were promoted by rules that are in no commit",
            ),
            (altered, "promoted version has altered evidence", "promoted versions have altered evidence"),
            (
                self.unreadable,
                "family's file is broken: its reviews and retention are missing here",
                "families' files are broken: their reviews and retention are missing here",
            ),
            (self.stray_approvals, "approval is vouched for by no event", "approvals are vouched for by no event"),
            (self.of("quarantine"), "change past the rules was quarantined", "changes past the rules were quarantined"),
            (self.vacancies, "time without a version in Production", "times without a version in Production"),
            (critical, "critical incident is open", "critical incidents are open"),
            (self.misdated, "record is dated out of order", "records are dated out of order"),
            (self.rehearsals, "record has a clock set by hand", "records have a clock set by hand"),
            (self.overdue, "review is overdue", "reviews are overdue"),
        )
        broken = self.verification is not None and not self.verification.intact
        found = ["The records do not verify: some were changed, or what vouches for them is gone."] if broken else []
        rules = [alert for step in self.rule_steps for alert in step.alerts]
        if len(rules) > _RULE_ALERTS:
            rules = [*rules[:_RULE_ALERTS], f"{len(rules) - _RULE_ALERTS:,} more changes of the rules like these"]
        return [*found, *rules] + [
            f"{len(items):,} {one if len(items) == 1 else many}" for items, one, many in counted if items
        ]


def collect(
    journal: Journal,
    configs: Mapping[str, FamilyConfig],
    month: Month,
    family: str | None = None,
    verification: Verification | None = None,
) -> Compliance:
    """The facts of a month.

    Raises:
        UnknownFamily: It is neither configured nor in the journal.
        ConfigError: The file of the family asked for is broken.
        JournalError: The journal cannot be read.
    """
    broken = configs.broken if isinstance(configs, FamilyConfigs) and family is None else {}
    known = journal.families() | set(configs)
    if family is not None and family not in known:
        named = ", ".join(sorted(known)) or "none"
        raise UnknownFamily(f"unknown family {family!r}: neither configured nor in the journal (families: {named})")
    period = Period(journal, month.start, month.end, family)
    acts = acts_of(period)
    served = tenures_of(period, acts, month)
    now = journal.now()
    today = min(covered_until(month, now), now).date()
    return Compliance(
        month=month,
        family=family,
        journal=journal.name,
        written_at=now,
        acts=acts,
        misdated=misdated_acts(period, month, journal.real_time()),
        tenures=served,
        snapshots=snapshots_of(period, acts),
        kept=retained(period, month, configs, broken),
        incidents=period.incidents(),
        rule_steps=rule_steps(journal, period, acts, journal.rules_now),
        reviews=_reviews(configs, [tenure for tenure in served if tenure.family not in broken], family, today),
        stray_approvals=period.stray_approvals({str(act.event.details.get("statement")) for act in acts}),
        unreadable=[problem.summary for problem in broken.values()],
        verification=verification,
    )


def verified(journal: Journal, settings: Settings) -> Verification:
    """Audit the whole journal: the events of a month are worth no more than the chain they hang on.

    Raises:
        JournalError: The journal cannot be read.
        SigningFailed: The trusted keys cannot be used.
    """
    source, folder = JournalSource(journal), checkpoint_folder(settings)
    found, unreadable = read_checkpoints(folder)
    audit = verify_journal(
        source,
        found,
        Keys.from_environment().trusted(),
        unreadable=unreadable,
        attestations=read_attestations(folder),
    )
    return Verification(
        intact=audit.is_sound,
        summary=f"{audit.events:,} events verified",
        findings=tuple(map(str, audit.findings)),
        count=audit.count,
        notes=tuple(audit.notes),
    )


def covered_until(month: Month, now: datetime) -> datetime:
    """The month's end, or now while it lasts."""
    return min(month.end, max(now, month.start))


def _reviews(
    configs: Mapping[str, FamilyConfig], served: Sequence[Tenure], family: str | None, today: date
) -> list[DueReview]:
    serving = {tenure.family: tenure.entry for tenure in served if tenure.until is None}
    return [
        due
        for name in ([family] if family is not None else sorted({*configs, *serving}))
        for due in review_dates(name, configs[name].review if name in configs else Review(), serving.get(name), today)
    ]


def _is_any(act: Act, *actions: str) -> bool:
    return act.event.action in actions
