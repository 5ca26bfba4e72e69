"""`predict.py` uses the version in a stage, on sample rows or on a CSV."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from tests.commands.conftest import FOREST

from models.predict import main
from promotion.artifacts.files import artifact_digest
from promotion.config.settings import Settings
from promotion.data import tables
from promotion.evaluation.loading import load_artifact
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.records import Registration
from promotion.registry.open import open_registry
from promotion.registry.stages import Stage

Register = Callable[..., int]
LOGISTIC = "heart-disease-logistic_regression"
DATA = "data/heart-disease.csv"


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["--model-name", "heart-disease", *arguments])


@pytest.mark.system
def test_without_input_the_test_split_is_predicted_and_compared(register: Register, settings: Settings) -> None:
    """The table shows rows no model learned from, their actual class, and which version answered."""
    register(LOGISTIC, Stage.PRODUCTION)

    result = predict("--rows", "3")
    lines = result.stdout.splitlines()
    raw = pd.read_csv(settings.home / DATA)

    assert 0 == result.exit_code, result.stderr
    assert f"3 rows of {DATA}, predicted by {LOGISTIC} v1 (Production)" == lines[0]
    assert ["row", "prediction", "probability", "actual"] == lines[1].split()
    assert 5 == len(lines)
    for line in lines[2:]:
        row, _prediction, _probability, actual = line.split()
        assert str(int(raw["num"].iloc[int(row)] > 0)) == actual


@pytest.mark.parametrize(("stage", "number"), [("staging", 1), ("None", 2), ("2", 2)])
@pytest.mark.system
def test_another_stage_or_version_can_be_asked_for(
    stage: str, number: int, register: Register, settings: Settings
) -> None:
    """`--stage` takes a stage in any case, or a version number."""
    register(LOGISTIC, Stage.STAGING)
    register(LOGISTIC)

    assert f"{LOGISTIC} v{number} " in predict("--stage", stage).stdout


@pytest.mark.system
def test_output_holds_every_row_with_the_version_that_made_it(
    register: Register, settings: Settings, tmp_path: Path
) -> None:
    """All 303 patients are predicted from the raw file, and the CSV says by what; standard output stays empty."""
    register(LOGISTIC, Stage.PRODUCTION)
    output = tmp_path / "predictions.csv"

    result = predict("--input", str(settings.home / DATA), "--output", str(output))
    predictions = pd.read_csv(output)

    assert 0 == result.exit_code, result.stderr
    assert "" == result.stdout
    assert 303 == len(predictions)
    assert ["row", "prediction", "probability", "model", "version", "run_id"] == list(predictions.columns)
    assert {(LOGISTIC, 1)} == set(zip(predictions["model"], predictions["version"], strict=True))
    assert predictions["probability"].between(0, 1).all()
    assert predictions["prediction"].equals((predictions["probability"] > 0.5).astype(int))
    assert {"predictions.csv", "predictions.csv.json"} == {path.name for path in tmp_path.glob("*predictions*")}


def test_a_stage_without_version_is_one_line_and_exit_2(register: Register, settings: Settings) -> None:
    """The line names the stages that have one."""
    register(LOGISTIC)

    result = predict()

    assert 2 == result.exit_code
    assert f"no version of 'heart-disease' is in Production; None: {LOGISTIC} v1\n" == result.stderr


def test_rows_that_break_the_contract_are_refused(register: Register, settings: Settings, tmp_path: Path) -> None:
    """Kaggle's recoded chest pain is named, nothing is predicted, and no file appears."""
    register(LOGISTIC, Stage.PRODUCTION)
    rows = pd.read_csv(settings.home / DATA)
    rows["cp"] -= 1
    rows.to_csv(tmp_path / "kaggle.csv", index=False)

    result = predict("--input", str(tmp_path / "kaggle.csv"), "--output", str(tmp_path / "out.csv"))

    assert 1 == result.exit_code
    assert "cp" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_an_output_that_cannot_be_written_leaves_nothing(
    register: Register, settings: Settings, tmp_path: Path
) -> None:
    """A missing folder is one line that names it."""
    register(LOGISTIC, Stage.PRODUCTION)
    output = tmp_path / "missing" / "out.csv"

    result = predict("--output", str(output))

    assert 1 == result.exit_code
    assert f"{output}: cannot write predictions: No such file or directory; nothing was written\n" == result.stderr


