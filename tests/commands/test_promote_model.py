"""`scripts/promote-model.py`: the documented commands, word for word."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.commands.conftest import FOREST, LOGISTIC, Promote
from tests.conftest import Arranged, Run
from tests.promotion.factories import Store, rows

from promotion.config.settings import REPOSITORY
from promotion.journal.records import Registration
from promotion.registry.stages import Stage
from promotion.service import Mover

LISTED = """\
📋 Registered Models:
================================================================================

📦 heart-disease-logistic_regression
   🏆 Version 2 - Stage: Production
      Tag: best_model = true
      Tag: roc_auc = 0.9665

📦 heart-disease-random_forest
   📌 Version 1 - Stage: None
      Tag: roc_auc = 0.9512
"""

AUTO = """\
========================================
📊 MLflow Model Registry - Before Promotion
========================================

📋 Registered Models:
📦 heart-disease-logistic_regression
   📌 Version 2 - Stage: None
      Tag: best_model = true
      Tag: roc_auc = 0.9665

========================================
🏆 Auto-Promoting Best Model
========================================

🔍 Searching for best model...
✅ Found best model: heart-disease-logistic_regression v2 (ROC-AUC: 0.9665)
🔍 Looking for model: heart-disease-logistic_regression
✅ Found version 2
   Current stage: None

🚀 Promoting version 2 to Production...
✅ Successfully promoted heart-disease-logistic_regression v2 to Production!

========================================
📊 MLflow Model Registry - After Promotion
========================================

📦 heart-disease-logistic_regression
   🏆 Version 2 - Stage: Production
      Tag: best_model = true
      Tag: roc_auc = 0.9665
"""


@pytest.fixture
def listed(store: Store) -> Store:
    """The registry of the documented listing."""
    store.register(LOGISTIC, {"roc_auc": "0.9100"})
    store.register(LOGISTIC, {"best_model": "true", "roc_auc": "0.9665", "promotion.round": "2026-01-05T08:00:00"})
    store.register(FOREST, {"roc_auc": "0.9512"})
    store.sql(f"DELETE FROM model_version_tags WHERE name = '{LOGISTIC}' AND version = 1")  # noqa: S608
    store.sql(f"DELETE FROM model_versions WHERE name = '{LOGISTIC}' AND version = 1")  # noqa: S608
    store.move(LOGISTIC, 2, Stage.PRODUCTION)
    return store


@pytest.fixture
def churn(arranged: Arranged) -> Store:
    """A model without configuration, three versions."""
    return arranged(_churn)


def _churn(store: Store) -> None:
    for _ in range(3):
        store.register("churn")


# --list


def test_list_prints_the_documented_table(listed: Store, promote: Promote) -> None:
    """Icons, rule, stages and tags as documented; nothing is created by looking."""
    before = listed.rows()

    result = promote("--list")

    assert (0, LISTED, "") == (result.exit_code, result.stdout, result.stderr)
    assert before == listed.rows()


def test_list_as_json_is_data(listed: Store, promote: Promote) -> None:
    """Standard output is one JSON document."""
    result = promote("--list", "--json")

    models = json.loads(result.stdout)
    assert [LOGISTIC, FOREST] == [model["name"] for model in models]
    assert {"version": 2, "stage": "Production", "status": "READY"}.items() <= models[0]["versions"][0].items()


@pytest.mark.parametrize(("family", "seen"), [("heart-disease", True), ("churn", False)])
def test_list_of_one_family(listed: Store, promote: Promote, family: str, seen: bool) -> None:
    """`--model` narrows the listing to a family, configured or not."""
    listed.register("churn")

    result = promote("--list", "--model", family)

    assert 0 == result.exit_code
    assert (seen, not seen) == (LOGISTIC in result.stdout, "churn" in result.stdout)


def test_list_of_an_empty_registry(store: Store, promote: Promote) -> None:
    """Nothing to list is no failure; what to do next is said beside it."""
    result = promote("--list")

    assert (0, LISTED.splitlines()[:2]) == (result.exit_code, result.stdout.strip().splitlines())
    assert "train first" in result.stderr


def test_list_shows_what_was_changed_outside(churn: Store, promote: Promote) -> None:
    """A version moved in MLflow behind the journal's back is pointed at, not adopted, by a command that reads."""
    assert 0 == promote("churn", "1").exit_code
    churn.move("churn", 2, Stage.PRODUCTION)
    before = churn.rows()

    result = promote("--list")

    both = "changed outside: MLflow shows churn v1 and churn v2 in Production, the journal holds churn v1"
    assert both in result.stderr
    assert before == churn.rows()


