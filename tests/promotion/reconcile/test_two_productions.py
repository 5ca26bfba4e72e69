"""MLflow shows several versions in Production, a moved alias, a known-bad one: said by all, recorded as what it was."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import Arranged
from tests.promotion.factories import Store, a_family

from promotion.errors import NothingToDo, Quarantined
from promotion.listing import disagreements
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Mover

ANNA = Mover("anna", "tested")
MODEL = "tiny-linear"
BOTH = f"MLflow shows {MODEL} v1 and {MODEL} v2 in Production, the journal holds {MODEL} v1"
NONE, STAGING, PRODUCTION, ARCHIVED = Stage
GOVERNED: dict[str, Any] = {"approvals": {"roles": ["science"]}}


@pytest.fixture
def serving(arranged: Arranged) -> Store:
    """Version 1 of three serves; another registered model of the family has one version."""
    return arranged(_serving)


def _serving(store: Store) -> None:
    service = store.service(a_family())
    for score in (0.90, 0.91, 0.92):
        store.register(MODEL, roc_auc=score)
    store.register("tiny-forest", roc_auc=0.93)
    service.promote(service.check(service.candidate(MODEL, 1)), ANNA)


def _records(store: Store, count: int) -> list[tuple[str, str, str, str, str]]:
    events = store.service(a_family()).journal.history("tiny", limit=count)[::-1]
    return [(f"{e.model} v{e.number}", str(e.to_stage), e.action, e.actor, e.reason) for e in events]


def test_of_two_the_newcomer_serves_and_the_record_says_what_was_seen(serving: Store) -> None:
    """Nobody archived the other one in MLflow, so the record does not say that somebody did."""
    serving.move(MODEL, 2, PRODUCTION)
    said: list[str] = []
    service = serving.service(a_family(), report=said.append)
    assert BOTH == service.outside_changes("tiny")[0]

    service.reconcile(ANNA, "tiny")

    assert f"tiny: changed outside: {BOTH}" in said
    assert {f"{MODEL} v1": "Archived", f"{MODEL} v2": "Production"} == serving.shown()
    why = f"MLflow showed {MODEL} v1 and {MODEL} v2 in Production, {MODEL} v2 was moved there last and serves alone"
    assert [
        (f"{MODEL} v1", "Archived", "adopt", "journal", f"Production: {why}"),
        (f"{MODEL} v2", "Production", "adopt", "mlflow", "changed in MLflow outside the journal"),
    ] == _records(serving, 2)
    assert [BOTH] == [event.details["seen"][0] for event in service.journal.history("tiny", limit=1)]


def test_three_in_two_registered_models_are_all_named(serving: Store) -> None:
    """Whoever put them there, one serves in the end, and every other one is recorded as displaced."""
    for model, number in ((MODEL, 2), (MODEL, 3), ("tiny-forest", 1)):
        serving.move(model, number, PRODUCTION)
    service = serving.service(a_family())
    line = service.outside_changes("tiny")[0]
    assert all(name in line for name in ("tiny-forest v1, ", f"{MODEL} v1, ", f"{MODEL} v2 and {MODEL} v3"))

    service.reconcile(ANNA, "tiny")

    assert 1 == list(serving.shown().values()).count("Production")
    assert "tiny-forest v1" == str(service.journal.production("tiny"))
    assert {"journal", "mlflow"} == {actor for _, _, _, actor, _ in _records(serving, 4)}


def test_first_seen_with_two_the_record_says_so(store: Store) -> None:
    """A registry from before the journal: the displaced one was found in Production, not archived."""
    for _ in range(2):
        store.register("churn")
    store.move("churn", 2, PRODUCTION)
    store.move("churn", 1, PRODUCTION)

    store.service().synchronise("churn")

    events = {event.number: event for event in store.service().journal.history("churn")}
    assert ("genesis", "mlflow", PRODUCTION) == (events[1].action, events[1].actor, events[1].to_stage)
    assert "MLflow showed churn v1 and churn v2 in Production" in events[2].reason


@pytest.mark.parametrize("config", [{}, GOVERNED], ids=["without approvals", "with approvals"])
def test_what_needs_one_version_is_refused(serving: Store, config: dict[str, Any]) -> None:
    """Export, deployment and a check that would allow a promotion wait until somebody has settled it; exit 3."""
    serving.move(MODEL, 2, PRODUCTION)
    before = serving.rows()

    with pytest.raises(Quarantined, match=f"{BOTH}.*--reconcile --model tiny") as refused:
        serving.service(a_family(**config)).require_sound("tiny")

    assert 3 == refused.value.exit_code
    assert before == serving.rows()


def test_restoring_takes_the_second_one_out(serving: Store) -> None:
    """What was recorded is back, and who asked for it is in the record with what was found."""
    serving.move(MODEL, 2, PRODUCTION)

    found = serving.service(a_family()).restore("tiny", actor="olga", reason="the box was not ticked")

    assert BOTH == found[0]
    assert {f"{MODEL} v1": "Production"} == serving.shown()


def test_two_in_staging_are_no_fault(serving: Store) -> None:
    """Several candidates may wait; each is recorded, and the alias names the one that came last."""
    for number in (3, 2):
        serving.move(MODEL, number, STAGING)
    service = serving.service(a_family())
    service.require_sound("tiny")

    service.reconcile(ANNA, "tiny")

    staged = {entry.number for entry in service.journal.entries("tiny") if entry.stage is STAGING}
    assert {2, 3} == staged
    assert [] == service.outside_changes("tiny")


@pytest.mark.parametrize("how", ["stage", "beside the present one", "alias", "SQL"])
@pytest.mark.parametrize("config", [{}, GOVERNED], ids=["without approvals", "with approvals"])
@pytest.mark.system
def test_a_known_bad_version_is_not_taken_back(serving: Store, config: dict[str, Any], how: str) -> None:
    """Nobody adopts it: exit 3, the reason held against it, and the ways out; restoring is one of them."""
    service = serving.service(a_family(**config))
    service.commit(service.check(service.candidate(MODEL, 2)), ANNA)
    roll_back(service, MODEL, None, Mover("anna", "wrong for women over 80"))
    if how == "alias":
        serving.client.set_registered_model_alias(MODEL, "production", "2")
    elif how == "SQL":
        with service.journal.database.write() as connection:
            for status, number in (("archived", 1), ("production", 2)):
                statement = f"UPDATE model_version_detail SET status = '{status}' WHERE mlflow_version = {number}"  # noqa: S608
                connection.exec_driver_sql(statement)
    else:
        serving.move(MODEL, 2, PRODUCTION, archive=how == "stage")

    for ask in (service.synchronise, service.require_sound, lambda family: service.reconcile(ANNA, family)):
        with pytest.raises(
            Quarantined, match=r"tiny-linear v2 is known bad \(wrong for women over 80\).*--restore"
        ) as refused:
            ask("tiny")
    assert "known_bad.py tiny-linear 2 --lift" in str(refused.value)

    service.restore("tiny", actor="olga", reason="it is bad")

    assert f"{MODEL} v1" == str(service.journal.production("tiny"))
    assert "Production" == serving.shown()[f"{MODEL} v1"]
    assert "Archived" == serving.shown()[f"{MODEL} v2"]
    assert "1" == serving.aliases()[f"{MODEL}@production"]
    service.require_sound("tiny")


def test_an_alias_that_leads_nowhere_is_said_and_put_right(serving: Store) -> None:
    """It moves nothing, so it is no quarantine either."""
    serving.sql("UPDATE registered_model_aliases SET version = 9 WHERE alias = 'production'")
    service = serving.service(a_family(**GOVERNED))
    (line,) = service.outside_changes("tiny")
    assert f"alias production of {MODEL} points at v9, which MLflow does not have" in line
    service.require_sound("tiny")

    service.synchronise("tiny")

    assert {f"{MODEL}@production": "1"} == serving.aliases()
    assert [] == service.outside_changes("tiny")


@pytest.mark.parametrize("alias", ["staging", "previous"])
def test_the_other_aliases_are_looked_at_too(serving: Store, alias: str) -> None:
    """Each follows the journal; one that somebody else uses is theirs."""
    for name in (alias, "champion"):
        serving.client.set_registered_model_alias(MODEL, name, "3")
    service = serving.service(a_family())

    assert [f"alias {alias} of {MODEL} points at v3; it belongs to no version"] == service.outside_changes("tiny")

    service.reconcile(ANNA, "tiny")
    assert {f"{MODEL}@production": "1", f"{MODEL}@champion": "3"} == serving.aliases()


@pytest.mark.parametrize("config", [{}, GOVERNED], ids=["without approvals", "with approvals"])
def test_a_deleted_production_is_recorded_as_deleted(serving: Store, config: dict[str, Any]) -> None:
    """Nobody can put it back, approvals or not: it leaves, loudly, and the next promotion goes through the gates."""
    serving.client.delete_model_version(MODEL, "1")
    said: list[str] = []
    service = serving.service(a_family(**config), report=said.append)

    service.reconcile(ANNA, "tiny")

    assert [(f"{MODEL} v1", "Archived", "adopt", "journal", "no longer in MLflow")] == _records(serving, 1)
    assert any("'tiny' has NO PRODUCTION now" in line for line in said)
    with pytest.raises(NothingToDo):
        service.restore("tiny", actor="olga", reason="where is it")


def test_a_family_that_was_never_recorded_has_nothing_to_restore(store: Store) -> None:
    """Otherwise its one Production would be archived for not being in the journal."""
    store.register("churn")
    store.move("churn", 1, PRODUCTION)

    with pytest.raises(NothingToDo):
        store.service().restore("churn", actor="olga", reason="tidy")

    assert {"churn v1": "Production"} == store.shown()


@pytest.mark.system
def test_a_deleted_run_of_what_serves_is_said(store: Store) -> None:
    """Its version is where it should be, and its files would go with the next `mlflow gc`."""
    run = store.client.create_run("0").info.run_id
    store.register("churn")
    source = store.client.get_model_version("churn", "1").source
    store.client.create_model_version("churn", source=source, run_id=run)
    said: list[str] = []
    service = store.service(report=said.append)
    service.commit(service.check(service.candidate("churn", 2)), ANNA)
    assert "" == service.run_remark("churn")

    store.client.delete_run(run)
    service.reconcile(ANNA, "churn")

    remark = service.run_remark("churn")
    assert f"mlflow runs restore --run-id {run}" in remark
    assert remark in said
    assert {"churn": [remark]} == disagreements(store.registry.models(), service)
    service.require_sound("churn")


def test_a_file_that_claims_a_model_of_another_family_moves_nothing(serving: Store) -> None:
    """What serves there is not taken over, archived or stripped of its aliases, and every command says why."""
    claiming = serving.service(a_family("other", registered_model=MODEL))
    before = serving.shown(), serving.aliases(), serving.rows()
    line = f"{MODEL} is recorded as one of family 'tiny'"
    assert [line] == claiming.outside_changes("other")

    for attempt in (
        lambda: claiming.synchronise("other"),
        lambda: claiming.require_sound("other"),
        lambda: claiming.reconcile(ANNA, "other"),
        lambda: claiming.restore("other", actor="anna", reason="tested"),
    ):
        with pytest.raises(Quarantined, match=rf"{line}; nothing moves under 'other': .*config/tiny\.yaml"):
            attempt()

    assert before == (serving.shown(), serving.aliases(), serving.rows())


def test_a_family_whose_file_is_gone_keeps_its_production(serving: Store) -> None:
    """Without the file the model would be its own family, of which nothing is recorded."""
    before = serving.shown(), serving.aliases(), serving.rows()
    orphan = serving.service()

    with pytest.raises(Quarantined, match=r"config/tiny\.yaml \(family: tiny\)"):
        orphan.synchronise(orphan.family(MODEL))

    assert before == (serving.shown(), serving.aliases(), serving.rows())