def test_a_model_without_family_cannot_be_predicted(register: Register, settings: Settings) -> None:
    """Without a configuration nobody knows its columns; the line says what to use instead."""
    register("churn", Stage.PRODUCTION)

    result = CliRunner().invoke(main, ["--model-name", "churn"])

    assert 2 == result.exit_code
    assert "belongs to no family" in result.stderr


@pytest.mark.system
def test_the_output_says_where_it_comes_from(register: Register, settings: Settings, tmp_path: Path) -> None:
    """The JSON beside it names version, artifact, input and time; MLflow's own experiment holds the same."""
    register(LOGISTIC, Stage.PRODUCTION)
    source, output = settings.home / DATA, tmp_path / "predictions.csv"

    result = predict("--input", str(source), "--output", str(output), "--json")
    document = json.loads(result.stdout)

    assert document == json.loads((tmp_path / "predictions.csv.json").read_text(encoding="utf-8"))
    assert (LOGISTIC, 1, "Production", "pandas", 303) == tuple(
        document[name] for name in ("model", "version", "stage", "engine", "rows")
    )
    client = MlflowClient(settings.tracking_uri, settings.registry_uri)
    folder = Path(client.get_model_version(LOGISTIC, "1").source)
    assert artifact_digest(folder) == document["artifact_digest"]
    assert hashlib.sha256(source.read_bytes()).hexdigest() == document["input_sha256"]
    assert hashlib.sha256(output.read_bytes()).hexdigest() == document["output_sha256"]
    experiment = client.get_experiment_by_name("heart-disease-predictions")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert "FINISHED" == run.info.status
    assert 303 == run.data.metrics["rows"]
    assert run.data.metrics["seconds"] > 0
    expected = {"model": LOGISTIC, "version": "1", "stage": "Production", "engine": "pandas"}
    assert expected.items() <= run.data.params.items()
    assert expected.items() <= run.data.tags.items()
    assert ["predictions.csv.json"] == [item.path for item in client.list_artifacts(run.info.run_id)]


@pytest.mark.system
def test_parquet_and_csv_give_the_same_answers(register: Register, settings: Settings, tmp_path: Path) -> None:
    """By the file's name, in and out, and exactly what the model answers."""
    register(LOGISTIC, Stage.PRODUCTION)
    rows = pd.read_csv(settings.home / DATA)
    rows.to_parquet(tmp_path / "rows.parquet")

    first = predict("--input", str(tmp_path / "rows.parquet"), "--output", str(tmp_path / "out.parquet"))
    second = predict("--input", str(settings.home / DATA), "--output", str(tmp_path / "out.csv"))

    assert (0, 0) == (first.exit_code, second.exit_code), first.stderr + second.stderr
    found = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(
        found.drop(columns="run_id"), pd.read_csv(tmp_path / "out.csv").drop(columns="run_id")
    )
    version = MlflowClient(settings.tracking_uri).get_model_version(LOGISTIC, "1")
    probability = load_artifact(Path(version.source)).predict_proba(rows.drop(columns="num"))[:, 1]
    assert list(probability) == list(found["probability"])


