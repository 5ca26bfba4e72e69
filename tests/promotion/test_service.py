"""The one way a version moves: check, commit, project, record."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import Arranged
from tests.promotion.factories import Store, Watched, a_family, rows

from promotion.config.settings import REPOSITORY
from promotion.errors import (
    GateRefused,
    JournalLocked,
    NothingToDo,
    ProductionMoved,
    ProjectionIncomplete,
    UnknownFamily,
    UnknownModel,
    UnknownVersion,
)
from promotion.registry.stages import Stage
from promotion.service import Move, Mover, PromotionService


def _promote(service: PromotionService, model: str, number: int | None = None) -> Move:
    return service.promote(service.check(service.candidate(model, number)), Mover("anna", "tested"))


@pytest.fixture
def tiny(arranged: Arranged) -> Store:
    """A family of two registered models: linear v1 (0.90), linear v2 (0.95), forest v1 (0.85)."""
    return arranged(_tiny)


def _tiny(store: Store) -> None:
    store.register("tiny-linear", roc_auc=0.90)
    store.register("tiny-linear", roc_auc=0.95)
    store.register("tiny-forest", roc_auc=0.85)


def test_a_better_version_takes_over(tiny: Store) -> None:
    """The promotion names what it replaced, and the journal keeps the gate report it stood on."""
    service = tiny.service(a_family())
    _promote(service, "tiny-linear", 1)

    promotion = _promote(service, "tiny-linear")

    assert ("tiny-linear v2", "tiny-linear v1") == (str(promotion.version), str(promotion.before))
    assert (Stage.PRODUCTION, "") == (promotion.to, promotion.unprojected)
    newest, replaced, _first = service.journal.history("tiny")
    assert promotion.operation == newest.operation == replaced.operation
    kept = rows(tiny.home / "promotion.db")["gate_report"]
    assert [newest.gate_report_id] == [row[0] for row in kept[1:]]
    entry = service.journal.production("tiny")
    assert entry is not None
    assert promotion.report
    assert promotion.report.digest == entry.digest


def test_a_worse_version_is_refused_and_its_report_kept(tiny: Store) -> None:
    """The refusal says both values; neither MLflow nor the journal's state changes."""
    service = tiny.service(a_family())
    _promote(service, "tiny-linear", 1)
    shown, production = rows(tiny.home / "mlflow.db"), service.journal.production("tiny")

    with pytest.raises(GateRefused, match=r"tiny-forest v1 may not enter Production: .* 0\.8500 against 0\.9000"):
        _promote(service, "tiny-forest", 1)

    assert shown == rows(tiny.home / "mlflow.db")
    assert production == service.journal.production("tiny")
    assert "refuse" == service.journal.history("tiny", limit=1)[0].action
    assert [True, False] == [bool(row[5]) for row in rows(tiny.home / "promotion.db")["gate_report"]]


def test_what_serves_does_not_go_back_to_staging(tiny: Store) -> None:
    """Production never ends empty: a version leaves it for a successor only."""
    service = tiny.service(a_family())
    _promote(service, "tiny-linear", 2)

    plan = service.check(service.candidate("tiny-linear", 2), Stage.STAGING)
    with pytest.raises(GateRefused, match=r"tiny-linear v2 serves in Production .* without a successor"):
        service.promote(plan, Mover("anna", "once more", override=True))

    assert {"tiny-linear v2": "Production"} == tiny.shown()


def test_a_first_version_below_its_threshold_is_refused(store: Store) -> None:
    """No Production to beat does not mean anything goes."""
    store.register("tiny-linear", roc_auc=0.79)

    with pytest.raises(GateRefused, match=r"roc_auc: 0\.7900, required ≥ 0\.8"):
        _promote(store.service(a_family()), "tiny-linear")

    assert {} == store.shown()


def test_what_is_in_production_already_is_nothing_to_do(tiny: Store) -> None:
    """Promoting twice writes nothing the second time."""
    service = tiny.service(a_family())
    _promote(service, "tiny-linear", 1)
    before = tiny.rows()

    with pytest.raises(NothingToDo, match="tiny-linear v1 is in Production already"):
        _promote(service, "tiny-linear", 1)

    assert before == tiny.rows()


