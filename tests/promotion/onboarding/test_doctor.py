"""The doctor names each fault of an installation and its registry with what mends it, and writes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.promotion.factories import ANNA, Store, Watched, a_family, a_journal, promote

from promotion.bootstrap import open_journal
from promotion.config.evidence import RunLimits
from promotion.config.family import FamilyConfigs
from promotion.evaluation.received import sandbox
from promotion.journal.journal import Journal
from promotion.journal.records import Authority
from promotion.onboarding.diagnosis import Diagnosis, Symptom
from promotion.onboarding.doctor import diagnose
from promotion.onboarding.installation import check_rights
from promotion.registration import register_version
from promotion.registry.contract import Registry
from promotion.registry.stages import Stage
from promotion.service import Mover

PICKLE = b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01."
RULES = "family: churn\nregistered_model: churn\n"


@pytest.fixture
def team(store: Store) -> Store:
    """A registry that nobody told us of: no family, no journal, no key."""
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    (store.home / "promotion.db").unlink()
    return store


def found(team: Store, **options: Any) -> Diagnosis:
    return diagnose(team.settings, **options)


def of_kind(diagnosis: Diagnosis, kind: str) -> list[Symptom]:
    return [symptom for symptom in diagnosis.symptoms if symptom.kind == kind]


def _content(home: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def _rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def _run(team: Store) -> str:
    return str(team.client.create_run("0").info.run_id)


def test_a_registry_in_order_has_no_findings(team: Store) -> None:
    """Every check says what it saw; nothing staged is unsigned."""
    team.register("churn", roc_auc=0.9)

    diagnosis = found(team)

    assert (0, [], "nothing is wrong") == (diagnosis.exit_code, diagnosis.findings, diagnosis.summary)
    assert ["connection", "versions", "rights", "clock", "journal", "keys", "sandbox", "families", "registry"] == list(
        diagnosis.said
    )
    assert "files of 0 versions" in diagnosis.said["registry"]
    assert "may write 1 of the 1" in diagnosis.said["rights"]


def _old_registry(team: Store) -> None:
    """Two in Production, an alias beside its stage and one that leads nowhere, a pickle, lost files, a deleted run."""
    for _ in range(5):
        team.register("churn", roc_auc=0.9)
    team.register("fraud", roc_auc=0.9)
    for number in (1, 2):
        team.move("churn", number, Stage.PRODUCTION)
    team.move("churn", 4, Stage.STAGING)
    team.client.set_registered_model_alias("churn", "production", "3")
    team.client.set_registered_model_alias("churn", "champion", "5")
    team.client.set_registered_model_alias("churn", "lost", "5")
    team.sql("UPDATE registered_model_aliases SET version = 77 WHERE alias = 'lost'")
    (team.artifact("churn", 2) / "model.pkl").write_bytes(PICKLE)
    (team.artifact("fraud", 1) / "model.pkl").write_bytes(PICKLE)
    shutil.rmtree(team.artifact("churn", 4))
    deleted, gone = _run(team), "0" * 32
    team.client.delete_run(deleted)
    team.sql(f"UPDATE model_versions SET run_id = '{deleted}' WHERE name = 'churn' AND version = 3")  # noqa: S608
    team.sql(f"UPDATE model_versions SET run_id = '{gone}' WHERE name = 'churn' AND version = 5")  # noqa: S608
    team.sql("UPDATE model_versions SET source = 'models:/m-1' WHERE name = 'churn' AND version = 3")


EXPECTED = {
    ("production", "churn"): "--reconcile --model churn",
    ("alias", "churn"): "--reconcile --model churn",
    ("pickle", "churn v2"): "init-family.py churn 2 --holdout FILE",
    ("missing", "churn v4"): "known_bad.py churn 4 --reason WHY",
    ("run", "churn v3"): "mlflow runs restore --run-id",
    ("logged model", "churn v3"): "known_bad.py churn 3 --reason WHY",
    ("run", "churn v5"): "register-model.py churn 5 --trainer WHO",
    ("unsigned", "churn v1"): "register-model.py churn 1",
    ("unsigned", "churn v2"): "register-model.py churn 2",
}


@pytest.mark.system
def test_every_fault_of_an_old_registry_is_named_with_its_remedy(team: Store) -> None:
    """What is in no stage and has no alias is looked at with --deep alone."""
    _old_registry(team)

    diagnosis = found(team)

    assert 3 == diagnosis.exit_code
    remedies = {(it.kind, it.where): it.remedy for it in reversed(diagnosis.findings)}
    assert dict.fromkeys(EXPECTED, True) == {
        place: remedy in remedies.get(place, "") for place, remedy in EXPECTED.items()
    }
    assert set(EXPECTED) == set(remedies)
    aliases = [it.problem for it in of_kind(diagnosis, "alias")]
    assert ["alias production points at churn v3", "alias lost points at v77, which is gone"] == [
        text.partition(", the stage")[0] for text in aliases
    ]
    deep = {it.where for it in of_kind(found(team, is_deep=True), "pickle")}
    assert {"churn v2", "fraud v1"} == deep


@pytest.mark.system
def test_nothing_is_written(team: Store) -> None:
    """Neither database has another row, no file is made, changed or removed, no key is created."""
    _old_registry(team)
    before = _content(team.home), _rows(team.home / "mlflow.db")

    found(team, is_deep=True)

    assert before == (_content(team.home), _rows(team.home / "mlflow.db"))
    assert not Path(os.environ["PROMOTION_KEYS"]).exists()


@pytest.mark.system
def test_the_remedies_mend(team: Store) -> None:
    """What the doctor names is gone when it was done; a signed version in Production has no finding any more."""
    _old_registry(team)
    service = team.service()
    service.reconcile(Mover("anna", "as the doctor said"), "churn")
    for number in (1, 2, 3):
        register_version(service, team.registry.version("churn", number), trainer="tina")

    kinds = {it.kind for it in found(team).findings}

    assert {"production", "unsigned"}.isdisjoint(kinds)
    assert ["churn"] == [it.where for it in of_kind(found(team), "alias")]  # the one that leads nowhere


@pytest.mark.system
def test_what_was_moved_past_the_record_is_named_as_by_every_command(team: Store) -> None:
    """With the way out that the other commands name."""
    for _ in range(2):
        team.register("churn", roc_auc=0.9)
    service = team.service()
    service.promote(service.check(team.registry.version("churn", 1)), Mover("anna", "first"))
    register_version(service, team.registry.version("churn", 1), trainer="tina")
    assert 0 == found(team).exit_code
    team.move("churn", 2, Stage.PRODUCTION, archive=True)

    diagnosis = found(team)

    outside = of_kind(diagnosis, "outside")
    assert [("churn", service.unsettled("churn").advice)] == [(it.where, it.remedy) for it in outside]


def test_files_that_changed_since_they_were_recorded_are_found(team: Store) -> None:
    """Whatever else is right with the version."""
    team.register("churn", roc_auc=0.9)
    service = team.service()
    service.promote(service.check(team.registry.version("churn", 1)), Mover("anna", "first"))
    (team.artifact("churn", 1) / "scores.json").write_text("{}")

    assert ["churn v1"] == [it.where for it in of_kind(found(team), "files")]


def test_a_family_that_scores_pickles_in_the_sandbox_has_no_finding_of_them(team: Store) -> None:
    """Its file says so; one that refuses them is told the line to write."""
    team.register("churn", roc_auc=0.9)
    team.client.set_registered_model_alias("churn", "champion", "1")
    (team.artifact("churn", 1) / "model.pkl").write_bytes(PICKLE)
    path = team.home / "config" / "churn.yaml"
    scored = f"{RULES}task: regression\nholdout: {{path: rows.csv, target: y}}\n"
    said = []
    for text in (RULES, scored, scored + "artifacts: {code: sandbox}\n"):
        path.write_text(text)
        said.append([it.remedy for it in of_kind(found(team), "pickle")])

    rules, refused, allowed = said
    assert ["with a section holdout"] == [text.partition(" and")[0] for text in rules]
    assert ["write `artifacts: {code: sandbox}`" in text for text in refused] == [True]
    assert [] == allowed


def test_two_families_that_own_the_same_model_are_found(team: Store) -> None:
    """Nobody could say whose rules count."""
    team.register("churn", roc_auc=0.9)
    for name in ("churn", "other"):
        (team.home / "config" / f"{name}.yaml").write_text(f"family: {name}\nregistered_model: churn\n")

    (finding,) = of_kind(found(team), "ownership")

    assert ("churn", "config/churn.yaml and config/other.yaml each own it") == (finding.where, finding.problem)


@pytest.fixture
def recorded(team: Store) -> Journal:
    """A journal with three promotions of one family."""
    journal = a_journal(team.home)
    for _ in range(3):
        number = team.register("churn", roc_auc=0.9)
        promote(journal, "churn", team.registry.version("churn", number), ANNA)
    return journal


def _sql(team: Store, statement: str) -> None:
    with closing(sqlite3.connect(team.home / "promotion.db", isolation_level=None)) as database:
        database.execute(statement)


def test_an_edited_event_and_an_unfinished_move_are_found(team: Store, recorded: Journal) -> None:
    """By the newest events' hashes, and by what MLflow was not told yet."""
    assert [] == of_kind(found(team), "chain")
    assert ["churn"] == sorted({it.where for it in of_kind(found(team), "unfinished")})
    _sql(team, "DROP TRIGGER IF EXISTS promotion_event_no_update")
    with closing(sqlite3.connect(team.home / "promotion.db", isolation_level=None)) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE promotion_event SET actor = 'nobody' WHERE sequence = 2")

    (finding,) = of_kind(found(team), "chain")

    assert "its content is not what its hash was made of" in finding.problem
    assert finding.remedy.startswith("python scripts/audit.py verify")


