"""What the journal holds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Protocol

from promotion.journal.chain import digest
from promotion.registry.stages import Stage


@dataclass(frozen=True, slots=True)
class Entry:
    """One version as the journal knows it.

    Attributes:
        id: Row.
        model: Registered model.
        number: MLflow's integer.
        version: Semantic version; the integer as text when nobody gave one.
        stage: Where it is.
        run_id: Run that made it.
        digest: sha256 of its artifact, as recorded first.
        trainer: The persons behind its training, comma-separated; None when unknown.
        known_bad: Why it must not serve again; None when nothing is held against it.
        feature_hash: Of the feature schema it was trained on.
        approver: Who let it into its stage.
        reason: Why it went there.
        registered_at: UTC; None when nobody told the journal: it was found in MLflow.
        promoted_at: UTC; when it entered Production last.
        deprecated_at: UTC; when it left Production last.
    """

    id: int
    model: str
    number: int
    version: str
    stage: Stage
    run_id: str | None
    digest: str | None
    trainer: str | None
    known_bad: str | None
    feature_hash: str | None
    approver: str | None
    reason: str | None
    registered_at: datetime | None
    promoted_at: datetime | None
    deprecated_at: datetime | None

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded act on one version; an operation (a promotion, say) has one event for each version it moved.

    Attributes:
        id: Row.
        sequence: Position in the hash chain, from 1.
        operation: Groups the events of one act.
        family: Whose version.
        model: Registered model.
        number: MLflow's integer.
        version: Semantic version.
        action: What was done: promote, stage, rollback, register, approve, reject, refuse, quarantine, restore, …
        from_stage: Where the version was.
        to_stage: Where it is then; the same for an act that moves nothing.
        actor: Who did it.
        reason: Why.
        gate_report_id: On what evidence.
        at: UTC.
        details: What else belongs to the record.
        hash: Of this event and, through the one before, of all earlier ones.
    """

    id: int
    sequence: int
    operation: str
    family: str
    model: str
    number: int
    version: str
    action: str
    from_stage: Stage
    to_stage: Stage
    actor: str
    reason: str
    gate_report_id: int | None
    at: datetime
    details: Mapping[str, Any]
    hash: str

    @property
    def act(self) -> dict[str, Any]:
        """Who did what to which version, as plain data; what documents of any form have in common."""
        return {
            "family": self.family,
            "model": self.model,
            "version": self.number,
            "semver": self.version,
            "action": self.action,
            "from": self.from_stage.value,
            "to": self.to_stage.value,
            "actor": self.actor,
        }

    @property
    def is_move(self) -> bool:
        """Whether the version changed its stage."""
        return self.from_stage is not self.to_stage


@dataclass(frozen=True, slots=True)
class Pending:
    """A recorded operation that MLflow does not show completely yet."""

    id: int
    family: str
    operation: str
    created_at: datetime
    attempts: int
    error: str | None


class Known(Protocol):
    """What identifies a version: a `ModelVersion` of the registry, or an `Entry`."""

    @property
    def model(self) -> str:
        """Name of the registered model."""

    @property
    def number(self) -> int:
        """MLflow's integer version."""

    @property
    def run_id(self) -> str | None:
        """Run that made it."""


Place = tuple[str, int]
"""Registered model and MLflow's number."""


def place_of(version: Known | Event) -> Place:
    """What tells a version from every other one."""
    return version.model, version.number