@pytest.mark.system
def test_a_plan_made_before_somebody_else_promoted_is_refused(tiny: Store) -> None:
    """If Production moved since the check, promotion is refused and nothing moves."""
    tiny.register("tiny-linear", roc_auc=0.97)
    service, other = tiny.service(a_family()), tiny.service(a_family())
    _promote(service, "tiny-linear", 1)
    plan = service.check(service.candidate("tiny-linear", 3))
    _promote(other, "tiny-linear", 2)
    shown, entries = rows(tiny.home / "mlflow.db"), service.journal.entries()

    with pytest.raises(ProductionMoved, match="tiny-linear v2 is in Production of 'tiny' now"):
        service.promote(plan, Mover("anna", "too late"))

    assert shown == rows(tiny.home / "mlflow.db")
    assert entries == service.journal.entries()


def test_a_check_changes_nothing(tiny: Store) -> None:
    """Gathering evidence writes to neither database."""
    (tiny.home / "promotion.db").unlink()
    before = tiny.rows()

    assert tiny.service(a_family()).check(tiny.registry.version("tiny-linear", 1)).report.passed

    assert before == tiny.rows()
    assert not (tiny.home / "promotion.db").exists()


@pytest.mark.parametrize("lost", ["scores.json", "."], ids=["file", "folder"])
def test_a_production_that_cannot_be_scored_blocks(tiny: Store, lost: str) -> None:
    """Its artifact is damaged or gone: a gate says so (exit 3); the better candidate waits for a person."""
    service = tiny.service(a_family())
    _promote(service, "tiny-linear", 1)
    artifact = tiny.artifact("tiny-linear", 1)
    if lost == ".":
        shutil.rmtree(artifact)
    else:
        (artifact / "README").write_text("the scores are gone")
        (artifact / lost).unlink()

    with pytest.raises(GateRefused, match="better than Production: not compared") as refused:
        _promote(service, "tiny-linear", 2)

    (gate,) = [gate for gate in refused.value.details["report"]["results"] if not gate["passed"]]
    assert "Production (tiny-linear v1) cannot be re-scored" in gate["why"]
    assert {"tiny-linear v1": "Production"} == tiny.shown()


@pytest.mark.parametrize("damage", ["missing", "empty", "link"])
def test_a_candidate_without_a_sound_artifact_is_refused(tiny: Store, damage: str) -> None:
    """Files that are gone, or that point elsewhere, are evidence against the candidate, not a failure of MLflow."""
    artifact = tiny.artifact("tiny-linear", 2)
    (artifact / "scores.json").unlink()
    if damage == "missing":
        artifact.rmdir()
    elif damage == "link":
        (artifact / "scores.json").symlink_to("/etc/hostname")

    with pytest.raises(GateRefused, match="artifact present: none, required files"):
        _promote(tiny.service(a_family()), "tiny-linear", 2)


@pytest.mark.system
def test_an_artifact_that_changed_after_its_promotion_does_not_come_back(tiny: Store) -> None:
    """The journal remembers the digest: a version whose files were replaced is refused."""
    service = tiny.service()
    _promote(service, "tiny-linear", 1)
    _promote(service, "tiny-linear", 2)
    (tiny.artifact("tiny-linear", 1) / "scores.json").write_text('{"roc_auc": 0.99}')

    with pytest.raises(GateRefused, match="artifact present: sha256"):
        _promote(service, "tiny-linear", 1)


def test_a_model_without_configuration_is_its_own_family(store: Store) -> None:
    """Any model of any registry can be promoted; its files are digested, never loaded."""
    store.register("Any Model, really/yes?".replace("/", "-"))
    service = store.service(a_family())

    promotion = _promote(service, "Any Model, really-yes?", 1)

    assert "Any Model, really-yes?" == promotion.family
    assert {"Any Model, really-yes? v1": "Production"} == store.shown()


def test_names_that_do_not_exist_are_usage_errors(tiny: Store) -> None:
    """Unknown model, version and family are told apart, each naming what there is."""
    service = tiny.service(a_family())
    tiny.client.create_registered_model("empty")

    with pytest.raises(UnknownModel, match="no registered model 'tiny-liner': the registry has tiny-linear"):
        service.candidate("tiny-liner")
    with pytest.raises(UnknownVersion, match="tiny-linear has no version 9: it has 2, 1"):
        service.candidate("tiny-linear", 9)
    with pytest.raises(UnknownVersion, match="'empty' has no versions"):
        service.candidate("empty")
    with pytest.raises(UnknownFamily, match=r"unknown family 'heart': neither configured \(families: tiny\)"):
        service.require_family("heart")
    assert "tiny" == service.require_family("tiny") == service.require_family("tiny-linear")
    assert "empty" == service.require_family("empty")


