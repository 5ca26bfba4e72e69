"""What happened past the rules: adopted, quarantined, ratified, or put back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import Store, a_family
from tests.promotion.shared_home import SharedHome

from promotion.approving import Approving, Opinion
from promotion.config.family import FamilyConfig
from promotion.errors import GateRefused, NothingToDo, Quarantined
from promotion.journal import clock
from promotion.journal.records import Registration
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.service import Mover, PromotionService

MODEL = "tiny-linear"
ANNA = Mover("anna", "tested")
NEWER = "UPDATE model_version_detail SET status = 'production' WHERE version = '1.1.0'"
ARCHIVE = "UPDATE model_version_detail SET status = 'archived' WHERE status = 'production'"
BY_SQL = [
    f"{MODEL} v1: its row says Archived, the events say Production",
    f"{MODEL} v2: its row says Production, the events say None",
]
IN_MLFLOW = [
    f"{MODEL} v1: MLflow shows Archived, the journal Production",
    f"{MODEL} v2: MLflow shows Production, the journal None",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """1.0.0 (0.90) serves, 1.1.0 (0.95) and 1.2.0 (0.70) were trained by tina."""
    made = SharedHome(tmp_path_factory.mktemp("reconciling"), empty_store)
    service = made.store.service(a_family())
    for semver, score in (("1.0.0", 0.90), ("1.1.0", 0.95), ("1.2.0", 0.70)):
        version = service.candidate(MODEL, made.store.register(MODEL, roc_auc=score))
        known = Registration(str(service.check(version).report.digest), None, "tina", "f" * 64, {"roc_auc": score}, {})
        service.journal.register("tiny", [(version, known)], actor="tina", semver=semver)
    service.promote(service.check(service.candidate(MODEL, "1.0.0")), ANNA)
    made.keep("serving")
    return made


@pytest.fixture
def store(shared: SharedHome) -> Store:
    """That family, 1.0.0 in Production."""
    return shared.back_to("serving")


def _governed(**changes: Any) -> FamilyConfig:
    return a_family(approvals={"roles": ["science", "devops"]}, **changes)


def _sql(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def _outside(store: Store, how: str) -> list[str]:
    """Somebody puts 1.1.0 into Production; returns what will be told."""
    if how == "SQL":
        _sql(store, ARCHIVE, NEWER)
        return BY_SQL
    store.move(MODEL, 2, Stage.PRODUCTION, archive=True)
    return IN_MLFLOW


def _approve(service: PromotionService, version: str) -> None:
    approving = Approving(service, service.check(service.candidate(MODEL, version)))
    for role, who in (("science", "sven"), ("devops", "dora")):
        approving.record_now(Opinion(role, who, approved=True, comment="looked at the report"), "account")


def _serving(service: PromotionService) -> str:
    return str(service.journal.production("tiny"))


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
def test_a_family_with_approvals_is_quarantined(store: Store, how: str) -> None:
    """Every writing command refuses, once it is recorded; MLflow and events keep what was decided by the rules."""
    lines = _outside(store, how)
    service = store.service(_governed())
    before = service.journal.history("tiny")

    for _ in range(2):
        with pytest.raises(Quarantined, match="'tiny' is quarantined: ") as caught:
            service.synchronise("tiny")

    assert lines == caught.value.details["found"]
    assert "--reconcile --model tiny ratifies it" in str(caught.value)
    newest, *older = service.journal.history("tiny")
    assert before == older
    assert ("quarantine", lines, False) == (newest.action, newest.details["found"], newest.is_move)


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
def test_export_and_deploy_ask_and_are_refused(store: Store, how: str) -> None:
    """`require_sound` refuses without writing anything; a family nobody touched is sound."""
    service = store.service(_governed())
    service.require_sound("tiny")
    lines = _outside(store, how)
    before = store.rows()

    with pytest.raises(Quarantined) as caught:
        service.require_sound("tiny")

    assert lines == caught.value.details["found"] == service.outside_changes("tiny")
    assert before == store.rows()


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
def test_a_family_without_approvals_adopts(store: Store, how: str) -> None:
    """What was done by hand counts, is recorded as such, is said, and MLflow shows it."""
    lines = _outside(store, how)
    said: list[str] = []
    service = store.service(a_family(), report=said.append)

    service.require_sound("tiny")
    assert "" == service.synchronise("tiny")

    assert f"{MODEL} v2" == _serving(service)
    assert {f"{MODEL} v1": "Archived", f"{MODEL} v2": "Production"} == store.shown()
    assert {f"tiny: changed outside: {line}" for line in lines} <= set(said)
    newest = service.journal.history("tiny")[0]
    assert ("adopt", {"SQL": "database", "MLflow": "mlflow"}[how]) == (newest.action, newest.actor)
    assert [] == service.outside_changes("tiny")
    served = service.journal.production_at("tiny", clock.now())
    assert served is not None
    assert 2 == served.number


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
def test_restoring_puts_back_what_was_recorded(store: Store, how: str) -> None:
    """Rows, stages and aliases are as before; who asked, why, and what was found stay in the record."""
    lines = _outside(store, how)
    service = store.service(_governed())

    assert lines == service.restore("tiny", actor="olga", reason="not reviewed")

    assert f"{MODEL} v1" == _serving(service)
    assert {f"{MODEL} v1": "Production"} == store.shown()
    assert {f"{MODEL}@production": "1"} == store.aliases()
    events = service.journal.history("tiny", limit=2)
    assert {("restore", "olga", "not reviewed")} == {(event.action, event.actor, event.reason) for event in events}
    found = [event.details["found"] for event in events]
    assert {"SQL": ["archived", "production"], "MLflow": [lines, lines]}[how] == found
    service.require_sound("tiny")
    with pytest.raises(NothingToDo, match="nothing to restore"):
        service.restore("tiny", actor="olga", reason="again")


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
@pytest.mark.system
def test_reconcile_ratifies_only_what_everybody_approved(store: Store, how: str) -> None:
    """One approval of two is not enough; with both, the version goes through the gates as any other."""
    service = store.service(_governed())
    _approve(service, "1.1.0")
    _outside(store, how)

    service.reconcile(ANNA, "tiny")

    assert f"{MODEL} v2" == _serving(service)
    assert {f"{MODEL} v1": "Archived", f"{MODEL} v2": "Production"} == store.shown()
    assert ["promote", "promote", "restore"] == [event.action for event in service.journal.history("tiny", limit=3)]
    assert [] == service.outside_changes("tiny")


@pytest.mark.parametrize("how", ["SQL", "MLflow"])
def test_reconcile_ratifies_nothing_that_lacks_an_approval(store: Store, how: str) -> None:
    """It stays quarantined, in words that name what was found."""
    service = store.service(_governed())
    approving = Approving(service, service.check(service.candidate(MODEL, "1.1.0")))
    approving.record_now(Opinion("science", "sven", approved=True, comment="looked at the report"), "account")
    lines = _outside(store, how)

    with pytest.raises(Quarantined) as caught:
        service.reconcile(ANNA, "tiny")

    assert [{"found": lines}] == caught.value.details["found"]


@pytest.mark.system
def test_an_approved_version_that_fails_a_gate_is_not_ratified(store: Store) -> None:
    """Approvals are one gate of many: what was recorded is back in place, and the refusal names the gate."""
    service = store.service(_governed())
    _approve(service, "1.2.0")
    _sql(store, ARCHIVE, NEWER.replace("1.1.0", "1.2.0"))

    with pytest.raises(GateRefused, match=f"{MODEL} v3 may not enter Production: roc_auc: 0.7000, required ≥ 0.8"):
        service.reconcile(ANNA, "tiny")

    assert f"{MODEL} v1" == _serving(service)
    assert {f"{MODEL} v1": "Production"} == store.shown()


def test_approvals_written_past_the_journal_ratify_nothing(store: Store) -> None:
    """Somebody sets the status and makes up the approvals in the database: no event has them, so none counts."""
    service = store.service(_governed())
    report = service.check(service.candidate(MODEL, "1.1.0"))
    report_id = service.keep_report(report, "intruder")
    entry = service.journal.entry(MODEL, 2)
    assert entry is not None
    forged = (
        "INSERT INTO approval (version_id, role, approver, approved, comment, artifact_digest, evidence,"
        " gate_report_id, statement, created_at, expires_at) VALUES ({}, '{}', '{}', 1, 'fine', '{}', '{}', {}, '{{}}',"
        " '2026-01-01 00:00:00', '2999-01-01 00:00:00')"
    )
    for role in ("science", "devops"):
        values = entry.id, role, role, report.report.digest, report.report.evidence, report_id
        _sql(store, forged.format(*values))
    assert 2 == len(Reviews(service.journal).approvals(entry))
    _outside(store, "SQL")

    with pytest.raises(Quarantined, match="is quarantined"):
        service.reconcile(ANNA, "tiny")
    with pytest.raises(Quarantined):
        service.require_sound("tiny")
    service.restore("tiny", actor="olga", reason="forged")

    assert f"{MODEL} v1" == _serving(service)
    assert {f"{MODEL} v1": "Production"} == store.shown()


@pytest.mark.parametrize("config", [a_family(), _governed()], ids=["without approvals", "with approvals"])
def test_an_emptied_production_is_loud_for_every_family(store: Store, config: FamilyConfig) -> None:
    """SQL took the version out and put none in: nobody takes that for a decision, and it comes back on request."""
    _sql(store, ARCHIVE)
    service = store.service(config)

    for ask in (service.synchronise, service.require_sound, lambda family: service.reconcile(ANNA, family)):
        with pytest.raises(Quarantined, match=f"'tiny' has NO PRODUCTION: {MODEL} v1: its row says Archived"):
            ask("tiny")
    assert {f"{MODEL} v1": "Production"} == store.shown()

    service.restore("tiny", actor="olga", reason="a misspelt version")

    assert f"{MODEL} v1" == _serving(service)
    service.require_sound("tiny")


def test_a_quarantined_family_does_not_keep_the_others_waiting(store: Store) -> None:
    """Reconciling all families settles what it can, and refuses in the end."""
    _outside(store, "SQL")
    number = store.register("churn")
    store.move("churn", number, Stage.PRODUCTION)
    service = store.service(_governed())

    with pytest.raises(Quarantined, match="'tiny' is quarantined"):
        service.reconcile(ANNA)

    assert "churn v1" == str(service.journal.production("churn"))


def test_a_change_between_other_stages_counts_too(store: Store) -> None:
    """Days in Staging are evidence, so a row set to staging by hand is quarantined as well."""
    _sql(store, "UPDATE model_version_detail SET status = 'staging' WHERE version = '1.1.0'")

    with pytest.raises(Quarantined, match=f"{MODEL} v2: its row says Staging, the events say None"):
        store.service(_governed()).synchronise("tiny")
