"""After a move: each task is carried out, or said to be left to a person, and the outcome is on record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.promotion.factories import Store, Watched, a_family
from tests.promotion.shared_home import SharedHome

from promotion.checklist import Announced, Item, ItemOutcome, after_promotion, after_rollback
from promotion.config.family import FamilyConfig
from promotion.errors import DataError, JournalLocked
from promotion.journal import clock
from promotion.journal.monitoring import MonitoringRun, add_run
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Move, Mover, PromotionService

MODEL = "tiny-linear"
MOVER = Mover("anna", "because")
DONE, FAILED, BY_HAND = ItemOutcome.DONE, ItemOutcome.FAILED, ItemOutcome.BY_HAND

Answers = dict[str, tuple[int, str]]


class _Handler(BaseHTTPRequestHandler):
    answers: Answers

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, ""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[tuple[str, Answers]]:
    """A service on a real port, with its answers by path, which a test may change."""
    answers: Answers = {"/health": (200, "{}"), "/version": (200, json.dumps({"version": "2"}))}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"answers": answers})) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """The second version serves, the first one served before it."""
    made = SharedHome(tmp_path_factory.mktemp("afterwards"), empty_store)
    for score in (0.90, 0.92):
        made.store.register(MODEL, roc_auc=score)
    service = made.store.service(a_family())
    service.promote(service.check(service.candidate(MODEL, 1)), MOVER)
    made.keep("first")
    return made


@pytest.fixture
def store(shared: SharedHome) -> Store:
    """The first version serves, the second one is better."""
    return shared.back_to("first")


def _promote(store: Store, family: FamilyConfig, **options: Any) -> tuple[PromotionService, Move]:
    service = store.service(family, **options)
    return service, service.promote(service.check(service.candidate(MODEL, 2)), MOVER)


def _look(service: PromotionService, at: datetime) -> None:
    """A run of the monitor."""
    add_run(service.journal, MonitoringRun("tiny", MODEL, 1, at - timedelta(hours=24), at, 500, None, {}, []))


def _by_task(items: list[Item]) -> dict[str, tuple[ItemOutcome, str]]:
    return {item.task: (item.outcome, item.detail) for item in items}


def test_every_task_of_a_promotion_is_worked_off_and_recorded(
    store: Store, serving: tuple[str, Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Serving, dashboards, stakeholders, review and the predecessor's artifact: one event holds how each ended."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-01T09:00:00")
    contacts = {"serving_url": serving[0], "stakeholders": ["ds-team@duetmind.ai"]}
    service, promotion = _promote(store, a_family(monitoring={"drift": True}, contacts=contacts))
    _look(service, clock.now() - timedelta(minutes=5))

    items = after_promotion(service, promotion)

    found = _by_task(items)
    assert [DONE, DONE, BY_HAND, DONE, DONE] == [item.outcome for item in items]
    assert f"{serving[0]} is healthy and serves version 2" == found["update model serving endpoint"][1]
    assert "tell ds-team@duetmind.ai" == found["notify stakeholders of deployment"][1]
    assert "due on 2027-03-01, 90 days from now" in found["schedule performance review"][1]
    assert "at 2026-12-01 08:55 UTC it looked at tiny-linear v1" in found["configure monitoring dashboards"][1]
    assert "tiny-linear v1 is archived, its artifact present" in found["archive previous version artifacts"][1]
    newest = service.journal.history("tiny", limit=1)[0]
    assert ("checklist", "anna", "after promote") == (newest.action, newest.actor, newest.reason)
    assert promotion.operation == newest.details["after"]
    assert [item.detail for item in items] == [item["detail"] for item in newest.details["items"]]


@pytest.mark.parametrize(
    ("ago", "told"), [(None, "no run of it is on record"), (timedelta(hours=25), "its last run was at ")]
)
def test_dashboards_are_done_only_where_the_monitor_runs(store: Store, ago: timedelta | None, told: str) -> None:
    """A section in the family's file watches nothing: without a run in the window a person starts it, and looks."""
    service, promotion = _promote(store, a_family(monitoring={"drift": True, "window": "24h"}))
    if ago:
        _look(service, clock.now() - ago)

    outcome, detail = _by_task(after_promotion(service, promotion))["configure monitoring dashboards"]

    assert BY_HAND is outcome
    assert f"python scripts/monitor-model.py --model tiny ({told}" in detail


