"""What a team's first steps look like: a registry without any file, then a file of rules, seen from the commands."""

from __future__ import annotations

import json
import math
import pickle
import runpy
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY
from promotion.registry.stages import Stage

PROMOTE = "scripts/promote-model.py"
PICKLE = {"model.pkl": pickle.dumps({"weights": [1.0]}), "MLmodel": b"flavors: {}"}
REPORTED = ("--model-name", "churn", "--version", "1")


@pytest.fixture
def team(store: Store) -> Store:
    """A registry of a team that has no file yet."""
    (store.home / "config").mkdir(exist_ok=True)
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    return store


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, team: Store) -> Any:
    """Run a command file in this process; none of them tells such a team to train."""
    monkeypatch.setenv("PROMOTION_HOME", str(team.home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")

    def run(script: str, *arguments: str) -> Result:
        main = runpy.run_path(str(REPOSITORY / script), run_name="command")["main"]
        result = CliRunner().invoke(main, arguments)
        assert "unexpected" not in result.stderr
        assert "train.py" not in result.output
        return result

    return run


def rules(team: Store, more: str = "", *, family: str = "churn", models: str = "churn") -> None:
    """What the family's file says."""
    text = f"family: {family}\nregistered_model: {models}\n{more}"
    (team.home / "config" / f"{family}.yaml").write_text(text, encoding="utf-8")


def test_without_a_file_a_pickle_is_said_and_recorded(team: Store, call: Any) -> None:
    """It moves all the same, since nothing here loads it; the way back looks at no content."""
    for _ in range(2):
        team.log("churn", files=PICKLE)

    check = call("mlops/registry/check_promotion.py", *REPORTED)
    moved = call(PROMOTE, "churn", "1")
    call(PROMOTE, "churn", "2")
    back = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--reason", "worse")

    assert (0, 0, 0) == (check.exit_code, moved.exit_code, back.exit_code), moved.output
    assert "files scanned     1 found" in check.stdout
    assert "model.pkl: is a pickle, which runs code when it is loaded" in moved.stderr
    journal = team.service().journal
    entry = journal.entry("churn", 1)
    assert entry is not None
    kept = [gate for gate in journal.reports(entry)[-1].report["results"] if gate["name"] == "files scanned"]
    assert [(True, "1 found")] == [(gate["passed"], gate["measured"]) for gate in kept]
    assert "files scanned" not in back.stderr


@pytest.mark.parametrize(
    ("metrics", "exit_code", "said"),
    [
        ({"roc_auc": 0.9}, 0, "0.9000 (the trainer's figure)"),
        ({"roc_auc": 0.7}, 3, "roc_auc: 0.7000 (the trainer's figure), required ≥ 0.8 (roc_auc misses its bound)"),
        ({"roc_auc": math.nan}, 3, "roc_auc: nan (the trainer's figure), required ≥ 0.8 (roc_auc is no finite"),
        ({"roc_auc": math.inf}, 3, "roc_auc: inf (the trainer's figure), required ≥ 0.8 (roc_auc is no finite"),
        ({"roc": 0.9}, 3, "has no metric roc_auc; did you mean 'roc'?"),
    ],
)
def test_a_bound_on_the_trainers_figure(
    team: Store, call: Any, metrics: dict[str, float], exit_code: int, said: str
) -> None:
    """A file of rules alone bounds what the run says; what is no number refuses in one line."""
    team.log("churn", metrics)
    rules(team, "gates: {thresholds: {roc_auc: {minimum: 0.8, from: run}}}\n")

    checked = call("mlops/registry/check_promotion.py", *REPORTED, "--json")
    page = team.home / "page.html"
    call("scripts/promotion-report.py", *REPORTED, "--output", str(page))
    moved = call(PROMOTE, "churn", "1")

    assert (exit_code, exit_code) == (checked.exit_code, moved.exit_code), moved.output
    assert said in (moved.stderr if exit_code == 0 else moved.stderr.splitlines()[-1])
    (gate,) = [gate for gate in json.loads(checked.stdout)["report"]["results"] if gate["name"] == "roc_auc"]
    assert (gate["measured"] == "not measured") == ("roc_auc" not in metrics)
    assert ("the trainer" in page.read_text(encoding="utf-8")) == ("roc_auc" in metrics)


def test_a_bound_without_rows_names_the_line_to_write(team: Store, call: Any) -> None:
    """Nothing is taken from the trainer that the file does not ask for."""
    team.log("churn", {"roc_auc": 0.9})
    rules(team, "gates: {thresholds: {roc_auc: {minimum: 0.8}}}\n")

    refused = call(PROMOTE, "churn", "1")

    assert 3 == refused.exit_code
    assert "`from: run` beside the bound takes the trainer's figure" in refused.stderr.splitlines()[-1]


def test_the_listing_shows_stages_and_aliases_and_with_all_every_version(team: Store, call: Any) -> None:
    """`--all` alone, with `--list`, and for programs; with anything else it is a mistake."""
    for _ in range(3):
        team.register("churn")
    team.move("churn", 1, Stage.STAGING)
    team.client.set_registered_model_alias("churn", "shadow", "2")

    listed, whole = call(PROMOTE, "--list").stdout, call(PROMOTE, "--all").stdout

    assert ["3", "1"] == [line.split()[2] for line in listed.splitlines() if "Stage:" in line]
    assert ["3", "2", "1"] == [line.split()[2] for line in whole.splitlines() if "Stage:" in line]
    assert {"   churn@shadow → Version 2"} == {each.splitlines()[-1] for each in (listed, whole)}
    (document,) = json.loads(call(PROMOTE, "--list", "--all", "--json").stdout)
    assert {3: [], 2: ["shadow"], 1: []} == {each["version"]: each["aliases"] for each in document["versions"]}
    assert 2 == call(PROMOTE, "--auto", "--all").exit_code
    assert 2 == call(PROMOTE, "churn", "--all").exit_code
