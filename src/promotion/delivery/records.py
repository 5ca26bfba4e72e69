"""What a deployment is, as plain records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from promotion.delivery.canary.records import AnalysisProgress
from promotion.errors import UsageError
from promotion.registry.stages import Stage

LABEL = "io.promotion."
"""Prefix of the image's labels that say which version it carries."""

# Room for "-canary" and the hash of a ConfigMap within the 63 characters of a DNS label.
_LONGEST_NAME = 63 - len("-canary") - len("-0123456789")


class Environment(StrEnum):
    """Where versions run; each has a namespace and an overlay of its own."""

    STAGING = "staging"
    PRODUCTION = "production"

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace."""
        return f"models-{self.value}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages whose versions may run there."""
        return (Stage.PRODUCTION,) if self is Environment.PRODUCTION else (Stage.STAGING, Stage.PRODUCTION)


class Track(StrEnum):
    """Whether a Deployment carries the traffic or only a share of it."""

    STABLE = "stable"
    CANARY = "canary"


class DeploymentState(StrEnum):
    """How far a deployment came; `TRANSITIONS` says what may follow."""

    APPLYING = "applying"
    CHECKING = "checking"
    ANALYSING = "analysing"
    RETURNING = "returning"
    WITHDRAWING = "withdrawing"
    DEPLOYED = "deployed"
    FAILED = "failed"
    OVERTAKEN = "overtaken"


TRANSITIONS: Mapping[DeploymentState, frozenset[DeploymentState]] = {
    DeploymentState.APPLYING: frozenset({DeploymentState.CHECKING, DeploymentState.RETURNING}),
    DeploymentState.CHECKING: frozenset(
        {DeploymentState.ANALYSING, DeploymentState.DEPLOYED, DeploymentState.RETURNING}
    ),
    DeploymentState.ANALYSING: frozenset({DeploymentState.DEPLOYED, DeploymentState.RETURNING}),
    DeploymentState.RETURNING: frozenset(
        {DeploymentState.WITHDRAWING, DeploymentState.FAILED, DeploymentState.OVERTAKEN}
    ),
    DeploymentState.WITHDRAWING: frozenset({DeploymentState.FAILED, DeploymentState.OVERTAKEN}),
    DeploymentState.DEPLOYED: frozenset(),
    DeploymentState.FAILED: frozenset(),
    DeploymentState.OVERTAKEN: frozenset(),
}
"""Which step may follow which; one that nothing follows is an end. docs/DEPLOYMENT.md draws it."""


class RolloutVerdict(StrEnum):
    """Whose fault a failed deployment is; `overtaken` when somebody moved Production or the cluster, or asked anew."""

    VERSION = "version"
    INFRASTRUCTURE = "infrastructure"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a deployment failed.

    Attributes:
        verdict: Whose fault it is.
        reason: In one line.
        details: What else a person wants to read: events, last log lines.
    """

    verdict: RolloutVerdict
    reason: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeployedChallenger:
    """A second version in the pods of the one that answers.

    Attributes:
        reference: Image its export is taken from.
        model: Registered model.
        version: MLflow's integer.
        digest: sha256 of the version's artifact.
        percent: Share of the keys it answers, 0 to 100; None: it only shadows.
    """

    reference: str
    model: str
    version: int
    digest: str
    percent: float | None

    def __str__(self) -> str:
        part = "shadow" if self.percent is None else f"{self.percent:g} % of the keys"
        return f"{self.model} v{self.version}, {part}"


@dataclass(frozen=True, slots=True)
class Image:
    """A container image that carries an exported version.

    Attributes:
        reference: As the cluster pulls it: with a digest where one is known, else an immutable tag.
        model: Registered model.
        version: MLflow's integer.
        semver: Semantic version; empty when there is none.
        digest: sha256 of the version's artifact.
        gate_report: sha256 of the report of its last promotion; empty when there is none.
        manifest: sha256 of the export folder's manifest.json.
        family: Whose version.
        challenger: What runs beside it in the same pods.
        sbom: sha256 of its bill of materials; empty when it was built without.
        attestation: sha256 of the statement of its promotion's attestation; empty when it was built without.
    """

    reference: str
    family: str
    model: str
    version: int
    semver: str
    digest: str
    gate_report: str
    manifest: str
    challenger: DeployedChallenger | None = None
    sbom: str = ""
    attestation: str = ""

    @classmethod
    def from_labels(cls, reference: str, labels: Mapping[str, str]) -> Self:
        """Read what `build-image.py` wrote on an image.

        Raises:
            UsageError: The image is none of ours: a label is missing.
        """
        names = ("family", "model", "version", "digest", "manifest")
        missing = [LABEL + name for name in names if not labels.get(LABEL + name)]
        if missing or not labels[LABEL + "version"].isdecimal():
            what = f"lacks the labels {', '.join(missing)}" if missing else "has a version label that is no number"
            raise UsageError(f"{reference} {what}: build it with python scripts/build-image.py --model FAMILY")
        known = {
            name: labels.get(LABEL + name, "") for name in (*names, "semver", "gate-report", "sbom", "attestation")
        }
        return cls(
            reference=reference,
            family=known["family"],
            model=known["model"],
            version=int(known["version"]),
            semver=known["semver"],
            digest=known["digest"],
            gate_report=known["gate-report"],
            manifest=known["manifest"],
            sbom=known["sbom"],
            attestation=known["attestation"],
        )

    def as_json(self) -> dict[str, Any]:
        """What the journal keeps of it."""
        later = ("challenger", "sbom", "attestation")
        return {name: value for name, value in asdict(self).items() if value or name not in later}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote."""
        challenger = document.get("challenger")
        return cls(**{**document, "challenger": DeployedChallenger(**challenger) if challenger else None})