def test_what_nobody_configured_is_left_to_a_person(store: Store) -> None:
    """Each of these items says what to do."""
    found = _by_task(after_promotion(*_promote(store, a_family())))

    assert {
        "update model serving endpoint": BY_HAND,
        "configure monitoring dashboards": BY_HAND,
        "notify stakeholders of deployment": BY_HAND,
    } == {task: outcome for task, (outcome, _) in found.items() if outcome is not DONE}


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"/version": (200, '{"version": "1"}')}, "still serves version 1: deploy the new one"),
        ({"/version": (200, "[]")}, "still serves version unknown"),
        ({"/version": (200, "<html>")}, "does not answer as a service"),
        ({"/health": (503, "")}, "/health answers 503"),
    ],
)
def test_a_service_without_the_new_version_is_to_be_deployed(
    store: Store, serving: tuple[str, Answers], answers: Answers, told: str
) -> None:
    """After a promotion that is the normal case, no failure."""
    serving[1].update(answers)
    family = a_family(contacts={"serving_url": serving[0] + "/"})

    outcome, detail = _by_task(after_promotion(*_promote(store, family)))["update model serving endpoint"]

    assert BY_HAND is outcome
    assert told in detail


def _touch(store: Store) -> None:
    (store.artifact(MODEL, 1) / "scores.json").write_text("{}")


def _remove(store: Store) -> None:
    shutil.rmtree(store.artifact(MODEL, 1))


def _reopen(store: Store) -> None:
    store.move(MODEL, 1, Stage.STAGING)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_touch, "is not what was recorded"),
        (_remove, "does not exist"),
        (_reopen, "MLflow shows tiny-linear v1 in Staging"),
    ],
    ids=["changed", "gone", "not archived"],
)
def test_a_predecessor_that_is_not_kept_as_it_was_fails(
    store: Store, damage: Callable[[Store], None], told: str
) -> None:
    """The item fails, the promotion stands."""
    service, promotion = _promote(store, a_family())
    damage(store)

    outcome, detail = _by_task(after_promotion(service, promotion))["archive previous version artifacts"]

    assert FAILED is outcome
    assert told in detail


def test_a_first_promotion_has_no_predecessor_to_keep(store: Store) -> None:
    """Done, with that said."""
    store.register("other-linear", roc_auc=0.9)
    service = store.service(a_family("other"))
    promotion = service.promote(service.check(service.candidate("other-linear", 1)), MOVER)

    assert (DONE, "the journal has no version that was in Production before") == _by_task(
        after_promotion(service, promotion)
    )["archive previous version artifacts"]


def test_a_checklist_that_cannot_be_recorded_does_not_fail_the_promotion(store: Store) -> None:
    """It says so as its last item."""
    service, promotion = _promote(store, a_family())

    def locked(*_arguments: object) -> None:
        raise JournalLocked("the journal is locked")

    service.journal.record = locked  # type: ignore[method-assign, assignment]

    assert Item("record this checklist", FAILED, "the journal is locked") == after_promotion(service, promotion)[-1]


# After a rollback


def _back(store: Store, family: FamilyConfig, **options: Any) -> tuple[PromotionService, Move]:
    _promote(store, family)
    service = store.service(family, **options)
    return service, roll_back(service, "tiny", None, MOVER)


@pytest.mark.system
def test_a_rollback_is_validated(store: Store, serving: tuple[str, Answers]) -> None:
    """Health, quality on the test rows, MLflow's view and stakeholders."""
    serving[1]["/version"] = (200, '{"version": "1"}')
    service, promotion = _back(store, a_family(contacts={"serving_url": serving[0]}))

    items = after_rollback(service, promotion)

    found = _by_task(items)
    assert [DONE, DONE, BY_HAND, BY_HAND] == [item.outcome for item in items]
    assert "roc_auc 0.9000 (required ≥ 0.8) on 60 test rows" == found["confirm prediction quality"][1]
    assert "MLflow shows tiny-linear v1 in Production" in found["update monitoring dashboards"][1]
    assert "after rollback" == service.journal.history("tiny", limit=1)[0].reason


