"""What a transfer is asked for and what it leaves: where a version comes from, as tags and as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promotion.journal.chain import digest
from promotion.journal.records import Event
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage

ACTION = "transfer"
"""What both records call it."""
_TAG = "promotion.origin."


@dataclass(frozen=True, slots=True)
class TransferOrigin:
    """Where a version comes from.

    Attributes:
        server: Address of the server, without a password.
        model: Registered model there.
        version: MLflow's number there.
        run: Run that made it there; empty when there was none.
        digest: sha256 of its files.
    """

    server: str
    model: str
    version: str
    run: str
    digest: str

    @property
    def key(self) -> str:
        """The same for every attempt to bring these files of this version to a target."""
        return digest([self.server, self.model, self.version, self.digest])[:32]

    @property
    def tags(self) -> dict[str, str]:
        """As the target's version says it."""
        return {f"{_TAG}{name}": text for name, text in asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.model} v{self.version} of {self.server}"


def origin_of(version: ModelVersion) -> TransferOrigin | None:
    """What a version says of where it comes from; None for one that was not transferred."""
    said = {name: version.tags.get(_TAG + name, "") for name in TransferOrigin.__slots__}
    return TransferOrigin(**said) if said["server"] and said["digest"] else None


def arrivals(
    known: Iterable[ModelVersion], server: str, version: ModelVersion
) -> Iterator[tuple[ModelVersion, TransferOrigin]]:
    """Those of a target's versions that came from this one of that server, with what they say of it."""
    for item in known:
        said = origin_of(item)
        if said and (said.server, said.model, said.version) == (server, version.model, str(version.number)):
            yield item, said


def is_own_tag(name: str) -> bool:
    """Whether a version's tag is written by this project about the place where the version is."""
    return name.startswith("promotion.") or name in {"stage", "best_model", "tracking_score"}


@dataclass(frozen=True, slots=True)
class TransferRequest:
    """What is transferred, and to where.

    Attributes:
        name: Registered model, or a family that has just one.
        version: MLflow's number, or the semantic version.
        target_name: Registered model at the target; the same name when None.
        to_stage: Where it goes then, if the gates of the target let it; it stays outside every stage when None.
        reason: Goes into both records.
    """

    name: str
    version: str
    target_name: str | None = None
    to_stage: Stage | None = None
    reason: str = "transferred"


@dataclass(frozen=True, slots=True)
class Transferred:
    """What a transfer did.

    Attributes:
        origin: Where the version comes from.
        server: Address of the target.
        model: Registered model there.
        number: MLflow's number there; None for a rehearsal.
        semver: Semantic version there.
        stage: Where it is there.
        files: How many.
        size: Of all, bytes.
        remarks: What did not come along, and why.
        evidence: What the source said of it, as both records keep it.
    """

    origin: TransferOrigin
    server: str
    model: str
    number: int | None
    semver: str
    stage: str
    files: int
    size: int
    remarks: tuple[str, ...] = ()
    evidence: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        target = {name: getattr(self, name) for name in ("server", "model", "number", "semver", "stage")}
        return {
            "source": asdict(self.origin),
            "target": target,
            "files": self.files,
            "bytes": self.size,
            "remarks": list(self.remarks),
            "evidence": {name: self.evidence[name] for name in ("key", "statement")} if self.evidence else None,
        }


def departure(
    origin: TransferOrigin, server: str, model: str, number: int, evidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What either record keeps of a transfer, the same in both."""
    kept = {"origin": asdict(origin), "target": {"server": server, "model": model, "version": number}}
    return {**kept, "evidence": dict(evidence)} if evidence else kept


def same_transfer(event: Event, kept: Mapping[str, Any]) -> bool:
    """Whether an event is about a transfer."""
    return all(event.details.get(name) == value for name, value in kept.items())