@pytest.mark.parametrize(("revision", "code"), [("0001", 0), ("9999", 3)])
def test_a_journal_of_another_schema_is_told_and_left_as_it_is(
    team: Store, recorded: Journal, revision: str, code: int
) -> None:
    """An older one is brought up to date by the next command, a newer one needs a newer package; none is read."""
    _sql(team, f"UPDATE alembic_version SET version_num = '{revision}'")  # noqa: S608
    before = (team.home / "promotion.db").read_bytes()

    diagnosis = found(team)

    assert code == diagnosis.exit_code
    assert [revision] == [it.problem.split()[1] for it in of_kind(diagnosis, "schema")]
    assert before == (team.home / "promotion.db").read_bytes()


@pytest.mark.parametrize("store_uri", ["registry_uri", "database_url"])
def test_what_cannot_be_reached_ends_with_one_and_keeps_no_check_from_being_made(team: Store, store_uri: str) -> None:
    """Everything else is still examined."""
    team.register("churn", roc_auc=0.9)
    broken = team.home / "broken.db"
    broken.write_bytes(b"no database at all, but long enough to be read as one" * 20)
    places: dict[str, Any] = {store_uri: f"sqlite:///{broken}"}
    settings = replace(team.settings, **places)

    diagnosis = diagnose(settings)

    assert (1, ["connection" if store_uri == "registry_uri" else "journal"]) == (
        diagnosis.exit_code,
        diagnosis.unreachable,
    )
    assert {"keys", "sandbox", "families"} < set(diagnosis.said)
    assert str(broken) in diagnosis.summary


