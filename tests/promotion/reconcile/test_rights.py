"""Whoever may read MLflow and not write it moves nothing, whichever way a version could move."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from tests.conftest import Arranged
from tests.promotion.factories import Store, Watched, a_family, read_only

from promotion.cleanup import clean_up, review_versions
from promotion.errors import RegistryForbidden, RegistryReadOnly
from promotion.registration import register_version
from promotion.registry.stages import Stage
from promotion.rollbacks import archive, roll_back
from promotion.service import Mover, PromotionService

ANNA = Mover("anna", "tested")
MODEL = "tiny-linear"


@pytest.fixture
def serving(arranged: Arranged) -> Store:
    """Versions 1 to 4, of which 2 serves and 1 served before."""
    return arranged(_serving)


def _serving(store: Store) -> None:
    service = store.service(a_family())
    for score in (0.90, 0.91, 0.92, 0.93):
        store.register(MODEL, roc_auc=score)
    for number in (1, 2):
        service.promote(service.check(service.candidate(MODEL, number)), ANNA)


def _staged(service: PromotionService) -> None:
    service.promote(service.check(service.candidate(MODEL, 3), Stage.STAGING), ANNA)


def _cleaned(service: PromotionService) -> None:
    clean_up(service, review_versions(service, "tiny", 1), 1, actor="anna", reason="disk")


@pytest.mark.parametrize(
    "act",
    [
        lambda service: service.promote(service.check(service.candidate(MODEL, 3)), ANNA),
        _staged,
        lambda service: roll_back(service, MODEL, None, ANNA),
        lambda service: archive(service, service.candidate(MODEL, 3), ANNA),
        lambda service: register_version(service, service.candidate(MODEL, 3)),
        _cleaned,
    ],
    ids=["promote", "stage", "rollback", "archive", "register", "cleanup"],
)
def test_a_reader_is_refused_before_anything_is_recorded(
    serving: Store, act: Callable[[PromotionService], object]
) -> None:
    """The refusal names what is missing; both databases are as before."""
    before = serving.rows()

    with pytest.raises(RegistryForbidden, match="answered 403"):
        act(serving.service(a_family(), registry=Watched(serving.registry, is_read_only=True)))

    after = serving.rows()
    for each in (before, after):  # what the gates found may be kept
        each["promotion.db"].pop("gate_report")
    assert before == after


@pytest.mark.parametrize("how", ["SQL", "MLflow", "a lost alias", "an unfinished move"])
def test_a_reader_adopts_and_restores_nothing(serving: Store, how: str) -> None:
    """What somebody changed, or left behind, stays as it is until somebody comes who may write."""
    if how == "SQL":
        with closing(sqlite3.connect(serving.home / "promotion.db", isolation_level=None)) as database:
            for status, number in (("archived", 2), ("production", 1)):
                database.execute(
                    "UPDATE model_version_detail SET status = ? WHERE mlflow_version = ?", (status, number)
                )
    elif how == "MLflow":
        serving.move(MODEL, 3, Stage.PRODUCTION, archive=True)
    elif how == "a lost alias":
        serving.client.delete_registered_model_alias(MODEL, "production")
    else:
        away = serving.service(a_family(), registry=Watched(serving.registry, is_down=True))
        away.promote(away.check(away.candidate(MODEL, 3)), ANNA)
    service = serving.service(a_family(), registry=Watched(serving.registry, is_read_only=True))
    history, shown = service.journal.history(), serving.shown()

    with pytest.raises(RegistryForbidden, match="answered 403"):
        service.reconcile(ANNA, "tiny")
    if how in {"SQL", "MLflow"}:
        with pytest.raises(RegistryForbidden, match=r"answered 403.*nothing moved"):
            service.restore("tiny", actor="anna", reason="mine")

    assert history == service.journal.history()
    assert shown == serving.shown()


def test_mlflow_that_is_merely_down_is_told_later(serving: Store) -> None:
    """No answer says nothing about rights: the rollback goes on, and MLflow follows when it is back."""
    service = serving.service(a_family(), registry=Watched(serving.registry, is_down=True))

    moved = roll_back(service, MODEL, None, ANNA)

    assert "no connection" in moved.unprojected
    assert 1 == moved.version.number


def test_a_file_that_cannot_be_written_is_found_before(serving: Store) -> None:
    """MLflow's SQLite file is read-only for whoever promotes: nothing is recorded."""
    service = serving.service(a_family())
    plan = service.check(service.candidate(MODEL, 3))
    history = service.journal.history()

    with read_only(serving.home / "mlflow.db"), pytest.raises(RegistryReadOnly, match="nothing moved"):
        service.promote(plan, ANNA)

    assert history == service.journal.history()
