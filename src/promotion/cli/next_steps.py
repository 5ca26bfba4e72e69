"""What a person types next: after a check, the commands that are still missing on a version's way."""

from __future__ import annotations

from promotion.approve import standing_of
from promotion.gates import APPROVALS
from promotion.registry.stages import Stage
from promotion.service import PromotionPlan, PromotionService

_REGISTRY = "python mlops/registry"


def next_steps(service: PromotionService, plan: PromotionPlan) -> list[str]:
    """Commands in the order they make sense, waiting included; the promotion itself when nothing is missing."""
    entry = service.journal.entry(plan.candidate.model, plan.candidate.number)
    stage = entry.stage if entry else plan.candidate.stage
    named = f"--model-name {plan.candidate.model} --version {plan.report.version}"
    if plan.report.passed:
        stages = f"--from-stage {stage.status} --to-stage {plan.to.status}"
        return [f"{_REGISTRY}/promote_model.py {named} {stages} --approver WHO"]
    refused = {gate.name for gate in plan.report.refusals}
    steps = []
    if "days in Staging" in refused and stage is not Stage.STAGING:
        steps.append(f"python src/models/validate_model.py --model-name {plan.candidate.model}")
    standing = standing_of(service, plan) if APPROVALS in refused else None
    steps += [
        f"{_REGISTRY}/approve_model.py {named} --role {role} --approver WHO --comment WHAT-WAS-LOOKED-AT"
        for role in (standing.missing if standing else ())
    ]
    # What neither waiting nor a review can change is the version itself.
    config = service.configs.get(plan.family)
    if config and config.trains_here and refused - {"days in Staging", "legal transition", "incidents", APPROVALS}:
        steps.append(f"python src/models/train.py --model {plan.family}")
    steps.append(f"{_REGISTRY}/check_promotion.py {named}")
    return steps
