"""Old versions go; what serves, may have to come back, or must be kept stays."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import Store, Watched, a_family, rows
from tests.promotion.shared_home import SharedHome

from promotion.auto import BEST_TAG, ROUND_TAG
from promotion.cleanup import (
    CleanupVerdict,
    clean_up,
    cleanup_lines,
    review_families,
    review_versions,
    verdict_document,
)
from promotion.errors import Quarantined, RegistryUnreachable, UsageError
from promotion.journal import clock
from promotion.journal.records import Entry
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

LONG_AGO, YEAR_LATER = "2020-01-01T00:00:00", "2021-02-01T00:00:00"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """An empty registry, and one with six versions of a model without configuration."""
    made = SharedHome(tmp_path_factory.mktemp("retention"), empty_store)
    for _ in range(6):
        made.store.register("churn")
    made.keep("six")
    return made


@pytest.fixture
def store(shared: SharedHome) -> Store:
    """The empty registry."""
    return shared.back_to("empty")


@pytest.fixture
def churn(shared: SharedHome) -> Store:
    """The model with six versions."""
    return shared.back_to("six")


def _kept(verdicts: list[CleanupVerdict]) -> dict[int, str]:
    return {verdict.version.number: verdict.kept for verdict in verdicts}


def _promote(service: PromotionService, number: int, model: str = "churn") -> None:
    service.promote(service.check(service.candidate(model, number)), Mover("anna", "tested"))


def _clean_up(service: PromotionService, keep: int = 1) -> list[int]:
    doomed = review_families(service, None, keep, synchronise=True)
    return [verdict.version.number for verdict in clean_up(service, doomed, keep, actor="anna", reason="tidy")]


def _entry(service: PromotionService, number: int) -> Entry:
    entry = service.journal.entry("churn", number)
    assert entry is not None
    return entry


def test_the_newest_of_each_registered_model_stay(store: Store) -> None:
    """`keep` counts within each registered model of a family."""
    for model, count in {"tiny-forest": 3, "tiny-linear": 1}.items():
        for _ in range(count):
            store.register(model)

    verdicts = review_versions(store.service(a_family()), "tiny", 2)

    newest = "among the newest 2"
    assert [
        ("tiny-forest", 3, newest),
        ("tiny-forest", 2, newest),
        ("tiny-forest", 1, ""),
        ("tiny-linear", 1, newest),
    ] == [(verdict.version.model, verdict.version.number, verdict.kept) for verdict in verdicts]


@pytest.mark.system
def test_what_serves_is_tried_or_is_the_way_back_stays(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Production, Staging and the rollback target stay even when they left Production many years ago."""
    service = churn.service()
    monkeypatch.setenv(clock.VARIABLE, LONG_AGO)
    for number in (1, 2, 3):
        _promote(service, number)
    service.promote(service.check(service.candidate("churn", 4), Stage.STAGING), Mover("anna", "a try"))
    monkeypatch.setenv(clock.VARIABLE, YEAR_LATER)

    assert {
        6: "among the newest 1",
        5: "",
        4: "in Staging",
        3: "in Production",
        2: "a rollback returns to it",
        1: "",
    } == _kept(review_versions(service, "churn", 1))


