"""The one way a version moves: check, commit, project, record."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from promotion.approvals.people import person, persons, readable_person
from promotion.audit.attestations import DUE
from promotion.audit.family_check import require_unaltered
from promotion.errors import GateRefused, NothingToDo, ProjectionIncomplete, Quarantined, RecordsAltered
from promotion.gates import BETTER, GateReport, run_gates
from promotion.gates.gathering import Gatherer
from promotion.journal.records import Authority, Change, Entry, Known, place_of
from promotion.reconcile.reconciler import Reconciler
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """A checked move that was not made yet.

    Attributes:
        family: Whose version it is.
        candidate: The version that wants to move.
        production: The version in Production the gates compared with.
        report: What the gates found.
    """

    family: str
    candidate: ModelVersion
    production: Entry | None
    report: GateReport

    @property
    def to(self) -> Stage:
        """Where it wants to go."""
        return self.report.target

    def to_staging(self) -> PromotionPlan:
        """The same evidence for a move to Staging, where nobody asks whether the champion is beaten."""
        kept = tuple(gate for gate in self.report.results if gate.name != BETTER)
        return replace(self, report=replace(self.report, target=Stage.STAGING, results=kept))


@dataclass(frozen=True, slots=True)
class Move:
    """A move that was made: what every verb of promotion returns.

    Attributes:
        family: Whose version.
        version: Which one moved.
        from_stage: Where it was.
        to: Where it is.
        action: What the record calls it: promote, stage, rollback, archive or withdraw.
        operation: The journal's id of the move.
        before: The version that was in Production until then; None when none was.
        report: What the gates found; None where none are asked.
        unprojected: Why MLflow does not show it completely; empty when it does.
    """

    family: str
    version: Known
    from_stage: Stage
    to: Stage
    action: str
    operation: str
    before: Entry | None = None
    report: GateReport | None = None
    unprojected: str = ""

    @property
    def archived(self) -> str | None:
        """The version that left Production for this one, such as `rossmann-ensemble v5`; None when none did."""
        return str(self.before) if self.before and self.to is Stage.PRODUCTION else None

    @property
    def semver(self) -> str:
        """The version as its report calls it; MLflow's number where there is no report."""
        return self.report.version if self.report else str(self.version.number)

    def as_json(self) -> dict[str, Any]:
        """The move as plain data."""
        return {
            "family": self.family,
            "model": self.version.model,
            "version": self.version.number,
            "semver": self.semver,
            "from": self.from_stage.value,
            "to": self.to.value,
            "archived": self.archived,
            "overridden": [gate.name for gate in self.report.refusals] if self.report else [],
            "operation": self.operation,
            "unprojected": self.unprojected,
            "report": self.report.as_json() if self.report else None,
        }

    def require_shown(self, **details: Any) -> None:
        """Fail with the exit code that says so where MLflow does not show the move.

        Args:
            details: What `--json` adds to the message.

        Raises:
            ProjectionIncomplete: The move is recorded, but MLflow lags behind.
        """
        if self.unprojected:
            raise ProjectionIncomplete(
                f"{self.version} is in {self.to} in the journal, but {self.unprojected}; "
                "run python scripts/promote-model.py --reconcile when MLflow is well again",
                **details,
            )


@dataclass(frozen=True, slots=True)
class Mover:
    """Who moves a version, and why.

    Attributes:
        actor: The account behind the process.
        reason: Goes into the record.
        approver: The person who answers for it, when that is not the actor.
        override: Whether to move in spite of gates that refuse: break-glass, with a reason.
        waived: What else was waived, in words, such as a looser threshold; recorded like an override.
    """

    actor: str
    reason: str
    approver: str | None = None
    override: bool = False
    waived: tuple[str, ...] = ()

    @property
    def person(self) -> str:
        """Who answers for it."""
        return self.approver or self.actor


def refusal(plan: PromotionPlan, mover: Mover | None = None) -> GateRefused:
    """The error that says why a candidate may not move; names every gate that refused."""
    reasons = "; ".join(
        f"{gate.name}: {gate.measured}, required {gate.required}" + (f" ({gate.why})" if gate.why else "")
        for gate in plan.report.refusals
    )
    firm = [gate.name for gate in plan.report.refusals if not gate.overridable]
    beyond = f"; nobody may override: {', '.join(firm)}" if mover and mover.override and firm else ""
    return GateRefused(f"{plan.candidate} may not enter {plan.to}: {reasons}{beyond}", report=plan.report.as_json())


