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


@pytest.mark.system
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
@pytest.mark.system
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

    listed, aliases, whole = (call(PROMOTE, *asked).stdout for asked in (["--list"], ["--aliases"], ["--all"]))

    assert "churn@shadow" not in listed
    assert ["3", "1"] == [line.split()[2] for line in listed.splitlines() if "Stage:" in line]
    assert ["3", "2", "1"] == [line.split()[2] for line in whole.splitlines() if "Stage:" in line]
    assert {"   churn@shadow → Version 2"} == {each.splitlines()[-1] for each in (aliases, whole)}
    (document,) = json.loads(call(PROMOTE, "--list", "--all", "--json").stdout)
    assert {3: [], 2: ["shadow"], 1: []} == {each["version"]: each["aliases"] for each in document["versions"]}
    assert 2 == call(PROMOTE, "--auto", "--all").exit_code
    assert 2 == call(PROMOTE, "churn", "--all").exit_code


# The way back


BROKEN = "x: 1\n"
CONTRACT = """\
task: binary-classification
data: {path: data/tiny.csv, columns: {x: {type: number}, y: {type: code, codes: [0, 1]}}}
target: {column: y, positive_above: 0}
numeric: [x]
candidates: {logistic_regression: {}}
approvals: {roles: [risk]}
gates: {signature: required, staging: {minimum: 7}, rollback_plan: true}
"""


@pytest.fixture
def serving(team: Store, call: Any) -> Store:
    """Version 2 serves and version 1 served before it; both are pickles that nothing here ever loaded."""
    for _ in range(2):
        number = team.log("churn", files=PICKLE)
        assert 0 == call(PROMOTE, "churn", str(number)).exit_code
    return team


@pytest.mark.parametrize(
    ("family", "models", "more", "warned"),
    [
        ("churn", "churn", CONTRACT, ""),
        ("churn", "churn", BROKEN, "config/churn.yaml:3: x: unknown key"),
        ("customers", "churn", "", "customers.yaml:2: registered_model: churn is recorded as one of family 'churn'"),
        ("other", "[", "", ""),
    ],
    ids=["a contract it never met", "a broken file", "another family's name", "another family's broken file"],
)
@pytest.mark.system
def test_no_file_takes_the_way_back_away(
    serving: Store, call: Any, family: str, models: str, more: str, warned: str
) -> None:
    """A version that served comes back whatever was written since, and what reads goes on reading."""
    rules(serving, more, family=family, models=models)

    listed, told = call(PROMOTE, "--list"), call(PROMOTE, "--history", "--model", "churn")
    back = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--reason", "worse")

    assert (0, 0, 0) == (listed.exit_code, told.exit_code, back.exit_code), back.output
    assert warned in back.stderr
    assert {"churn v1": "Production", "churn v2": "Archived"} == serving.shown()
    assert {"churn"} == {event.family for event in serving.service().journal.history()}


@pytest.mark.system
def test_where_the_file_broke_later_its_last_rules_lead_back(team: Store, call: Any) -> None:
    """The aliases that it named are written, and a second rollback within a day is refused as ever."""
    named = "aliases: {production: champion, previous: []}\n"
    rules(team, named)
    for _ in range(2):
        assert 0 == call(PROMOTE, "churn", str(team.log("churn"))).exit_code
    rules(team, named + BROKEN)

    back = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--reason", "worse")

    assert 0 == back.exit_code, back.output
    assert "the way back goes by the rules that were recorded last" in back.stderr
    assert {"churn@champion": "1"} == team.aliases()
    again = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--to-version", "2", "--reason", "no")
    assert (3, True) == (again.exit_code, "rolled back at" in again.stderr)