@pytest.mark.system
def test_list_shows_a_move_that_mlflow_does_not_show_yet(churn: Store, promote: Promote) -> None:
    """A recorded move whose projection is open is reported with the command that finishes it."""
    plan = churn.service().check(churn.registry.version("churn", 1))
    registry_free = churn.service()
    registry_free.registry.set_stage = _refuse  # type: ignore[method-assign, assignment]
    registry_free.promote(plan, Mover("anna", "tested"))

    result = promote("--list")

    assert "churn: a move recorded at" in result.stderr
    assert "--reconcile finishes it" in result.stderr
    assert 0 == promote("--reconcile").exit_code
    assert "" == promote("--list").stderr


def _refuse(*_arguments: object) -> None:
    from promotion.errors import RegistryBroken

    raise RegistryBroken("the store failed")


# --auto


@pytest.mark.system
def test_auto_prints_the_documented_stage_and_promotes(trained: Store, promote: Promote) -> None:
    """The Jenkins stage's whole output, with a really trained model: 0.9665 on the documented split."""
    result = promote("--auto")

    assert 0 == result.exit_code, result.stderr
    assert AUTO == result.stdout.lstrip("\n")
    assert re.search(r"✅ roc_auc +0\.9665 +required: ≥ 0\.8", result.stderr)
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()


@pytest.mark.system
def test_auto_twice_is_nothing_to_do(trained: Store, promote: Promote) -> None:
    """The champion is tagged still: exit 5, which `make` and Jenkins treat as green, and nothing changes."""
    promote("--auto")
    before = trained.rows()

    result = promote("--auto")

    assert 5 == result.exit_code
    assert f"{LOGISTIC} v2 is in Production already: nothing to do" in result.stderr
    after = result.stdout.partition("Registry - After Promotion")[2]
    assert "🏆 Version 2 - Stage: Production" in after
    assert before == trained.rows()


@pytest.mark.system
def test_an_unchanged_retrain_is_not_better(trained: Store, promote: Promote) -> None:
    """The same model trained again scores the same, so the champion stays: exit 5 with the comparison."""
    promote("--auto")
    files = trained.registry.artifact_uri(trained.registry.version(LOGISTIC, 2))
    trained.client.delete_model_version_tag(LOGISTIC, "2", "best_model")
    trained.client.create_model_version(LOGISTIC, files, tags={"best_model": "true", "roc_auc": "0.9665"})
    trained.record_training("heart-disease", [(LOGISTIC, 3)], LOGISTIC)

    result = promote("--auto")

    assert 5 == result.exit_code
    assert f"{LOGISTIC} v3 is not better than Production: 0.9665 against 0.9665 (+0.0000" in result.stderr
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()


@pytest.mark.system
def test_a_stranger_beside_the_training_is_named_and_passed_over(trained: Store, promote: Promote) -> None:
    """Written straight into MLflow with the same files, best of a round in the far future: the trained one moves."""
    files = trained.registry.artifact_uri(trained.registry.version(LOGISTIC, 2))
    tags = {"best_model": "true", "roc_auc": "0.9999", "promotion.round": "2099-01-01T00:00:00"}
    trained.client.create_model_version(LOGISTIC, files, tags=tags)

    result = promote("--auto")

    assert 0 == result.exit_code, result.stderr
    assert f"{LOGISTIC} v3: passed over: tagged best_model=true, but registered by nobody here" in result.stderr
    assert f"python scripts/register-model.py {LOGISTIC} 3" in result.stderr
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()
    named = promote(LOGISTIC, "3")
    assert (3, True) == (named.exit_code, "signature: none, required valid signature" in named.stderr)


@pytest.mark.system
def test_auto_rehearsed_creates_nothing(trained: Store, promote: Promote) -> None:
    """`--dry-run` runs the gates and writes nothing, neither to MLflow nor to the journal."""
    before = trained.rows()

    result = promote("--auto", "--dry-run")

    assert (0, True) == (result.exit_code, "may enter Production (dry run: nothing changed)" in result.stdout)
    assert "🚀" not in result.stdout
    assert before == trained.rows()


@pytest.mark.system
def test_auto_as_json(trained: Store, promote: Promote) -> None:
    """Standard output is one document with the gate report; the talk is on standard error."""
    result = promote("--auto", "--json", "--reason", "nightly")

    document = json.loads(result.stdout)
    assert {"exit_code": 0, "model": LOGISTIC, "version": 2, "to": "Production"}.items() <= document.items()
    assert document["report"]["passed"]
    assert pytest.approx(0.9665, abs=5e-5) == document["report"]["metrics"]["roc_auc"]
    assert "Found best model" in result.stderr


