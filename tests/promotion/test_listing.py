"""What people see, as lines of text and as data."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Arranged
from tests.promotion.factories import ANNA, START, Scored, Store, a_family, a_journal, a_version, promote

from promotion.gates import Context, run_gates
from promotion.journal.records import Authority, Change, Registration
from promotion.listing import (
    alias_target_lines,
    disagreements,
    event_documents,
    gate_lines,
    history_lines,
    model_documents,
    model_lines,
    shown_tags,
    with_every_version,
)
from promotion.registry.contract import RegisteredModel
from promotion.registry.stages import Stage
from promotion.service import Mover


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


def test_where_aliases_point_is_told() -> None:
    """After the models, as MLflow writes it, also of versions that the listing leaves out; nothing where none is."""
    model = RegisteredModel(
        "churn", [a_version("churn", 2, Stage.PRODUCTION)], {"champion": 2, "best": 2, "challenger": 1}
    )

    assert [
        "",
        "🔗 Aliases:",
        "   churn@best → Version 2",
        "   churn@challenger → Version 1",
        "   churn@champion → Version 2",
    ] == alias_target_lines([model, _model("bare")])
    assert [] == alias_target_lines([_model("bare")])
    (document,) = model_documents([model])
    assert [["best", "champion"]] == [version["aliases"] for version in document["versions"]]
    (whole,) = with_every_version([model], [*model.versions, a_version("churn", 1), a_version("other", 1)])
    assert [2, 1] == [version.number for version in whole.versions]


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
    invented = run_gates("tiny", replace(context, invented="no real rows"))
    assert ("   ⚠️ no real rows", "no real rows") == (gate_lines(invented)[-1], invented.as_json()["invented"])


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


# Where rows, events and MLflow say different things


@pytest.fixture
def serving(arranged: Arranged) -> Store:
    """A family of two registered models, linear v1 promoted by us, and `churn`, which nobody ever moved with us."""
    return arranged(_serving)


def _serving(store: Store) -> None:
    service = store.service(a_family())
    for model in ("tiny-linear", "tiny-linear", "tiny-forest", "churn"):
        store.register(model, roc_auc=0.9)
    service.promote(service.check(service.candidate("tiny-linear", 1)), Mover("anna", "the first"))
    store.move("churn", 1, Stage.PRODUCTION)


def _told(store: Store, **config: Any) -> list[str]:
    found = disagreements(store.registry.models(), store.service(a_family(**config)))
    assert found.keys() <= {"tiny"}
    return found.get("tiny", [])


def _rows_of(store: Store, *statements: str) -> None:
    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        for statement in statements:
            database.execute(f"UPDATE model_version_detail SET status = {statement}")  # noqa: S608


GOVERNED = {"approvals": {"roles": ["devops"]}}


@pytest.mark.parametrize(("config", "word"), [({}, "takes it over"), (GOVERNED, "QUARANTINED")])
def test_a_row_set_by_sql_is_told_with_what_follows(serving: Store, config: dict[str, Any], word: str) -> None:
    """One line; with approvals it says that export and deploy refuse."""
    service = serving.service(a_family())
    service.journal.record("tiny", service.candidate("tiny-linear", 2), ANNA)
    _rows_of(serving, "'archived' WHERE mlflow_version = 1", "'production' WHERE mlflow_version = 2")

    (line,) = _told(serving, **config)

    assert "changed outside by SQL: tiny-linear v1: its row says Archived, the events say Production; " in line
    assert "tiny-linear v2: its row says Production, the events say None" in line
    assert word in line


@pytest.mark.parametrize("config", [{}, GOVERNED], ids=["without approvals", "with approvals"])
def test_an_emptied_production_is_the_loudest_line(serving: Store, config: dict[str, Any]) -> None:
    """Whoever was taken out is named with the command that brings it back, and with the one for what was meant."""
    _rows_of(serving, "'archived'")

    (line,) = _told(serving, **config)

    assert line.startswith("❌ tiny: NO PRODUCTION: changed outside by SQL: tiny-linear v1: its row says Archived")
    assert "the statement that archives took tiny-linear v1 out" in line
    assert "--restore --model tiny --reason WHY" in line
    assert "mlops/registry/promote_model.py --model-name tiny-linear --version VERSION" in line


@pytest.mark.parametrize(
    ("stages", "archive", "told"),
    [
        ([], False, []),
        ([("tiny-forest", 1, Stage.ARCHIVED)], False, []),
        (
            [("tiny-linear", 1, Stage.ARCHIVED), ("tiny-forest", 1, Stage.PRODUCTION)],
            False,
            ["tiny-forest v1: MLflow shows Production, the journal None"],
        ),
        (
            [("tiny-linear", 1, Stage.ARCHIVED)],
            False,
            ["tiny-linear v1: MLflow shows Archived, the journal Production"],
        ),
        (
            [("tiny-linear", 2, Stage.PRODUCTION)],
            False,
            ["MLflow shows tiny-linear v1 and tiny-linear v2 in Production, the journal holds tiny-linear v1"],
        ),
        (
            [("tiny-forest", 1, Stage.PRODUCTION)],
            False,
            ["MLflow shows tiny-forest v1 and tiny-linear v1 in Production, the journal holds tiny-linear v1"],
        ),
        (
            [("tiny-linear", 2, Stage.STAGING)],
            False,
            ["tiny-linear v2: MLflow shows Staging, the journal None"],
        ),
    ],
    ids=["same", "archived", "promoted", "emptied", "two of one model", "two of two models", "staged"],
)
def test_changes_made_outside_are_pointed_at(
    serving: Store, stages: list[tuple[str, int, Stage]], archive: bool, told: list[str]
) -> None:
    """One line for a family that MLflow shows otherwise, in the words of every other command."""
    for model, number, stage in stages:
        serving.move(model, number, stage, archive=archive)

    lines = _told(serving)

    assert len(told) == len(lines)
    for part, line in zip(told, lines, strict=True):
        assert part in line
        assert "--reconcile --model tiny" in line
        assert all(found in line for found in serving.service(a_family()).outside_changes("tiny"))


@pytest.mark.parametrize(("number", "words"), [(2, "points at v2 (None)"), (9, "points at v9, which MLflow does not")])
def test_a_moved_alias_is_pointed_at(serving: Store, number: int, words: str) -> None:
    """Also one that leads to a version that was deleted."""
    serving.sql(f"UPDATE registered_model_aliases SET version = {number} WHERE alias = 'production'")  # noqa: S608

    (line,) = _told(serving)

    assert f"alias production of tiny-linear {words}" in line
    assert "the journal holds tiny-linear v1 in Production" in line


def test_two_productions_that_nobody_recorded_are_told(serving: Store) -> None:
    """A registry that was never moved with us, too, has one version in Production at most."""
    serving.register("churn")
    serving.move("churn", 2, Stage.PRODUCTION)

    found = disagreements(serving.registry.models(), serving.service(a_family()))

    assert {"churn"} == found.keys()
    assert "MLflow shows churn v1 and churn v2 in Production, the journal holds none" in found["churn"][0]


def test_programs_are_told_too(serving: Store) -> None:
    """The listing as data has every version in Production, and what is said of the family."""
    serving.move("tiny-linear", 2, Stage.PRODUCTION)
    models = serving.registry.models()
    said = disagreements(models, serving.service(a_family()))

    documents = model_documents(models, {}, lambda name: said["tiny"] if name.startswith("tiny") else [])

    shown = {item["name"]: [(v["version"], v["stage"]) for v in item["versions"]] for item in documents}
    assert [(2, "Production"), (1, "Production")] == shown["tiny-linear"]
    assert [said["tiny"], said["tiny"], []] == [item["disagreements"] for item in documents[::-1]]


def test_a_pending_move_is_told_once_with_its_reason(serving: Store) -> None:
    """An unfinished projection explains the difference, so the family is not reported twice."""
    journal = serving.service(a_family()).journal
    production = journal.production("tiny")
    assert production
    changes = [Change(a_version("tiny-forest"), Stage.STAGING)]
    journal.move("tiny", changes, ANNA, expected_production=production.id)
    journal.mark_failed(journal.pending(), "MLflow is down")

    (line,) = _told(serving)

    assert line.startswith("⏳ tiny: a move recorded at ")
    assert "is not shown by MLflow yet (MLflow is down)" in line


def test_without_a_journal_nothing_disagrees(serving: Store) -> None:
    """A registry that was never promoted in is listed as it is."""
    (serving.home / "promotion.db").unlink()

    assert [] == _told(serving)