def test_a_file_under_another_name_is_told_by_the_listing_with_the_way_out(serving: Store, call: Any) -> None:
    """Nothing moves on under it; the check's next step is to correct the file."""
    rules(serving, family="customers")
    serving.log("churn")

    listed = call(PROMOTE, "--list")
    check = call("mlops/registry/check_promotion.py", "--model-name", "churn", "--version", "3")

    way_out = "its rules belong into config/churn.yaml (family: churn), where its past is"
    assert (0, 3) == (listed.exit_code, check.exit_code)
    assert way_out in listed.stderr
    assert way_out in check.stdout.partition("Next:")[2]
    assert 3 == call(PROMOTE, "churn", "3").exit_code


def test_of_a_family_whose_file_is_broken_everything_recorded_can_be_read(serving: Store, call: Any) -> None:
    """The listing shows its versions and says at the end what is wrong; the history needs no file."""
    rules(serving, BROKEN)

    listed, told = (call(PROMOTE, action, "--model", "churn") for action in ("--list", "--history"))

    assert ["2", "1"] == [line.split()[2] for line in listed.stdout.splitlines() if "Stage:" in line]
    assert (2, True) == (listed.exit_code, "churn.yaml:3: x: unknown key" in listed.stderr.splitlines()[-1])
    assert (0, 3) == (told.exit_code, len(told.stdout.splitlines()))


@pytest.mark.system
def test_two_files_for_one_model_are_told_and_stop_nobody_else(serving: Store, call: Any) -> None:
    """The listing names both, what is asked about that model refuses, another model moves, and the way back is open."""
    for family in ("churn", "zeta"):
        rules(serving, family=family, models="[churn, 'other-*']" if family == "churn" else "churn")
    serving.log("other-eu")

    listed = call(PROMOTE, "--list")

    both = "config/churn.yaml and config/zeta.yaml: registered_model: each owns 'churn'; leave it to one of them"
    assert (0, f"❌ {both}") == (listed.exit_code, listed.stderr.splitlines()[-1])
    assert (2, both) == ((refused := call(PROMOTE, "churn", "1")).exit_code, refused.stderr.splitlines()[-1])
    assert 0 == call(PROMOTE, "other-eu", "1", "--dry-run").exit_code
    back = call("mlops/registry/rollback_model.py", "--model-name", "churn", "--reason", "worse")
    assert 0 == back.exit_code, back.output


@pytest.mark.system
def test_auto_takes_of_received_versions_what_somebody_registered(team: Store, call: Any) -> None:
    """Not what a check received by itself; the record does not speak of a training that there was none of."""
    rules(team, "promotion: auto\n")
    for _ in range(2):
        team.client.set_model_version_tag("churn", str(team.log("churn")), "best_model", "true")
    call("mlops/registry/check_promotion.py", *REPORTED)
    assert 3 == call(PROMOTE, "--auto", "--model", "churn").exit_code

    assert 0 == call("scripts/register-model.py", "churn", "1").exit_code
    moved = call(PROMOTE, "--auto", "--model", "churn")

    assert 0 == moved.exit_code, moved.output
    assert {"churn v1": "Production"} == team.shown()
    assert "newest version that somebody registered" == team.service().journal.history("churn")[0].reason


@pytest.mark.parametrize(
    ("family", "models", "more"),
    [
        ("churn", "churn", BROKEN),
        ("churn", "churn", ""),
        ("teams", "other", ""),
        ("", "", ""),
    ],
    ids=["a broken file claims it", "an exacter file claims it", "its file names it no more", "its file is gone"],
)
@pytest.mark.system
def test_what_files_say_later_does_not_empty_production(
    team: Store, call: Any, family: str, models: str, more: str
) -> None:
    """Whose the version is must be said again; until then it is not taken for one that MLflow lost."""
    rules(team, family="teams", models="'churn*'")
    assert 0 == call(PROMOTE, "churn", str(team.log("churn"))).exit_code
    if family:
        rules(team, more, family=family, models=models)
    else:
        (team.home / "config" / "teams.yaml").unlink()

    told = call(PROMOTE, "--list")
    call(PROMOTE, "--reconcile")

    assert "no longer in MLflow" not in told.stderr
    production = team.service().journal.production("teams")
    assert production is not None
    assert {"churn v1": "Production"} == team.shown()
