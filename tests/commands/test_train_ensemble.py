"""`src/models/train_ensemble.py` on invented stores: what it prints, registers and records, and what comes after it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from tests.conftest import OURS
from tests.models.forecast.conftest import make_sales
from tests.models.forecast.small_family import FAMILY, make_small, one_core

from models.forecast import ENSEMBLE
from models.forecast.data.provision import provide_sales
from models.forecast.data.sales import load_sales
from models.forecast.rows import INPUT_COLUMNS
from models.forecast.training.recording import dvc_hash
from models.train_ensemble import main
from models.validate_model import main as validate_main
from promotion.artifacts.files import artifact_digest
from promotion.artifacts.scanning import problems
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.errors import DataError
from promotion.evaluation.loading import load_artifact


@dataclass(frozen=True)
class Trained:
    """A home in which the family was trained once, and what the command said."""

    settings: Settings
    said: Result

    @property
    def artifact(self) -> Path:
        """Folder of the registered version."""
        return next(self.settings.artifact_folder.rglob("MLmodel")).parent


@pytest.fixture(scope="module")
def trained(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    home = tmp_path_factory.mktemp("forecast")
    shutil.copytree(REPOSITORY / "config", home / "config")
    shutil.copy(empty_store, home / "mlflow.db")
    make_small(home)
    with pytest.MonkeyPatch.context() as patch:
        for name in OURS:
            patch.delenv(name, raising=False)
        patch.setenv("PROMOTION_HOME", str(home))
        patch.setenv("PROMOTION_KEYS", str(home / "keys"))
        with one_core():
            said = CliRunner().invoke(main, ["--sample"])
        yield Trained(Settings.from_environment(), said)


@pytest.fixture
def at_home(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    monkeypatch.setenv("PROMOTION_HOME", str(trained.settings.home))
    monkeypatch.setenv("PROMOTION_KEYS", str(trained.settings.home / "keys"))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    return trained


@pytest.mark.system
def test_the_documents_lines_are_printed_and_the_version_is_complete(at_home: Trained) -> None:
    """Standard output is the document's; run, version, signature, card and journal hold what they should."""
    result, quick = at_home.said, at_home.settings

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
    folder = at_home.artifact
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MODEL_CARD.md", "conda.yaml", "requirements.txt", "artifacts/ensemble/catboost.cbm"} <= files
    assert not {name for name in files if name.endswith((".pkl", ".joblib", ".pickle"))}
    assert str(quick.home) not in (folder / "MLmodel").read_text().replace(str(quick.artifact_folder), "")


@pytest.mark.system
def test_code_in_the_model_needs_a_signature(at_home: Trained, tmp_path: Path) -> None:
    """The scanner refuses Python in an artifact, unless a trusted signature vouches for it; a pickle it never takes."""
    folder = shutil.copytree(at_home.artifact, tmp_path / "copy")

    assert 3 == len(problems(folder))
    assert [] == problems(folder, code_is_vouched=True)
    (folder / "python_model.pkl").write_bytes(b"\x80\x04N.")
    assert 1 == len(problems(folder, code_is_vouched=True))


@pytest.mark.system
def test_the_model_runs_without_the_project(at_home: Trained, tmp_path: Path) -> None:
    """`mlflow.pyfunc.load_model` finds all code in the version, answers what our loader answers, leaves no trace."""
    folder = at_home.artifact
    before = artifact_digest(folder)
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
    assert before == artifact_digest(folder)
    answers, file = done.stdout.splitlines()
    assert str(folder) in file
    expected = load_artifact(folder).predict(rows)
    assert pytest.approx(list(expected), rel=1e-9) == list(json.loads(answers).values())


@pytest.mark.system
def test_sales_of_the_last_days_reach_nothing_that_is_learned(trained: Trained, settings: Settings) -> None:
    """With other sales in the file's last 42 days the command ends with the same boosters, weights and forecasts."""
    make_small(settings.home)
    config = load_config(settings.config_folder, FAMILY)
    source = trained.settings.home / config.data.path
    shutil.copytree(source.parent, settings.home / Path(config.data.path).parent)
    rows = pd.read_csv(source, dtype=str)
    held = pd.to_datetime(rows["Date"]) > pd.to_datetime(rows["Date"].max()) - pd.Timedelta(days=42)
    open_days = held & (rows["Open"] == "1")
    other = np.random.default_rng(7).integers(1, 40_000, int(open_days.sum()))
    rows.loc[open_days, "Sales"] = other.astype(str)
    rows.to_csv(settings.home / config.data.path, index=False)

    with one_core():
        result = CliRunner().invoke(main, ["--sample"])

    assert 0 == result.exit_code, result.output
    ours, theirs = (next(place.artifact_folder.rglob("MLmodel")).parent for place in (trained.settings, settings))
    for name in ("lightgbm.txt", "xgboost.ubj"):
        assert (ours / ENSEMBLE / name).read_bytes() == (theirs / ENSEMBLE / name).read_bytes()
    asked = load_sales(config, trained.settings.home).rows[list(INPUT_COLUMNS)].query("Date > '2015-06-19'")
    first, second = (load_artifact(folder) for folder in (ours, theirs))
    assert first.weights == second.weights
    np.testing.assert_array_equal(first.predict(asked), second.predict(asked))
    uris = (trained.settings.tracking_uri, settings.tracking_uri)
    figures = {MlflowClient(uri, uri).get_model_version(FAMILY, "1").tags["rmspe"] for uri in uris}
    assert 2 == len(figures), "the holdout itself is another one"