@dataclass(frozen=True, slots=True)
class DeploymentTarget:
    """Which Deployment on which cluster.

    Attributes:
        family: Whose versions run there.
        environment: Decides namespace and overlay.
        track: Stable or canary.
    """

    family: str
    environment: Environment
    track: Track = Track.STABLE

    @property
    def instance(self) -> str:
        """The family as a DNS label: name of its Service and of its stable Deployment.

        Raises:
            UsageError: The family's name cannot be made into one.
        """
        name = re.sub(r"[^a-z0-9]+", "-", self.family.lower()).strip("-")
        if not name or not name[0].isalpha() or len(name) > _LONGEST_NAME:
            raise UsageError(
                f"family {self.family!r} has no name for Kubernetes: expected a letter first and at most "
                f"{_LONGEST_NAME} letters, digits and hyphens"
            )
        return name

    @property
    def name(self) -> str:
        """Name of the Deployment."""
        return self.instance if self.track is Track.STABLE else f"{self.instance}-canary"

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.environment.namespace

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Predecessor:
    """What a Deployment ran before.

    Attributes:
        template: Its `pod-template-hash`, which stays when revisions are renumbered.
        operation: The deployment that had put it there; None when it was not ours.
        image: The image's reference.
        is_edited: Whether somebody had put something of his own into it.
    """

    template: str
    operation: str | None
    image: str
    is_edited: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """One attempt to run a version.

    Attributes:
        operation: Its id, also an annotation on what was applied.
        version_id: `Entry.id` of the version.
        target: Where.
        image: What.
        cluster: URL of the API server.
        state: How far it came.
        predecessor: What ran before; None when nothing did.
        failure: Why it failed.
        actor: Who asked for it.
        started_at: UTC.
        finished_at: UTC; None while it is under way or interrupted.
        template: Digest of the pod template it left on the cluster; empty before it was applied.
        analysis: How far a canary came through its steps; None where it is only watched and asked.
    """

    operation: str
    version_id: int
    target: DeploymentTarget
    image: Image
    cluster: str
    state: DeploymentState
    predecessor: Predecessor | None
    failure: Failure | None
    actor: str
    started_at: datetime
    finished_at: datetime | None = field(default=None)
    template: str = ""
    analysis: AnalysisProgress | None = None

    @property
    def is_going_forward(self) -> bool:
        """Whether nothing has been decided against it."""
        return self.state in {DeploymentState.APPLYING, DeploymentState.CHECKING, DeploymentState.ANALYSING}

    @property
    def is_excused(self) -> bool:
        """Whether it is going back, and may be tried again: the version is not to blame."""
        return self.failure is not None and self.failure.verdict is not RolloutVerdict.VERSION

    @property
    def version(self) -> str:
        """The version as people read it."""
        return f"{self.image.model} v{self.image.version}" + (f" ({self.image.semver})" if self.image.semver else "")

    def outcome(self) -> dict[str, Any]:
        """How it stands, as plain data."""
        return {
            "operation": self.operation,
            "state": self.state.value,
            "verdict": self.failure.verdict.value if self.failure else None,
            "reason": self.failure.reason if self.failure else None,
            "explanation": list(self.failure.details) if self.failure else [],
            "analysis": self.analysis.as_json() if self.analysis else None,
        }

    def __str__(self) -> str:
        return f"{self.version} on {self.target}"