def test_a_registry_down_after_the_commit_is_no_failed_promotion(tiny: Store) -> None:
    """The promotion answers "made, not shown yet"; until it is shown, reconciling says so too."""
    service = tiny.service(registry=Watched(tiny.registry, is_down=True))

    promotion = _promote(service, "tiny-linear", 1)

    assert "MLflow could not be told" in promotion.unprojected
    with pytest.raises(ProjectionIncomplete, match="no connection"):
        service.reconcile(Mover("anna", "tidy"))
    assert 2 == service.journal.pending()[0].attempts


def test_a_journal_locked_before_the_commit_moves_nothing(tiny: Store) -> None:
    """Somebody keeps the database: the command gives up in time, and nothing moved."""
    service = tiny.service(lock_timeout=0.1)
    _promote(service, "tiny-linear", 1)
    plan = service.check(service.candidate("tiny-linear", 2))
    before = tiny.rows()

    with closing(sqlite3.connect(tiny.home / "promotion.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalLocked):
            service.promote(plan, Mover("anna", "now"))

    assert before == tiny.rows()


def test_a_journal_locked_after_the_commit_is_no_failed_promotion(tiny: Store) -> None:
    """The move is recorded and only its tick in the outbox fails: the answer is "promoted", with the rest to finish."""
    with closing(sqlite3.connect(tiny.home / "promotion.db", isolation_level=None)) as other:

        def lock_after_commit(line: str) -> None:
            if line.startswith("journal: "):
                other.execute("BEGIN IMMEDIATE")

        promotion = _promote(tiny.service(report=lock_after_commit, lock_timeout=0.1), "tiny-linear", 1)
        other.execute("ROLLBACK")

    assert "locked" in promotion.unprojected
    assert {"tiny-linear v1": "Production"} == tiny.shown()
    tiny.service().reconcile(Mover("anna", "tidy"))
    assert [] == tiny.service().journal.pending()


def test_two_at_once_are_one_after_the_other(tiny: Store) -> None:
    """While one process moves the family, another one's commit waits and then gives up in time."""
    service, other = tiny.service(), tiny.service(lock_timeout=0.1)
    plan = other.check(other.candidate("tiny-linear", 1))

    with service.journal.family_lock("tiny-linear"), pytest.raises(JournalLocked, match="has been moving"):
        other.promote(plan, Mover("ben", "me too"))


def test_every_step_is_reported_in_order(tiny: Store) -> None:
    """A person following along sees the commit before MLflow's changes, and the end."""
    service = tiny.service()
    _promote(service, "tiny-linear", 1)
    said: list[str] = []

    _promote(tiny.service(report=said.append), "tiny-linear", 2)

    assert [
        "committing tiny-linear v2 to Production",
        "journal: tiny-linear v2 is in Production",
        "MLflow shows tiny-linear v2 in Production",
        "MLflow shows tiny-linear v1 in Archived",
        "MLflow shows tiny-linear@production as v2",
        "MLflow shows tiny-linear@previous as v1",
        "tiny-linear: MLflow shows what the journal holds",
    ] == said


@pytest.mark.system
def test_a_process_killed_after_the_commit_is_finished_by_the_next_one(tiny: Store, tmp_path: Path) -> None:
    """SIGKILL between journal and MLflow: reconciling completes it and the lock is not left behind."""
    program = (
        "import os\n"
        "from promotion.bootstrap import open_promotions\n"
        "from promotion.service import Mover\n"
        "from promotion.config.settings import Settings\n"
        "die = lambda line: os.kill(os.getpid(), 9) if line.startswith('journal: ') else None\n"
        "service = open_promotions(Settings.from_environment(), report=die)\n"
        "plan = service.check(service.candidate('tiny-linear', 1))\n"
        "service.promote(plan, Mover('anna', 'killed'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY / "src", env=dict(os.environ), capture_output=True, check=False
    )
    assert -signal.SIGKILL == done.returncode, done.stderr
    assert {} == tiny.shown()

    tiny.service().reconcile(Mover("anna", "tidy"))

    assert {"tiny-linear v1": "Production"} == tiny.shown()
    assert [] == tiny.service().journal.pending()
