"""`--auto`: find the best version of the newest round that was registered, and move it if it deserves it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from promotion.artifacts.provenance import Registered, registrations
from promotion.config.family import FamilyConfig, FamilyConfigs
from promotion.errors import GateRefused, NothingToDo, ProjectionIncomplete, PromotionError
from promotion.journal.reader import JournalReader
from promotion.journal.records import Known, place_of
from promotion.registry.contract import ModelVersion, Registry
from promotion.registry.stages import Stage
from promotion.service import Move, Mover, PromotionPlan, PromotionService, refusal

BEST_TAG = "best_model"
BEST_VALUES = ("true", "True")
"""Values of the tag: `True` is what MLflow's client makes of Python's."""
ROUND_TAG = "promotion.round"
"""Names the training a version came from: one UTC timestamp shared by all its candidates."""


def newest_round(journal: JournalReader, config: FamilyConfig) -> list[Registered]:
    """What was registered together last, by the chain's order: the versions that `--auto` may choose from.

    A family that trains here has rounds of its own training alone; elsewhere each version that somebody registered is
    a round of its own. What a first check registered on its own is none.
    """
    counted = [
        found
        for found in registrations(journal, config.family)
        if found.is_explicit and config.owns(found.model) and (_is_of_round(found) or not config.trains_here)
    ]
    return [found for found in counted if found.operation == counted[0].operation]


def best_candidate(
    journal: JournalReader, registry: Registry, config: FamilyConfig, report: Callable[[str], None] = lambda _line: None
) -> ModelVersion:
    """The best version of the newest round, by the journal; MLflow's tag `best_model=true` must be on it, too.

    Raises:
        NothingToDo: Nothing is registered, nor tagged.
        GateRefused: Journal and tags disagree, only versions are tagged that nobody registered, or the winner's metric
            tag is no finite number.
    """
    tagged = [
        version for value in BEST_VALUES for version in registry.tagged(BEST_TAG, value) if config.owns(version.model)
    ]
    known = {found.place for found in registrations(journal, config.family) if found.is_explicit}
    strangers = [version for version in tagged if place_of(version) not in known]
    chosen = newest_round(journal, config)
    if not chosen and strangers:
        raise GateRefused(
            f"{_listed(strangers)}: tagged {BEST_TAG}=true in MLflow, but registered by nobody here: nothing is "
            f"promoted; {how_to_register(config, strangers[0])}"
        )
    if not chosen:
        raise NothingToDo(f"no version of {config.family!r} is registered: {how_to_begin(config)}")
    for version in strangers:
        report(
            f"⚠️ {version}: passed over: tagged {BEST_TAG}=true, but registered by nobody here; "
            f"{how_to_register(config, version)}"
        )
    best = _agreed(chosen, tagged, config, registry)
    if config.trains_here:
        metric_tag(best, config.selection_metric)
    return best


def how_to_register(config: FamilyConfig, version: Known) -> str:
    """What to do about a version that the journal does not know."""
    command = f"python scripts/register-model.py {version.model} {version.number}"
    if not config.trains_here:
        return f"if you know whose it is, {command}"
    return (
        f"{config.family} is trained here: {how_to_begin(config)}; {command} records it as received, which a family "
        "with candidates does not promote"
    )


def how_to_begin(config: FamilyConfig) -> str:
    """What a family does that has no version yet."""
    if config.trains_here:
        return f"train first (python src/models/train.py --model {config.family})"
    return "register one first (python scripts/register-model.py NAME VERSION)"


def _is_of_round(found: Registered) -> bool:
    """Whether a training here made it; what was trained elsewhere is moved by name."""
    return found.provenance == "trained" and found.origin_key is None


def _agreed(
    chosen: Sequence[Registered], tagged: Sequence[ModelVersion], config: FamilyConfig, registry: Registry
) -> ModelVersion:
    """The version that the journal calls the best of its round, where the tag says the same."""
    marked = [version for version in tagged if place_of(version) in {found.place for found in chosen}]
    best = [found for found in chosen if found.is_best] or (list(chosen) if len(chosen) == 1 else [])
    if len(marked) > 1:
        raise GateRefused(
            f"{len(marked)} versions of {config.family!r} are tagged {BEST_TAG}=true ({_listed(marked)}): "
            "remove one tag"
        )
    # An older registration names no best: the tag does, and the signature gate proves whose training it was.
    if marked and (not best or best[0].place == place_of(marked[0])):
        return marked[0]
    written = registry.version(best[0].model, best[0].number).tags.get(BEST_TAG) if best else None
    spelled = f" ({best[0]} has {written!r} there, expected 'true')" if written and written not in BEST_VALUES else ""
    says = f"the journal says that {best[0]} is" if best else f"the journal has {_listed(chosen)}, not which is"
    raise GateRefused(
        f"{says} the best of the newest round ({chosen[0].story}), MLflow's tag {BEST_TAG}=true is on "
        f"{_listed(marked or tagged) or 'no version'}{spelled}: nothing is promoted; find out who moved the "
        "tag, then set it on the right version, or "
        + (
            f"train again (python src/models/train.py --model {config.family})"
            if config.trains_here
            else "promote one by name (python scripts/promote-model.py NAME VERSION)"
        )
    )


def _listed(versions: Iterable[object]) -> str:
    return ", ".join(map(str, versions))


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

    Raises:
        NothingToDo: No candidate, already in Production, or not better than Production.
        GateRefused: Journal and tag do not agree on the candidate, or a gate said no.
        ProductionMoved: Production changed since the check.
        ProjectionIncomplete: It went to Staging, and MLflow does not show it yet.
    """
    candidate = best_candidate(service.journal, service.registry, config, service.report)
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
    candidate = best_candidate(service.journal, service.registry, config, service.report)
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
