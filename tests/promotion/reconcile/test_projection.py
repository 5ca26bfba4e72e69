"""MLflow follows the journal, and Production is never empty on the way."""

from __future__ import annotations

import pytest
from tests.conftest import Arranged
from tests.promotion.factories import Store, Watched, a_family

from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

pytestmark = pytest.mark.usefixtures("waits")
ALL = {"churn v1", "churn v2", "churn v3"}


def _promote(service: PromotionService, model: str, number: int) -> str:
    """Promote without asking whether it is better; returns what MLflow does not show."""
    plan = service.check(service.candidate(model, number))
    return service.commit(plan, Mover("anna", "tested")).unprojected


@pytest.fixture
def churn(arranged: Arranged) -> Store:
    """A registered model without configuration, three versions, the first one in Production."""
    return arranged(_churn)


def _churn(store: Store) -> None:
    for _ in range(3):
        store.register("churn")
    assert "" == _promote(store.service(), "churn", 1)


def test_the_new_production_enters_before_the_old_one_leaves(churn: Store) -> None:
    """Between the two writes there are two Productions, never none; afterwards there is one."""
    registry = Watched(churn.registry)

    assert "" == _promote(churn.service(registry=registry), "churn", 2)

    assert ["churn v2 → Production", "churn v1 → Archived"] == registry.stages
    assert [{"churn v2"}, {"churn v2"}] == [shown & {"churn v2"} for shown in registry.productions]
    assert {"churn v1": "Archived", "churn v2": "Production"} == churn.shown()
    assert {"churn@production": "2", "churn@previous": "1"} == churn.aliases()
    assert [] == churn.service().journal.pending()


def test_who_and_why_is_written_beside_the_version(churn: Store) -> None:
    """A person who only sees MLflow learns who moved the version, when and why."""
    event = churn.service().journal.history()[0]

    assert (
        f"{event.operation} by anna at {event.at:%Y-%m-%dT%H:%M:%SZ}: tested"
        == churn.tags("churn", 1)["promotion.operation"]
    )


def _description(store: Store, number: int) -> str:
    return str(store.client.get_model_version("churn", str(number)).description or "")


def test_the_reason_joins_what_stands_in_the_description(churn: Store) -> None:
    """A line below people's own notes, once, for the version that moved; a replaced one has no reason of its own."""
    churn.client.update_model_version("churn", "2", "Trained on *spring* data.\n")
    before = _description(churn, 1)

    _promote(churn.service(), "churn", 2)
    churn.service().reconcile(Mover("bea", "tidy"), "churn")

    event = churn.service().journal.arrival("churn", Stage.PRODUCTION)
    assert event is not None
    line = f"{event.at:%Y-%m-%d %H:%M} UTC, Production, promote by anna: tested"
    assert f"Trained on *spring* data.\n\n{line}" == _description(churn, 2)
    assert before == _description(churn, 1)


def test_a_reason_that_was_wiped_out_is_noted_again(churn: Store) -> None:
    """Reconciling brings MLflow to what the journal holds; notes that people wrote meanwhile stay."""
    line = _description(churn, 1)
    churn.client.update_model_version("churn", "1", "mine")

    churn.service().reconcile(Mover("anna", "tidy"), "churn")

    assert f"mine\n\n{line}" == _description(churn, 1)


def test_an_override_is_loud_and_a_long_reason_is_one_line(churn: Store) -> None:
    """Who reads only MLflow sees that a rule was waived; line breaks and length are tamed."""
    service = churn.service()
    mover = Mover("anna", "first\n\n# second " + "x" * 600, "ben", waived=("rmspe < 0.12 instead of < 0.10",))

    service.commit(service.check(service.candidate("churn", 2)), mover)

    last = _description(churn, 2).splitlines()[-1]
    assert "promote by anna for ben (OVERRIDDEN: rmspe < 0.12 instead of < 0.10): first # second xxx" in last
    assert last.endswith("x…")


def test_a_full_description_is_left_alone(churn: Store) -> None:
    """Nothing that people wrote is cut off to make room; the projection is complete all the same."""
    churn.client.update_model_version("churn", "2", "y" * 4990)
    said: list[str] = []

    assert "" == _promote(churn.service(report=said.append), "churn", 2)

    assert "y" * 4990 == _description(churn, 2)
    assert any("is full" in line for line in said)


def test_stages_that_were_found_leave_no_note(store: Store) -> None:
    """Nobody gave a reason for what the journal took over."""
    store.register("churn")
    store.move("churn", 1, Stage.PRODUCTION)

    store.service().synchronise("churn")

    assert "" == _description(store, 1)


@pytest.mark.system
def test_a_family_has_its_aliases_in_one_registered_model(store: Store) -> None:
    """When another algorithm wins, the aliases leave the first registered model with the stage."""
    store.register("tiny-linear", roc_auc=0.90)
    store.register("tiny-forest", roc_auc=0.95)
    service = store.service(a_family())
    _promote(service, "tiny-linear", 1)
    assert {"tiny-linear@production": "1"} == store.aliases()

    _promote(service, "tiny-forest", 1)

    assert {"tiny-linear v1": "Archived", "tiny-forest v1": "Production"} == store.shown()
    assert {"tiny-forest@production": "1", "tiny-linear@previous": "1"} == store.aliases()


