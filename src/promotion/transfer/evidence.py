"""Evidence of the source: sealed there by its key, counted at the target where the rules there name that key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from promotion.approvals.people import actor
from promotion.approving import Approving, Opinion
from promotion.artifacts.provenance import registered
from promotion.audit.attestations import PAYLOAD as ATTESTATION
from promotion.config.family import FamilyConfig
from promotion.errors import PromotionError, SignatureRefused
from promotion.journal.chain import canonical, moment
from promotion.journal.records import Approval, Entry
from promotion.journal.reviews import Reviews
from promotion.registration import TrainedElsewhere
from promotion.registry.contract import ModelVersion
from promotion.service import PromotionService
from promotion.signing.dsse import open_envelope, payload_digest, sign_envelope
from promotion.signing.keys import Keys, key_id, public_pem
from promotion.transfer.records import TransferOrigin

PAYLOAD = "application/vnd.promotion-layer.transfer+json"
"""Media type of what is sealed."""
_SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class SealedEvidence:
    """What the source says of a version, and the key that it says it with.

    Attributes:
        envelope: DSSE, see `promotion.signing.dsse`.
        public: The key's public half, PEM.
    """

    envelope: str
    public: str

    @property
    def fingerprint(self) -> str:
        """What a family's file names the key by."""
        return key_id(self.public.encode())

    def opened(self, origin: TransferOrigin) -> Mapping[str, Any]:
        """What is sealed, after checking that this key sealed it and that all of it is about these files.

        Raises:
            SignatureRefused: It is not.
        """
        keys = {self.fingerprint: self.public.encode()}
        document: Mapping[str, Any] = json.loads(open_envelope(self.envelope, PAYLOAD, keys))
        if document["origin"] != asdict(origin):
            raise SignatureRefused("the sealed evidence is about another version")
        if attestation := document["attestation"]:
            (subject,) = json.loads(open_envelope(attestation, ATTESTATION, keys))["subject"]
            if subject["digest"]["sha256"] != origin.digest:
                raise SignatureRefused("the attestation that came along is about other files")
        return document

    def as_json(self) -> dict[str, str]:
        """Plain data, for either record."""
        return {"key": self.fingerprint, "statement": payload_digest(self.envelope), **asdict(self)}


def seal_evidence(service: PromotionService, entry: Entry | None, origin: TransferOrigin) -> SealedEvidence | None:
    """Seal what counts for a version where it is: whose training it is of, its gates, attestation and approvals.

    Args:
        service: Of the source.
        entry: The version, as its journal knows it.
        origin: Which version, with the digest of what is sent.

    Returns:
        None where nobody registered it.

    Raises:
        SigningFailed: There is no key to seal with.
    """
    journal = service.journal
    known = registered(journal, entry.id) if entry else None
    registration = journal.registration(entry.id) if entry else None
    if entry is None or known is None or registration is None or registration.digest != origin.digest:
        return None
    newest = {word.role: word for word in Reviews(journal).approvals(entry) if not word.is_void}
    given = [word for word in newest.values() if _counts(word, origin, journal.now())]
    said = [
        {"role": it.role, "approver": it.approver, "comment": it.comment, "expires": moment(it.expires_at)}
        for it in given
    ]
    reports = (kept.report for kept in journal.reports(entry))
    payload = {
        "origin": asdict(origin),
        "registration": {**registration.as_json(), "provenance": known.provenance},
        "report": next((report for report in reports if report.get("digest") == origin.digest), None),
        "attestation": _attestation(service, entry, origin),
        "approvals": said,
    }
    key = Keys.from_environment().signing_key()
    return SealedEvidence(sign_envelope(canonical(payload).encode(), PAYLOAD, key), public_pem(key).decode())


def trained_elsewhere(
    seal: SealedEvidence | None, origin: TransferOrigin, config: FamilyConfig | None
) -> TrainedElsewhere | None:
    """What the source says of a training of its own; None where it does not say that there was one.

    Args:
        seal: What the source says.
        origin: What it must be about.
        config: The target's family.

    Raises:
        SignatureRefused: It is sealed wrongly, or about something else.
    """
    said = seal.opened(origin)["registration"] if seal else {}
    if seal is None or said.get("provenance") != "trained":
        return None
    is_trusted = config is not None and seal.fingerprint in config.trusted_origins
    return TrainedElsewhere(seal.fingerprint, is_trusted, said["trainer"], said["feature_hash"], said["lineage"])


def evidence_line(document: Mapping[str, Any], seal: SealedEvidence) -> str:
    """What came along, in words."""
    report = document["report"]
    parts = [f"registered there as {document['registration']['provenance']}"]
    if report:
        passed = sum(bool(gate["passed"]) for gate in report["results"])
        parts.append(f"{passed} of {len(report['results'])} gates passed there")
    if document["attestation"]:
        parts.append("attested")
    return f"{', '.join(parts)}, signed with {seal.fingerprint[:_SHOWN_DIGITS]}"


def accept_approvals(
    service: PromotionService, version: ModelVersion, seal: SealedEvidence, origin: TransferOrigin
) -> Iterator[str]:
    """Record at the target what was approved at the source, where the family's rules accept that key's word.

    Each approval is bound to what the gates find here, may be given by whoever speaks for the role here, and ends when
    it would have ended there.

    Args:
        service: Of the target.
        version: As it is registered there.
        seal: What the source says.
        origin: What it must be about.

    Yields:
        For each approval that does not count here, why.
    """
    document = seal.opened(origin)
    if not document["approvals"]:
        return
    config = service.configs.owner(version.model)
    policy = config.approvals if config else None
    if policy is None:
        return
    if seal.fingerprint not in policy.accept_approvals_from:
        yield f"approvals are given anew: approvals.accept_approvals_from does not name {seal.fingerprint}"
        return
    if policy.signed:
        yield "approvals are given anew: their signatures are about what the gates found at the source"
        return
    approving = Approving(service, service.check(version))
    given = approving.standing().given
    for word in document["approvals"]:
        opinion = Opinion(
            word["role"], word["approver"], approved=True, comment=f"{word['comment']} (given at {origin})"
        )
        try:
            if opinion.role in policy.roles and opinion.role not in given:
                approving.record_until(opinion, actor(), datetime.fromisoformat(word["expires"]))
        except PromotionError as error:
            yield f"the approval of {opinion.approver} as {opinion.role} does not count: {error}"


def _attestation(service: PromotionService, entry: Entry, origin: TransferOrigin) -> str | None:
    """The newest attestation of a version, where it is at hand, true, and of this key."""
    if service.attestations is None:
        return None
    family = service.family(entry.model)
    event = service.attestations.promotion_of(family, entry)
    if event is None or event.details.get("digest") != origin.digest:
        return None
    try:
        text = service.attestations.text(event)
        own = public_pem(Keys.from_environment().signing_key())
        open_envelope(text, ATTESTATION, {key_id(own): own})
    except PromotionError as error:
        service.report(f"⚠️ its attestation does not come along: {error}")
        return None
    return text


def _counts(word: Approval, origin: TransferOrigin, now: datetime) -> bool:
    return word.approved and word.recorded and word.artifact_digest == origin.digest and word.expires_at > now
