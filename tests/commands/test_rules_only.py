"""A family whose file has rules alone: its versions, trained elsewhere, move by them, and nobody is told to train."""

from __future__ import annotations

import json
import runpy
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

pytestmark = pytest.mark.system

RULES = "family: churn\nregistered_model: 'churn-*'\n"


@pytest.fixture
def team(store: Store) -> Store:
    """Two versions of a model that another tool registered."""
    (store.home / "config").mkdir(exist_ok=True)
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    for _ in range(2):
        store.register("churn-eu")
    return store


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, team: Store) -> Any:
    """Run a command file in this process."""
    monkeypatch.setenv("PROMOTION_HOME", str(team.home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")

    def run(script: str, *arguments: str) -> Result:
        main = runpy.run_path(str(REPOSITORY / script), run_name="command")["main"]
        result = CliRunner().invoke(main, arguments)
        assert "unexpected" not in result.stderr
        assert "train.py" not in result.output
        return result

    return run


def rules(team: Store, more: str = "") -> None:
    """What the family's file says."""
    (team.home / "config" / "churn.yaml").write_text(RULES + more, encoding="utf-8")


def test_versions_move_and_come_back(team: Store, call: Any) -> None:
    """Promotion, listing, history, rollback, cleanup and reconciling need no rows."""
    rules(team, "rollback: {cool_down_hours: 0}\n")
    assert 0 == call("scripts/promote-model.py", "churn-eu", "1").exit_code
    assert 0 == call("scripts/promote-model.py", "churn-eu", "2").exit_code
    back = call("mlops/registry/rollback_model.py", "--model-name", "churn-eu", "--reason", "worse")
    assert 0 == back.exit_code, back.output
    for action, exit_code in (("--list", 0), ("--history", 0), ("--reconcile", 0), ("--cleanup", 5)):
        result = call("scripts/promote-model.py", action, "--model", "churn", "--yes")
        assert exit_code == result.exit_code, result.output
    moves = json.loads(call("scripts/promote-model.py", "--history", "--model", "churn", "--json").stdout)
    assert {"churn"} == {move["family"] for move in moves}
    production = team.service().journal.production("churn")
    assert production is not None
    assert 1 == production.number


def test_its_rules_count(team: Store, call: Any) -> None:
    """Access, approvals and thresholds refuse; a threshold says that nothing is measured, and nothing is loaded."""
    rules(team, "access: {production: [olga]}\n")
    assert "access names olga" in call("scripts/promote-model.py", "churn-eu", "1").stderr.splitlines()[-1]
    rules(team, "approvals: {roles: [risk]}\n")
    refused = call("scripts/promote-model.py", "churn-eu", "1")
    assert (3, True) == (refused.exit_code, "approvals: 0 of 1" in refused.stderr)
    rules(team, "gates: {thresholds: {auc: {minimum: 0.5}}}\n")
    refused = call("scripts/promote-model.py", "churn-eu", "1")
    assert 3 == refused.exit_code
    assert "auc: not measured, required ≥ 0.5 (the family's file has no section data" in refused.stderr
    assert "model runs" not in refused.stderr
    assert team.service().journal.production("churn") is None


@pytest.mark.parametrize(
    ("command", "section"),
    [
        (["src/models/train.py", "--model", "churn"], "candidates"),
        (["src/models/train_ensemble.py", "--model", "churn"], "candidates"),
        (["src/models/predict.py", "--model-name", "churn-eu", "--stage", "Production"], "holdout"),
        (["scripts/export-model.py", "--model", "churn"], "task"),
        (["scripts/download-data.py", "--model", "churn"], "data"),
        (["scripts/monitor-model.py", "--model", "churn", "--log", "."], "holdout"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_what_needs_more_names_the_section(team: Store, call: Any, command: list[str], section: str) -> None:
    """One line with file, section and what to do; exit 2, nothing is registered."""
    rules(team)
    call("scripts/promote-model.py", "churn-eu", "1")
    before = team.rows()

    result = call(*command)

    assert 2 == result.exit_code, result.output
    (line,) = result.stderr.strip().splitlines()[-1:]
    assert line.startswith(f"config/churn.yaml:1: {section}: this needs a section that the file does not have: ")
    assert before == team.rows()


def test_nobody_is_told_to_train(team: Store, call: Any) -> None:
    """An approval without a known trainer, the automatic promotion and a staging say what is the matter."""
    rules(team, "approvals: {roles: [risk]}\n")
    named = ("--model-name", "churn-eu", "--version", "1")
    staged = call("src/models/validate_model.py", *named)
    assert 0 == staged.exit_code, staged.output
    who = ("--role", "risk", "--approver", "rita@example.com", "--comment", "fine")
    approved = call("mlops/registry/approve_model.py", *named, *who)
    assert 3 == approved.exit_code, approved.output
    assert "is unknown, so nobody can be told apart from them: say who did: " in approved.stderr
    assert approved.stderr.strip().endswith("python scripts/register-model.py churn-eu 1 --trainer WHO")
    assert "train.py" not in approved.stderr
    named_then = call("scripts/register-model.py", "churn-eu", "1", "--trainer", "tina@example.com", "--json")
    assert (0, "tina@example.com") == (named_then.exit_code, json.loads(named_then.stdout)["registration"]["trainer"])
    assert 5 == call("scripts/register-model.py", "churn-eu", "1").exit_code
    assert 0 == call("mlops/registry/approve_model.py", *named, *who).exit_code
    assert 5 == call("scripts/promote-model.py", "--auto", "--model", "churn").exit_code


def test_a_page_and_a_check_need_no_rows(team: Store, call: Any) -> None:
    """The plan shows the gates there are; the page shows what there is."""
    rules(team, "approvals: {roles: [risk]}\n")
    named = ("--model-name", "churn-eu", "--version", "1")
    check = call("mlops/registry/check_promotion.py", *named)
    assert 3 == check.exit_code, check.output
    assert 0 == call("scripts/promotion-report.py", *named).exit_code
    plan = call("scripts/pipeline-plan.py", "--model", "churn")
    assert 0 == plan.exit_code, plan.output