def test_keys_and_files_of_the_home(team: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key others can read, a signer's line that does not count, an approver without a key, a broken family."""
    keys = Path(os.environ["PROMOTION_KEYS"])
    team.register("churn", roc_auc=0.9)
    register_version(team.service(), team.registry.version("churn", 1))
    (keys / "signing-key.pem").chmod(0o644)
    (team.home / "config" / "allowed_signers").write_text("dana@company.com ssh-ed25519\n")
    approvals = "approvals: {roles: [science], signed: true, approvers: {science: [sam@company.com]}}\n"
    (team.home / "config" / "churn.yaml").write_text(RULES + approvals)
    (team.home / "config" / "broken.yaml").write_text("family: [")

    remedies = {it.kind: it.remedy for it in found(team).symptoms}

    assert f"chmod 600 {keys / 'signing-key.pem'}" == remedies["signing key"]
    assert "python scripts/keys.py new-approver sam@company.com" == remedies["approver"]
    assert {"signing key", "signers", "approver", "file"} == set(remedies) - {"sandbox"}  # not every machine has one


@pytest.fixture
def without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that lacks the program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox._problem.cache_clear()
    yield
    sandbox._problem.cache_clear()


@pytest.mark.usefixtures("without_bubblewrap")
def test_a_sandbox_that_does_not_start_is_a_finding_where_a_family_needs_it(team: Store) -> None:
    """Elsewhere it is worth knowing."""
    assert 0 == found(team).exit_code
    assert ["sandbox"] == [it.kind for it in found(team).symptoms]
    limits = RunLimits(code="sandbox")
    (team.home / "config" / "churn.yaml").write_text(
        f"{RULES}task: regression\nholdout: {{path: rows.csv, target: y}}\nartifacts: {{code: {limits.code}}}\n"
    )

    (finding,) = found(team).findings

    assert ("sandbox", "needed by churn") == (finding.kind, finding.where)
    assert finding.remedy.startswith("apt-get install bubblewrap")


def test_missing_rights_are_found_family_models_first(team: Store) -> None:
    """By writes that cannot succeed."""
    for name in ("a", "b", "tiny-z"):
        team.register(name, roc_auc=0.9)
    registry = cast("Registry", Watched(team.registry, is_read_only=True))
    diagnosis = Diagnosis()

    check_rights(registry, team.registry.models(), FamilyConfigs({"tiny": a_family()}), diagnosis)

    assert ["tiny-z", "a", "b"] == [it.where for it in diagnosis.findings]
    assert "may write 0 of the 3" in diagnosis.said["rights"]
    assert "ask the server's administrator for EDIT on tiny-z" in diagnosis.findings[0].remedy


def test_events_that_nobody_took_are_found(team: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter is a finding with the command that sends it again; one that waits, and a variable, are remarks."""
    general = (
        "events:\n  ci: {url: CI_URL, network: private}\n  ops: {url: OPS_URL, network: private, only: [promote]}\n"
    )
    (team.home / "config" / "events.yaml").write_text(general)
    monkeypatch.setenv("CI_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr("promotion.events.delivery._FIRST_WAIT", 0.0)
    number = team.register("churn", roc_auc=0.9)
    journal = open_journal(team.settings, {})
    version = team.registry.version("churn", number)
    for _ in range(2):
        journal.record("churn", version, Authority("refuse", "anna", "no"))
    with closing(sqlite3.connect(team.home / "promotion.db", isolation_level=None)) as database:
        database.execute("UPDATE outbox SET dead_at = '2026-11-30 09:00:00', attempts = 20 WHERE sequence = 1")
        database.execute("UPDATE outbox SET error = 'HTTP 503', attempts = 1 WHERE sequence = 2")

    diagnosis = found(team)

    assert "2 receivers, 2 events wait for one" == diagnosis.said["events"]
    (dead,) = of_kind(diagnosis, "dead letter")
    assert ("churn, ci", True) == (dead.where, dead.is_finding)
    assert "event 1 in 20 attempts, given up at 2026-11-30 09:00:00 UTC: no answer (ConnectionRefused" in dead.problem
    assert "promote-model.py --reconcile --model churn" in dead.remedy
    assert [False] == [symptom.is_finding for symptom in of_kind(diagnosis, "waiting")]
    assert ["OPS_URL"] == [symptom.where for symptom in of_kind(diagnosis, "variable")]


def test_a_broken_file_of_events_is_found(team: Store) -> None:
    """And keeps no other check from being made."""
    (team.home / "config" / "events.yaml").write_text("events: {ci: {url: CI_URL, format: mqtt}}\n")

    diagnosis = found(team)

    (broken,) = [symptom for symptom in diagnosis.findings if symptom.check == "events"]
    assert "events.yaml:1: events.ci.format: expected 'cloudevents', 'jenkins' or 'github'" in broken.problem
    assert "registry" in diagnosis.said
