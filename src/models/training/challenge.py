"""A newly trained version challenges the champion: the attempt to promote it, and in words what came of it and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from promotion.approving import approval_command
from promotion.auto import best_candidate, promote_best
from promotion.config.evidence import is_error
from promotion.config.family import FamilyConfig
from promotion.errors import NothingToDo, ProjectionIncomplete, PromotionError
from promotion.gates.report import APPROVALS, TRANSITION
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionPlan, PromotionService

Scenario = Literal["A", "B", "C"]
_WAITS = frozenset({APPROVALS, TRANSITION, "days in Staging"})
"""Gates that refuse whatever was just trained: people and time answer them."""


@dataclass(frozen=True, slots=True)
class ChallengeOutcome:
    """What came of the attempt.

    Attributes:
        scenario: A: nothing was in Production, the version went there. B: it is better than Production and took its
            place. C: it is not, and Production stays. None: it did not come to a comparison, or a gate refused.
        stage: Where the version is now; None when that is not known.
        plan: What the gates compared; None when it did not come to that.
        problem: What went wrong, or is not finished; None when nothing is.
    """

    scenario: Scenario | None
    stage: Stage | None
    plan: PromotionPlan | None
    problem: PromotionError | None

    @property
    def promoted(self) -> bool:
        """Whether the version is in Production now."""
        return self.stage is Stage.PRODUCTION


def challenge(service: PromotionService, config: FamilyConfig, mover: Mover) -> ChallengeOutcome:
    """Promote the newest round's best version if it deserves it; expected failures are an outcome, not an exception."""
    plans: list[PromotionPlan] = []
    if config.promotion == "manual" and config.approvals:
        return _wait(service, config, mover)
    if config.promotion == "manual":
        by_hand = f"{config.family} is promoted by hand (promotion: manual)"
        return ChallengeOutcome(None, Stage.NONE, None, NothingToDo(by_hand))
    try:
        move = promote_best(service, config, mover=mover, on_checked=plans.append)
    except PromotionError as error:
        plan = plans[-1] if plans else None
        if plan and config.approvals and _WAITS.issuperset(gate.name for gate in plan.report.refusals):
            return _wait(service, config, mover)
        decided = isinstance(error, NothingToDo | ProjectionIncomplete)
        if plan is None or not (decided and plan.report.only_not_better):
            return ChallengeOutcome(None, plan.candidate.stage if plan else None, plan, error)
        stage = Stage.STAGING if config.not_better == "staging" else plan.candidate.stage
        return ChallengeOutcome("C", stage, plan, None if isinstance(error, NothingToDo) else error)
    unfinished = f"MLflow does not show it yet: {move.unprojected}"
    problem = ProjectionIncomplete(unfinished) if move.unprojected else None
    return ChallengeOutcome("B" if move.before else "A", move.to, plans[-1], problem)


def _wait(service: PromotionService, config: FamilyConfig, mover: Mover) -> ChallengeOutcome:
    """Leave the round's best version in Staging, where people look at it, and say how they approve it."""
    try:
        service.synchronise(config.family)
        candidate = best_candidate(service.journal, service.registry, config, service.report)
        move = service.promote(service.check(candidate, Stage.STAGING), mover)
    except PromotionError as error:
        return ChallengeOutcome(None, Stage.NONE, None, error)
    roles = config.approvals.roles if config.approvals else []
    commands = "; ".join(approval_command(candidate.model, move.semver, role, config) for role in roles)
    return ChallengeOutcome(
        None, Stage.STAGING, None, NothingToDo(f"{candidate} is in Staging and waits for approvals: {commands}")
    )


def describe(outcome: ChallengeOutcome, config: FamilyConfig) -> Iterator[str]:
    """Say which scenario it is and on what figures, line by line; nothing where it did not come to one."""
    if outcome.scenario is None or outcome.plan is None:
        return
    plan, metric = outcome.plan, config.selection_metric
    report, candidate, champion = plan.report, plan.candidate, plan.production
    if outcome.scenario == "A":
        yield f"Scenario A: nothing is in Production yet: {candidate} goes to {outcome.stage}"
        yield f"  test_{metric} {report.metrics[metric]:.4f}"
        return
    if outcome.scenario == "B":
        yield f"Scenario B: better than Production: {candidate} goes to {outcome.stage}, {champion} is archived"
    else:
        goes = "stays where it is" if outcome.stage is candidate.stage else f"goes to {outcome.stage}"
        yield f"Scenario C: not better than Production: {candidate} {goes}, {champion} stays in Production"
    ours, theirs, difference = report.metrics[metric], report.production_metrics[metric], report.difference
    sign = (">" if ours > theirs else "<=") if not is_error(metric) else ("<" if ours < theirs else ">=")
    yield f"  test_{metric} {ours:.4f} {sign} {theirs:.4f} of {champion}, both scored now on the same rows"
    if difference is not None:
        interval = f"{difference.low:+.4f} to {difference.high:+.4f}"
        yield f"  difference {difference.value:+.4f}, 95 % interval {interval} (paired bootstrap)"


def changed_rows_note(outcome: ChallengeOutcome, service: PromotionService, config: FamilyConfig) -> str | None:
    """Why the figure stored when Production was trained is not the one to compare with; None when it might be.

    Args:
        outcome: Of the attempt.
        service: Its journal knows what the version in Production was trained on.
        config: The family.
    """
    if outcome.plan is None or outcome.plan.production is None or outcome.plan.report.data_sha256 is None:
        return None
    champion, now = outcome.plan.production, outcome.plan.report.data_sha256
    registration = service.journal.registration(champion.id)
    lineage = registration.lineage if registration else {}
    then = lineage.get("data_sha256")
    if then == now and lineage.get("split") == config.split.recorded():
        return None
    what = (
        "another split of the same file" if then == now else f"data with sha256 {then[:12]}" if then else "unknown data"
    )
    return (
        f"{champion} was trained on {what}, the file now has {now[:12]}: its stored figure says nothing about these "
        "rows, so it was scored again on them; some of them it may have learned from"
    )