# A name, with or without a version


def test_a_name_promotes_its_newest_version(churn: Store, promote: Promote) -> None:
    """Found, promoted, said in the documented words."""
    result = promote("churn")

    assert 0 == result.exit_code
    assert [
        "🔍 Looking for model: churn",
        "✅ Found version 3",
        "   Current stage: None",
        "",
        "🚀 Promoting version 3 to Production...",
        "✅ Successfully promoted churn v3 to Production!",
    ] == result.stdout.splitlines()
    assert {"churn v3": "Production"} == churn.shown()


@pytest.mark.system
def test_a_version_is_promoted_and_the_old_one_archived(churn: Store, promote: Promote) -> None:
    """An older version can be promoted by number; exactly one is in Production afterwards."""
    promote("churn")

    result = promote("churn", "1", "--reason", "v3 misbehaves")

    assert 0 == result.exit_code
    assert "churn v3 was archived" in result.stderr
    assert {"churn v1": "Production", "churn v3": "Archived"} == churn.shown()
    assert {"churn@production": "1", "churn@previous": "3"} == churn.aliases()


def test_a_refused_version_exits_3(trained: Store, promote: Promote) -> None:
    """A version that is no model: the gates are shown, one line says which refused, MLflow is untouched."""
    trained.register(LOGISTIC)
    before = rows(trained.home / "mlflow.db")

    result = promote(LOGISTIC)

    assert 3 == result.exit_code
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"{LOGISTIC} v3 may not enter Production: ")
    assert "roc_auc: not measured" in last
    assert before == rows(trained.home / "mlflow.db")


def test_a_rehearsed_refusal_exits_3_and_records_nothing(trained: Store, promote: Promote) -> None:
    """`--dry-run` answers with the exit code of the real thing."""
    trained.register(LOGISTIC)
    before = trained.rows()

    assert 3 == promote(LOGISTIC, "3", "--dry-run").exit_code
    assert before == trained.rows()


