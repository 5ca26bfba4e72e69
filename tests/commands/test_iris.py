"""Document 000's workflow: edit `params.yaml`, train, and see the version challenge Production on the same rows."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient

from promotion.config.settings import REPOSITORY, Settings

MODEL = "iris-classifier"
DOCUMENTED = {
    "run_id": str,
    "model_name": str,
    "version": int,
    "train_accuracy": float,
    "test_accuracy": float,
    "promoted_to_production": bool,
    "model_type": str,
    "params": dict,
}
LINEAGE = {"stage", "scenario", "production", "semver", "digest", "git_commit", "data_sha256", "trained_at"}
Train = Callable[..., Result]


@pytest.fixture
def train(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Set hyper-parameters and call `train.py --promote`, with few folds."""
    edit_config(settings, cross_validation={"folds": 2, "repeats": 1})
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    shutil.copy(REPOSITORY / "params.yaml", settings.home)
    main = runpy.run_path(str(REPOSITORY / "src" / "models" / "train.py"), run_name="train")["main"]

    def call(*options: str, promote: bool = True, **params: int) -> Result:
        path = settings.home / "params.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **params}))
        return CliRunner().invoke(main, ["--model", MODEL, *(["--promote"] if promote else []), *options])

    return call


def stages(settings: Settings) -> dict[int, str]:
    found = MlflowClient(settings.tracking_uri, settings.registry_uri).search_model_versions(f"name = '{MODEL}'")
    return {int(version.version): version.current_stage for version in found}


