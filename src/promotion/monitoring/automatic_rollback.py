"""Take the version in Production back when it is bad for long enough, as a person would, and check what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promotion.checklist import Announce, Item, after_rollback, checklist_document
from promotion.config.family import FamilyConfig
from promotion.config.policy import Monitoring
from promotion.delivery.deployments import is_behind
from promotion.errors import ProductionMoved, PromotionError
from promotion.journal.journal import Journal
from promotion.journal.monitoring import ACTOR, CLUSTER
from promotion.journal.records import Entry
from promotion.monitoring.finding import Finding
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.rollback_trigger import PREFIX, WARNED, Trigger, triggers
from promotion.rollbacks import target_beyond_doubt
from promotion.service import Mover, PromotionPlan, PromotionService

if TYPE_CHECKING:
    from promotion.delivery.deploy import Deployer


@dataclass(frozen=True, slots=True)
class Returned:
    """What the triggers said, and what was done.

    Attributes:
        triggers: All of them, of the version in Production; empty without one.
        taken_back: The version that left Production; None when none did.
        version: The one that came back.
        outcome: What was done or would be, in one line; empty where nothing was to be done.
        findings: What people have to hear of it beside the announcement.
        checklist: How the version does that came back.
    """

    triggers: Sequence[Trigger] = ()
    taken_back: str | None = None
    version: str | None = None
    outcome: str = ""
    findings: Sequence[Finding] = ()
    checklist: Sequence[Item] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "triggers": [trigger.as_json() for trigger in self.triggers],
            "taken_back": self.taken_back,
            "version": self.version,
            "outcome": self.outcome,
            "checklist": checklist_document(self.checklist),
        }


@dataclass(slots=True)
class WayBack:
    """Takes versions of one family back.

    Attributes:
        journal: Knows what is in Production.
        config: The family.
        service: Makes what moves versions; only called when one has to.
        deployer: Makes what brings the cluster after it; likewise.
        announce: Tells people that a version was taken back.
    """

    journal: Journal
    config: FamilyConfig
    service: Callable[[], PromotionService]
    deployer: Callable[[PromotionService], Deployer]
    announce: Announce
    policy: Monitoring = field(init=False)

    def __post_init__(self) -> None:
        self.policy = self.config.monitoring_policy

    def consider(
        self,
        observations: Sequence[Observation],
        *,
        dry_run: bool = False,
        warn: Callable[[Sequence[Finding]], None] = lambda _findings: None,
    ) -> Returned:
        """Take the version in Production back if a trigger says so; else finish what an earlier run began.

        Nothing moves unless the family's file says `action: rollback`; nor where every version that served before is
        known bad or in doubt, within the cool-down of the last rollback, or when Production is not what was observed
        any more.

        Args:
            observations: Of one run; that of the version in Production counts.
            dry_run: Only say what would be done.
            warn: Tells people what the version goes for, before it does.
        """
        observation = next((it for it in observations if it.lately), None)
        found = triggers(observation, self.policy) if observation else []
        fired = [trigger for trigger in found if trigger.fires]
        if observation is None or not fired:
            return self._finish(observation, found, dry_run=dry_run)
        reason = "; ".join(trigger.text for trigger in fired)
        if self.policy.action == "alert-only":
            outcome = f"{observation} is not taken back: the family's action is alert-only: a person decides"
            return Returned(found, outcome=outcome, findings=_findings(fired, outcome))
        if dry_run:
            return Returned(found, outcome=f"{self._would(observation)}: {reason}")
        warn(_findings(fired, f"{observation} goes now, if one that served before passes its checks", WARNED))
        return self._take_back(observation, found, reason)

    def _take_back(self, observation: Observation, found: Sequence[Trigger], reason: str) -> Returned:
        from promotion.delivery.rollback import take_back

        def unchanged(plan: PromotionPlan) -> None:
            # Whatever came into Production meanwhile is not what was measured.
            if not _is(plan.production, observation):
                raise ProductionMoved(f"{plan.production or 'no version'} is in Production now: nothing moved")

        target, doubted = self._target()
        if target is None and doubted:
            return self._cannot(observation, found, f"{doubted}: a person decides")
        service = self.service()
        try:
            taken = take_back(
                service, self.deployer, self.config.family, target, Mover(ACTOR, reason), on_checked=unchanged
            )
        except PromotionError as error:
            if not self._is_production(observation):
                # Another run, or a person, was faster.
                return Returned(found, outcome=f"{observation} is not taken back: it is not in Production any more")
            return self._cannot(observation, found, str(error))
        items = after_rollback(service, taken.move, self.announce)
        version = str(taken.move.version)
        outcome = f"{observation} was taken back, {version} is in Production: {reason}"
        outcome += f"; {doubted}" if doubted else ""
        if taken.move.unprojected:
            outcome += f" (MLflow does not show it yet: {taken.move.unprojected})"
        findings = [_behind(observation, version, taken.problem)] if taken.problem else []
        return Returned(found, str(observation), version, outcome, findings, items)

    def _cannot(self, observation: Observation, found: Sequence[Trigger], why: str) -> Returned:
        outcome = f"{observation} could NOT be taken back: {why}"
        fired = [trigger for trigger in found if trigger.fires]
        return Returned(found, outcome=outcome, findings=_findings(fired, outcome))

    def _target(self) -> tuple[Entry | None, str]:
        return target_beyond_doubt(self.journal, self.config.family, self.journal.production(self.config.family))

    def _is_production(self, observation: Observation) -> bool:
        return _is(self.journal.production(self.config.family), observation)

    def _finish(self, observation: Observation | None, found: Sequence[Trigger], *, dry_run: bool) -> Returned:
        """Bring the cluster after a rollback where an earlier run, or a person, was interrupted or could not."""
        production = self.journal.production(self.config.family) if self.journal.exists else None
        if production is None or not is_behind(self.journal, self.config.family):
            return Returned(found)
        outcome = f"the cluster does not run {production} yet, which came back into Production"
        if dry_run:
            return Returned(found, outcome=f"{outcome}: it would be deployed again")
        from promotion.delivery.rollback import follow_registry

        try:
            deployment = follow_registry(self.service(), self.deployer, self.config.family)
        except PromotionError as error:
            outcome = f"{outcome}: {error}"
            findings = [_behind(observation, str(production), str(error))] if observation else []
            return Returned(found, outcome=outcome, findings=findings)
        return Returned(found, outcome=f"the cluster runs {deployment.version if deployment else production} again")

    def _would(self, observation: Observation) -> str:
        target, doubted = self._target()
        passed = f"; {doubted}" if doubted else ""
        if target is None:
            return f"{observation} would be taken back, but there is nobody to go back to{passed}"
        return (
            f"{observation} would be taken back, to {target}, if that passes its checks and no cool-down runs{passed}"
        )


def _is(entry: Entry | None, observation: Observation) -> bool:
    return entry is not None and (entry.model, entry.number) == (observation.model, observation.version)


def _findings(fired: Sequence[Trigger], outcome: str, prefix: str = PREFIX) -> list[Finding]:
    """One for each trigger: it is over when this trigger is."""
    return [
        Finding(
            key=prefix + trigger.key,
            level="critical",
            metric=trigger.key,
            value=trigger.stretches[-1].value,
            reference=trigger.reference,
            bound=trigger.bound,
            since=trigger.stretches[0].since,
            rows=sum(it.rows for it in trigger.stretches),
            text=f"{trigger.text}; {outcome}",
        )
        for trigger in fired
    ]


def _behind(observation: Observation, version: str, problem: str) -> Finding:
    text = f"{version} is back in Production, but the cluster does not run it yet: {problem}"
    return Finding(CLUSTER, "critical", "cluster", None, None, None, observation.since, observation.rows, text)
