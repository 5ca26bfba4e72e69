"""What a pipeline must know of a family before it acts: who decides, what waits, what serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from promotion.approving import standing_of
from promotion.auto import best_candidate
from promotion.config.family import FamilyConfig
from promotion.errors import NothingToDo
from promotion.gates import APPROVALS
from promotion.journal.records import Entry
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.service import PromotionService


@dataclass(frozen=True, slots=True)
class PlannedCandidate:
    """A version on its way into Production.

    Attributes:
        version: Which.
        label: Its semantic version, or MLflow's number where it has none.
        stage: Where it is.
        refused: Names of the gates that refuse, approvals aside; not asked where no approvals are wanted.
        missing: Roles whose approval it lacks.
    """

    version: ModelVersion
    label: str
    stage: Stage
    refused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_ready_for_people(self) -> bool:
        """Whether nothing but approvals can keep it back."""
        return not self.refused


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """Where a family stands.

    Attributes:
        config: The family.
        production: What serves, by the journal's word.
        candidate: What wants to.
    """

    config: FamilyConfig
    production: Entry | None
    candidate: PlannedCandidate | None

    def as_json(self) -> dict[str, Any]:
        """The plan as plain data, each key always there."""
        found = self.candidate
        return {
            "family": self.config.family,
            "promotion": self.config.promotion,
            "approvals": self.config.approvals is not None,
            "signed": self.config.approvals is not None and self.config.approvals.signed,
            "online": self.config.has_contract and not self.config.is_forecast,
            "production": str(self.production) if self.production else None,
            "candidate": found
            and {
                "name": str(found.version),
                "model": found.version.model,
                "version": found.label,
                "stage": found.stage.status,
                "refused": list(found.refused),
                "missing": list(found.missing),
            },
        }


def plan_pipeline(service: PromotionService, config: FamilyConfig) -> PipelinePlan:
    """Look at a family without changing anything.

    The candidate is the newest training's best where versions are promoted by themselves, else the newest version in
    Staging that only approvals keep back: a younger one whose days still run must not stand before it.

    Raises:
        GateRefused: Journal and tags disagree on the best version, or its metric is no number.
        RegistryError: MLflow does not answer.
        JournalError: The journal cannot be read.
    """
    production = service.journal.production(config.family)
    waiting = _best(service, config) if config.promotion == "auto" else _staged(service, config)
    if config.approvals is None:
        return PipelinePlan(config, production, _unchecked(service, waiting[0]) if waiting else None)
    candidates = (_checked(service, version) for version in waiting if not _serves(version, production))
    newest = next(candidates, None)
    if newest is None or newest.is_ready_for_people:
        return PipelinePlan(config, production, newest)
    return PipelinePlan(config, production, next((item for item in candidates if item.is_ready_for_people), newest))


def _best(service: PromotionService, config: FamilyConfig) -> list[ModelVersion]:
    try:
        return [best_candidate(service.journal, service.registry, config)]
    except NothingToDo:
        return []


def _staged(service: PromotionService, config: FamilyConfig) -> list[ModelVersion]:
    """The versions the journal holds in Staging, newest first."""
    entries = [entry for entry in service.journal.entries(config.family) if entry.stage is Stage.STAGING]
    newest_first = sorted(entries, key=lambda entry: -entry.id)
    return [service.registry.version(entry.model, entry.number) for entry in newest_first]


def _serves(version: ModelVersion, production: Entry | None) -> bool:
    return production is not None and (version.model, version.number) == (production.model, production.number)


def _unchecked(service: PromotionService, version: ModelVersion) -> PlannedCandidate:
    entry = service.journal.entry(version.model, version.number)
    if entry is None:
        return PlannedCandidate(version, str(version.number), version.stage)
    return PlannedCandidate(version, entry.version, entry.stage)


def _checked(service: PromotionService, version: ModelVersion) -> PlannedCandidate:
    plan = service.check(version)
    standing = standing_of(service, plan)
    known = _unchecked(service, version)
    return PlannedCandidate(
        version,
        known.label,
        known.stage,
        refused=tuple(gate.name for gate in plan.report.refusals if gate.name != APPROVALS),
        missing=tuple(standing.missing) if standing else (),
    )
