"""Record a version that was trained elsewhere: its files measured, scanned and signed as received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.approvals.people import actor, persons, readable_person, trainers
from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.provenance import Registered, registered
from promotion.artifacts.requirements import foreign_requirements
from promotion.artifacts.scanning import problems as scan
from promotion.artifacts.signature import sign_artifact
from promotion.config.policy import machine_accounts
from promotion.errors import ArtifactTampered, GateRefused, NothingToDo, PromotionError, UsageError
from promotion.journal.records import Entry, Registration
from promotion.registry.contract import ModelVersion, TrackedRun
from promotion.registry.semver import is_semantic, require_semantic
from promotion.service import PromotionService
from promotion.signing.keys import Keys

_COMMIT = "mlflow.source.git.commit"


@dataclass(frozen=True, slots=True)
class TrainedElsewhere:
    """What another installation says of a version that its training made and that was transferred from there.

    Attributes:
        key: Fingerprint of the key it says it with.
        is_trusted: Whether the family's file names that key in `trusted_origins`.
        trainer: The persons behind the training, comma-separated.
        feature_hash: Of the feature schema it was trained on.
        lineage: Where it comes from: run, commit, data, parameters.
    """

    key: str
    is_trusted: bool
    trainer: str | None
    feature_hash: str | None
    lineage: Mapping[str, Any]


def register_version(
    service: PromotionService,
    version: ModelVersion,
    *,
    semver: str | None = None,
    trainer: str | None = None,
    files: Path | None = None,
    training: TrainedElsewhere | None = None,
) -> Entry:
    """Tell the journal of one version: whose it is, what its files are, signed with our key as received.

    It raises as `promotion.api.register` does.

    Args:
        service: Its journal is told.
        version: Which.
        semver: The semantic version it gets; the family's next minor one by default.
        trainer: Who trained it; the account of its run by default. May be added later where nobody was known.
        files: Its files, where somebody has just read them; fetched by default.
        training: What the installation says that trained it, for a version that was transferred from there.
    """
    given = require_semantic(semver) if semver else None
    if trainer is not None and readable_person(trainer) in persons(_machines(service, version)):
        raise UsageError(f"--trainer {trainer}: a CI account is no person: name who started the training")
    return _register(service, version, semver=given, trainer=trainer, is_explicit=True, files=files, training=training)


def receive(service: PromotionService, version: ModelVersion) -> None:
    """Register at its first check what somebody else trained, in a family that asks for evidence; never twice.

    It pins the files that were checked. A family that trains here receives nothing, and the gates say so; `--auto`
    takes nothing that was registered this way.

    Args:
        service: Its journal is told, and it reports why not where that fails: a check is an answer all the same.
        version: Which.
    """
    config = service.configs.owner(version.model)
    if config is None or config.trains_here:
        return
    try:
        entry = service.journal.entry(version.model, version.number)
        if entry is None or registered(service.journal, entry.id) is None:
            _register(service, version, semver=None, trainer=None, is_explicit=False)
            service.report(f"{version}: registered as received")
    except NothingToDo:
        return
    except PromotionError as error:
        service.report(f"⚠️ {version}: not registered: {error}")


def findings_of(registration: Registration) -> Sequence[str]:
    """What the scan said of a version's files when it was registered."""
    found: Sequence[str] = registration.lineage.get("findings", ())
    return found


def _register(
    service: PromotionService,
    version: ModelVersion,
    *,
    semver: str | None,
    trainer: str | None,
    is_explicit: bool,
    files: Path | None = None,
    training: TrainedElsewhere | None = None,
) -> Entry:
    family, journal = service.family(version.model), service.journal
    with journal.family_lock(family):
        entry = journal.entry(version.model, version.number)
        known = registered(journal, entry.id) if entry else None
        if entry and known and (lost := known.contradiction(journal.registration(entry.id))):
            raise GateRefused(f"{version}: {lost}")
        service.require_rights(family, version)
        with nullcontext(files) if files else local_artifact(service.registry, version) as folder:
            digest = artifact_digest(folder)
            if entry and entry.digest not in {None, digest}:
                raise ArtifactTampered(
                    f"{version}: its files are not those that were recorded: nothing was registered; restore them, or "
                    "register the model as a new version"
                )
            counts = training if training and training.is_trusted else None
            if entry and known and not (counts and known.provenance == "received"):
                _require_news(entry, known, trainer, is_explicit=is_explicit)
            findings = [*scan(folder), *foreign_requirements(folder)]
            signature = sign_artifact(folder, Keys.from_environment())
        run = service.registry.run(version.run_id) if version.run_id else None
        who = trainer or (counts and counts.trainer) or (run.user if run else None)
        registration = Registration(
            digest=digest,
            signature=signature,
            trainer=",".join(trainers(who or "", None, _machines(service, version))) or None,
            feature_hash=counts.feature_hash if counts else None,
            metrics=run.finite_metrics if run else {},
            lineage={**(counts.lineage if counts else {}), **_lineage(version, run, findings)},
            provenance="trained" if counts else "received",
        )
        if semver is None and entry and is_semantic(entry.version):
            semver = entry.version
        journal.register(
            family,
            [(version, registration)],
            actor=actor(),
            semver=semver,
            is_explicit=is_explicit,
            origin_key=training.key if training else None,
        )
    found = journal.entry(version.model, version.number)
    assert found is not None  # noqa: S101  # written above
    return found


def _require_news(entry: Entry, known: Registered, trainer: str | None, *, is_explicit: bool) -> None:
    """A registration is made once; what may be added is a trainer nobody knew, and somebody's name to a first check."""
    if known.provenance == "trained" and trainer:
        raise GateRefused(f"{entry}: our training registered it: who trained it is not said afterwards; train it again")
    if known.trainer and trainer and persons(known.trainer.split(",")) != persons([trainer]):
        raise GateRefused(
            f"{entry}: {known.trainer} is recorded as its trainer, by {known.actor}: a registration is not rewritten; "
            "register the model as a new version"
        )
    if (known.is_explicit or not is_explicit) and not (trainer and not known.trainer):
        raise NothingToDo(f"{entry} is registered already, as {entry.version}: nothing to do")


def _machines(service: PromotionService, version: ModelVersion) -> Sequence[str]:
    config = service.configs.owner(version.model)
    return machine_accounts(config.approvals if config else None)


def _lineage(version: ModelVersion, run: TrackedRun | None, findings: Sequence[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"run_id": version.run_id, "source": version.source}
    if run:
        told |= {
            "run_user": run.user,
            "git_commit": run.tags.get(_COMMIT),
            "source_name": run.tags.get("mlflow.source.name"),
            "datasets": [{"name": name, "digest": digest} for name, digest in run.datasets],
        }
    return {name: value for name, value in (told | {"findings": list(findings)}).items() if value}
