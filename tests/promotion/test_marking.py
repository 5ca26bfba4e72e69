"""What is held against a version, and how it is taken back: recorded, obeyed by gates and aliases, provable."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.promotion.factories import Store, a_family
from tests.promotion.shared_home import SharedHome, served_in_turn

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.errors import GateRefused, NothingToDo
from promotion.marking import lift_known_bad, mark_known_bad
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Mover, PromotionService

MODEL = "tiny-linear"
MOVER = Mover("anna", "the node had hung")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """Three versions that served in turn; the third serves."""
    return served_in_turn(tmp_path_factory.mktemp("known-bad"), empty_store, MODEL)


@pytest.fixture
def store(shared: SharedHome) -> Store:
    return shared.back_to("served")


@pytest.fixture
def service(store: Store) -> PromotionService:
    return store.service(a_family())


@pytest.mark.system
def test_a_lifted_mark_lets_a_version_be_promoted_again(service: PromotionService) -> None:
    """The gate that refused it lets it through; the record holds what was lifted, by whom and why, and is whole."""
    roll_back(service, "tiny", None, Mover("anna", "answers nonsense"))
    version = service.candidate(MODEL, 3)
    with pytest.raises(GateRefused, match="answers nonsense"):
        service.promote(service.check(version), MOVER)

    lift_known_bad(service, version, MOVER)

    service.promote(service.check(version), MOVER)
    event = next(event for event in service.journal.history("tiny") if event.action == "known bad lifted")
    assert ("anna", MOVER.reason, "answers nonsense", None, Stage.ARCHIVED) == (
        event.actor,
        event.reason,
        event.details["was"],
        event.details["known_bad"],
        event.to_stage,
    )
    found = verify_journal(JournalSource(service.journal), [], {}).findings
    assert {"checkpoint"} >= {finding.kind for finding in found}  # a test's moves leave none


@pytest.mark.system
def test_a_marked_version_is_passed_over_by_alias_and_rollback(service: PromotionService, store: Store) -> None:
    """`previous` moves on to the version before it, which is also where a rollback goes."""
    assert "2" == store.aliases()[f"{MODEL}@previous"]

    mark_known_bad(service, service.candidate(MODEL, 2), MOVER)

    assert "1" == store.aliases()[f"{MODEL}@previous"]
    assert "tiny-linear v1" == str(roll_back(service, "tiny", None, MOVER).version)
    assert f"{MODEL}@previous" not in store.aliases()


def test_what_serves_is_taken_back_and_not_only_marked(service: PromotionService) -> None:
    """A mark alone would leave a known-bad version in Production."""
    with pytest.raises(GateRefused, match=r"serves in Production: python mlops/registry/rollback_model\.py"):
        mark_known_bad(service, service.candidate(MODEL, 3), MOVER)


def test_what_is_as_asked_is_nothing_to_do(service: PromotionService) -> None:
    """Neither is recorded twice."""
    version = service.candidate(MODEL, 1)
    with pytest.raises(NothingToDo, match="not known bad: nothing to do"):
        lift_known_bad(service, version, MOVER)
    mark_known_bad(service, version, MOVER)

    with pytest.raises(NothingToDo, match=r"known bad already \(the node had hung\)"):
        mark_known_bad(service, version, MOVER)
