"""The guidelines' two SQL statements, typed into a real PostgreSQL: accepted, noticed, and harmless when misspelt."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conftest import Run
from tests.promotion.factories import Store, a_family

from promotion.approving import Approving, Opinion
from promotion.config.settings import REPOSITORY, Settings
from promotion.errors import Quarantined
from promotion.journal.records import Registration
from promotion.registry.stages import Stage
from promotion.rollbacks import withdraw
from promotion.service import Mover, PromotionService

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

MODEL = "alzheimer_classifier"
OLD, NEW = f"{MODEL} v1", f"{MODEL} v2"
ANNA = Mover("anna", "tested")
PROMOTE = """\
UPDATE model_version_detail
SET status = 'production',
    promoted_at = NOW()
WHERE model_id = (SELECT id FROM model_registry WHERE name = 'alzheimer_classifier')
  AND version = '1.2.0';
"""
ARCHIVE = """\
UPDATE model_version_detail
SET status = 'archived',
    deprecated_at = NOW()
WHERE model_id = (SELECT id FROM model_registry WHERE name = 'alzheimer_classifier')
  AND status = 'production'
  AND version != '1.2.0';
"""
ORDERS = pytest.mark.parametrize(
    "statements", [(PROMOTE, ARCHIVE), (ARCHIVE, PROMOTE)], ids=["promote first", "archive first"]
)
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Governed:
    """The family: 1.1.0 serves, 1.2.0 was trained and is better.

    Attributes:
        store: MLflow, on SQLite.
        server: Where the cluster's socket is.
        database: The journal's name on it.
        opened: Services whose connections are given back in the end.
    """

    store: Store
    server: str
    database: str
    opened: list[PromotionService] = field(default_factory=list)

    def service(self, **config: Any) -> PromotionService:
        """As the commands open it."""
        self.opened.append(self.store.service(a_family(MODEL, registered_model=MODEL, **config)))
        return self.opened[-1]

    def type(self, *statements: str, is_transaction: bool = True) -> list[str]:
        """What somebody types into psql; returns what the server refused."""
        refused = []
        where = f"host={self.server} user=postgres dbname={self.database}"
        with closing(psycopg.connect(where, autocommit=not is_transaction)) as session:
            for statement in statements:
                try:
                    session.execute(statement.encode())
                except psycopg.Error as error:
                    refused.append(str(error))
            if is_transaction:
                session.commit()
        return refused


@pytest.fixture
def governed(settings: Settings, postgresql: str, tmp_path: Path) -> Iterator[Governed]:
    """A journal of its own on the cluster."""
    server, name = postgresql.partition("host=")[2], f"by_hand_{next(NUMBERS)}"
    with closing(psycopg.connect(host=server, user="postgres", dbname="postgres", autocommit=True)) as session:
        session.execute(f"CREATE DATABASE {name}".encode())
    made = Governed(
        Store(replace(settings, database_url=postgresql.format(name)), tmp_path / "artifacts"), server, name
    )
    service = made.service()
    for semver, score in (("1.1.0", 0.90), ("1.2.0", 0.95)):
        version = service.candidate(MODEL, made.store.register(MODEL, roc_auc=score))
        digest = str(service.check(version).report.digest)
        known = Registration(digest, None, "tina", "f" * 64, {"roc_auc": score}, {})
        service.journal.register(MODEL, [(version, known)], actor="tina", semver=semver)
    service.promote(service.check(service.candidate(MODEL, "1.1.0")), ANNA)
    yield made
    for opened in made.opened:
        opened.journal.database._engine.dispose()


def _serving(service: PromotionService) -> str:
    return str(service.journal.production(MODEL))


def _require_true_times(service: PromotionService) -> None:
    """Each row says of its service what the events say, whatever NOW() was when somebody typed it."""
    for entry in service.journal.entries(MODEL):
        moves = [event for event in service.journal.history(version_id=entry.id) if event.is_move]
        entered = next((move for move in moves if move.to_stage is Stage.PRODUCTION), None)
        left = next((move for move in moves if move.from_stage is Stage.PRODUCTION), None)
        gone = left if left and (entered is None or left.sequence > entered.sequence) else None
        assert (entered and entered.at, gone and gone.at) == (entry.promoted_at, entry.deprecated_at), entry


@ORDERS
def test_in_one_transaction_they_are_adopted(governed: Governed, statements: tuple[str, str]) -> None:
    """In either order; without approvals the next reconcile takes them over, and MLflow shows them."""
    assert [] == governed.type(*statements)

    service = governed.service()
    service.reconcile(ANNA, MODEL)

    assert NEW == _serving(service)
    assert {OLD: "Archived", NEW: "Production"} == governed.store.shown()
    _require_true_times(service)
    adopted = [event for event in service.journal.history(MODEL) if event.action == "adopt"]
    assert {("1.1.0", Stage.ARCHIVED), ("1.2.0", Stage.PRODUCTION)} == {(e.version, e.to_stage) for e in adopted}


@ORDERS
def test_without_approvals_given_they_achieve_nothing(governed: Governed, statements: tuple[str, str]) -> None:
    """A family that asks for approvals is quarantined: MLflow keeps the old version, and it is restored on request."""
    assert [] == governed.type(*statements)
    service = governed.service(approvals={"roles": ["science", "devops"]})

    with pytest.raises(Quarantined, match=f"'{MODEL}' is quarantined"):
        service.reconcile(ANNA, MODEL)
    with pytest.raises(Quarantined):
        service.require_sound(MODEL)
    assert {OLD: "Production"} == governed.store.shown()

    service.restore(MODEL, actor="olga", reason="not reviewed")

    assert OLD == _serving(service)
    service.require_sound(MODEL)
    _require_true_times(service)


@ORDERS
def test_with_every_approval_they_are_ratified(governed: Governed, statements: tuple[str, str]) -> None:
    """Reconcile puts the version through the gates, and it enters by the rules."""
    service = governed.service(approvals={"roles": ["science", "devops"]})
    approving = Approving(service, service.check(service.candidate(MODEL, "1.2.0")))
    for role, who in (("science", "sven"), ("devops", "dora")):
        approving.record_now(Opinion(role, who, approved=True, comment="read the report"), "account")
    assert [] == governed.type(*statements)

    service.reconcile(ANNA, MODEL)

    assert NEW == _serving(service)
    assert {OLD: "Archived", NEW: "Production"} == governed.store.shown()
    assert "promote" == service.journal.history(MODEL)[0].action
    _require_true_times(service)


def test_approvals_may_follow_the_statements(governed: Governed) -> None:
    """The way that the message names: checked as if nobody had typed anything, approved, ratified."""
    assert [] == governed.type(PROMOTE, ARCHIVE)
    service = governed.service(approvals={"roles": ["science"]})

    plan = service.check(service.candidate(MODEL, "1.2.0"))
    assert OLD == str(plan.production)
    with pytest.raises(Quarantined, match="once every approval is given"):
        service.reconcile(ANNA, MODEL)
    Approving(service, plan).record_now(Opinion("science", "sven", approved=True, comment="read the report"), "account")
    service.reconcile(ANNA, MODEL)

    assert NEW == _serving(service)
    _require_true_times(service)


MISSPELT = ARCHIVE.replace("1.2.0", "1.2.O")


@pytest.mark.parametrize(
    ("statements", "is_transaction"),
    [
        ((PROMOTE, ARCHIVE), False),
        ((ARCHIVE,), False),
        ((ARCHIVE,), True),
        ((PROMOTE.replace("1.2.0", "1.2.O"), ARCHIVE), False),
        ((PROMOTE, MISSPELT), True),
        ((ARCHIVE, PROMOTE, MISSPELT), False),
    ],
    ids=[
        "autocommit",
        "archive alone",
        "archive alone, BEGIN",
        "misspelt promote",
        "misspelt archive",
        "both archived",
    ],
)
def test_statements_that_leave_nobody_have_two_ways_out(
    governed: Governed, statements: tuple[str, ...], *, is_transaction: bool
) -> None:
    """The old version by `--restore`, the intended one by the command that is named, every gate asked."""
    governed.type(*statements, is_transaction=is_transaction)
    service = governed.service()

    with pytest.raises(Quarantined, match=f"'{MODEL}' has NO PRODUCTION: .*{OLD}: its row says Archived") as refused:
        service.reconcile(ANNA, MODEL)
    for word in ("the statement that archives", "--restore --model", "promote_model.py --model-name", "--version"):
        assert word in str(refused.value)

    service.settle_for(MODEL, actor="anna", reason="what was meant")
    assert OLD == _serving(service)
    _require_true_times(service)
    service.promote(service.check(service.candidate(MODEL, "1.2.0")), ANNA)
    assert NEW == _serving(service)
    _require_true_times(service)


def test_where_nothing_served_before_one_statement_is_enough(governed: Governed) -> None:
    """No Production was emptied: what was put there is taken over, with the time it was recorded."""
    service = governed.service()
    withdraw(service, service.candidate(MODEL, "1.1.0"), ANNA)
    assert [] == governed.type(PROMOTE, is_transaction=False)

    service.reconcile(ANNA, MODEL)

    assert NEW == _serving(service)
    _require_true_times(service)


def test_with_autocommit_the_constraint_refuses_the_first(governed: Governed) -> None:
    """Two versions in Production never exist; the archiving that follows empties it, which is loud and undone."""
    (refusal,) = governed.type(PROMOTE, ARCHIVE, is_transaction=False)
    assert "one_production_per_family" in refusal
    service = governed.service()

    with pytest.raises(Quarantined, match=f"'{MODEL}' has NO PRODUCTION: {OLD}: its row says Archived"):
        service.reconcile(ANNA, MODEL)
    service.restore(MODEL, actor="olga", reason="autocommit was on")

    assert OLD == _serving(service)


def test_a_transaction_with_two_productions_is_refused(governed: Governed) -> None:
    """Forgetting the second statement fails at the commit; nothing changed."""
    with pytest.raises(psycopg.errors.ExclusionViolation, match="one_production_per_family"):
        governed.type(PROMOTE)

    service = governed.service()
    assert OLD == _serving(service)
    assert [] == service.outside_changes(MODEL)


def test_a_misspelt_version_is_loud_and_restored_on_request(governed: Governed, run: Run) -> None:
    """No row is promoted and the old one archived: every command says so, exit 3, until somebody asks for it back."""
    assert [] == governed.type(*(statement.replace("1.2.0", "1.2.O") for statement in (PROMOTE, ARCHIVE)))
    where = {
        "PROMOTION_DATABASE_URL": governed.store.settings.database_url,
        "PROMOTION_ACTOR": "olga",
        "PYTHONIOENCODING": "utf-8",
    }
    command = "scripts/promote-model.py"

    reconciled = run(command, "--reconcile", **where)
    listed = run(command, "--list", **where)
    restored = run(command, "--restore", "--model", MODEL, "--reason", "misspelt", **where)
    after = run(command, "--list", **where)

    assert 3 == reconciled.returncode
    assert f"'{MODEL}' has NO PRODUCTION: {OLD}: its row says Archived, the events say Production" in reconciled.stderr
    assert f"❌ {MODEL}: NO PRODUCTION" in listed.stderr
    assert 0 == restored.returncode, restored.stderr
    assert OLD == _serving(governed.service())
    assert {OLD: "Production"} == governed.store.shown()
    assert "NO PRODUCTION" not in after.stderr


def test_the_guide_shows_these_statements() -> None:
    """What is tested here is what people are told to type."""
    guide = (REPOSITORY / "docs" / "GOVERNANCE.md").read_text(encoding="utf-8")

    assert PROMOTE in guide
    assert ARCHIVE in guide
