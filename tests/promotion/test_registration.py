"""What was trained elsewhere is registered as received; a signature that was there is asked for ever after."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from tests.promotion.factories import Store, a_family, a_training_family

from promotion.approving import Approving, Opinion
from promotion.artifacts.provenance import Registered, registered
from promotion.artifacts.signature import verify_artifact
from promotion.errors import ArtifactTampered, GateRefused, NothingToDo, UsageError
from promotion.evaluation.loading import load_version
from promotion.journal.records import Registration
from promotion.move import move
from promotion.registration import receive, register_version
from promotion.registry.contract import ModelVersion
from promotion.registry.stages import Stage
from promotion.rollbacks import roll_back
from promotion.service import Mover, PromotionService
from promotion.signing.keys import Keys

MODEL, ANNA = "tiny-linear", Mover("anna", "try it")


def _version(store: Store, user: str | None = "tina", number: int | None = None) -> ModelVersion:
    """One that a run of this user made."""
    if number is None:
        run = store.client.create_run(
            "0", tags={"mlflow.user": user, "mlflow.source.git.commit": "c0ffee"} if user else {}
        )
        store.client.log_metric(run.info.run_id, "accuracy", 0.91)
        number = store.register(MODEL, roc_auc=0.9)
        store.sql(f"UPDATE model_versions SET run_id = '{run.info.run_id}' WHERE version = {number}")  # noqa: S608
    return store.registry.version(MODEL, number)


def _known(service: PromotionService) -> tuple[Registered, Registration]:
    entry = service.journal.entry(MODEL, 1)
    assert entry is not None
    known, row = registered(service.journal, entry.id), service.journal.registration(entry.id)
    assert known is not None
    assert row is not None
    return known, row


def _sql(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        database.execute(statement)


def test_it_is_measured_scanned_and_signed_and_says_where_it_comes_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a named account, as received; what its run says is kept as the trainer's word."""
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    version = _version(store)
    (store.artifact(MODEL, 1) / "extra.pkl").write_bytes(b"\x80\x04N.")
    service = store.service(a_family())

    entry = register_version(service, version, semver="2.1.0")

    known, row = _known(service)
    assert ("2.1.0", "tina") == (entry.version, entry.trainer)
    assert ("received", True, "anna") == (known.provenance, known.is_explicit, known.actor)
    assert row.signature is not None
    verify_artifact(store.artifact(MODEL, 1), row.signature, Keys.from_environment().trusted())
    assert {"accuracy": 0.91} == row.metrics
    assert ("tina", "c0ffee") == (row.lineage["run_user"], row.lineage["git_commit"])
    assert "extra.pkl: is a pickle" in row.lineage["findings"][0]
    with pytest.raises(NothingToDo, match=r"registered already, as 2\.1\.0"):
        register_version(service, version)
    (store.artifact(MODEL, 1) / "more.txt").write_text("new")
    with pytest.raises(ArtifactTampered, match="not those that were recorded: nothing was registered"):
        register_version(service, version)


def test_a_trainer_nobody_knew_is_said_later_and_never_rewritten(store: Store) -> None:
    """A CI account is nobody; the message that blocks an approval names the command; somebody else is refused."""
    family = a_family(approvals={"roles": ["science"], "ci_accounts": ["builder"]})
    service, version = store.service(family), _version(store, user="builder")
    register_version(service, version, semver="1.0.0")
    approving = Approving(service, service.check(version))
    word = Opinion("science", "dora", approved=True, comment="read it")
    with pytest.raises(GateRefused, match=r"register-model\.py tiny-linear 1 --trainer WHO"):
        approving.record_now(word, "account")
    with pytest.raises(UsageError, match="a CI account is no person"):
        register_version(service, version, trainer="builder")
    with pytest.raises(UsageError, match="ZERO WIDTH SPACE"):
        register_version(service, version, trainer="ti\u200bna")

    entry = register_version(service, version, trainer="tina@company.com")

    assert ("1.0.0", "tina@company.com") == (entry.version, entry.trainer)
    approving.record_now(word, "account")
    with pytest.raises(GateRefused, match="a registration is not rewritten"):
        register_version(service, version, trainer="tom")
    with pytest.raises(NothingToDo):
        register_version(service, version, trainer="tina")


def test_the_first_check_registers_what_was_trained_elsewhere(store: Store) -> None:
    """Once, with its number for a name; somebody's own registration may follow, a family that trains here has none."""
    version = _version(store)
    receive(store.service(a_training_family()), version)
    receive(store.service(), version)
    assert store.service().journal.entry(MODEL, 1) is None

    service = store.service(a_family())
    for _ in range(2):
        receive(service, version)

    known, _row = _known(service)
    assert [False] == [known.is_explicit for _event in service.journal.history("tiny")]
    assert "1" == service.journal.entry(MODEL, 1).version  # type: ignore[union-attr]
    assert ("1.0.0", True) == (register_version(service, version).version, _known(service)[0].is_explicit)


def test_a_check_goes_on_where_nothing_can_be_registered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why not."""
    monkeypatch.setenv("PROMOTION_SIGNING_KEY", "/nowhere/key.pem")
    said: list[str] = []

    receive(store.service(a_family(), report=said.append), _version(store))

    assert [line for line in said if "not registered" in line and "PROMOTION_SIGNING_KEY" in line]


_ROBBED = (
    "UPDATE model_version_detail SET signature = NULL",
    "UPDATE model_version_detail SET registered_at = NULL, signature = NULL, provenance = NULL",
    "UPDATE model_version_detail SET trainer = 'somebody'",
)


@pytest.mark.parametrize("statement", _ROBBED, ids=["signature", "registration", "trainer"])
@pytest.mark.system
def test_a_signature_that_is_gone_refuses_everywhere(store: Store, statement: str) -> None:
    """On the way into a stage, on the way back, and for whoever loads the files; nothing is registered over it."""
    config = a_family()
    service = store.service(config)
    for score in (0.9, 0.95):
        version = _version(store)
        (store.artifact(MODEL, version.number) / "scores.json").write_text(json.dumps({"roc_auc": score}))
        register_version(service, version)
        service.promote(service.check(version), ANNA)
    _sql(store, statement)
    first, second = (store.registry.version(MODEL, number) for number in (1, 2))

    with pytest.raises(GateRefused, match=r"tiny-linear v1: its row's \w+"):
        move(service, first, Stage.STAGING, ANNA)
    with pytest.raises(GateRefused, match=r"tiny-linear v1: its row's \w+"):
        roll_back(service, MODEL, None, ANNA)
    with pytest.raises(GateRefused, match="its registration is not the one that"):
        register_version(service, first)
    with pytest.raises(ArtifactTampered, match="its registration is not the one that"):
        load_version(store.registry, service.journal, service.configs, second)


def test_files_that_changed_are_not_loaded(store: Store) -> None:
    """Where the journal knows them."""
    service, version = store.service(), _version(store)
    register_version(service, version)
    (store.artifact(MODEL, 1) / "scores.json").write_text(json.dumps({"roc_auc": 1.0}))

    with pytest.raises(ArtifactTampered, match="they were changed since"):
        load_version(store.registry, service.journal, service.configs, version)
