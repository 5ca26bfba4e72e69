"""Approvals of the source: sealed there by its key, counted at the target where the rules there name that key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from promotion.approvals.people import actor
from promotion.approving import Approving, Opinion
from promotion.errors import PromotionError, SignatureRefused
from promotion.journal.chain import canonical, moment
from promotion.journal.records import Approval, Entry
from promotion.journal.reviews import Reviews
from promotion.registry.contract import ModelVersion
from promotion.service import PromotionService
from promotion.signing.dsse import open_envelope, sign_envelope
from promotion.signing.keys import Keys, key_id, public_pem
from promotion.transfer.records import TransferOrigin

PAYLOAD = "application/vnd.promotion-layer.transfer+json"
"""Media type of what is sealed."""


@dataclass(frozen=True, slots=True)
class SealedApprovals:
    """What the source says of a version, and the key that it says it with.

    Attributes:
        envelope: DSSE, see `promotion.signing.dsse`.
        public: The key's public half, PEM.
    """

    envelope: str
    public: bytes

    @property
    def fingerprint(self) -> str:
        """What a family's file names the key by."""
        return key_id(self.public)


def seal_approvals(service: PromotionService, entry: Entry | None, origin: TransferOrigin) -> SealedApprovals | None:
    """SealedApprovals the approvals that count for a version where it is; None where nobody approved it.

    Args:
        service: Of the source.
        entry: The version, as its journal knows it.
        origin: Which version, with the digest of what is sent.

    Raises:
        SigningFailed: There is no key to seal with.
    """
    newest = {word.role: word for word in Reviews(service.journal).approvals(entry) if not word.is_void}
    given = [word for word in newest.values() if _counts(word, origin, service.journal.now())]
    if not given:
        return None
    key = Keys.from_environment().signing_key()
    said = [
        {"role": it.role, "approver": it.approver, "comment": it.comment, "expires": moment(it.expires_at)}
        for it in given
    ]
    payload = canonical({"origin": asdict(origin), "approvals": said}).encode()
    return SealedApprovals(sign_envelope(payload, PAYLOAD, key), public_pem(key))


def accept_approvals(
    service: PromotionService, version: ModelVersion, seal: SealedApprovals, origin: TransferOrigin
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
    document: Mapping[str, Any] = json.loads(open_envelope(seal.envelope, PAYLOAD, {seal.fingerprint: seal.public}))
    if document["origin"] != asdict(origin):
        raise SignatureRefused("the sealed approvals are about another version")
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


def _counts(word: Approval, origin: TransferOrigin, now: datetime) -> bool:
    return word.approved and word.recorded and word.artifact_digest == origin.digest and word.expires_at > now