def test_an_alias_of_somebody_else_is_left_alone(churn: Store) -> None:
    """Only production, staging and previous are ours."""
    churn.client.set_registered_model_alias("churn", "shadow", "3")

    _promote(churn.service(), "churn", 2)

    assert "3" == churn.aliases()["churn@shadow"]


def test_a_store_that_cannot_set_stages_gets_aliases_and_tags(churn: Store) -> None:
    """Stages fail inside the store: the old Production stays visible, aliases and `stage` tags carry the truth."""
    registry = Watched(churn.registry, broken=ALL)

    problem = _promote(churn.service(registry=registry), "churn", 2)

    assert "MLflow could not set the stage of churn v2 to Production: RepresenterError" in problem
    assert ["churn v2 → Production"] * 3 == registry.stages, "three tries, then no other stage is touched"
    assert {"churn v1": "Production"} == churn.shown()
    assert {"churn@production": "2", "churn@previous": "1"} == churn.aliases()
    assert "Production" == churn.tags("churn", 2)["stage"]
    assert "Archived" == churn.tags("churn", 1)["stage"]
    (pending,) = churn.service().journal.pending()
    assert problem == pending.error


@pytest.mark.system
def test_a_healthy_store_later_shows_the_stages_and_loses_the_tags(churn: Store) -> None:
    """The next command that writes completes what was left; the substitute tags go."""
    _promote(churn.service(registry=Watched(churn.registry, broken=ALL)), "churn", 2)
    registry = Watched(churn.registry)
    said: list[str] = []

    churn.service(registry=registry, report=said.append).reconcile(Mover("anna", "tidy"), "churn")

    assert "churn: finishing a move that MLflow does not show yet" == said[0]
    assert ["churn v2 → Production", "churn v1 → Archived"] == registry.stages
    assert {"churn v1": "Archived", "churn v2": "Production"} == churn.shown()
    assert not {"stage"} & (churn.tags("churn", 1).keys() | churn.tags("churn", 2).keys())
    assert [] == churn.service().journal.pending()


def test_an_old_production_that_cannot_be_archived_is_tagged(churn: Store) -> None:
    """The new one is in, the old one's archiving fails: it says by tag that it is archived, and it stays pending."""
    problem = _promote(churn.service(registry=Watched(churn.registry, broken={"churn v1"})), "churn", 2)

    assert "could not set the stage of churn v1 to Archived" in problem
    assert {"churn v1": "Production", "churn v2": "Production"} == churn.shown()
    assert "Archived" == churn.tags("churn", 1)["stage"]
    assert "stage" not in churn.tags("churn", 2)


@pytest.mark.system
def test_two_moves_on_a_broken_store_end_with_the_newest(churn: Store) -> None:
    """Queued projections are never replayed: after two moves the tags and aliases say the second one only."""
    registry = Watched(churn.registry, broken=ALL)
    _promote(churn.service(registry=registry), "churn", 2)
    _promote(churn.service(registry=registry), "churn", 3)

    assert {"churn@production": "3", "churn@previous": "2"} == churn.aliases()
    assert ["Archived", "Archived", "Production"] == [churn.tags("churn", number)["stage"] for number in (1, 2, 3)]

    churn.service().reconcile(Mover("anna", "tidy"), "churn")

    assert "Production" == churn.shown().pop("churn v3")
    assert 1 == list(churn.shown().values()).count("Production")
    assert [] == churn.service().journal.pending()


@pytest.mark.system
def test_a_registry_that_is_gone_after_the_commit_is_told_later(churn: Store) -> None:
    """No write arrives: the journal holds the promotion, MLflow the old state, and reconciling brings it after."""
    problem = _promote(churn.service(registry=Watched(churn.registry, is_down=True)), "churn", 2)

    assert "MLflow could not be told: http://mlflow: no connection" == problem
    assert {"churn v1": "Production"} == churn.shown()

    churn.service().reconcile(Mover("anna", "tidy"))

    assert {"churn v1": "Archived", "churn v2": "Production"} == churn.shown()


def test_reconciling_twice_writes_nothing_the_second_time(churn: Store) -> None:
    """What MLflow shows already is not written again."""
    churn.service().reconcile(Mover("anna", "tidy"), "churn")
    before = churn.rows()

    churn.service().reconcile(Mover("anna", "tidy"), "churn")

    assert before == churn.rows()


def test_a_lost_alias_is_put_back(churn: Store) -> None:
    """Somebody removed `production`: no version moved, so reconciling restores the alias."""
    churn.client.delete_registered_model_alias("churn", "production")

    churn.service().reconcile(Mover("anna", "tidy"), "churn")

    assert {"churn@production": "1"} == churn.aliases()