@pytest.mark.system
def test_chunks_give_what_the_whole_gives(
    register: Register, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is answered piece by piece, with a line on the way where nobody sees a bar; the output is the same."""
    register(LOGISTIC, Stage.PRODUCTION)
    source, whole, parts = (tmp_path / name for name in ("rows.parquet", "whole.csv", "parts.csv"))
    pd.read_csv(settings.home / DATA).to_parquet(source)

    predict("--input", str(source), "--output", str(whole))
    monkeypatch.setattr(tables, "CHUNK_ROWS", 100)
    result = predict("--input", str(source), "--output", str(parts))

    assert whole.read_bytes() == parts.read_bytes()
    assert "100 rows predicted, 33%" in result.stderr.splitlines()


@pytest.mark.system
def test_a_broken_row_far_down_leaves_nothing(
    register: Register, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is the file's, and the chunks before it are not left behind."""
    register(LOGISTIC, Stage.PRODUCTION)
    monkeypatch.setattr(tables, "CHUNK_ROWS", 100)
    lines = (settings.home / DATA).read_text().splitlines()
    lines[250] = lines[250].replace(",", ",x", 1)
    (tmp_path / "rows.csv").write_text("\n".join(lines))

    result = predict("--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out.csv"))

    assert 1 == result.exit_code
    assert "line 251" in result.stderr
    assert [] == list(tmp_path.glob("*out.csv*"))


@pytest.mark.system
def test_rows_are_checked_before_the_model_is_loaded(register: Register, settings: Settings, tmp_path: Path) -> None:
    """With wrong columns and no model files, the columns are what is said."""
    source = tmp_path / "model"
    source.mkdir()
    register(LOGISTIC, Stage.PRODUCTION, source)
    source.rmdir()
    (tmp_path / "rows.csv").write_text("age,sex\n50,1\n")

    wrong = predict("--input", str(tmp_path / "rows.csv"))
    right = predict("--input", str(settings.home / DATA))

    assert "breaks the data contract" in wrong.stderr
    assert "does not exist on this machine" in right.stderr


