"""Record a version that MLflow has: its files measured and signed, under a semantic version."""

from __future__ import annotations

from promotion.approvals.people import actor, trainers
from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.signature import sign_artifact
from promotion.config.policy import Approvals
from promotion.errors import ArtifactTampered, NothingToDo
from promotion.journal.records import Entry, Registration
from promotion.registry.contract import ModelVersion
from promotion.registry.semver import require_semantic
from promotion.service import PromotionService
from promotion.signing.keys import Keys


def register_version(service: PromotionService, version: ModelVersion, *, semver: str | None = None) -> Entry:
    """Tell the journal of one version.

    Args:
        service: Its journal is told.
        version: Which.
        semver: The semantic version it gets; the family's next minor one by default.

    Raises:
        NothingToDo: It is registered already.
        ArtifactTampered: Its files are not those that the journal recorded when it moved.
        UsageError: `semver` is malformed or taken.
        RegistryForbidden: Whoever acts may read MLflow and not write it.
        PromotionError: Its files cannot be read or signed; nothing was recorded.
    """
    family, given = service.family(version.model), require_semantic(semver) if semver else None
    journal, config = service.journal, service.configs.get(family)
    with journal.family_lock(family):
        entry = journal.entry(version.model, version.number)
        if entry and entry.registered_at:
            raise NothingToDo(f"{version} is registered already, as {entry.version}: nothing to do")
        service.require_rights(family, version)
        with local_artifact(service.registry, version) as folder:
            digest, signature = artifact_digest(folder), sign_artifact(folder, Keys.from_environment())
        if entry and entry.digest not in {None, digest}:
            raise ArtifactTampered(
                f"{version}: its files are not those that were recorded when it moved: nothing was registered; restore "
                "them, or register the model as a new version"
            )
        accounts = config.approvals.ci_accounts if config and config.approvals else None
        machines = accounts or Approvals.model_fields["ci_accounts"].default
        registration = Registration(
            digest=digest,
            signature=signature,
            trainer=",".join(trainers(actor(), None, machines)) or None,
            feature_hash=None,
            metrics={},
            lineage={"run_id": version.run_id, "source": version.source},
            provenance="received",
        )
        journal.register(family, [(version, registration)], actor=actor(), semver=given)
    found = journal.entry(version.model, version.number)
    assert found is not None  # noqa: S101  # written above
    return found
