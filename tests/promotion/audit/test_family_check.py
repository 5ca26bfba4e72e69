"""Before a family moves: every row that decides is what its events say, or nothing moves, and the line names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.promotion.audit.tampering import HANDIWORK, MODEL, edit, fill, past_the_triggers, redate
from tests.promotion.factories import Store, a_family, a_journal, a_version
from tests.promotion.shared_home import SharedHome

from promotion.approving import Approving, Opinion
from promotion.audit.family_check import require_unaltered
from promotion.errors import RecordsAltered
from promotion.journal.journal import Journal
from promotion.journal.records import Authority, Registration
from promotion.journal.reviews import Reviews
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Mover, PromotionService
from promotion.signing.keys import Keys

LINEAR = "tiny-linear"
ANNA = Mover("anna", "tested")
VERSION = "UPDATE model_version_detail SET"

EDITS = {
    "trainer": (
        f"{VERSION} trainer = 'eve' WHERE mlflow_version = 2",
        "churn v2: its row's trainer is eve, the events say tom: changed by SQL",
    ),
    "provenance": (
        f"{VERSION} provenance = 'received' WHERE mlflow_version = 2",
        "churn v2: its row's provenance is received, the events say trained: changed by SQL",
    ),
    "registration taken away": (
        f"{VERSION} registered_at = NULL WHERE mlflow_version = 2",
        r"churn v2: its row's registered_at is empty, the events say 20\d\d-.*: changed by SQL",
    ),
    "family": (
        f"INSERT INTO family SELECT 'other', created_at FROM family; {VERSION} family = 'other' WHERE id = 2",  # noqa: S608
        "churn v2: row 2 is missing",
    ),
    "incident's end": (
        "UPDATE incident SET closed_at = NULL",
        r"incident 1: its row's closed_at is empty, its events say 20\d\d-.*: changed by SQL",
    ),
    "incident's version": (
        "UPDATE incident SET version_id = 1",
        "incident 1: its row's version_id is 1, its events say 2: changed by SQL",
    ),
    "approval's role": (
        "UPDATE approval SET role = 'security' WHERE id = 1",
        r"approval 1 \(security, bea\): its row's role is security, its statement and its event say business",
    ),
    "approval's verdict": (
        "UPDATE approval SET approved = false WHERE id = 1",
        r"approval 1 .*: its row's approved is False, its statement and its event say True",
    ),
    "approval's time": (
        "UPDATE approval SET created_at = '2020-01-01 00:00:00.000000' WHERE id = 1",
        r"approval 1 .*: its row's created_at is 2020-01-01T00:00:00.000000\+00:00, its statement and its event say 20",
    ),
    "report's verdict of its own": (
        "UPDATE gate_report SET passed = false WHERE id = 1",
        r"gate report 1 \(churn v1\): its row's passed is False, its content says True",
    ),
}
"""SQL that touches no event, beside what an audit's own tests do, and a finding that must result."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    fill(a_journal(folder), folder / "checkpoints", Keys(folder / "keys" / "signing-key.pem"))
    return folder


@pytest.fixture
def journal(tmp_path: Path, recorded: Path) -> Journal:
    """A journal of the test's own."""
    shutil.copy(recorded / "promotion.db", tmp_path)
    return a_journal(tmp_path)


def tamper(folder: Path, statements: str) -> None:
    with past_the_triggers(f"sqlite:///{folder / 'promotion.db'}") as connection:
        for statement in statements.split("; "):
            connection.execute(text(statement))


def test_what_nobody_touched_is_let_through(journal: Journal, tmp_path: Path) -> None:
    """Registrations, approvals, moves, an incident; nor is a family that was never heard of refused, or no journal."""
    require_unaltered(journal, MODEL)
    require_unaltered(journal, "unheard of")
    require_unaltered(a_journal(tmp_path / "nowhere"), MODEL)


def test_stages_are_left_to_reconciling(journal: Journal, tmp_path: Path) -> None:
    """A status changed by SQL may be an act that people ratify."""
    tamper(tmp_path, f"{VERSION} status = 'staging' WHERE mlflow_version = 2")

    require_unaltered(journal, MODEL)


@pytest.mark.parametrize("case", [name for name in HANDIWORK if name != "status"] + list(EDITS))
def test_a_row_that_somebody_edited_is_named(journal: Journal, tmp_path: Path, case: str) -> None:
    """With its column and the value that was recorded."""
    statement, finding = (HANDIWORK | EDITS)[case]
    tamper(tmp_path, statement)

    with pytest.raises(RecordsAltered, match=finding):
        require_unaltered(journal, MODEL)


@pytest.mark.parametrize("attack", [edit, redate])
def test_an_edited_event_is_named(journal: Journal, tmp_path: Path, attack: Callable[..., None]) -> None:
    """Rows are held against events, so these must be what their hashes were made of."""
    with past_the_triggers(f"sqlite:///{tmp_path / 'promotion.db'}") as connection:
        attack(connection)

    with pytest.raises(RecordsAltered, match=r"event 3 \(promote by .*\): its content is not what its hash was"):
        require_unaltered(journal, MODEL)


