"""`src/models/train_ensemble.py` on invented stores: what it prints, registers and records, and what comes after it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from tests.forecast.conftest import make_sales

from models.forecast.provision import provide_sales
from models.forecast.recording import dvc_hash
from models.packaging import load_artifact
from models.train_ensemble import main
from models.validate_model import main as validate_main
from promotion.config import load_config
from promotion.errors import DataError
from promotion.scanning import problems
from promotion.settings import REPOSITORY, Settings

FAMILY = "rossmann-ensemble"
Run = Callable[..., Result]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """The family in a test's own home, made small: six stores, few rounds, a threshold that suits them."""
    change(settings, rounds=40, invented_stores=6, folds=2)
    return settings


def change(settings: Settings, *, below: float = 0.2, **values: int) -> None:
    path = settings.config_folder / f"{FAMILY}.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["forecast"] |= values
    document["gates"]["thresholds"]["rmspe"] = {"below": below}
    for name, rate in (("lightgbm", "learning_rate"), ("xgboost", "eta"), ("catboost", "learning_rate")):
        document["candidates"][name]["params"][rate] = 0.15
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture
def train(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    return lambda *arguments: CliRunner().invoke(main, ["--sample", *arguments])


def _artifact(settings: Settings) -> Path:
    return next(settings.artifact_folder.rglob("MLmodel")).parent


def test_the_documents_lines_are_printed_and_the_version_is_complete(train: Run, quick: Settings) -> None:
    """Standard output is the document's; run, version, signature, card and journal hold what they should."""
    result = train()

    assert 0 == result.exit_code, result.output
    assert [
        "Training LightGBM... ✓",
        "Training XGBoost... ✓",
        "Training CatBoost... ✓",
        "Creating ensemble... ✓",
        "Registering model to MLflow Model Registry...",
        "✓ Model registered: rossmann-ensemble version 1",
    ] == result.stdout.splitlines()
    assert "CatBoost: round" in result.stderr
    assert "invented by a seeded generator" in result.stderr
    client = MlflowClient(quick.tracking_uri)
    run = client.get_run(client.get_model_version(FAMILY, "1").run_id)
    assert {"catboost.weight", "lightgbm.rounds", "xgboost.origin_offset"} <= set(run.data.params)
    assert {"rmspe", "rmspe_low", "cv_ensemble_rmspe_mean", "cv_catboost_rmspe_2"} <= set(run.data.metrics)
    assert {"learning_curves.png", "error_by_store.png"} == {
        item.path for item in client.list_artifacts(run.info.run_id)
    }
    folder = _artifact(quick)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MODEL_CARD.md", "conda.yaml", "requirements.txt", "artifacts/ensemble/catboost.cbm"} <= files
    assert not {name for name in files if name.endswith((".pkl", ".joblib", ".pickle"))}
    assert str(quick.home) not in (folder / "MLmodel").read_text().replace(str(quick.artifact_folder), "")


def test_code_in_the_model_needs_a_signature(train: Run, quick: Settings) -> None:
    """The scanner refuses Python in an artifact, unless a trusted signature vouches for it; a pickle it never takes."""
    train()
    folder = _artifact(quick)

    assert 3 == len(problems(folder))
    assert [] == problems(folder, code_is_vouched=True)
    (folder / "python_model.pkl").write_bytes(b"\x80\x04N.")
    assert 1 == len(problems(folder, code_is_vouched=True))


def test_the_model_runs_without_the_project(train: Run, quick: Settings, tmp_path: Path) -> None:
    """`mlflow.pyfunc.load_model` finds all code in the version and answers what our own loader answers."""
    train()
    folder = _artifact(quick)
    rows = make_sales().rows.tail(40).drop(columns="Sales")
    rows = rows.assign(Date=rows["Date"].dt.strftime("%Y-%m-%d"), Open=rows["Open"].astype(float))
    rows.to_json(tmp_path / "rows.json", orient="records")
    program = (
        "import sys, pandas, mlflow\n"
        "rows = pandas.read_json(sys.argv[2], dtype={'StateHoliday': str, 'Open': float}, convert_dates=False)\n"
        "print(mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_json())\n"
        "import models.forecast.ensemble; print(models.forecast.ensemble.__file__)"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(folder), str(tmp_path / "rows.json")],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    answers, file = done.stdout.splitlines()
    assert str(folder) in file
    expected = load_artifact(folder).predict(rows)
    assert pytest.approx(list(expected), rel=1e-9) == list(json.loads(answers).values())


def test_json_holds_what_came_out(train: Run) -> None:
    """--json: data alone on standard output, the document's lines beside it."""
    result = train("--json", "--semver", "2.1.0")

    document = json.loads(result.stdout)
    assert ("2.1.0", 1, True) == (document["semantic_version"], document["version"], document["invented"])
    assert pytest.approx(1) == sum(document["weights"].values())
    assert "Training LightGBM... ✓" in result.stderr


def test_another_task_is_sent_to_the_other_command(quick: Settings) -> None:
    """A family that tells classes apart has no ensemble."""
    result = CliRunner().invoke(main, ["--model", "heart-disease"])

    assert 2 == result.exit_code
    assert "src/models/train.py --model heart-disease" in result.stderr


def test_one_file_without_the_other_is_refused(quick: Settings) -> None:
    """Kaggle's train.csv beside an invented store table would be nonsense."""
    config = load_config(quick.config_folder, FAMILY)
    path = quick.home / config.data.path
    path.parent.mkdir(parents=True)
    path.write_text("Store,Date\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"store\.csv: missing beside"):
        provide_sales(config, quick.home)


def test_dvc_names_the_data(tmp_path: Path) -> None:
    """The hash of the pointer file beside the data, or beside a folder above it."""
    data = tmp_path / "data" / "rossmann" / "train.csv"

    assert dvc_hash(data, tmp_path) is None
    data.parent.mkdir(parents=True)
    (tmp_path / "data" / "rossmann.dvc").write_text("outs:\n- md5: abc123.dir\n  path: rossmann\n")
    assert "abc123.dir" == dvc_hash(data, tmp_path)


def test_what_was_trained_is_validated_and_promoted(train: Run, quick: Settings) -> None:
    """The version goes to Staging by its RMSPE on the holdout, and to Production by hand."""
    train()
    runner = CliRunner()

    staged, promoted = runner.invoke(validate_main, []), runner.invoke(validate_main, ["--promote-to-production"])

    figure = f"{MlflowClient(quick.tracking_uri).get_model_version(FAMILY, '1').tags['rmspe']}"
    assert [
        "Loading model version 1...",
        "Evaluating on holdout validation set...",
        f"Validation RMSPE: {figure}",
        "✓ Performance meets threshold (< 0.20)",
        "Promoting to Staging...",
        "✓ Model version 1 promoted to Staging",
    ] == staged.stdout.splitlines(), staged.stderr
    assert "✓ Model version 1 is now in Production" == promoted.stdout.splitlines()[-1], promoted.stderr


@pytest.mark.system
def test_the_documented_flow_completes_on_a_fresh_machine(settings: Settings, tmp_path: Path) -> None:
    """With nothing but the repository: train, validate, promote, train again, promote that, roll back; as processes."""

    def run(*line: str) -> str:
        done = subprocess.run(
            [sys.executable, *line],
            cwd=REPOSITORY,
            env={
                "PATH": "/usr/bin:/bin",
                "PROMOTION_HOME": str(settings.home),
                "PROMOTION_KEYS": str(tmp_path / "keys"),
                "PROMOTION_ACTOR": "anna",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    validate = "src/models/validate_model.py"
    assert "version 1" in run("src/models/train_ensemble.py")
    assert "✓ Performance meets threshold (< 0.10)" in run(validate)
    run(validate, "--promote-to-production")
    assert "version 2" in run("src/models/train_ensemble.py", "--sample")
    run(validate)
    assert "✓ Previous Production model (version 1) archived" in run(validate, "--promote-to-production")
    assert "✓ Model version 1 is now in Production" in run(validate, "--promote-to-production", "--version", "1")
    rmspe = float(MlflowClient(settings.tracking_uri).get_model_version(FAMILY, "1").tags["rmspe"])
    assert 0.07 <= rmspe <= 0.09
    assert pd.read_csv(settings.home / "data/rossmann/train.csv", nrows=1)["Store"][0] == 1