def metadata(settings: Settings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((settings.home / "models" / "model_metadata.json").read_text())
    return document


def edit_config(settings: Settings, **changes: object) -> None:
    path = settings.config_folder / f"{MODEL}.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.system
def test_the_three_experiments(train: Train, settings: Settings) -> None:
    """What really comes out: the first version serves; shallow trees and twice as many trees go to Staging.

    The third is expected to be promoted by many, and is not better on these rows.
    """
    first = train()
    assert 0 == first.exit_code, first.stderr
    assert f"Scenario A: nothing is in Production yet: {MODEL} v1 goes to Production" in first.stdout
    assert "test_accuracy 0.9333" in first.stdout
    assert {1: "Production"} == stages(settings)
    assert (True, "A") == (metadata(settings)["promoted_to_production"], metadata(settings)["scenario"])

    second = train(max_depth=2)
    assert 0 == second.exit_code, second.stderr
    worse = f"Scenario C: not better than Production: {MODEL} v2 goes to Staging, {MODEL} v1 stays in Production"
    assert worse in second.stdout
    assert f"test_accuracy 0.9000 <= 0.9333 of {MODEL} v1, both scored now on the same rows" in second.stdout

    third = train(max_depth=5, n_estimators=200)
    assert 0 == third.exit_code, third.stderr
    assert f"test_accuracy 0.9000 <= 0.9333 of {MODEL} v1" in third.stdout
    assert {1: "Production", 2: "Staging", 3: "Staging"} == stages(settings)
    assert (False, "Staging") == (metadata(settings)["promoted_to_production"], metadata(settings)["stage"])


@pytest.mark.system
def test_better_takes_the_place(train: Train, settings: Settings) -> None:
    """A better version goes to Production and the old one is archived; the record has the documented keys and types."""
    assert 0 == train(max_depth=1, n_estimators=2).exit_code
    answer = train("--semver", "2.0.0", max_depth=5, n_estimators=100)
    assert 0 == answer.exit_code, answer.stderr
    assert f"Scenario B: better than Production: {MODEL} v2 goes to Production, {MODEL} v1 is archived" in answer.stdout
    assert re.search(rf"test_accuracy 0.9333 > 0\.[0-8]\d+ of {MODEL} v1", answer.stdout)
    assert re.search(r"difference \+0\.\d+, 95 % interval", answer.stdout)
    assert {1: "Archived", 2: "Production"} == stages(settings)
    found = metadata(settings)
    assert list(DOCUMENTED) == list(found)[: len(DOCUMENTED)]
    assert DOCUMENTED == {key: type(found[key]) for key in DOCUMENTED}
    assert found.keys() >= LINEAGE
    run = MlflowClient(settings.tracking_uri, settings.registry_uri).get_run(found["run_id"])
    expected = {
        "model_name": MODEL,
        "version": 2,
        "train_accuracy": run.data.metrics["train_accuracy"],
        "test_accuracy": run.data.metrics["test_accuracy"],
        "promoted_to_production": True,
        "model_type": "RandomForest",
        "params": {"n_estimators": 100, "max_depth": 5},
        "stage": "Production",
        "scenario": "B",
        "production": f"{MODEL} v2",
        "semver": "2.0.0",
        "data_sha256": run.data.tags["data_sha256"],
    }
    assert expected == {key: found[key] for key in expected}
    assert pytest.approx(28 / 30) == found["test_accuracy"]


@pytest.mark.system
def test_other_rows_than_production_learned_from(train: Train, settings: Settings) -> None:
    """Where the file changed since, Production is scored again on the new rows, and that is said."""
    assert 0 == train(n_estimators=3).exit_code
    path = settings.home / "data" / "iris.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:-10], ""]), encoding="utf-8")
    answer = train(n_estimators=3)
    assert 0 == answer.exit_code, answer.stderr
    assert f"{MODEL} v1 was trained on data with sha256" in answer.stderr
    assert "its stored figure says nothing about these rows" in answer.stderr
    assert "Scenario" in answer.stdout


@pytest.mark.system
def test_training_alone(train: Train, settings: Settings) -> None:
    """Without --promote nothing moves; the record says so, and what comes next is said."""
    answer = train(promote=False, n_estimators=3)
    assert 0 == answer.exit_code, answer.stderr
    assert "Next: python scripts/promote-model.py --auto" in answer.stdout
    assert {1: "None"} == stages(settings)
    found = metadata(settings)
    assert (False, "None", None) == (found["promoted_to_production"], found["stage"], found["scenario"])


@pytest.mark.system
def test_json(train: Train) -> None:
    """With --json standard output is one document, the record included; the scenario is told on standard error."""
    answer = train("--json", n_estimators=3)
    document = json.loads(answer.stdout)
    assert ("A", "Production") == (document["metadata"]["scenario"], document["metadata"]["stage"])
    assert "Scenario A" in answer.stderr


@pytest.mark.system
def test_a_refusal_is_a_failure_only_if_asked(train: Train, settings: Settings) -> None:
    """With --strict, as `make run` has it, a refusing gate ends the command with code 3; the record is written."""
    edit_config(settings, gates={"thresholds": {"accuracy": {"minimum": 0.99}}})
    answer = train("--strict", n_estimators=3)
    assert 3 == answer.exit_code
    assert "accuracy" in answer.stderr
    assert "Scenario" not in answer.stdout
    assert {1: "None"} == stages(settings)
    assert (False, "None") == (metadata(settings)["promoted_to_production"], metadata(settings)["stage"])


@pytest.mark.system
@pytest.mark.parametrize("promotion", ["auto", "manual"])
def test_what_needs_approvals_waits_in_staging_and_the_command_is_named(
    train: Train, settings: Settings, promotion: str
) -> None:
    """No failure, also with --strict: nobody can have approved what was trained a moment ago."""
    edit_config(settings, approvals={"roles": ["lab"], "signed": False}, promotion=promotion)

    result = train("--strict", n_estimators=3)

    assert 0 == result.exit_code, result.output
    assert "iris-classifier v1 is in Staging and waits for approvals" in result.stderr
    command = "python mlops/registry/approve_model.py --model-name iris-classifier --version 1.0.0 --role lab"
    assert command in result.stderr
    assert {1: "Staging"} == stages(settings)


def test_strict_needs_promote(train: Train) -> None:
    """--strict alone would say nothing, so it is refused."""
    answer = train("--strict", promote=False)
    assert 2 == answer.exit_code
    assert "--strict says what --promote does when it fails" in answer.stderr


def test_a_mistake_in_params_trains_nothing(train: Train, settings: Settings) -> None:
    """One line names file and key, exit 2."""
    answer = train(max_dept=3)
    assert 2 == answer.exit_code
    assert f"{settings.home / 'params.yaml'}:1: max_dept: unknown parameter of random_forest" in answer.stderr
    assert {} == stages(settings)


@pytest.mark.system
def test_make_run(settings: Settings, tmp_path: Path) -> None:
    """`make run` writes the data, trains, promotes and exits 0; so it does when the champion stays."""
    shutil.copy(REPOSITORY / "params.yaml", settings.home)

    def make_run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PROMOTION_HOME": str(settings.home)}
        command = ["make", "-C", str(REPOSITORY), "run"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    first, second = make_run(), make_run()
    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert "data/iris.csv: written by the generator iris" in first.stdout
    assert "Scenario A" in first.stdout
    assert "Scenario C" in second.stdout
