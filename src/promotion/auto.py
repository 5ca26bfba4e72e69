"""`--auto`: find the best version of the newest training round, and move it if it deserves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.errors import GateRefused, NothingToDo, ProjectionIncomplete, PromotionError, UnknownModel
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.stages import Stage
from promotion.service import Move, Mover, PromotionPlan, PromotionService, refusal

BEST_TAG = "best_model"
ROUND_TAG = "promotion.round"
"""Names the training a version came from: one UTC timestamp shared by all its candidates."""


def best_candidate(registry: Registry, config: FamilyConfig) -> ModelVersion:
    """The one version tagged `best_model=true` in the family's newest training round.

    Versions without a round (trained by other scripts) count when no version of the family has one.

    Raises:
        NothingToDo: No version is tagged, or only one of an older round is.
        GateRefused: Two versions are tagged, or the winner's metric tag is no finite number.
    """
    tagged = [version for version in registry.tagged(BEST_TAG, "true") if config.owns(version.model)]
    if not tagged:
        raise NothingToDo(
            f"no version of {config.family!r} is tagged {BEST_TAG}=true: "
            f"train first (python src/models/train.py --model {config.family})"
        )
    newest = max(_rounds(registry, config), default="")
    current = [version for version in tagged if version.tags.get(ROUND_TAG, "") == newest]
    if not current:
        stale = ", ".join(str(version) for version in tagged)
        raise NothingToDo(
            f"{stale} carries a {BEST_TAG} tag of an older training; the newest ({newest}) has not tagged its best: "
            f"nothing is promoted; run python src/models/train.py --model {config.family} again"
        )
    if len(current) > 1:
        names = ", ".join(str(version) for version in current)
        raise GateRefused(
            f"{len(current)} versions of {config.family!r} are tagged {BEST_TAG}=true ({names}): remove one tag"
        )
    metric_tag(current[0], config.selection_metric)
    return current[0]


def metric_tag(version: ModelVersion, metric: str) -> float:
    """Read the metric a version's training wrote into its tag.

    Raises:
        GateRefused: The tag is missing, or no finite number.
    """
    text = version.tags.get(metric)
    try:
        value = float(text if text is not None else "nan")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        found = "missing" if text is None else f"{text!r}, not a finite number"
        raise GateRefused(f"{version}: tag {metric} is {found}: train again, or set the tag to the measured value")
    return value


def promote_best(
    service: PromotionService,
    config: FamilyConfig,
    mover: Mover,
    *,
    on_found: Callable[[ModelVersion], None] = lambda _version: None,
    on_checked: Callable[[PromotionPlan], None] = lambda _plan: None,
) -> Move:
    """Promote the newest training round's best version if it passes every gate.

    A candidate that merely does not beat Production stays, or goes to Staging, as the configuration says.

    Args:
        service: Moves versions.
        config: The family.
        mover: Who asks, and why.
        on_found: Told the candidate.
        on_checked: Told what the gates found.

    Raises:
        NothingToDo: No candidate, already in Production, or not better than Production.
        GateRefused: A gate said no.
        ProductionMoved: Production changed since the check.
        ProjectionIncomplete: It went to Staging, and MLflow does not show it yet.
    """
    candidate = best_candidate(service.registry, config)
    on_found(candidate)
    service.synchronise(config.family)
    plan = service.check(candidate)
    on_checked(plan)
    if not plan.report.only_not_better:
        return service.promote(plan, mover)
    error = not_better(plan)
    if config.not_better == "staging" and candidate.stage is not Stage.STAGING:
        staged = service.commit(plan.to_staging(), replace(mover, reason=f"not better than {plan.production}"))
        if staged.unprojected:
            raise ProjectionIncomplete(f"{error}; it went to Staging in the journal, but {staged.unprojected}")
        raise NothingToDo(f"{error}; it went to Staging", **error.details)
    service.keep_report(plan, mover.actor)
    raise error


def rehearse_best(
    service: PromotionService,
    config: FamilyConfig,
    on_found: Callable[[ModelVersion], None],
    on_checked: Callable[[PromotionPlan], None],
) -> PromotionPlan:
    """What `promote_best` would do, without doing it; raises as it does."""
    candidate = best_candidate(service.registry, config)
    on_found(candidate)
    plan = service.check(candidate)
    on_checked(plan)
    if plan.report.only_not_better:
        raise not_better(plan)
    if not plan.report.passed:
        raise refusal(plan)
    return plan


def not_better(plan: PromotionPlan) -> NothingToDo:
    """Why the champion stays."""
    gate = plan.report.refusals[0]
    message = f"{plan.candidate} is not better than Production: {gate.measured}; {gate.why}"
    return NothingToDo(message, report=plan.report.as_json())


def auto_families(configs: FamilyConfigs, family: str | None, report: Callable[[str], None]) -> list[FamilyConfig]:
    """The families `--auto` may act on: all with `promotion: auto`, or the one named.

    Raises:
        NothingToDo: There is none, or the named one is promoted by hand.
    """
    if family:
        config = configs.get(family)
        if config is None or config.promotion == "manual":
            raise NothingToDo(f"{family!r} is promoted by hand (promotion: manual): name the model and its version")
        return [config]
    for config in configs.values():
        if config.promotion == "manual":
            report(f"{config.family}: promotion is manual, --auto leaves it alone")
    chosen = [config for config in configs.values() if config.promotion == "auto"]
    if not chosen and not configs.broken:
        raise NothingToDo("no family is configured with promotion: auto")
    return chosen


def for_each_family(
    configs: Sequence[FamilyConfig],
    act: Callable[[FamilyConfig], None],
    on_failure: Callable[[str], None],
    broken: Sequence[PromotionError] = (),
) -> None:
    """Act on every family, one family's failure not keeping the others from theirs.

    Args:
        configs: The families.
        act: What to do with each.
        on_failure: Told each failure where there are several families.
        broken: Why other families could not even be looked at; told already.

    Raises:
        PromotionError: The first failure that is one; `NothingToDo` when there was nothing to do in any family.
    """
    failures: list[PromotionError] = []
    for config in configs:
        try:
            act(config)
        except PromotionError as error:
            failures.append(error)
            if len(configs) + len(broken) > 1:
                on_failure(f"{config.family}: {error}")
    failures += broken
    grave = [error for error in failures if not isinstance(error, NothingToDo)]
    if grave:
        raise grave[0]
    if failures and len(failures) == len(configs):
        raise failures[0]


def _rounds(registry: Registry, config: FamilyConfig) -> list[str]:
    """The training rounds that the newest versions of the family's registered models belong to."""
    rounds = []
    for algorithm in config.candidates:
        try:
            model = registry.model(config.model_name(algorithm))
        except UnknownModel:
            continue
        rounds += [version.tags.get(ROUND_TAG, "") for version in model.versions]
    return rounds
