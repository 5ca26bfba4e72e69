"""Who registered which version, as what: read from the chain, so that no row, tag or clock can say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from promotion.errors import ArtifactTampered
from promotion.journal.chain import digest as digest_of
from promotion.journal.records import Event, Known, Place, Provenance, Registration, place_of

if TYPE_CHECKING:
    from promotion.journal.reader import JournalReader

ACTION = "register"
"""What the record calls it."""


@dataclass(frozen=True, slots=True)
class Registered:
    """One version's registration as its event tells it.

    Attributes:
        model: Registered model.
        number: MLflow's integer.
        operation: Shared by the versions that were registered together.
        provenance: `trained` when our training signed it, `received` when it was found in MLflow and signed as such.
        is_explicit: Whether somebody registered it, rather than a first check on its own.
        actor: The account that did.
        at: UTC.
        trainer: The persons behind its training, comma-separated; None when unknown.
        round: The training it came from; None when not recorded.
        is_best: Whether it won that training; None when not recorded.
        digest: sha256 of its artifact then.
        facts: Digest of the registration, signature included; the row must still have it.
        origin_key: Fingerprint of the key by which another installation says that its training made it, before it was
            transferred from there; None for every other version. What it says counts where this is `trained`.
    """

    model: str
    number: int
    operation: str
    provenance: Provenance
    is_explicit: bool
    actor: str
    at: datetime
    trainer: str | None
    round: str | None
    is_best: bool | None
    digest: str | None
    facts: str | None
    origin_key: str | None = None

    def __str__(self) -> str:
        return f"{self.model} v{self.number}"

    @property
    def place(self) -> Place:
        """Registered model and number."""
        return self.model, self.number

    @property
    def story(self) -> str:
        """Who registered it, when and as what, in words."""
        how = "" if self.is_explicit else " at its first check"
        where = f" elsewhere (key {self.origin_key[:16]})" if self.origin_key and self.provenance == "trained" else ""
        return f"{self.provenance}{where}, registered{how} by {self.actor} on {self.at:%Y-%m-%d %H:%M} UTC"

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "as": self.provenance,
            "by": self.actor,
            "at": self.at.isoformat(),
            "explicit": self.is_explicit,
            "trainer": self.trainer,
            "round": self.round,
            "best": self.is_best,
            "origin_key": self.origin_key,
        }

    def advice(self, family: str) -> str:
        """How its origin's word comes to count, where another installation says that it trained it."""
        if self.origin_key is None or self.provenance == "trained":
            return ""
        return (
            f"its origin says, with key {self.origin_key}, that it trained it: if you trust that key, add "
            f"trusted_origins: [{self.origin_key}] to the file of {family!r} and transfer it again"
        )

    def contradiction(self, row: Registration | None) -> str:
        """Why the row is not what was registered, its signature for example gone; empty when it is."""
        if self.facts is None or (row is not None and digest_of(row.as_json()) == self.facts):
            return ""
        lost = "its signature is gone" if row is None or row.signature is None else "it was changed by SQL"
        return (
            f"its registration is not the one that {self.actor} made on {self.at:%Y-%m-%d %H:%M} UTC: {lost}; restore "
            "the journal's row (python scripts/audit.py verify names what differs), or register a new version"
        )


def registrations(journal: JournalReader, family: str) -> list[Registered]:
    """The newest registration of each version of a family, newest first, by the chain's order."""
    found: dict[Place, Registered] = {}
    for event in journal.acts(ACTION, family=family):
        found.setdefault(place_of(event), _registered(event))
    return list(found.values())


def registered(journal: JournalReader, version_id: int) -> Registered | None:
    """The newest registration of one version, by its `Entry.id`; None when nobody registered it."""
    events = journal.acts(ACTION, version_id=version_id)
    return _registered(events[0]) if events else None


def require_recorded(journal: JournalReader, version: Known, digest: Callable[[], str]) -> None:
    """Let no files be used that are not the ones the journal knows; of what it does not know it says nothing.

    Raises:
        ArtifactTampered: They were changed since, or the registration that vouches for them was.
    """
    entry = journal.entry(version.model, version.number)
    known = registered(journal, entry.id) if entry else None
    recorded = (known and known.digest) or (entry and entry.digest)
    if recorded and recorded != (found := digest()):
        raise ArtifactTampered(
            f"{version}: its files have digest {found[:12]}, the journal recorded {recorded[:12]}: they were "
            "changed since; restore them, or use another version"
        )
    if entry and known and (lost := known.contradiction(journal.registration(entry.id))):
        raise ArtifactTampered(f"{version}: {lost}")


def _registered(event: Event) -> Registered:
    told: Mapping[str, Any] = event.details
    # What was registered before provenances were recorded was registered by our training.
    provenance: Provenance = "received" if told.get("provenance") == "received" else "trained"
    return Registered(
        model=event.model,
        number=event.number,
        operation=event.operation,
        provenance=provenance,
        is_explicit=bool(told.get("explicit", True)),
        actor=event.actor,
        at=event.at,
        trainer=told.get("trainer"),
        round=told.get("round"),
        is_best=told.get("best"),
        digest=told.get("digest"),
        facts=told.get("registration"),
        origin_key=told.get("origin_key"),
    )
