"""What the journal knows of a version, as an export's manifest and statistics say it."""

from __future__ import annotations

from collections.abc import Mapping

from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.config.family import FamilyConfig
from promotion.evaluation.metrics import METRICS, NUMBER_METRICS
from promotion.export.folder import FORMAT, Manifest, ServingEngine
from promotion.gates.evidence import Interval
from promotion.journal.journal import Journal
from promotion.journal.records import Entry
from promotion.registry.contract import ModelVersion
from promotion.registry.semver import is_semantic
from promotion.registry.stages import Stage


def manifest_of(
    journal: Journal, config: FamilyConfig, version: ModelVersion, digest: str, engine: ServingEngine
) -> Manifest:
    """The manifest of a version, its files not listed yet.

    Args:
        journal: Who was where, on what evidence.
        config: The family.
        version: As the registry shows it; one the journal never heard of has no semantic version and no report.
        digest: sha256 of its artifact.
        engine: What will answer.
    """
    entry = journal.entry(version.model, version.number)
    registration = journal.registration(entry.id) if entry else None
    return Manifest(
        format=FORMAT,
        family=config.family,
        model=version.model,
        version=version.number,
        semver=entry.version if entry and is_semantic(entry.version) else None,
        run_id=version.run_id or (entry.run_id if entry else None) or "",
        stage=(entry.stage if entry else version.stage).value,
        artifact_digest=digest,
        gate_report=_last_report(journal, config, entry),
        git_sha=registration.lineage.get("git_commit") if registration else None,
        task=config.task,
        engine=engine,
        trusted=sorted(TRUSTED_TYPES) if engine == "native" else [],
        files={},
    )


def recorded_metrics(journal: Journal, entry: Entry | None) -> Mapping[str, Interval]:
    """What the version was worth on the rows held out, as recorded at its registration; empty where nothing was."""
    registration = journal.registration(entry.id) if entry else None
    recorded = registration.metrics if registration else {}
    for names in (METRICS, NUMBER_METRICS):
        keys = {name: (f"test_{name}", f"{name}_low", f"{name}_high") for name in names}
        if all(recorded.keys() >= set(each) for each in keys.values()):
            return {name: Interval(*(recorded[key] for key in each)) for name, each in keys.items()}
    return {}


def _last_report(journal: Journal, config: FamilyConfig, entry: Entry | None) -> str | None:
    """Digest of the report its last promotion stood on: into Production, else into Staging."""
    moves = [] if entry is None else journal.history(config.family, version_id=entry.id)
    for stage in (Stage.PRODUCTION, Stage.STAGING):
        for event in moves:
            if event.is_move and event.to_stage is stage and event.gate_report_id:
                return journal.report(event.gate_report_id).digest
    return None
