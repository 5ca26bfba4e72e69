"""What people see, as lines of text and as data."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.promotion.factories import ANNA, START, Scored, a_family, a_journal, a_version, promote

from promotion.config.family import FamilyConfigs
from promotion.gates import Context, run_gates
from promotion.journal.records import Authority, Change, Registration
from promotion.listing import (
    disagreements,
    event_documents,
    gate_lines,
    history_lines,
    model_documents,
    model_lines,
    shown_tags,
)
from promotion.registry.contract import RegisteredModel
from promotion.registry.stages import Stage

CONFIGS = FamilyConfigs({"tiny": a_family()})


def _model(name: str, *stages: Stage) -> RegisteredModel:
    return RegisteredModel(name, [a_version(name, number, stage) for number, stage in enumerate(stages, 1)])


def test_versions_are_listed_newest_first_with_an_icon_for_production() -> None:
    """One block per model; a model without versions says so."""
    lines = model_lines([_model("churn", Stage.PRODUCTION, Stage.NONE), _model("bare")])

    assert [
        "",
        "📦 churn",
        "   📌 Version 2 - Stage: None",
        "   🏆 Version 1 - Stage: Production",
        "",
        "📦 bare",
        "   (no versions)",
    ] == lines
    assert [] == model_lines([])


def test_a_semantic_version_stands_below_the_number() -> None:
    """Only versions that have one get the line; programs get it too."""
    models = [_model("churn", Stage.PRODUCTION, Stage.NONE)]
    semvers = {("churn", 1): "1.2.0"}

    assert [
        "   📌 Version 2 - Stage: None",
        "   🏆 Version 1 - Stage: Production",
        "      Semantic version: 1.2.0",
    ] == model_lines(models, semvers)[2:]
    (document,) = model_documents(models, semvers)
    assert {2: None, 1: "1.2.0"} == {v["version"]: v["semver"] for v in document["versions"]}


def test_bookkeeping_tags_are_left_out() -> None:
    """People see their own tags in alphabetical order; the data keeps all of them."""
    version = a_version(tags={"roc_auc": "0.9", "promotion.round": "x", "mlflow.user": "y", "best_model": "true"})

    assert [("best_model", "true"), ("roc_auc", "0.9")] == list(shown_tags(version).items())
    (document,) = model_documents([RegisteredModel("churn", [version], {"production": 1})])
    assert 4 == len(document["versions"][0]["tags"])
    assert {"production": 1} == document["aliases"]
    assert document == json.loads(json.dumps(document))


def test_gates_are_a_table_with_the_reason_of_each_refusal() -> None:
    """Columns line up; a refused gate says why."""
    context = Context(
        config=a_family(),
        candidate=a_version(),
        now=START,
        digest="ab" * 32,
        is_loaded=True,
        evaluation=Scored({"roc_auc": 0.7}),
    )

    assert [
        "Gates for churn v1:",
        "   ✅ version ready           READY                required: READY",
        "   ✅ artifact present        sha256 abababababab  required: files",
        "   ✅ safe files              nothing found        required: no pickle, no escaping path",
        "   ✅ feature schema          hash None            required: the family's columns",
        "   ✅ model runs              scores 60 rows       required: loads and scores",
        "   ❌ roc_auc                 0.7000               required: ≥ 0.8",
        "      → roc_auc misses its bound",
        "   ✅ better than Production  no Production yet    required: first version: thresholds only",
    ] == gate_lines(run_gates("tiny", context))


def test_history_reads_as_sentences_and_as_data(tmp_path: Path) -> None:
    """Time in UTC, move, action, actor and reason."""
    journal = a_journal(tmp_path)
    promote(journal, "churn", a_version())
    (event,) = journal.history()

    assert [
        f"{event.at:%Y-%m-%d %H:%M:%S} UTC  churn v1: None → Production  (promote by anna: the better one)"
    ] == history_lines([event])
    (document,) = event_documents([event])
    assert document == json.loads(json.dumps(document))
    assert ("None", "Production", event.at.isoformat()) == (document["from"], document["to"], document["at"])


def test_an_override_stands_out_in_the_history(tmp_path: Path) -> None:
    """Whoever skims the list sees which rule was waived before anything else about the move."""
    journal = a_journal(tmp_path)
    waived = Authority("stage", "anna", "the pilot", details={"override": ["rmspe < 0.12 instead of < 0.10"]})
    journal.move("churn", [Change(a_version(), Stage.STAGING)], waived, expected_production=None)

    (line,) = history_lines(journal.history())

    assert "churn v1: ⚠️ OVERRIDE of rmspe < 0.12 instead of < 0.10: None → Staging" in line


def test_history_names_what_moves_nothing(tmp_path: Path) -> None:
    """An approval or a refusal is told by its name, with the semantic version and the person behind the account."""
    journal = a_journal(tmp_path)
    known = Registration("a" * 64, None, "anna", "f" * 64, {}, {})
    journal.register("churn", [(a_version(), known)], actor="anna", semver="1.2.0")
    said = Authority("approve", "jenkins", "devops: it deploys", approver="dora")
    journal.record("churn", a_version(), said)

    lines = [line.partition(" UTC  ")[2] for line in history_lines(journal.history())]

    assert [
        "churn v1 (1.2.0): approve  (by jenkins for dora: devops: it deploys)",
        "churn v1 (1.2.0): register  (by anna: trained as 1.2.0)",
    ] == lines
    assert ("1.2.0", "dora") == (
        (newest := event_documents(journal.history())[0])["semver"],
        newest["details"]["approver"],
    )


GOVERNED = FamilyConfigs({"tiny": a_family(approvals={"roles": ["devops"]})})


def _by_hand(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "promotion.db", isolation_level=None)) as database:
        database.execute(statement)


@pytest.mark.parametrize(("configs", "word"), [(CONFIGS, "takes it over"), (GOVERNED, "QUARANTINED")])
def test_a_row_set_by_sql_is_told_with_what_follows(tmp_path: Path, configs: FamilyConfigs, word: str) -> None:
    """One line, although MLflow disagrees as well; with approvals it says that export and deploy refuse."""
    journal = a_journal(tmp_path)
    promote(journal, "tiny", a_version("tiny-linear"))
    journal.record("tiny", a_version("tiny-linear", 2), ANNA)
    journal.mark_done(journal.pending())
    for statement in ("'archived' WHERE mlflow_version = 1", "'production' WHERE mlflow_version = 2"):
        _by_hand(tmp_path, f"UPDATE model_version_detail SET status = {statement}")  # noqa: S608

    (line,) = disagreements([_model("tiny-linear", Stage.PRODUCTION)], journal, configs)

    assert "changed outside by SQL: tiny-linear v2: its row says Production, the events say None" in line
    assert word in line


@pytest.mark.parametrize("configs", [CONFIGS, GOVERNED], ids=["without approvals", "with approvals"])
def test_an_emptied_production_is_the_loudest_line(tmp_path: Path, configs: FamilyConfigs) -> None:
    """Whoever was taken out is named with the command that brings it back; a recorded archiving is no such case."""
    journal = a_journal(tmp_path)
    promote(journal, "tiny", a_version("tiny-linear"))
    promote(journal, "churn", a_version())
    archived = [Change(a_version(), Stage.ARCHIVED)]
    journal.move("churn", archived, ANNA, expected_production=2)
    journal.mark_done(journal.pending())
    _by_hand(tmp_path, "UPDATE model_version_detail SET status = 'archived'")

    (line,) = disagreements([_model("tiny-linear", Stage.PRODUCTION)], journal, configs)

    assert line.startswith("❌ tiny: NO PRODUCTION: changed outside by SQL: tiny-linear v1: its row says Archived")
    assert "--restore --model tiny --reason WHY" in line


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ([_model("tiny-linear", Stage.PRODUCTION)], []),
        ([_model("tiny-linear", Stage.PRODUCTION), _model("tiny-forest", Stage.NONE)], []),
        (
            [_model("tiny-linear", Stage.ARCHIVED), _model("tiny-forest", Stage.PRODUCTION)],
            ["MLflow shows tiny-forest v1 in Production, the journal holds tiny-linear v1"],
        ),
        (
            [_model("tiny-linear", Stage.ARCHIVED)],
            ["MLflow shows no version in Production, the journal holds tiny-linear v1"],
        ),
        ([_model("tiny-linear", Stage.PRODUCTION), _model("unknown", Stage.PRODUCTION)], []),
    ],
    ids=["same", "another model elsewhere", "promoted outside", "archived outside", "never moved by us"],
)
def test_changes_made_outside_are_pointed_at(tmp_path: Path, shown: list[RegisteredModel], told: list[str]) -> None:
    """One line per family whose Production in MLflow is not the journal's."""
    journal = a_journal(tmp_path)
    promote(journal, "tiny", a_version("tiny-linear"))
    journal.mark_done(journal.pending())

    lines = disagreements(shown, journal, CONFIGS)

    assert len(told) == len(lines)
    for part, line in zip(told, lines, strict=True):
        assert part in line
        assert "--reconcile" in line


def test_a_pending_move_is_told_once_with_its_reason(tmp_path: Path) -> None:
    """An unfinished projection explains the difference, so the family is not reported twice."""
    journal = a_journal(tmp_path)
    promote(journal, "tiny", a_version("tiny-linear"))
    journal.move("tiny", [Change(a_version("tiny-forest"), Stage.STAGING)], ANNA, expected_production=1)
    journal.mark_failed(journal.pending(), "MLflow is down")

    (line,) = disagreements([_model("tiny-linear", Stage.NONE)], journal, CONFIGS)

    assert line.startswith("⏳ tiny: a move recorded at ")
    assert "is not shown by MLflow yet (MLflow is down)" in line


def test_without_a_journal_nothing_disagrees(tmp_path: Path) -> None:
    """A registry that was never promoted in is listed as it is."""
    assert [] == disagreements([_model("tiny-linear", Stage.PRODUCTION)], a_journal(tmp_path), CONFIGS)
