"""One journal with every kind of act, recorded by the commands' own services as they are today."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from tests.promotion.factories import Store

from promotion.approving import Approving, Opinion
from promotion.audit.checkpoints import checkpoint_folder, read_checkpoints
from promotion.audit.export import export
from promotion.audit.source import JournalSource
from promotion.bootstrap import open_promotions
from promotion.checklist import after_promotion
from promotion.cleanup import clean_up, review_versions
from promotion.delivery.deployments import Deployments
from promotion.delivery.records import (
    DeploymentState,
    DeploymentTarget,
    Environment,
    Failure,
    Image,
    RolloutVerdict,
)
from promotion.errors import GateRefused
from promotion.journal.journal import Journal
from promotion.journal.monitoring import open_book
from promotion.journal.records import Registration
from promotion.journal.reviews import Reviews
from promotion.marking import lift_known_bad, mark_known_bad
from promotion.registry.stages import Stage
from promotion.rollbacks import archive, roll_back, withdraw
from promotion.service import Mover, PromotionPlan, PromotionService
from promotion.signing.keys import Keys, public_pem

FREE, GOVERNED = "churn", "fraud"
ANNA = Mover("anna", "better on October", approver="bea@company.com")


def record(store: Store) -> Journal:
    """Move versions of a free and of a governed family about, until every action stands in the chain."""
    config = {"family": GOVERNED, "registered_model": GOVERNED, "approvals": {"roles": ["science"]}}
    (store.home / "config" / f"{GOVERNED}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    service = open_promotions(store.settings)
    _free_family(store, service)
    _governed_family(store, service)
    _around(service)
    return service.journal


def keep(store: Store, journal: Journal, folder: Path) -> None:
    """Write the record as an auditor takes it away: export, attestations and the public key."""
    folder.mkdir(parents=True)
    found, _ = read_checkpoints(checkpoint_folder(store.settings))
    export(JournalSource(journal), found, folder / "journal.jsonl", family=None)
    (folder / "signer.pem").write_bytes(public_pem(Keys.from_environment().private_key))
    for path in checkpoint_folder(store.settings).glob("*.intoto.jsonl"):
        shutil.copy(path, folder)


def _free_family(store: Store, service: PromotionService) -> None:
    for number in range(1, 7):
        store.register(FREE, roc_auc=0.9 + number / 100)
    store.move(FREE, 1, Stage.PRODUCTION)
    service.synchronise(FREE)
    _register(service, FREE, 2)
    move = service.promote(_check(service, FREE, 2, Stage.STAGING), ANNA)
    move = service.promote(_check(service, FREE, 2), ANNA)
    after_promotion(service, move, None)
    store.move(FREE, 3, Stage.PRODUCTION, archive=True)
    service.synchronise(FREE)
    roll_back(service, FREE, None, ANNA)
    mark_known_bad(service, service.candidate(FREE, 4), ANNA)
    lift_known_bad(service, service.candidate(FREE, 4), ANNA)
    archive(service, service.candidate(FREE, 4), ANNA)
    withdraw(service, service.candidate(FREE, 5), ANNA)
    clean_up(service, review_versions(service, FREE, 0), 0, actor="anna", reason="disk")


def _governed_family(store: Store, service: PromotionService) -> None:
    for number in (1, 2):
        store.register(GOVERNED, roc_auc=0.9)
        _register(service, GOVERNED, number)
    _refused(lambda: service.promote(_check(service, GOVERNED, 1), ANNA))
    for approved in (False, True):
        opinion = Opinion("science", "dana@company.com", approved, "read the report")
        Approving(service, _check(service, GOVERNED, 1)).record_now(opinion, "jenkins")
    service.promote(_check(service, GOVERNED, 1), ANNA)
    urgent = Mover("anna", "incident 7", override=True, waived=("a looser threshold",))
    service.promote(_check(service, GOVERNED, 2), urgent)
    store.move(GOVERNED, 1, Stage.PRODUCTION, archive=True)
    _refused(lambda: service.synchronise(GOVERNED))
    service.restore(GOVERNED, actor="otto", reason="a click")
    reviews = Reviews(service.journal)
    entry = service.journal.production(GOVERNED)
    assert entry
    number = reviews.open_incident(GOVERNED, entry, severity="critical", summary="wrong answers", actor="otto")
    reviews.close_incident(number, resolution="a unit had changed", actor="otto")


def _around(service: PromotionService) -> None:
    """What cluster and monitor record of the free family's version in Production."""
    entry = service.journal.production(FREE)
    assert entry
    labels = {
        "family": FREE,
        "model": entry.model,
        "version": str(entry.number),
        "digest": entry.digest or "",
        "manifest": "a" * 64,
    }
    image = Image.from_labels("churn:1", {f"io.promotion.{name}": text for name, text in labels.items()})
    deployments = Deployments(service.journal)
    target = DeploymentTarget(FREE, Environment.PRODUCTION)
    failure = Failure(RolloutVerdict.INFRASTRUCTURE, "no image")
    for ending in (DeploymentState.DEPLOYED, DeploymentState.FAILED):
        attempt = deployments.begin(target, image, entry, None, cluster="https://cluster", actor="jenkins")
        if ending is DeploymentState.DEPLOYED:
            attempt = deployments.advance(attempt, DeploymentState.CHECKING, actor="jenkins")
        else:
            attempt = deployments.advance(attempt, DeploymentState.RETURNING, actor="jenkins", failure=failure)
        deployments.advance(attempt, ending, actor="jenkins")
    with open_book(service.journal, FREE) as book:
        book.record(entry.id, "accuracy fell", [{"channel": "slack", "accepted": True}], "monitor")


def _register(service: PromotionService, model: str, number: int) -> None:
    version = service.candidate(model, number)
    digest = str(service.check(version).report.digest)
    facts = Registration(digest, None, "tina@company.com", "f" * 64, {"roc_auc": 0.9}, {"rows": 303})
    service.journal.register(model, [(version, facts)], actor="tina@company.com", semver=f"1.{number}.0")


def _check(service: PromotionService, model: str, number: int, to: Stage = Stage.PRODUCTION) -> PromotionPlan:
    return service.check(service.candidate(model, number), to)


def _refused(act: Callable[[], object]) -> None:
    with suppress(GateRefused):
        act()
        raise AssertionError("it should have been refused")
