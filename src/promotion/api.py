"""What a training script or a notebook asks of the promotion layer: the commands' own acts, as functions.

Each opens the stores that the environment names (`PROMOTION_HOME`, `MLFLOW_TRACKING_URI`, `PROMOTION_DATABASE_URL`),
acts as `PROMOTION_ACTOR` or the login name, and fails with one of `promotion.errors`. A name is a registered model,
or a family of models; a version is MLflow's number or the semantic version.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promotion.approvals.people import actor
from promotion.config.family import load_configs
from promotion.config.settings import Settings
from promotion.errors import ProjectionIncomplete, UsageError
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Entry, Event
from promotion.lookup import find_version, models_of, parse_stage
from promotion.registry.contract import ModelVersion, RegisteredModel
from promotion.registry.open import open_registry
from promotion.registry.semver import parse_version
from promotion.registry.stages import Stage

if TYPE_CHECKING:
    from promotion.approvals.rules import Standing
    from promotion.evaluation.loading import Predictor
    from promotion.service import Move, PromotionPlan, PromotionService


def register(model_name: str, version: str | int, *, semver: str | None = None, trainer: str | None = None) -> Entry:
    """Tell the journal of a version that MLflow has: whose it is, what its files are, signed with our key as received.

    Args:
        model_name: A registered model.
        version: MLflow's number.
        semver: The semantic version it gets; the family's next minor one by default.
        trainer: Who trained it; the account of its run by default. May be added later where nobody was known.

    Returns:
        What the journal knows of it now; `version` is the semantic version.

    Raises:
        NothingToDo: It is registered already.
        ArtifactTampered: Its files are not those that the journal recorded.
        GateRefused: Somebody else is recorded as its trainer, or its registration was changed by SQL.
        UsageError: There is no such version, `semver` is malformed or taken, or `trainer` is no person.
        PromotionError: Its files cannot be read or signed; nothing was recorded.
    """
    from promotion.registration import register_version

    service = _promotions()
    found = find_version(service.registry, model_name, parse_version(version))
    return register_version(service, found, semver=semver, trainer=trainer)


def check(model_name: str, version: str | int | None = None, *, stage: str = Stage.PRODUCTION) -> PromotionPlan:
    """Ask every gate whether a version may enter a stage; moves nothing.

    A version that nobody registered, of a family that trains elsewhere, is registered as received.

    Args:
        model_name: A registered model, or a family.
        version: Which; the newest by default.
        stage: Staging or Production, in any case.

    Returns:
        The plan: `report.passed`, and in `report.results` what each gate measured against what it requires.

    Raises:
        NothingToDo: It is there already.
        PromotionError: The evidence cannot be gathered.
    """
    from promotion.registration import receive

    service = _promotions()
    candidate, entrance = _candidate(service, model_name, version), _entrance(stage)
    receive(service, candidate)
    return service.check(candidate, entrance)


def promote(
    model_name: str,
    version: str | int | None = None,
    *,
    stage: str = Stage.PRODUCTION,
    reason: str | None = None,
    approver: str | None = None,
    override_gates: bool = False,
    archive_existing: bool = True,
    comes_back: bool = False,
) -> Move:
    """Move a version as the commands do: gates, journal, MLflow, record.

    Args:
        model_name: A registered model, or a family.
        version: Which; the newest by default.
        stage: Staging, Production or Archived, in any case.
        reason: Goes into the record and into the version's description.
        approver: The person who answers for it, when that is not who acts.
        override_gates: Whether to move in spite of gates that refuse; needs a reason.
        archive_existing: Whether the version in Production may be archived for this one; a family has no two.
        comes_back: Whether an archived version enters Production as a rollback, and not as a promotion.

    Returns:
        What moved where, on what evidence, and which version left Production for it.

    Raises:
        GateRefused: A gate said no; the message has what was measured, `details["report"]` the gate report.
        ProductionOccupied: Another version serves, and archive_existing is False.
        Quarantined: Somebody moved a version past the rules.
        NothingToDo: It is there already.
        ProductionMoved: Production changed between check and move; nothing moved.
        ProjectionIncomplete: It moved, but MLflow does not show it yet.
        UsageError: No such name, version or stage, or an override without a reason.
        RegistryError: MLflow did not answer; nothing moved.
    """
    from promotion.move import move, usual_reason
    from promotion.registration import receive
    from promotion.service import Mover

    target = parse_stage(stage)
    why = (reason or "").strip()
    if override_gates and not why:
        raise UsageError("override_gates needs a reason: why do the gates not count this time?")
    service = _promotions()
    candidate = _candidate(service, model_name, version)
    service.synchronise(service.family(candidate.model))
    if target in {Stage.STAGING, Stage.PRODUCTION}:
        receive(service, candidate)
    mover = Mover(actor(), why or usual_reason(service.stage_of(candidate), target), approver, override_gates)
    return move(service, candidate, target, mover, archive_existing=archive_existing, comes_back=comes_back)


def approve(
    model_name: str,
    version: str | int,
    *,
    role: str,
    approver: str,
    comment: str,
    reject: bool = False,
    key: Path | None = None,
) -> Standing:
    """Give a reviewer's word for a version's way into Production, bound to what the gates find now.

    Args:
        model_name: A registered model, or a family.
        version: Which.
        role: One of the family's roles.
        approver: Who says so.
        comment: What was looked at.
        reject: Whether it is a word against the version.
        key: An SSH key to sign with, where the family asks for signatures.

    Returns:
        `given` and `missing`: which roles' words count now, and why the others' do not.

    Raises:
        UsageError: The family has no such role, asks for no approvals, or asks for a signature.
        GateRefused: This person may not say it, or the key is not theirs.
        NothingToDo: It is in Production already.
    """
    from promotion.approving import Approving, Opinion
    from promotion.registration import receive

    service = _promotions()
    candidate = _candidate(service, model_name, version)
    service.note_unsettled(service.family(candidate.model))
    receive(service, candidate)
    approving = Approving(service, service.check(candidate))
    approving.record_now(Opinion(role, approver, not reject, comment), actor(), key=key)
    return approving.standing()


def rollback(
    model_name: str,
    *,
    reason: str,
    to_version: str | int | None = None,
    force: bool = False,
    keep_version_good: bool = False,
) -> Move:
    """Put the version back that served before, on the cluster too where the family was deployed there.

    Args:
        model_name: A registered model, or a family.
        reason: Goes into the record, and stands against the version that leaves.
        to_version: Which; the one that served last and is not known bad by default.
        force: Whether to go on although the family was rolled back a short while ago.
        keep_version_good: Whether nothing is held against the version that leaves.

    Raises:
        GateRefused: There is nothing to go back to, or a gate said no.
        NothingToDo: The version is in Production already.
        ProductionMoved: Production changed between check and move; nothing moved.
        ProjectionIncomplete: It moved, but MLflow does not show it yet.
        ClusterBehind: It moved, but the cluster does not run it yet.
        UsageError: No such name or version, or no reason.
    """
    from promotion.delivery.bootstrap import take_production_back
    from promotion.service import Mover

    if not reason.strip():
        raise UsageError("the reason says nothing: why is the version taken back?")
    mover, options = Mover(actor(), reason), {"force": force, "keep_version_good": keep_version_good}
    taken = take_production_back(Settings.from_environment(), _promotions(), model_name, to_version, mover, **options)
    taken.move.require_shown(**taken.move.as_json())
    taken.require_followed(**taken.move.as_json())
    return taken.move


def known_bad(model_name: str, version: str | int, *, reason: str, lift: bool = False) -> Entry:
    """Mark a version as known bad, so that it does not serve again, or lift the mark; it moves nothing.

    Args:
        model_name: A registered model, or a family.
        version: Which.
        reason: What is known against it, or why it turned out to be innocent.
        lift: Whether the mark is taken away; every gate is asked before it serves again.

    Returns:
        What the journal knows of it now.

    Raises:
        GateRefused: It serves in Production: `rollback` takes it back and marks it.
        NothingToDo: It is as asked already.
        ProjectionIncomplete: It is recorded, but MLflow does not show it yet.
        UsageError: No such name or version, or no reason.
    """
    from promotion.marking import lift_known_bad, mark_known_bad
    from promotion.service import Mover

    if not reason.strip():
        raise UsageError("the reason says nothing: why is the version marked, or not any more?")
    service = _promotions()
    marked = _candidate(service, model_name, version)
    unprojected = (lift_known_bad if lift else mark_known_bad)(service, marked, Mover(actor(), reason))
    if unprojected:
        raise ProjectionIncomplete(f"{marked}: recorded; but {unprojected}")
    entry = service.journal.entry(marked.model, marked.number)
    assert entry  # noqa: S101  # marked a moment ago
    return entry


def history(
    model_name: str | None = None, version: str | int | None = None, *, limit: int | None = None
) -> list[Event]:
    """Who moved, registered, approved or refused what, when and why; the newest first.

    Args:
        model_name: Only of this family, or of this registered model's; of all by default.
        version: Only of this version.
        limit: At most so many.

    Raises:
        UsageError: No such version, or a version without a name.
        JournalError: The journal cannot be read.
    """
    service = _promotions()
    if model_name is None:
        if version is not None:
            raise UsageError(f"version {version} of what? Name a registered model, too")
        return service.journal.history(limit=limit)
    if version is None:
        return service.journal.history(service.family(model_name), limit=limit)
    found = _candidate(service, model_name, version)
    entry = service.journal.entry(found.model, found.number)
    return service.journal.history(version_id=entry.id, limit=limit) if entry else []


def load_model(model_name: str, stage: str | int = Stage.PRODUCTION) -> Predictor:
    """Load the model that is in a stage.

    Args:
        model_name: A family or a registered model.
        stage: A stage in any case, or a version: MLflow's number or the semantic version.

    Returns:
        A family's model, raw rows go in; a model whose columns no configuration describes as `mlflow.pyfunc` loads it,
        which runs the code it brings; pickles are refused unless MLFLOW_ALLOW_PICKLE_DESERIALIZATION=true.

    Raises:
        UnknownModel: No family and no registered model has this name.
        UnknownVersion: There is no such version.
        UnknownStage: There is no such stage, and a version reads otherwise.
        EmptyStage: Nothing is in that stage.
        AmbiguousStage: More than one version answers.
        ArtifactTampered: Its files, or its registration, are not what the journal recorded.
        UnloadableModel: The artifact cannot be loaded.
        RegistryError: MLflow did not answer.
    """
    from promotion.evaluation.loading import load_version

    settings = Settings.from_environment()
    registry, journal = open_registry(settings), Journal(Database(settings.database_url))
    version = find_version(registry, model_name, stage)
    return load_version(registry, journal, load_configs(settings.config_folder), version)


def list_models() -> list[RegisteredModel]:
    """Every registered model by name and its aliases, as MLflow shows them, looked at whole.

    Each has every version that is in a stage, and the newest that is in none.

    Raises:
        RegistryError: MLflow did not answer.
    """
    return sorted(open_registry(Settings.from_environment()).models(), key=lambda model: model.name)


def find_model(model_name: str, stage: str | int = Stage.PRODUCTION) -> ModelVersion:
    """The version that is in a stage, or has a number; raises as `load_model`."""
    return find_version(open_registry(Settings.from_environment()), model_name, stage)


def list_versions(model_name: str) -> Sequence[ModelVersion]:
    """Every version of a registered model, or of a family's, the newest first; raises as `load_model`."""
    registry = open_registry(Settings.from_environment())
    found = [version for model in models_of(registry, model_name) for version in registry.versions(model.name)]
    return sorted(found, key=lambda version: version.created_at, reverse=True)


def _promotions() -> PromotionService:
    from promotion.bootstrap import open_promotions

    return open_promotions(Settings.from_environment())


def _candidate(service: PromotionService, model_name: str, version: str | int | None) -> ModelVersion:
    if version is None:
        return service.candidate(service.registered_model(model_name))
    return find_version(service.registry, model_name, parse_version(version))


def _entrance(stage: str) -> Stage:
    """A stage that gates guard."""
    found = parse_stage(stage)
    if found not in {Stage.STAGING, Stage.PRODUCTION}:
        raise UsageError(f"no gate is asked on the way to {found}: expected {Stage.STAGING} or {Stage.PRODUCTION}")
    return found
