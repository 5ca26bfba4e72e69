"""Compare what left with what arrived: tags, digests and the records of either side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.bootstrap import open_promotions
from promotion.config.settings import Settings
from promotion.errors import RecordsAltered, SignatureRefused, UnknownVersion
from promotion.journal.chain import digest
from promotion.journal.records import Event
from promotion.registry.contract import without_password
from promotion.service import PromotionService
from promotion.transfer.evidence import SealedEvidence
from promotion.transfer.records import ACTION, TransferOrigin, TransferRequest, arrivals, departure, same_transfer
from promotion.transfer.target import Target


def compare_sides(
    source: PromotionService, settings: Settings, target: Target, request: TransferRequest
) -> dict[str, Any]:
    """Hold both sides of a transfer against each other; writes nothing.

    Args:
        source: Where the version was.
        settings: The source's places.
        target: Where it went.
        request: Which.

    Returns:
        The digest, and where the version is there.

    Raises:
        UnknownVersion: It was not transferred there.
        RecordsAltered: Something differs, each in a line.
    """
    version = source.candidate(source.registered_model(request.name), request.version)
    entry = source.journal.entry(version.model, version.number)
    left = source.journal.acts(ACTION, family=source.family(version.model))
    server = without_password(settings.registry_uri)
    name = request.target_name or version.model
    with target.entered() as places:
        service = open_promotions(places)
        there = next(arrivals(service.registry.versions(name), server, version), None)
        if there is None:
            raise UnknownVersion(f"{version} was not transferred to {name} of {target.shown}")
        arrived, origin = there
        known = service.journal.entry(arrived.model, arrived.number)
        came = service.journal.acts(ACTION, family=service.family(name))
        with local_artifact(service.registry, arrived) as files:
            found = artifact_digest(files)
    kept = departure(origin, target.shown, arrived.model, arrived.number)
    claims = {
        "the files there": found == origin.digest,
        "the record there": known is not None and known.digest == origin.digest,
        "the record here": entry is None or entry.digest in {None, origin.digest},
        "the event here": _has(left, kept),
        "the event there": _has(came, kept),
        "the evidence": _same_evidence([it for it in (*left, *came) if same_transfer(it, kept)], origin),
    }
    if differing := [what for what, holds in claims.items() if not holds]:
        raise RecordsAltered(
            f"{version} and {arrived} of {target.shown} are not what left and arrived: {', '.join(differing)} "
            f"(expected sha256 {origin.digest[:12]}, found {found[:12]})",
            found=differing,
        )
    return {"digest": found, "source": _place(origin), "target": {"server": target.shown, "number": arrived.number}}


def _has(acts: list[Event], kept: dict[str, Any]) -> bool:
    return any(same_transfer(act, kept) for act in acts)


def _same_evidence(acts: Sequence[Event], origin: TransferOrigin) -> bool:
    """Whether both records hold the same word of the source, and it is still what its key signed of these files."""
    if len({digest(act.details.get("evidence")) for act in acts}) > 1:
        return False
    kept = acts[0].details.get("evidence") if acts else None
    if kept is None:
        return True
    try:
        seal = SealedEvidence(kept["envelope"], kept["public"])
        seal.opened(origin)
    except (SignatureRefused, LookupError, ValueError):
        return False
    return bool(seal.as_json() == kept)


def _place(origin: TransferOrigin) -> dict[str, str]:
    return {"server": origin.server, "model": origin.model, "version": origin.version}