@dataclass(frozen=True, slots=True)
class Change:
    """One version and the stage it goes to.

    Attributes:
        version: Which.
        to: Where.
        digest: sha256 of its artifact, where it was measured.
        known_bad: Why it must not serve again.
        found: What was found of it, where the move follows from that and nobody made it; goes into the record.
    """

    version: Known
    to: Stage
    digest: str | None = None
    known_bad: str | None = None
    found: str = ""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything a gate reads beside the version itself, and where it was read.

    Attributes:
        family: Whose.
        sections: What decides, as plain data; what is not said has the default of `software`.
        source: Where the family's file stands: `file`, `state`, `commit` and `dirty` of its repository.
        software: Version of this package.
    """

    family: str
    sections: Mapping[str, Any]
    source: Mapping[str, Any]
    software: str

    @property
    def digest(self) -> str:
        """SHA-256 of the sections alone: neither a commit nor an update of this package makes other rules."""
        return digest(self.sections)

    def as_json(self) -> dict[str, Any]:
        """What events and gate reports say of them."""
        return {"digest": self.digest, **self.source, "software": self.software}


@dataclass(frozen=True, slots=True)
class Authority:
    """Who acts, by which kind of operation, why, and on what evidence.

    Attributes:
        action: See `Event.action`.
        actor: The account behind the process.
        reason: Why.
        gate_report_id: The evidence.
        approver: The person who answers for it, when that is not the actor.
        details: What else belongs to the record, as plain data.
        rules: What it was decided by; the family's rules as they are now by default.
    """

    action: str
    actor: str
    reason: str
    gate_report_id: int | None = None
    approver: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    rules: RuleSet | None = None


Provenance = Literal["trained", "received"]


@dataclass(frozen=True, slots=True)
class Registration:
    """What is known of a version the moment it is registered.

    Attributes:
        digest: sha256 of its artifact.
        signature: Signature over the artifact's manifest.
        trainer: The persons behind the training, comma-separated.
        feature_hash: Of the feature schema it was trained on; None when unknown.
        metrics: By name.
        lineage: Where it comes from: run, commit, data, parameters.
        provenance: `trained` when our training signed it, `received` when it was found in MLflow and signed as such;
            None when that was not recorded yet, which was always our training.
    """

    digest: str
    signature: str | None
    trainer: str | None
    feature_hash: str | None
    metrics: Mapping[str, float]
    lineage: Mapping[str, Any]
    provenance: Provenance | None = "trained"

    def as_json(self) -> dict[str, Any]:
        """Plain data, of which the chain keeps the digest."""
        return registered_facts({name: getattr(self, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class TrainingRound:
    """The versions that one training registers together.

    Attributes:
        name: UTC timestamp of the training.
        best: The one that won.
    """

    name: str
    best: Known


def registered_facts(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the chain's digest of a registration covers; one from before provenances were recorded has none.

    Args:
        values: Columns of the version's row, these among them.
    """
    facts = {name: values[name] for name in Registration.__slots__}
    return facts if facts["provenance"] else {name: value for name, value in facts.items() if name != "provenance"}


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A gate report as it was kept; `digest` covers `report`, `evidence` only what does not vary between two runs."""

    id: int
    family: str
    model: str
    number: int
    target: Stage
    passed: bool
    report: Mapping[str, Any]
    digest: str
    evidence: str | None
    actor: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's word for or against a version.

    Attributes:
        id: Row.
        role: In which role it was given.
        approver: By whom.
        approved: For or against.
        comment: In the approver's words.
        artifact_digest: The artifact it is about.
        evidence: The evidence it is about, see `GateReport.evidence`.
        gate_report_id: The report the approver was shown.
        statement: The text that is recorded and, where families ask for it, signed.
        signature: Armoured SSH signature over the statement.
        created_at: UTC.
        expires_at: UTC.
        recorded: Whether the chain holds an event for it.
        is_void: Whether it was said in a rehearsal, while this is none.
        recorder: The account that recorded it; None when none did.
    """

    id: int
    role: str
    approver: str
    approved: bool
    comment: str
    artifact_digest: str
    evidence: str
    gate_report_id: int
    statement: str
    signature: str | None
    created_at: datetime
    expires_at: datetime
    recorded: bool
    is_void: bool = False
    recorder: str | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong with a version; an open critical one keeps it out of Production.

    `is_void` says that it was opened in a rehearsal, while this is none.
    """

    id: int
    model: str
    number: int
    severity: str
    summary: str
    opened_by: str
    opened_at: datetime
    closed_by: str | None
    closed_at: datetime | None
    resolution: str | None
    is_void: bool = False


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    RECOVERED = "recovered"
    ENDED = "ended"
    ANNOUNCED = "announced"


class DeliveryState(StrEnum):
    """Whether a channel was told."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that is, or was, wrong with one version.

    Attributes:
        id: Row.
        family: Whose version.
        version_id: Row of the version.
        version: As people call it.
        key: What tells it apart from others of the version.
        level: How bad it is, as people were told last.
        state: Where it stands.
        flapping: Whether it came back shortly after it had been called better.
        finding: What was found last: `text` and the figures.
        opened_at: When it was found first, UTC.
        told_at: When something was last told about it, UTC.
        better_since: Since when it looks better than was told, UTC; None when it does not.
        eased_at: When people were last told that it is better, UTC.
        closed_at: When it was over, UTC.
    """

    id: int
    family: str
    version_id: int
    version: str
    key: str
    level: str
    state: AlertState
    flapping: bool
    finding: Mapping[str, Any]
    opened_at: datetime
    told_at: datetime
    better_since: datetime | None
    eased_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DueNotice:
    """One alert that one channel has not taken yet."""

    id: int
    alert: Alert
    channel: str
    kind: str
    tried: bool


def version_name(model: str, number: int, semver: str) -> str:
    """A version as people call it: `heart-disease-random_forest 1.2.0 (v3)`, `churn v3` without a semantic version."""
    return f"{model} v{number}" if semver == str(number) else f"{model} {semver} (v{number})"