@pytest.mark.system
def test_an_incomplete_projection_exits_6(churn: Store, promote: Promote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promoted in the journal, not shown by MLflow: exit 6, the cure on the console, and the cure works."""
    from promotion.registry.sqlite import SqliteRegistry

    with monkeypatch.context() as patched:
        patched.setattr(SqliteRegistry, "set_stage", _refuse)
        result = promote("churn", "1")

    assert 6 == result.exit_code
    assert "churn v1 is in Production in the journal, but MLflow could not set the stage" in result.stderr
    assert "--reconcile" in result.stderr
    assert {"churn@production": "1"} == churn.aliases()
    assert (0, "✅ MLflow shows what the journal holds\n") == (
        (reconciled := promote("--reconcile")).exit_code,
        reconciled.stdout,
    )
    assert {"churn v1": "Production"} == churn.shown()


# --history, --reconcile


@pytest.mark.system
def test_history_tells_who_what_when_and_why(churn: Store, promote: Promote) -> None:
    """Newest first, on the console and as JSON."""
    promote("churn", "1", "--reason", "first")
    promote("churn", "2", "--reason", "better recall")

    lines = promote("--history").stdout.splitlines()
    events = json.loads(promote("--history", "--json").stdout)

    assert 3 == len(lines) == len(events)
    assert lines[0].endswith("UTC  churn v2: None → Production  (promote by anna: better recall)")
    assert ("churn", 2, "Production", "anna", "better recall") == tuple(
        events[0][key] for key in ("model", "version", "to", "actor", "reason")
    )


def test_history_at_a_moment(churn: Store, promote: Promote) -> None:
    """Who served at a time; before the first promotion nobody did."""
    promote("churn", "1")
    later, earlier = (datetime.now(UTC) + timedelta(days=shift) for shift in (1, -1))

    assert "churn v1" in promote("--history", "--at", f"{later:%Y-%m-%dT%H:%M:%S}", "--model", "churn").stdout
    before = promote("--history", "--at", f"{earlier:%Y-%m-%d}")
    assert (0, "") == (before.exit_code, before.stdout)
    assert "nothing in Production at" in before.stderr


@pytest.mark.usefixtures("no_journal")
def test_history_of_nothing_creates_nothing(store: Store, promote: Promote) -> None:
    """Before the first move there is no journal, and asking makes none."""
    result = promote("--history")

    assert (0, "", "nothing was moved yet\n") == (result.exit_code, result.stdout, result.stderr)
    assert not (store.home / "promotion.db").exists()


@pytest.mark.system
def test_reconcile_adopts_a_promotion_made_in_the_user_interface(churn: Store, promote: Promote) -> None:
    """Document 001's third way to promote stays valid, and is recorded."""
    promote("churn", "1")
    churn.move("churn", 2, Stage.PRODUCTION, archive=True)

    result = promote("--reconcile", "--json")

    assert 0 == json.loads(result.stdout)["exit_code"] == result.exit_code
    assert "changed outside: churn v2" in result.stderr
    assert "adopt by mlflow" in promote("--history").stdout
    assert "" == promote("--list").stderr


@pytest.fixture
def named(churn: Store) -> Store:
    """Version 1 was registered by a training as 1.2.0, the others by other tools."""
    version = churn.registry.version("churn", 1)
    digest = str(churn.service().check(version).report.digest)
    known = Registration(digest, None, "anna", "f" * 64, {}, {})
    churn.service().journal.register("churn", [(version, known)], actor="anna", semver="1.2.0")
    return churn


@pytest.mark.system
def test_a_semantic_version_is_as_good_as_a_number(named: Store, promote: Promote) -> None:
    """`1.2.0` finds MLflow's version 1, and stands beside the number wherever that is shown."""
    result = promote("churn", "1.2.0")

    assert 0 == result.exit_code, result.stderr
    assert {"churn v1": "Production"} == named.shown()
    assert "Semantic version" not in promote("--list").stdout
    listed = promote("--list", "--semver").stdout
    assert "   🏆 Version 1 - Stage: Production\n      Semantic version: 1.2.0\n" in listed
    assert 1 == listed.count("Semantic version")
    assert ["1.2.0", None] == [
        version["semver"]
        for version in sorted(json.loads(promote("--list", "--json").stdout)[0]["versions"], key=lambda v: v["version"])
    ]
    assert "churn v1 (1.2.0): None → Production" in promote("--history").stdout


@pytest.mark.parametrize("text", ["1.2", "latest", "0", "1.2.0-rc1"])
def test_a_text_that_is_no_version_is_refused(churn: Store, promote: Promote, text: str) -> None:
    """One line says what a version looks like."""
    result = promote("churn", text)

    assert 2 == result.exit_code
    assert f"{text!r} is no version: expected MLflow's number (3) or a semantic version (1.2.0)" in result.stderr


def test_an_unknown_semantic_version_names_the_known_ones(named: Store, promote: Promote) -> None:
    """As for numbers: what there is, in one line, exit 2."""
    result = promote("churn", "1.3.0")

    assert 2 == result.exit_code
    assert result.stderr.startswith("churn has no version 1.3.0: the journal knows 1.2.0")


# Changes made by SQL, --restore


def _by_hand(store: Store, statement: str) -> None:
    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        database.execute(statement)


@pytest.mark.system
def test_an_emptied_production_is_loud_and_can_be_restored(churn: Store, promote: Promote) -> None:
    """SQL archived the old version and promoted none: every command says so until it is restored on request."""
    promote("churn", "1")
    _by_hand(churn, "UPDATE model_version_detail SET status = 'archived'")

    for result in (promote("--reconcile"), promote("churn", "2")):
        assert 3 == result.exit_code
        assert "'churn' has NO PRODUCTION: churn v1: its row says Archived, the events say Production" in result.stderr
    listed = promote("--list")
    assert "❌ churn: NO PRODUCTION: changed outside by SQL: churn v1" in listed.stderr
    assert "--restore --model churn --reason WHY" in listed.stderr

    restored = promote("--restore", "--model", "churn", "--reason", "a misspelt version")

    assert 0 == restored.exit_code, restored.stderr
    assert [
        "   found: churn v1: its row says Archived, the events say Production",
        "✅ churn: what was recorded is back in place",
    ] == restored.stdout.splitlines()
    assert ("", 0) == (promote("--list").stderr, promote("--reconcile").exit_code)
    assert "churn v1: restore  (by anna: a misspelt version)" in promote("--history").stdout
    assert 5 == promote("--restore", "--model", "churn", "--reason", "again").exit_code


def test_a_rehearsed_restore_changes_nothing(churn: Store, promote: Promote) -> None:
    """`--dry-run` shows what was found, as data too."""
    promote("churn", "1")
    _by_hand(churn, "UPDATE model_version_detail SET status = 'archived'")
    before = churn.rows()

    result = promote("--restore", "--model", "churn", "--reason", "looking", "--dry-run", "--json")

    document = json.loads(result.stdout)
    assert (0, True, 1) == (document["exit_code"], document["dry_run"], len(document["found"]))
    assert before == churn.rows()


@pytest.mark.parametrize("arguments", [["--reason", "why"], ["--model", "churn"]])
def test_restore_needs_a_family_and_a_reason(churn: Store, promote: Promote, arguments: list[str]) -> None:
    """It goes into the record, so nobody restores everything without a word."""
    result = promote("--restore", *arguments)

    assert 2 == result.exit_code
    assert "say --model FAMILY and --reason WHY" in result.stderr


# --cleanup


def test_cleanup_without_a_terminal_wants_yes(churn: Store, promote: Promote) -> None:
    """A pipeline cannot be asked: one line, exit 2, nothing deleted."""
    result = promote("--cleanup", "--keep", "1")

    assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "add --yes" in result.stderr
    assert 3 == len(churn.registry.versions("churn"))


@pytest.mark.system
def test_cleanup_deletes_and_keeps_the_record(churn: Store, promote: Promote) -> None:
    """What goes and what stays is said first, the history remembers; again is nothing to do."""
    promote("churn", "1")

    result = promote("--cleanup", "--keep", "1", "--yes", "--reason", "disk")

    assert 0 == result.exit_code, result.stderr
    assert "   📌 churn v1 - kept: in Production" in result.stdout
    assert "✅ 1 versions deleted from MLflow" in result.stdout
    assert "mlflow gc" in result.stderr
    assert [3, 1] == [version.number for version in churn.registry.versions("churn")]
    assert "churn v2: cleanup  (by anna: disk)" in promote("--history").stdout
    assert 5 == promote("--cleanup", "--keep", "1", "--yes").exit_code


def test_cleanup_rehearsed_as_json(churn: Store, promote: Promote) -> None:
    """What would be deleted and what stays, and why, as data; nothing is written, not even a journal."""
    before = churn.rows()

    result = promote("--cleanup", "--keep", "2", "--dry-run", "--json")

    document = json.loads(result.stdout)
    assert (0, True) == (document["exit_code"], document["dry_run"])
    assert [("churn", 1)] == [(version["model"], version["version"]) for version in document["deleted"]]
    assert ["among the newest 2"] * 2 == [version["kept"] for version in document["kept"]]
    assert before == churn.rows()


@pytest.mark.system
@pytest.mark.parametrize(("answer", "code", "left"), [("n", 5, [3, 2, 1]), ("y", 0, [3])])
def test_cleanup_asks_on_a_terminal(churn: Store, answer: str, code: int, left: list[int]) -> None:
    """A person sees the list and answers; no is the default."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(REPOSITORY / "scripts" / "promote-model.py"), "--cleanup", "--keep", "1"]
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        command, stdin=theirs, capture_output=True, text=True, check=False, timeout=100, encoding="utf-8"
    )
    for end in (ours, theirs):
        os.close(end)

    assert code == done.returncode, done.stderr
    assert "Delete 2 versions from MLflow for good? [y/N]" in done.stderr
    assert left == [version.number for version in churn.registry.versions("churn")]


# The console


@pytest.mark.system
def test_on_an_ascii_console_everything_is_ascii(listed: Store, run: Run) -> None:
    """Jenkins agents with LANG=C: no question marks, no broken bytes, no colours."""
    done = run("scripts/promote-model.py", "--list", LANG="C", LC_ALL="C")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.isascii()
    assert "[P] Version 2 - Stage: Production" in done.stdout
    assert "?" not in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.system
def test_it_runs_from_anywhere_without_loading_mlflow(listed: Store, run: Run) -> None:
    """Started by path from another folder, the listing needs no MLflow; the same text as in this process."""
    done = run("scripts/promote-model.py", "--list", PYTHONIOENCODING="utf-8", PYTHONPROFILEIMPORTTIME="1")

    assert (0, LISTED) == (done.returncode, done.stdout)
    assert not re.search(r"\| +(mlflow|alembic|pandas|sklearn)$", done.stderr, flags=re.MULTILINE)


def test_the_documented_output_is_still_the_document() -> None:
    """What these tests expect is what the users' guide shows."""
    guide = (REPOSITORY / "docs" / "MODEL-PROMOTION.md").read_text(encoding="utf-8")

    assert "✅ Found best model: heart-disease-logistic_regression v2 (ROC-AUC: 0.9665)" in guide
    assert LISTED.strip() in guide