def test_an_event_that_was_hashed_anew_does_not_fit_the_next_one(journal: Journal, tmp_path: Path) -> None:
    """Whoever changes one event has to change all that follow."""
    from promotion.journal.audit_rows import COLUMNS, EVENT, _events
    from promotion.journal.chain import link_event

    with past_the_triggers(f"sqlite:///{tmp_path / 'promotion.db'}") as connection:
        connection.execute(text("UPDATE promotion_event SET actor = 'mallory' WHERE sequence = 3"))
        rows = connection.execute(_events("sqlite").order_by(text("sequence"))).all()
        row = dict(zip(COLUMNS[EVENT], rows[2], strict=True))
        content = [value for name, value in row.items() if name not in {"id", "previous_hash", "hash"}]
        change = text("UPDATE promotion_event SET hash = :hash WHERE sequence = 3")
        connection.execute(change, {"hash": link_event(row["previous_hash"], content)})

    with pytest.raises(RecordsAltered, match="event 3: the event after it was chained to another one"):
        require_unaltered(journal, MODEL)


def test_a_registration_that_no_event_knows_is_named(journal: Journal, tmp_path: Path) -> None:
    """A version that was only found gets no trainer, signature or provenance by SQL."""
    journal.record("found", a_version("found"), Authority("refuse", "anna", "not yet"))
    tamper(tmp_path, f"{VERSION} provenance = 'trained', trainer = 'anna' WHERE family = 'found'")

    with pytest.raises(RecordsAltered, match=r"found v1: its row's registration .*, the events say empty"):
        require_unaltered(journal, "found")


# Through the doors


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """1.0.0 served, 1.1.0 serves, 1.2.0 is in Staging, one role of two approved it; tina trained them."""
    made = SharedHome(tmp_path_factory.mktemp("altered"), empty_store)
    service = made.store.service(a_family())
    for semver, score in (("1.0.0", 0.85), ("1.1.0", 0.90), ("1.2.0", 0.95)):
        version = service.candidate(LINEAR, made.store.register(LINEAR, roc_auc=score))
        known = Registration(str(service.check(version).report.digest), None, "tina", "f" * 64, {"roc_auc": score}, {})
        service.journal.register("tiny", [(version, known)], actor="tina", semver=semver)
        to = Stage.STAGING if semver == "1.2.0" else Stage.PRODUCTION
        service.promote(service.check(version, to), ANNA)
    governed = governed_service(made.store)
    approving = Approving(governed, governed.check(governed.candidate(LINEAR, "1.2.0")))
    approving.record_now(Opinion("science", "sam", approved=True, comment="read it"), "account")
    entry = service.journal.entry(LINEAR, 3)
    assert entry is not None
    Reviews(service.journal).open_incident("tiny", entry, severity="critical", summary="wrong", actor="otto")
    made.keep("served")
    return made


def governed_service(store: Store) -> PromotionService:
    return store.service(a_family(approvals={"roles": ["science", "devops"]}, gates={"incidents": True}))


def _approve(service: PromotionService) -> None:
    approving = Approving(service, service.check(service.candidate(LINEAR, "1.2.0")))
    approving.record_now(Opinion("devops", "dora", approved=True, comment="fine"), "account")


DOORS: dict[str, Callable[[PromotionService], object]] = {
    "check": lambda service: service.check(service.candidate(LINEAR, "1.2.0")),
    "approve": _approve,
    "rollback": lambda service: roll_back(service, "tiny", None, ANNA),
    "reconcile": lambda service: service.reconcile(ANNA),
    "export, deploy": lambda service: service.require_sound("tiny"),
}
ATTACKS = {
    "trainer": f"{VERSION} trainer = 'eve' WHERE mlflow_version = 3",
    "digest": f"{VERSION} digest = '{'9' * 64}' WHERE mlflow_version = 3",
    "signature": f"{VERSION} signature = 'none' WHERE mlflow_version = 3",
    "approver": "UPDATE approval SET approver = 'dora'",
    "incident closed": "UPDATE incident SET closed_at = opened_at, closed_by = 'eve'",
    "incident's summary": "UPDATE incident SET summary = 'a typing error'",
    "stage of an event": "UPDATE promotion_event SET to_status = 'gone' WHERE to_status = 'staging'",
    "details of an event": "UPDATE promotion_event SET details = '[]' WHERE to_status = 'staging'",
    "report": "UPDATE gate_report SET report = '{}' WHERE id = 1",
    "event's time": "UPDATE promotion_event SET at = '2020-01-01 00:00:00.000000' WHERE to_status = 'staging'",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_door_believes_an_edited_row(shared: SharedHome, door: str, attack: str) -> None:
    """Exit code 3, the findings as data, and nothing is written."""
    store = shared.back_to("served")
    tamper(store.home, ATTACKS[attack])
    before = store.rows()

    with pytest.raises(RecordsAltered) as refused:
        DOORS[door](governed_service(store))

    assert 3 == refused.value.exit_code
    assert json.dumps(refused.value.details["found"])
    assert before == store.rows()


def test_a_row_that_is_edited_after_the_check_moves_nothing(shared: SharedHome) -> None:
    """What the gates were told is looked at once more under the family's lock."""
    store = shared.back_to("served")
    service = store.service(a_family())
    plan = service.check(service.candidate(LINEAR, "1.2.0"))
    tamper(store.home, f"{VERSION} known_bad = 'never' WHERE mlflow_version = 3")
    before = store.rows()

    with pytest.raises(RecordsAltered, match=r"v3: its row's known-bad mark is never, the events say empty"):
        service.promote(plan, ANNA)

    assert before == store.rows()