@pytest.mark.system
def test_json_holds_what_came_out(settings: Settings) -> None:
    """--json: data alone on standard output, the document's lines beside it."""
    make_small(settings.home)

    with one_core():
        result = CliRunner().invoke(main, ["--sample", "--json", "--semver", "2.1.0"])

    document = json.loads(result.stdout)
    assert ("2.1.0", 1, True) == (document["semantic_version"], document["version"], document["invented"])
    assert pytest.approx(1) == sum(document["weights"].values())
    assert "Training LightGBM... ✓" in result.stderr


def test_another_task_is_sent_to_the_other_command(home: Path) -> None:
    """A family that tells classes apart has no ensemble."""
    result = CliRunner().invoke(main, ["--model", "heart-disease"])

    assert 2 == result.exit_code
    assert "src/models/train.py --model heart-disease" in result.stderr


def test_one_file_without_the_other_is_refused(home: Path) -> None:
    """Kaggle's train.csv beside an invented store table would be nonsense."""
    config = load_config(home / "config", FAMILY)
    path = home / config.data.path
    path.parent.mkdir(parents=True)
    path.write_text("Store,Date\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"store\.csv: missing beside"):
        provide_sales(config, home)


def test_dvc_names_the_data(tmp_path: Path) -> None:
    """The hash of the pointer file beside the data, or beside a folder above it."""
    data = tmp_path / "data" / "rossmann" / "train.csv"

    assert dvc_hash(data, tmp_path) is None
    data.parent.mkdir(parents=True)
    (tmp_path / "data" / "rossmann.dvc").write_text("outs:\n- md5: abc123.dir\n  path: rossmann\n")
    assert "abc123.dir" == dvc_hash(data, tmp_path)


@pytest.mark.system
def test_what_was_trained_is_validated_and_promoted(at_home: Trained) -> None:
    """The version goes to Staging by its RMSPE on the holdout, and to Production by hand."""
    runner = CliRunner()

    staged, promoted = runner.invoke(validate_main, []), runner.invoke(validate_main, ["--promote-to-production"])

    figure = MlflowClient(at_home.settings.tracking_uri).get_model_version(FAMILY, "1").tags["rmspe"]
    assert [
        "Loading model version 1...",
        "Evaluating on holdout validation set...",
        f"Validation RMSPE: {figure}",
        "✓ Performance meets threshold (< 0.10)",
        "Promoting to Staging...",
        "✓ Model version 1 promoted to Staging",
    ] == staged.stdout.splitlines(), staged.stderr
    assert "✓ Model version 1 is now in Production" == promoted.stdout.splitlines()[-1], promoted.stderr


@pytest.mark.system
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("is_small", "rmspe"),
    [(True, (0.04, 0.10)), pytest.param(False, (0.07, 0.09), marks=pytest.mark.peers)],
    ids=["small", "shipped"],
)
def test_the_documented_flow_completes_on_a_fresh_machine(
    is_small: bool, rmspe: tuple[float, float], settings: Settings, tmp_path: Path
) -> None:
    """With nothing but the repository: train, validate, promote, train again, promote that, roll back; as processes."""
    if is_small:
        make_small(settings.home)

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
    with one_core():
        assert "version 1" in run("src/models/train_ensemble.py", "--sample")
    assert "✓ Performance meets threshold (< 0.10)" in run(validate)
    run(validate, "--promote-to-production")
    with one_core():
        assert "version 2" in run("src/models/train_ensemble.py", "--sample")
    run(validate)
    assert "✓ Previous Production model (version 1) archived" in run(validate, "--promote-to-production")
    assert "✓ Model version 1 is now in Production" in run(validate, "--promote-to-production", "--version", "1")
    measured = float(MlflowClient(settings.tracking_uri).get_model_version(FAMILY, "1").tags["rmspe"])
    assert rmspe[0] <= measured <= rmspe[1]
    assert pd.read_csv(settings.home / "data/rossmann/train.csv", nrows=1)["Store"][0] == 1