@pytest.mark.system
def test_a_service_that_is_down_or_serves_another_version_fails_the_validation(
    store: Store, serving: tuple[str, Answers]
) -> None:
    """After a rollback the service must be well, and must serve the version that is back."""
    service, promotion = _back(store, a_family(contacts={"serving_url": serving[0]}))
    outcome, detail = _by_task(after_rollback(service, promotion))["verify service health metrics"]
    assert (FAILED, True) == (outcome, "serves version 2, not tiny-linear v1" in detail)
    gone = store.service(a_family(contacts={"serving_url": "http://127.0.0.1:9"}))

    outcome, detail = _by_task(after_rollback(gone, promotion))["verify service health metrics"]

    assert (FAILED, True) == (outcome, "does not answer as a service: ConnectionError" in detail)


@pytest.mark.system
def test_a_version_below_its_thresholds_fails_the_validation(store: Store) -> None:
    """It is back all the same; the item says what it reaches."""
    _service, promotion = _back(store, a_family())
    strict = store.service(a_family(gates={"thresholds": {"roc_auc": {"minimum": 0.95}}}))

    outcome, detail = _by_task(after_rollback(strict, promotion))["confirm prediction quality"]

    assert (FAILED, "roc_auc 0.9000 (required ≥ 0.95) on 60 test rows") == (outcome, detail)


@pytest.mark.system
def test_without_rows_the_quality_is_left_to_a_person(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model loads; there is nothing to score it on."""

    def gone(*_arguments: object) -> None:
        raise DataError("data/tiny.csv is missing")

    evaluator = "tests.promotion.factories.ScoreFileEvaluator"
    service, promotion = _back(store, a_family())
    monkeypatch.setattr(f"{evaluator}.evaluate", gone)
    monkeypatch.setattr(f"{evaluator}.load", lambda *_arguments: None)

    outcome, detail = _by_task(after_rollback(service, promotion))["confirm prediction quality"]

    assert (BY_HAND, True) == (outcome, "the rows to score it on are missing" in detail)


def test_mlflow_that_lags_behind_fails_the_validation(store: Store) -> None:
    """The command that finishes is named."""
    family = a_family()
    service, promotion = _back(store, family, registry=Watched(store.registry, is_down=True))

    outcome, detail = _by_task(after_rollback(service, promotion))["update monitoring dashboards"]

    assert FAILED is outcome
    assert "MLflow shows tiny-linear v1 in Archived and @production at v2" in detail
    assert "--reconcile" in detail


@pytest.mark.system
def test_a_model_without_configuration_is_validated_as_far_as_it_can_be(store: Store) -> None:
    """Everything is left to a person."""
    for _ in range(2):
        store.register("churn")
    service = store.service()
    for number in (1, 2):
        service.promote(service.check(service.candidate("churn", number)), MOVER)

    items = after_rollback(service, roll_back(service, "churn", None, MOVER))

    assert [BY_HAND, BY_HAND, BY_HAND, BY_HAND] == [item.outcome for item in items]


@pytest.mark.parametrize(
    ("announced", "expected"),
    [
        (Announced(["slack"]), (DONE, "told: slack")),
        (
            Announced(["slack"], ["email (no connection)"]),
            (FAILED, "not told: email (no connection); the monitor's next run tries again; told: slack"),
        ),
        (Announced(), (BY_HAND, "tell whom it concerns (contacts.stakeholders is empty)")),
    ],
)
def test_stakeholders_are_told_where_channels_are_set(
    store: Store, announced: Announced, expected: tuple[ItemOutcome, str]
) -> None:
    """What became of it is in the checklist; without a channel it stays with a person."""
    told: list[tuple[str, int]] = []

    def announce(promotion: Move) -> Announced:
        event = service.journal.arrival(promotion.family, promotion.to)
        assert event
        told.append((event.action, event.number))
        return announced

    service, promotion = _promote(store, a_family())
    found = _by_task(after_promotion(service, promotion, announce))

    assert (expected, [("promote", 2)]) == (found["notify stakeholders of deployment"], told)
