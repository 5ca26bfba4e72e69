"""Attestations: what a promotion rested on, signed, for readers who have neither the journal nor this project.

Each is a DSSE envelope around an in-toto Statement v1 whose subject is the model's artifact. It is made from the record
alone, so that one which a crash prevented is made by the next command; docs/AUDIT.md describes the predicate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotion.data.files import write_whole
from promotion.errors import DataError, GateRefused, PromotionError, SignatureRefused
from promotion.journal.chain import canonical, digest, moment
from promotion.journal.journal import Journal
from promotion.journal.records import Entry, Event
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.signing.dsse import open_envelope, payload_digest, sign_envelope
from promotion.signing.keys import Keys

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://promotion-layer/promotion/v1"
"""Names the kind of statement; no address where anything could be fetched."""
PAYLOAD = "application/vnd.in-toto+json"
DUE = {"attestation": PREDICATE}
"""What the details of an event hold of which an attestation is due."""

_SUFFIX = ".intoto.jsonl"
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Attestations:
    """Writes and checks the attestations of one journal.

    Attributes:
        journal: What they are about.
        folder: Where they lie: the checkpoints' folder.
        keys: Gives the signing key and those that are believed.
    """

    journal: Journal
    folder: Path
    keys: Callable[[], Keys]

    def leave(self, family: str, report: Callable[[str], None], *, everything: bool = False) -> None:
        """Write what is missing; never fails, because the promotion it is about is recorded already.

        Args:
            family: Whose promotions.
            report: Told when one could not be written.
            everything: Look at every promotion of the family, and not at the newest alone.
        """
        try:
            newest = self.journal.arrival(family, Stage.PRODUCTION)
            moves = self.journal.history(family) if everything else [newest] if newest else []
            for event in moves:
                path = self.folder / attestation_name(event.sequence, event.hash)
                if is_attested(event) and not path.exists():
                    write_whole(path, sign_envelope(self.statement(event), PAYLOAD, self.keys().signing_key()) + "\n")
        except (PromotionError, OSError) as error:
            report(
                f"⚠️ NO ATTESTATION of {family!r} in {self.folder}: {error}; the promotion stands, and "
                f"python scripts/promote-model.py --reconcile --model {family} writes it when that is mended"
            )

    def statement(self, event: Event) -> bytes:
        """The in-toto statement about a promotion, from the record."""
        said = {
            act.details.get("statement"): act.sequence
            for act in self.journal.history(event.family, version_id=self._entry(event).id)
            if act.action in {"approve", "reject"} and act.sequence < event.sequence
        }
        words = {
            word.role: word
            for word in Reviews(self.journal).approvals(self._entry(event))
            if digest(word.statement) in said and word.artifact_digest == event.details["digest"]
        }
        kept = self.journal.report(event.gate_report_id) if event.gate_report_id is not None else None
        rules = event.details.get("rules")
        predicate = {
            "family": event.family,
            "model": event.model,
            "number": event.number,
            "version": event.details.get("version"),
            "action": event.action,
            "from": event.from_stage.value,
            "to": event.to_stage.value,
            "operation": event.operation,
            "mover": {
                "actor": event.actor,
                "approver": event.details.get("approver") or event.actor,
                "reason": event.reason,
            },
            "overridden": event.details.get("override", []),
            "at": moment(event.at),
            "event": {"sequence": event.sequence, "hash": event.hash, "details": dict(event.details)},
            "report": kept.report if kept else None,
            "rules": {**rules, "sections": self.journal.rules(rules["digest"])} if rules else None,
            "approvals": [
                {
                    "role": word.role,
                    "approver": word.approver,
                    "approved": word.approved,
                    "statement": word.statement,
                    "signature": word.signature,
                }
                for word in sorted(words.values(), key=lambda word: word.role)
            ],
        }
        subject = {"name": f"{event.model} v{event.number}", "digest": {"sha256": event.details["digest"]}}
        document = {"_type": STATEMENT, "subject": [subject], "predicateType": PREDICATE, "predicate": predicate}
        return canonical(document).encode()

    def promotion_of(self, family: str, entry: Entry) -> Event | None:
        """The newest attested promotion of a version; None when it has none."""
        moves = self.journal.history(family, version_id=entry.id)
        return next((event for event in moves if is_attested(event)), None)

    def text(self, event: Event) -> str:
        """The envelope about a promotion, after checking it.

        Raises:
            GateRefused: It is missing, or says something else than the journal, or no trusted key signed it.
        """
        path = self.folder / attestation_name(event.sequence, event.hash)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise GateRefused(
                f"{path}: the attestation of {event.model} v{event.number} cannot be read ({why}): "
                f"python scripts/promote-model.py --reconcile --model {event.family} writes it from the record, where "
                "the signing key is"
            ) from error
        recorded = AttestedMove.of(event)
        if problem := recorded.problem(text, self.keys().trusted()):
            raise GateRefused(
                f"{path}: the attestation of {event.model} v{event.number}: {problem}: ask who changed it"
            )
        return text

    def digests(self, family: str, entry: Entry) -> set[str]:
        """sha256 of the statement of every attestation of a version that is at hand and true."""
        found = set()
        for event in self.journal.history(family, version_id=entry.id):
            if is_attested(event):
                with suppress(GateRefused):
                    found.add(payload_digest(self.text(event)))
        return found

    def require(self, family: str, entry: Entry) -> str:
        """Refuse a version whose attestation is missing or is not what the journal says.

        Returns:
            A remark where none was ever due: the version was not promoted, or before there were attestations.

        Raises:
            GateRefused: As `text`.
        """
        event = self.promotion_of(family, entry)
        if event is None:
            return f"{entry} has no attestation: it came into {entry.stage} without one being due"
        self.text(event)
        return ""

    def _entry(self, event: Event) -> Entry:
        entry = self.journal.entry(event.model, event.number)
        assert entry  # noqa: S101  # an event has a version
        return entry


@dataclass(frozen=True, slots=True)
class AttestedMove:
    """What the chain says of a promotion, and its attestation must say, too.

    Attributes:
        sequence: Of its event.
        hash: Of its event.
        operation: Its id.
        digest: sha256 of the artifact.
        report: Digest of the gate report.
        rules: Digest of the rules it was judged by; None from before they were recorded.
    """

    sequence: int
    hash: str
    operation: str
    digest: str | None
    report: str | None
    rules: str | None

    @classmethod
    def of(cls, event: Event) -> AttestedMove:
        """What an event says."""
        return cls.recorded(event.sequence, event.hash, event.operation, event.details)

    @classmethod
    def recorded(cls, sequence: int, event_hash: str, operation: str, details: Mapping[str, Any]) -> AttestedMove:
        """The same from an event's columns."""
        rules = details.get("rules") or {}
        return cls(
            sequence, event_hash, operation, details.get("digest"), details.get("report_digest"), rules.get("digest")
        )

    def problem(self, text: str, trusted: Mapping[str, bytes]) -> str:
        """Why an envelope does not attest it; empty when it does."""
        try:
            statement = json.loads(open_envelope(text, PAYLOAD, trusted))
            predicate = statement["predicate"]
            kind = statement["_type"], statement["predicateType"]
            (subject,) = statement["subject"]
            said = AttestedMove(
                predicate["event"]["sequence"],
                predicate["event"]["hash"],
                predicate["operation"],
                subject["digest"]["sha256"],
                digest(predicate["report"]) if predicate["report"] is not None else None,
                digest(predicate["rules"]["sections"]) if predicate["rules"] is not None else None,
            )
        except SignatureRefused as error:
            return str(error)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            return f"signed, but no statement about a promotion ({type(error).__name__})"
        if kind != (STATEMENT, PREDICATE):
            return f"signed, but about something else ({kind[1]!a})"
        differing = [name for name in self.__slots__ if getattr(self, name) != getattr(said, name)]
        return f"signed, but its {', '.join(differing)} not those of event {self.sequence}" if differing else ""


def attestation_name(sequence: int, event_hash: str) -> str:
    """The file's name beside the checkpoints."""
    return f"{sequence}-{event_hash[:_HASH_DIGITS]}{_SUFFIX}"


def is_attested(event: Event) -> bool:
    """Whether an attestation of this event is due."""
    is_entry = event.is_move and event.to_stage is Stage.PRODUCTION
    return is_entry and DUE.items() <= event.details.items() and bool(event.details.get("digest"))


def read_attestations(folder: Path) -> dict[str, str]:
    """The envelopes in a folder, by the name of their file; nothing without a folder.

    Raises:
        DataError: The folder or a file cannot be read.
    """
    try:
        paths: Iterable[Path] = sorted(folder.glob(f"*{_SUFFIX}")) if folder.exists() else ()
        return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in paths}
    except OSError as error:
        raise DataError(f"{folder}: the attestations cannot be read: {error.strerror}") from error