@dataclass(slots=True)
class PromotionService(Reconciler):
    """Moves versions of every family.

    Attributes:
        gatherer: Finds the evidence.
    """

    gatherer: Gatherer

    def stage_of(self, version: ModelVersion) -> Stage:
        """Where a version is: the journal's word, and MLflow's for one the journal does not know yet."""
        entries = self.journal.recorded_entries(self.family(version.model))
        known = (entry.stage for entry in entries if place_of(entry) == place_of(version))
        return next(known, version.stage)

    def check(
        self,
        candidate: ModelVersion,
        to: Stage = Stage.PRODUCTION,
        *,
        from_stage: Stage | None = None,
        is_rollback: bool = False,
    ) -> PromotionPlan:
        """Gather the evidence and ask every gate; changes nothing.

        Args:
            candidate: The version that wants to move.
            to: Staging or Production.
            from_stage: Where the caller says it is; None when nothing was said.
            is_rollback: Whether it served before and comes back: integrity and schema are asked, not quality.

        Raises:
            NothingToDo: The candidate is there already.
            RecordsAltered: A row that decides is not what was recorded.
            RegistryError: The registry or the artifact store fails.
        """
        family = self.family(candidate.model)
        require_unaltered(self.journal, family)
        # What SQL put into a row was decided by nobody.
        if self.journal.entry(candidate.model, candidate.number) and self.stage_of(candidate) is to:
            raise NothingToDo(f"{candidate} is in {to} already: nothing to do")
        context = self.gatherer.gather(
            family,
            candidate,
            self.configs.owner(candidate.model),
            target=to,
            from_stage=from_stage,
            is_rollback=is_rollback,
        )
        return PromotionPlan(family, candidate, context.production, run_gates(family, context))

    def promote(self, plan: PromotionPlan, mover: Mover) -> Move:
        """Move a checked version if every gate let it; a refused candidate's report is kept.

        Raises:
            GateRefused: A gate said no, the mover may not move versions into this stage, or Production would end empty.
            ProductionMoved: Production changed since the check.
            PromotionError: Something failed before the commit; nothing moved.
        """
        self._require_access(plan.family, plan.to, mover)
        _require_successor(plan)
        is_overridden = mover.override and all(gate.overridable for gate in plan.report.refusals)
        if not plan.report.passed and not is_overridden:
            raise self.refuse(plan, mover)
        return self.commit(plan, mover)

    def refuse(self, plan: PromotionPlan, mover: Mover) -> GateRefused:
        """Record what the gates said no to; returns the error that says so."""
        names = [gate.name for gate in plan.report.refusals]
        report_id = self.keep_report(plan, mover.actor)
        authority = Authority(
            "refuse", mover.actor, mover.reason, report_id, mover.approver, {"refused": names}, plan.report.rules
        )
        self.journal.record(plan.family, plan.candidate, authority)
        return refusal(plan, mover)

    def commit(
        self,
        plan: PromotionPlan,
        mover: Mover,
        *,
        action: str | None = None,
        known_bad: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Move:
        """Record the checked move and bring MLflow after it.

        Args:
            plan: What was checked.
            mover: By whom and why.
            action: What the record calls it; by default what the stage suggests.
            known_bad: Why the version that leaves Production must not serve again.
            details: What else belongs to the record.

        Raises:
            ProductionMoved: Production is not the version the plan compared with.
            RecordsAltered: A row that decides is not what was recorded.
            JournalError: The journal cannot be written; nothing moved.
        """
        action = action or ("promote" if plan.to is Stage.PRODUCTION else "stage")
        overridden = [*(gate.name for gate in plan.report.refusals), *mover.waived]
        with self.journal.family_lock(plan.family):
            require_unaltered(self.journal, plan.family)
            # A cleanup may have deleted it since the check; what is gone must not serve.
            self.registry.version(plan.candidate.model, plan.candidate.number)
            self.require_rights(plan.family, plan.candidate, *([plan.production] if plan.production else []))
            before = self.stage_of(plan.candidate)
            report_id = self.keep_report(plan, mover.actor)
            changes = [Change(plan.candidate, plan.to, plan.report.digest)]
            if plan.production and plan.to is Stage.PRODUCTION:
                changes.insert(0, Change(plan.production, Stage.ARCHIVED, known_bad=known_bad))
            self.report(f"committing {plan.candidate} to {plan.to}")
            recorded = {"report": report_id, "evidence": plan.report.evidence, **(details or {})}
            if self.attestations and plan.to is Stage.PRODUCTION:
                recorded |= DUE
            authority = Authority(
                action,
                mover.actor,
                mover.reason,
                report_id,
                mover.approver,
                recorded | ({"override": overridden} if overridden else {}),
                plan.report.rules,
            )
            operation = self.journal.move(
                plan.family,
                changes,
                authority,
                expected_production=plan.production.id if plan.production else None,
            )
            self.report(f"journal: {plan.candidate} is in {plan.to}")
            unprojected = self.follow(plan.family)
        return Move(
            plan.family,
            plan.candidate,
            before,
            plan.to,
            action,
            operation,
            plan.production,
            plan.report,
            unprojected,
        )

    def keep_report(self, plan: PromotionPlan, actor: str) -> int:
        """Record what the gates found, refusals included; returns the report's id."""
        return self.journal.save_report(
            family=plan.family,
            version=plan.candidate,
            target=plan.to,
            passed=plan.report.passed,
            report=plan.report.as_json(),
            evidence=plan.report.evidence,
            actor=actor,
            rules=plan.report.rules,
        )

    def reconcile(self, mover: Mover, family: str | None = None) -> None:
        """Bring journal and MLflow together for one family, or for all that are known.

        What somebody moved outside in a family that asks for approvals is ratified when all of them are given and the
        gates pass; otherwise it stays quarantined.

        Raises:
            Quarantined: A change made outside is not taken over.
            RecordsAltered: A row that decides is not what was recorded.
            GateRefused: All approvals were given, but another gate refuses; what was recorded is back in place.
            ProjectionIncomplete: MLflow still does not show everything.
        """
        incomplete: list[str] = []
        refused: list[GateRefused] = []
        for name in [family] if family else self.known_families():
            try:
                problem = self._settle(name, mover)
            except (Quarantined, RecordsAltered) as error:
                refused.append(error)
                continue
            if problem:
                incomplete.append(problem)
        if refused:
            is_altered = any(isinstance(error, RecordsAltered) for error in refused)
            kind = RecordsAltered if is_altered else Quarantined
            raise kind("; ".join(map(str, refused)), found=[error.details for error in refused])
        if incomplete:
            raise ProjectionIncomplete("; ".join(incomplete))

    def _settle(self, family: str, mover: Mover) -> str:
        """Bring one family together, or ratify what was moved outside; returns what MLflow still does not show."""
        try:
            return self.synchronise(family, repair=True)
        except Quarantined:
            newcomer = self._ratifiable(family)
            if newcomer is None:
                raise
            return self._ratify(newcomer, mover).unprojected

    def _ratifiable(self, family: str) -> ModelVersion | None:
        """The version somebody put into Production outside, if every approval for it is given and still counts."""
        config = self.configs.get(family)
        outsider = self.outsider(family)
        if config is None or config.approvals is None or outsider is None:
            return None
        entry = self.journal.entry(outsider.model, outsider.number)
        if entry is None or not self.gatherer.is_approved(config, entry):
            return None
        return self.registry.version(outsider.model, outsider.number)

    def _ratify(self, newcomer: ModelVersion, mover: Mover) -> Move:
        family = self.family(newcomer.model)
        require_unaltered(self.journal, family)
        self._require_access(family, Stage.PRODUCTION, mover)
        self.report(f"{family}: every approval of {newcomer} is given: checking it as any other candidate")
        with suppress(ProjectionIncomplete):
            self.restore(family, actor=mover.actor, reason=f"before ratifying {newcomer}: {mover.reason}")
        return self.promote(self.check(self.registry.version(newcomer.model, newcomer.number)), mover)

    def _require_access(self, family: str, to: Stage, mover: Mover) -> None:
        if mover.approver:
            readable_person(mover.approver)
        config = self.configs.get(family)
        if config is None:
            return
        allowed = config.access.production if to is Stage.PRODUCTION else config.access.staging
        if allowed is not None and person(mover.person) not in persons(allowed):
            raise GateRefused(
                f"{mover.person} may not move versions of {family!r} into {to}: "
                f"access names {', '.join(allowed) or 'nobody'}"
            )


def _require_successor(plan: PromotionPlan) -> None:
    serving = plan.production
    if plan.to is Stage.STAGING and serving and place_of(serving) == place_of(plan.candidate):
        raise GateRefused(
            f"{plan.candidate} serves in Production and does not leave it without a successor: promote another version"
        )