@pytest.mark.system
def test_behind_a_bad_version_the_way_back_is_the_one_before(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback passes over what is known bad, so the version behind it stays too."""
    service = churn.service()
    monkeypatch.setenv(clock.VARIABLE, LONG_AGO)
    for number in (1, 2, 3):
        _promote(service, number)
    service.commit(service.check(service.candidate("churn", 4)), Mover("anna", "v3 is slow"), known_bad="slow")
    monkeypatch.setenv(clock.VARIABLE, YEAR_LATER)

    found = _kept(review_versions(service, "churn", 1))

    assert ["", "a rollback returns to it", "a rollback returns to it"] == [found[number] for number in (1, 2, 3)]


@pytest.mark.parametrize(("days", "kept"), [(364, "retained until 2020-12-31 (365 days)"), (366, "")])
@pytest.mark.system
def test_what_served_is_kept_for_a_year(churn: Store, monkeypatch: pytest.MonkeyPatch, days: int, kept: str) -> None:
    """The period counts from leaving Production and is asked of the events: an edited row shortens nothing."""
    service = churn.service()
    monkeypatch.setenv(clock.VARIABLE, LONG_AGO)
    for number in (1, 2, 3):
        _promote(service, number)
    _sql(churn, "UPDATE model_version_detail SET deprecated_at = NULL, promoted_at = NULL")
    later = clock.now() + timedelta(days=days)
    monkeypatch.setenv(clock.VARIABLE, later.isoformat())

    assert kept in (found := _kept(review_versions(service, "churn", 1)))[1]
    assert bool(kept) == bool(found[1])


@pytest.mark.system
def test_the_configuration_says_how_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family's own `retention.days` replaces the default of a year."""
    for _ in range(4):
        store.register("tiny-linear", roc_auc=0.9)
    tolerant = {"thresholds": {}, "better_than_production": {"policy": "not_worse", "margin": 0.5}}
    config = a_family(gates=tolerant, retention={"days": 3650})
    service = store.service(config)
    monkeypatch.setenv(clock.VARIABLE, LONG_AGO)
    for number in (1, 2, 3):
        _promote(service, number, "tiny-linear")
    monkeypatch.setenv(clock.VARIABLE, YEAR_LATER)

    assert "retained until 2029-12-29 (3650 days)" in _kept(review_versions(service, "tiny", 1))[1]


def test_an_archived_version_is_kept_although_it_never_served(churn: Store) -> None:
    """Archiving a version in MLflow starts its period; before the journal knows since when, it stays as well."""
    churn.move("churn", 1, Stage.ARCHIVED)
    service = churn.service()
    assert "Archived, since when is not recorded" == _kept(review_versions(service, "churn", 1))[1]

    service.synchronise("churn")

    assert "served or archived, retained until" in _kept(review_versions(service, "churn", 1))[1]


def test_the_best_of_the_newest_training_stays(churn: Store) -> None:
    """The tag of an older round protects nothing."""
    for number, round_name in ((1, "2026-01-01"), (2, "2026-02-01")):
        churn.client.set_model_version_tag("churn", str(number), BEST_TAG, "true")
        churn.client.set_model_version_tag("churn", str(number), ROUND_TAG, round_name)

    found = _kept(review_versions(churn.service(), "churn", 1))

    assert ("", "the best of the newest training") == (found[1], found[2])


def test_what_people_are_busy_with_stays(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias, an open incident and an approval that has not expired keep a version; closed or expired they do not."""
    churn.client.set_registered_model_alias("churn", "pilot", "1")
    service = churn.service()
    reviews = Reviews(service.journal)
    for number in (2, 3):
        plan = service.check(service.candidate("churn", number))
        report = service.keep_report(plan, "anna")
        service.journal.record("churn", plan.candidate, _authority())
    incident = reviews.open_incident("churn", _entry(service, 2), severity="warning", summary="slow", actor="ben")
    approval: dict[str, Any] = {
        "role": "devops",
        "approver": "ben",
        "approved": True,
        "comment": "ready",
        "artifact_digest": "a" * 64,
        "evidence": "e" * 64,
        "gate_report_id": report,
        "statement": "{}",
        "signature": None,
        "expires_at": clock.now() + timedelta(days=1),
    }
    reviews.add_approval("churn", _entry(service, 3), approval, "ben")

    busy = _kept(review_versions(service, "churn", 1))
    reviews.close_incident(incident, resolution="more memory", actor="ben")
    monkeypatch.setenv(clock.VARIABLE, (clock.now() + timedelta(days=2)).isoformat())
    idle = _kept(review_versions(service, "churn", 1))

    assert ["alias pilot", "it has an open incident", "it is being approved"] == [busy[number] for number in (1, 2, 3)]
    assert ["alias pilot", "", ""] == [idle[number] for number in (1, 2, 3)]


def _authority() -> Any:
    from promotion.journal.records import Authority

    return Authority("refuse", "anna", "not yet")


@pytest.mark.system
def test_deleting_leaves_the_record(churn: Store) -> None:
    """Versions go from MLflow; each has one event that still says where its files are."""
    service = churn.service()
    _promote(service, 1)
    source = churn.registry.version("churn", 2).source

    assert [5, 4, 3, 2] == _clean_up(service)

    assert [6, 1] == [version.number for version in churn.registry.versions("churn")]
    assert {"churn v1": "Production"} == churn.shown()
    events = [event for event in service.journal.history("churn") if event.action == "cleanup"]
    assert [2, 3, 4, 5] == [event.number for event in events]
    assert ("anna", "tidy", source) == (events[0].actor, events[0].reason, events[0].details["source"])
    assert [1, 5, 4, 3, 2] == [entry.number for entry in service.journal.entries("churn")]
    assert [] == _clean_up(service)


def test_an_interrupted_deletion_is_finished_and_recorded_once(churn: Store) -> None:
    """MLflow fails after the first record: the next run deletes that version too, even when it would now be kept."""
    down = Watched(churn.registry, is_down=True)
    broken = churn.service(registry=down)
    with pytest.raises(RegistryUnreachable):
        clean_up(broken, review_versions(broken, "churn", 1), 1, actor="anna", reason="tidy")
    service = churn.service()

    verdicts = review_versions(service, "churn", 6)

    assert {6: "among the newest 6", 5: ""} == {n: kept for n, kept in _kept(verdicts).items() if n > 4}
    assert "begun by an earlier cleanup" in "\n".join(cleanup_lines(verdicts, 6))
    assert [5] == _clean_up(service, keep=6)
    assert 1 == len(service.journal.history("churn"))


@pytest.mark.system
def test_a_version_that_moved_after_the_question_stays(churn: Store) -> None:
    """What was agreed is looked at again under the family's lock."""
    service = churn.service()
    agreed = review_versions(service, "churn", 1)
    _promote(service, 2)

    deleted = clean_up(service, agreed, 1, actor="anna", reason="tidy")

    assert [5, 4, 3, 1] == [verdict.version.number for verdict in deleted]
    assert {"churn v2": "Production"} == churn.shown()


def test_only_what_was_shown_is_deleted(churn: Store) -> None:
    """A version that became old between question and answer waits for the next cleanup."""
    service = churn.service()
    agreed = review_versions(service, "churn", 5)
    churn.register("churn")

    assert [1] == [verdict.version.number for verdict in clean_up(service, agreed, 5, actor="anna", reason="tidy")]


def test_a_rehearsal_deletes_nothing(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock set, periods are over that are not: looking is allowed, deleting is not."""
    service = churn.service()
    monkeypatch.setenv(clock.VARIABLE, "2050-01-01")
    before = churn.rows()

    with pytest.raises(UsageError, match="PROMOTION_CLOCK is set: a rehearsal deletes nothing"):
        clean_up(service, review_versions(service, "churn", 1), 1, actor="anna", reason="tidy")

    assert before == churn.rows()


@pytest.mark.system
def test_what_was_archived_in_a_rehearsal_is_kept(churn: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its date says nothing, and might lie years back."""
    service = churn.service()
    monkeypatch.setenv(clock.VARIABLE, "2001-01-01")
    _promote(service, 1)
    _promote(service, 2)
    _promote(service, 3)
    monkeypatch.delenv(clock.VARIABLE)
    _promote(service, 4)

    kept = _kept(review_versions(service, "churn", 1))

    assert "served or archived in a rehearsal" in kept[1]
    assert "served or archived in a rehearsal" in kept[2]


@pytest.mark.system
def test_a_quarantined_family_is_left_alone(store: Store) -> None:
    """While somebody's changes are unsettled nothing that may be evidence is deleted."""
    for _ in range(4):
        store.register("tiny-linear", roc_auc=0.9)
    service = store.service(a_family(approvals={"roles": ["devops"]}))
    service.commit(service.check(service.candidate("tiny-linear", 1)), Mover("anna", "first"))
    store.move("tiny-linear", 2, Stage.PRODUCTION)

    with pytest.raises(Quarantined, match="'tiny' is quarantined"):
        _clean_up(service)

    assert 4 == len(store.registry.versions("tiny-linear"))


def test_a_rehearsed_review_writes_nothing(churn: Store) -> None:
    """Without synchronising, deciding leaves the journal as it was."""
    before = rows(churn.home / "promotion.db")
    found = review_families(churn.service(), "churn", 3, synchronise=False)

    assert 3 == len([verdict for verdict in found if not verdict.kept])
    assert before == rows(churn.home / "promotion.db")


def test_decisions_read_as_lines_and_as_data(churn: Store) -> None:
    """What goes and what stays in spite of its age is named with its reason; the newest are not listed."""
    service = churn.service()
    _promote(service, 1)

    verdicts = review_versions(service, "churn", 4)

    made = f"{churn.registry.version('churn', 2).created_at:%Y-%m-%d}"
    assert [
        "📋 Cleanup: the newest 4 of each registered model stay",
        f"   ❌ churn v2 - to be deleted (registered {made}, stage None)",
        "   📌 churn v1 - kept: in Production",
    ] == cleanup_lines(verdicts, 4)
    assert {"model": "churn", "version": 2, "kept": None, "semver": "2"}.items() <= verdict_document(
        verdicts[4]
    ).items()


def _sql(store: Store, statement: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        database.execute(statement)
