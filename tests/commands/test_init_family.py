"""`promotion init` writes a family's file as far as it can be known, never over another; it can be used as it is."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tests.promotion.evaluation.received.made import FEATURES, customers
from tests.promotion.factories import Store, a_journal
from tests.promotion.houses import table as table_of_houses

from promotion.cli.main import main
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import load_dataset
from promotion.registry.stages import Stage

INPUTS = [
    {"type": "long", "name": "age", "required": True},
    {"type": "string", "name": "plan", "required": True},
    {"type": "boolean", "name": "is_member", "required": True},
    {"type": "double", "name": "spent", "required": True},
    {"type": "long", "name": "visits", "required": True},
]


@pytest.fixture
def team(store: Store) -> Store:
    """A registry, and nothing of ours in the home but rows."""
    for path in (store.home / "config").glob("*.yaml"):
        path.unlink()
    customers().to_csv(store.home / "holdout.csv", index=False)
    return store


def init(*arguments: str) -> Result:
    script = runpy.run_path(str(REPOSITORY / "scripts" / "init-family.py"), run_name="init")["main"]
    result = CliRunner().invoke(script, arguments)
    assert "unexpected" not in result.output, result.output
    return result


def registered(
    team: Store, flavour: Mapping[str, Any], metrics: Mapping[str, float] | None = None, inputs: Any = INPUTS
) -> int:
    """A version whose MLmodel says this, made by a run that measured that."""
    number = team.register("churn")
    folder = team.artifact("churn", number)
    signature = {"inputs": json.dumps(inputs)} if inputs else {}
    document = {"flavors": flavour, "signature": signature}
    (folder / "MLmodel").write_text(json.dumps(document))
    (folder / "model.ubj").write_bytes(b"{L")
    (folder / "model.pkl").write_bytes(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00K\x01.")
    if metrics is not None:
        run = team.client.create_run("0", tags={"mlflow.user": "tina"}).info.run_id
        for name, value in metrics.items():
            team.client.log_metric(run, name, value)
        team.sql(f"UPDATE model_versions SET run_id = '{run}' WHERE version = {number}")  # noqa: S608
    return number


XGB = {"xgboost": {"data": "model.ubj", "model_class": "xgboost.sklearn.XGBClassifier"}, "python_function": {}}
PICKLED = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}, "python_function": {}}


def written(team: Store, family: str = "churn") -> FamilyConfig:
    return load_config(team.home / "config", family)


def test_rules_from_what_the_run_measured(team: Store) -> None:
    """Level 1: bounds on the trainer's figures that this version keeps; unknown metrics are left to the owner."""
    registered(team, XGB, {"roc_auc": 0.8765, "val_rmse": 12.3, "profit": 1200.0})

    answer = init("churn")

    assert 0 == answer.exit_code, answer.output
    bounds = written(team).gates.thresholds
    assert (0.87, 13.0) == (bounds["roc_auc"].minimum, bounds["val_rmse"].maximum)
    assert {"run"} == {bound.source for bound in bounds.values()}
    text = (team.home / "config" / "churn.yaml").read_text()
    assert (
        "#     profit: {minimum: 1200, from: run}   # decide: 1200 in this version's run; is more or less of it" in text
    )
    assert "Next: python mlops/registry/check_promotion.py --model-name churn --version 1\n" == answer.stderr
    assert "nothing is scored here without a holdout" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_none_is_no_bound(value: float, team: Store) -> None:
    """A run whose loss blew up is begun with what else it measured."""
    registered(team, XGB, {"roc_auc": 0.8765, "loss": value})

    answer = init("churn")

    assert 0 == answer.exit_code, answer.output
    assert ["roc_auc"] == list(written(team).gates.thresholds)