@pytest.mark.system
def test_a_registry_that_takes_nothing_is_only_a_warning(
    register: Register, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The predictions are there and valid, exit 0, and the missing record is said loudly."""
    register(LOGISTIC, Stage.PRODUCTION)
    client = MlflowClient(settings.tracking_uri, settings.registry_uri)
    experiment = client.create_experiment("heart-disease-predictions")
    client.delete_experiment(experiment)

    result = predict("--output", str(tmp_path / "out.csv"))

    assert 0 == result.exit_code, result.stderr
    assert 61 == len(pd.read_csv(tmp_path / "out.csv"))
    assert "The predictions are valid, but MLflow has no record of them" in result.stderr
    assert "is deleted" in result.stderr


@pytest.mark.system
def test_files_that_were_changed_do_not_answer(
    register: Register, settings: Settings, fitted_model: Path, tmp_path: Path
) -> None:
    """The journal knows the digest of what was registered, and the semantic version."""
    folder = shutil.copytree(fitted_model, tmp_path / "copy")
    register(LOGISTIC, Stage.PRODUCTION, folder)
    version = open_registry(settings).version(LOGISTIC, 1)
    journal = Journal(Database(settings.database_url))
    journal.prepare()
    known = Registration(artifact_digest(folder), None, "anna", "0" * 64, {}, {})
    journal.register("heart-disease", [(version, known)], actor="anna", semver="2.0.0")

    result = predict("--json")
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text() + "\n")
    tampered = predict()

    assert "2.0.0" == json.loads(result.stdout)["semver"], result.stderr
    assert 1 == tampered.exit_code
    assert "they were changed since" in tampered.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--start-date", "2015-07-01"), "the rows of family 'heart-disease' have none"),
        (("--output", "out.xlsx"), "ends in .csv or .parquet"),
        (("--stage", "Prod"), "or a version such as 3 or 1.2.0"),
        (("--compare", "1", "1"), "cannot be compared with itself"),
        (("--compare", "1", "2", "--rows", "3"), "--compare takes the family's own rows"),
        (("--compare", "1", "2", "--output", "out.csv"), "ends in .html"),
    ],
)
def test_what_cannot_be_meant_is_exit_2(
    arguments: tuple[str, ...], says: str, register: Register, settings: Settings
) -> None:
    """One line, nothing computed."""
    register(LOGISTIC, Stage.PRODUCTION)
    register(LOGISTIC)

    result = predict(*arguments)

    assert 2 == result.exit_code, result.output
    assert says in result.stderr
    assert 1 == len(result.stderr.splitlines())


@pytest.mark.system
def test_two_versions_are_reviewed_on_the_same_rows(
    register: Register, settings: Settings, other_model: Path, tmp_path: Path
) -> None:
    """Agreement, changed labels and probability shift: on the console, on a page, as data."""
    register(LOGISTIC, Stage.PRODUCTION)
    register(FOREST, Stage.STAGING, other_model)

    result = predict("--compare", "Staging", "Production")
    folder = settings.home / "reports" / "review"
    (page,) = folder.glob("*.html")
    document = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))

    assert 0 == result.exit_code, result.stderr
    assert f"{FOREST} v1 against {LOGISTIC} v1: 61 rows of the test split of {DATA}" == result.stdout.splitlines()[0]
    assert f"{FOREST}-v1-against-{LOGISTIC}-v1.html" == page.name
    assert 4 == len(document["checks"]) == len(result.stdout.splitlines()) - 1
    assert [(FOREST, "Staging"), (LOGISTIC, "Production")] == [
        (document[side]["model"], document[side]["stage"]) for side in ("first", "second")
    ]
    rows = pd.read_csv(settings.home / DATA)
    changed = sum(row["rows"] for row in document["changed_labels"])
    assert f"{changed} another one" in result.stdout
    assert 0 < changed == len(document["disagreements"]) < len(rows)
    (shift,) = document["probability_shift"]
    assert pytest.approx(shift["first_mean"] - shift["second_mean"]) == shift["mean"]
    assert document["metrics"]["roc_auc"]["second"]["value"] == pytest.approx(0.9665, abs=5e-5)
    for title in ("Metrics", "Bias", "Changed labels", "Probability shift", "Where they disagree", "Origin"):
        assert f"<h2>{title}</h2>" in page.read_text(encoding="utf-8")


@pytest.mark.system
def test_a_review_as_data_goes_where_it_is_sent(
    register: Register, settings: Settings, other_model: Path, tmp_path: Path
) -> None:
    """--json alone on standard output; MODEL/VERSION names one of several registered models."""
    register(LOGISTIC)
    register(FOREST, source=other_model)
    page = tmp_path / "review.html"

    result = predict("--compare", f"{FOREST}/1", f"{LOGISTIC}/1", "--json", "--output", str(page))

    assert json.loads(result.stdout) == json.loads((tmp_path / "review.json").read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory, fitted_model: Path) -> Path:
    """A forest that has learned little, in a model folder."""
    import skops.io

    from models.training.candidates import build_pipeline
    from promotion.config.family import load_config
    from promotion.config.settings import REPOSITORY
    from promotion.data.datasets import load_dataset, split_dataset

    config = load_config(REPOSITORY / "config", "heart-disease")
    parts = split_dataset(load_dataset(config, REPOSITORY), config)
    forest = build_pipeline(config, "random_forest")
    forest.set_params(estimator__n_estimators=3, estimator__max_depth=2)
    folder = shutil.copytree(fitted_model, tmp_path_factory.mktemp("forest") / "model")
    (file,) = folder.glob("*.skops")
    skops.io.dump(forest.fit(parts.train_features, parts.train_target), file)
    return folder


def test_spark_is_an_extra(
    register: Register, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PySpark one line says how to install it; nothing is written."""
    register(LOGISTIC, Stage.PRODUCTION)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)

    result = predict("--engine", "spark", "--output", str(tmp_path / "out.csv"))

    assert 2 == result.exit_code
    (line,) = result.stderr.splitlines()
    assert line.endswith(" needs the extra: pip install 'promotion-layer[spark]' (pyspark is not installed)")
    assert [] == list(tmp_path.glob("*out.csv*"))
