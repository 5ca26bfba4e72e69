"""Which version may run beside the one that answers, and from which image."""

from __future__ import annotations

from dataclasses import replace

from promotion.delivery.deployments import Deployments
from promotion.delivery.records import DeployedChallenger, Environment, Image
from promotion.errors import GateRefused, UsageError
from promotion.journal.records import Entry
from promotion.registry.stages import Stage
from promotion.service import PromotionService

_STAGES = (Stage.STAGING, Stage.PRODUCTION)


def with_challenger(
    service: PromotionService, champion: Image, version: str, percent: float | None, given: Image | None
) -> Image:
    """An image with a challenger beside it.

    Args:
        service: Knows the family's versions.
        champion: What answers.
        version: The challenger: MLflow's number, or the semantic version.
        percent: Share of the keys it answers; None: it only shadows.
        given: Its image; None takes the one it was deployed from last, wherever that was.

    Raises:
        UsageError: There is no such version, several are called so, or no image of it is known.
        GateRefused: It may not run there: its stage, a mark against it, or an image that is not of it.
    """
    entry = _entry(service, champion, version, given)
    if entry.known_bad:
        raise GateRefused(f"{entry} is known bad ({entry.known_bad}): it challenges nobody")
    if entry.stage not in _STAGES:
        raise GateRefused(f"{entry} is in {entry.stage}: a challenger is a version in Staging; promote it there first")
    image = given or _image(service, champion.family, entry)
    if (image.family, image.model, image.version) != (champion.family, entry.model, entry.number):
        raise GateRefused(f"{image.reference} carries {image.model} v{image.version} of {image.family!r}, not {entry}")
    if image.digest != entry.digest:
        raise GateRefused(
            f"{image.reference} carries digest {image.digest}, the journal recorded {entry.digest} for {entry}: "
            "do not deploy it, and ask who built it"
        )
    return replace(
        champion, challenger=DeployedChallenger(image.reference, entry.model, entry.number, image.digest, percent)
    )


def _entry(service: PromotionService, champion: Image, version: str, given: Image | None) -> Entry:
    entries = [
        entry
        for entry in service.journal.entries(champion.family)
        if version in {str(entry.number), entry.version} and (given is None or entry.model == given.model)
    ]
    if not entries:
        raise UsageError(f"family {champion.family!r} has no version {version}: promotion list shows them")
    if len(entries) > 1:
        names = ", ".join(map(str, entries))
        raise UsageError(f"{version} is {names}: name the image of the one that is meant with --challenger-image")
    (entry,) = entries
    if (entry.model, entry.number) == (champion.model, champion.version):
        raise UsageError(f"{entry} is the version that answers: name another one as its challenger")
    return entry


def _image(service: PromotionService, family: str, entry: Entry) -> Image:
    deployments = Deployments(service.journal)
    for environment in Environment:
        if found := deployments.deployed(family, environment, entry):
            return found.image
    raise UsageError(f"{entry} was never deployed, so no image of it is known: name one with --challenger-image")