def test_evidence_from_a_holdout(team: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Level 2: task, target, positive class, row names, the sandbox where it needs one; the digest of the file."""
    registered(team, PICKLED, {"test_roc_auc": 0.91})
    frame = customers().drop(columns="paid")
    frame.to_parquet(team.home / "rows.parquet")
    monkeypatch.chdir(team.home)

    answer = init("churn", "1", "--holdout", "rows.parquet", "--json")

    told = json.loads(answer.stdout)
    assert 0 == answer.exit_code, answer.output
    assert (0, 2, "churn") == (told["exit_code"], told["level"], told["family"])
    assert any("the value that is looked for, of no, yes" in point for point in told["undecided"])
    config = written(team)
    assert ("binary-classification", "roc_auc", "sandbox") == (
        config.task,
        config.selection_metric,
        config.artifacts.code,
    )
    rows = config.holdout
    assert ("rows.parquet", "churned", "yes", "customer") == (rows.path, rows.target, rows.positive, rows.id)
    assert rows.sha256 is not None
    assert 0.91 == config.gates.thresholds["roc_auc"].minimum


@pytest.mark.parametrize(
    ("flavour", "metrics", "target", "task", "code"),
    [
        (XGB, {}, "churned", "binary-classification", "refuse"),
        (PICKLED, {}, "plan_taken", "multiclass-classification", "sandbox"),
        (PICKLED, {"test_rmse": 3.0}, "paid", "regression", "sandbox"),
        (PICKLED, {}, "paid", "regression", "sandbox"),
        (PICKLED, {}, "stars", "multiclass-classification", "sandbox"),
        (PICKLED, {"mae": 1.0}, "stars", "regression", "sandbox"),
        (PICKLED, {}, "clicked", "binary-classification", "sandbox"),
        (PICKLED, {}, "is_back", "binary-classification", "sandbox"),
        (
            {"catboost": {"data": "model.ubj", "model_type": "CatBoostRegressor"}, "python_function": {}},
            {},
            "stars",
            "regression",
            "refuse",
        ),
    ],
)
def test_the_task_is_told_by_class_run_and_target(
    team: Store, flavour: Any, metrics: Mapping[str, float], target: str, task: str, code: str
) -> None:
    """Texts are classes; numbers are what the model's class or the run's metrics say, else what they look like."""
    registered(team, flavour, metrics)
    frame = customers()
    frame["plan_taken"] = frame["plan"]
    frame["stars"] = frame["visits"] % 5 + 1
    frame["clicked"] = frame["visits"] % 2
    frame["is_back"] = frame["visits"] > 4
    frame.to_csv(team.home / "holdout.csv", index=False)

    answer = init("churn", "--holdout", "holdout.csv", "--target", target)

    assert 0 == answer.exit_code, answer.output
    config = written(team)
    assert (task, code) == (config.task, config.artifacts.code)


def test_the_aliases_a_team_uses_are_kept(team: Store) -> None:
    """The usual names follow Production and Staging; others are asked about."""
    registered(team, XGB)
    for alias in ("champion", "production", "challenger", "eu"):
        team.client.set_registered_model_alias("churn", alias, "1")

    assert 0 == init("churn").exit_code

    assert (["champion", "production"], ["challenger"]) == (
        written(team).aliases.production,
        written(team).aliases.staging,
    )
    assert "decide: who reads the aliases eu?" in (team.home / "config" / "churn.yaml").read_text()


def test_a_model_without_signature_or_files_is_left_to_its_owner(team: Store) -> None:
    """What cannot be looked at is marked; the column that is called so is the target."""
    team.register("churn")
    frame = customers().rename(columns={"churned": "Target"})
    frame.to_csv(team.home / "holdout.csv", index=False)

    assert 0 == init("churn", "--holdout", "holdout.csv").exit_code

    assert "Target" == written(team).holdout.target
    assert "decide: its files could not be looked at" in (team.home / "config" / "churn.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody"], 2, "no registered model 'nobody': the registry has churn"),
        (["churn", "9"], 2, "churn has no version 9"),
        (["churn", "--holdout", "nowhere.csv"], 1, "nowhere.csv: no such file"),
        (["churn", "--holdout", "holdout.xlsx"], 2, "expected a file that ends in .csv or .parquet"),
        (["churn", "--holdout", "holdout.csv"], 2, "say --target COLUMN; its columns are customer, churned, paid"),
        (["churn", "--holdout", "holdout.csv", "--target", "left"], 2, "no such column: it has customer, age, plan"),
        (["churn", "--holdout", "all.csv"], 2, "every column is an input of the model: age, plan"),
        (["churn", "--holdout", "short.csv"], 2, "column 'visits', which the model's signature asks for, is missing"),
        (["churn", "--holdout", "one.csv"], 2, "every row has the same churned"),
        (["churn", "--holdout", "gaps.csv"], 2, "% of the rows have no churned"),
        (["churn", "--holdout", "many.csv"], 2, "more than classes can be"),
        (["churn", "--holdout", "garbage.csv"], 1, "garbage.csv"),
        (["churn", "--holdout", "empty.csv"], 1, "empty.csv"),
        (["churn", "--family", "a/b"], 2, "cannot be the name of a family's file"),
        (["churn", "--family", "churn.yaml"], 2, "cannot be the name of a family's file"),
        (["churn", "--family", "events"], 2, "cannot be the name of a family's file"),
        (["churn", "--target", "churned"], 2, "--target goes with --holdout"),
        (["churn", "--data", "holdout.csv"], 2, "say NAME --data FILE --target COLUMN"),
    ],
)
def test_what_cannot_be_drafted_is_said_in_one_line(team: Store, arguments: list[str], code: int, said: str) -> None:
    """And nothing is written."""
    registered(team, XGB)
    frame = customers()
    labelled = frame[[*FEATURES, "churned"]]
    for name, table in {
        "all": frame[FEATURES],
        "short": labelled.drop(columns="visits"),
        "one": labelled.assign(churned="yes"),
        "gaps": labelled.assign(churned=labelled["churned"].mask(labelled.index == 0)),
        "many": labelled.assign(churned=frame["customer"]),
    }.items():
        table.to_csv(team.home / f"{name}.csv", index=False)
    (team.home / "garbage.csv").write_bytes(bytes(range(256)) * 3)
    (team.home / "empty.csv").write_text("")

    answer = init(*arguments)

    assert (code, 1) == (answer.exit_code, len(answer.stderr.splitlines())), answer.output
    assert said in answer.stderr
    assert [] == list((team.home / "config").glob("*.yaml"))


def test_a_file_that_is_there_is_never_overwritten(team: Store) -> None:
    """Nor another family's model taken, nor a name that its past is not recorded under."""
    registered(team, XGB)
    path = team.home / "config" / "churn.yml"
    path.write_text("family: churn\nregistered_model: other\n")
    assert "is there already and is not overwritten" in init("churn").stderr
    path.write_text("family: churn\nregistered_model: churn\n")
    assert "churn belongs to family 'churn' already" in init("churn").stderr
    path.unlink()
    service = team.service()
    team.move("churn", 1, Stage.PRODUCTION)
    service.synchronise("churn")
    assert a_journal(team.home).homes() == {"churn": "churn"}

    answer = init("churn", "--family", "customers")

    assert (2, True) == (answer.exit_code, "is recorded under 'churn': leave it out" in answer.stderr)


def test_names_from_outside_stay_what_they_are(team: Store) -> None:
    """A metric, a column and a model that are called like YAML become no keys of the file."""
    nasty = "yes: [\n  approvals: {}  # x"
    name = "a [b] #c"
    team.client.create_registered_model(name)
    run = team.client.create_run("0").info.run_id
    team.client.log_metric(run, "accuracy: on - off", 0.9)
    team.client.create_model_version(name, source=str(team.home), run_id=run)
    frame = customers()[[*FEATURES]].assign(**{nasty: customers()["churned"]})
    frame.to_csv(team.home / "holdout.csv", index=False)

    ruled = init(name, "--family", "odd")
    assert 0 == ruled.exit_code, ruled.output
    assert [name] == written(team, "odd").stated_models
    trained = init("odd2", "--data", str(team.home / "holdout.csv"), "--target", nasty)
    assert 0 == trained.exit_code, trained.output
    assert nasty == written(team, "odd2").target.column
    (team.home / "config" / "odd.yaml").unlink()
    answer = init(name, "--family", "odd", "--holdout", "holdout.csv", "--target", nasty)

    assert 0 == answer.exit_code, answer.output
    config = written(team, "odd")
    assert (nasty, None) == (config.holdout.target, config.approvals)


@pytest.mark.parametrize(
    ("target", "task", "positive_above"),
    [
        ("churned", "binary-classification", 0),
        ("plan", "multiclass-classification", None),
        ("half", "binary-classification", 0.5),
    ],
)
def test_a_family_that_trains_here(team: Store, target: str, task: str, positive_above: float | None) -> None:
    """Level 3: a column of every kind, the target in words or numbers, what was seen as a comment."""
    frame = customers().drop(columns="paid").assign(half=[0.5, 1.5] * 150, gap=range(300))
    frame["gap"] = frame["gap"].mask(frame.index == 0)
    frame.to_csv(team.home / "data" / "rows.csv", index=False)

    answer = init("subscribers", "--data", str(team.home / "data" / "rows.csv"), "--target", target)

    assert (0, "Next: python src/models/train.py --model subscribers\n") == (answer.exit_code, answer.stderr)
    config = written(team, "subscribers")
    assert (task, positive_above, "data/rows.csv") == (config.task, config.target.positive_above, config.data.path)
    kinds = {name: column.type for name, column in config.data.columns.items()}
    assert ("identifier", "integer", "number", "code") == tuple(
        kinds[it] for it in ("customer", "age", "spent", "visits")
    )
    assert 0 < config.data.columns["gap"].max_missing <= 0.01
    assert {"age", "spent"} <= set(config.numeric)
    assert config.trains_here


def test_a_family_that_predicts_a_number(team: Store) -> None:
    """Better than the mean is the least; texts, truths and days have their types, and the file is read."""
    path = team.home / "data" / "houses.csv"
    table_of_houses(200).to_csv(path, index=False)

    assert 0 == init("homes", "--data", str(path), "--target", "price").exit_code

    config = written(team, "homes")
    assert ("regression", "rmse") == (config.task, config.selection_metric)
    assert (["style", "district"], ["built"]) == (config.texts, config.dates)
    assert ["boolean", "boolean"] == [config.data.columns[name].type for name in ("garden", "lift")]
    assert pytest.approx(table_of_houses(200)["price"].std(), rel=1e-3) == config.gates.thresholds["rmse"].below
    assert 200 == len(load_dataset(config, team.home).target)


def test_what_rows_may_belong_to_is_pointed_out(team: Store) -> None:
    """A column that names a hundred households in three hundred rows is marked for the reader, with what to write."""
    frame = customers().assign(household=[f"h{number // 3}" for number in range(300)])
    frame.drop(columns="paid").to_csv(team.home / "data" / "rows.csv", index=False)

    init("subscribers", "--data", str(team.home / "data" / "rows.csv"), "--target", "churned")

    text = (team.home / "config" / "subscribers.yaml").read_text(encoding="utf-8")
    assert "# decide: household names 100 things in 300 rows: where such rows belong together, add groups: " in text
    assert "names" not in text.partition("household names")[0].rpartition("decide:")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "holdout.csv", "--target", "customer"], "different texts, which are too many for classes"),
        (["--data", "holdout.csv", "--target", "nobody"], "no such column: it has customer, age"),
        (["--data", "rows.parquet", "--target", "churned"], "models are trained here on CSV files"),
        (["--data", "nowhere.csv", "--target", "churned"], "nowhere.csv: no such file"),
        (["--data", "texts.csv", "--target", "churned"], "no column holds numbers or a few texts to learn from"),
        (["2", "--data", "holdout.csv", "--target", "churned"], "and no more"),
    ],
)
def test_rows_nothing_can_be_learned_from(
    team: Store, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and nothing is written."""
    monkeypatch.chdir(team.home)
    pd.DataFrame({"a": ["x", "y"], "churned": ["yes", "no"]}).to_csv("texts.csv", index=False)

    answer = init("subscribers", *arguments)

    assert answer.exit_code in {1, 2}
    assert said in answer.stderr
    assert [] == list((team.home / "config").glob("*.yaml"))


def test_a_verb_and_a_script_say_what_comes_next_in_their_own_words(team: Store) -> None:
    """And an editor finds the schema where it lies beside the file."""
    registered(team, XGB)
    verb = CliRunner().invoke(main, ["init", "churn"], prog_name="promotion")

    assert "Next: promotion check --model-name churn --version 1\n" == verb.stderr
    first = (team.home / "config" / "churn.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=family.schema.json"
    assert Path(team.home / "config" / "family.schema.json").is_file()
