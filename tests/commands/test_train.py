from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from promotion.settings import Settings

Run = Callable[..., subprocess.CompletedProcess[str]]
TRAIN = "src/models/train.py"


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Fewer folds, so that the commands under test take seconds."""
    path = settings.config_folder / "heart-disease.yaml"
    document = yaml.safe_load(path.read_text())
    document["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return settings


def test_table(run: Run, quick: Settings) -> None:
    """The documented command trains, shows every candidate with its interval, marks the best and names the next step."""
    answer = run(TRAIN)
    assert 0 == answer.returncode, answer.stderr
    assert "0.9665 (0.9" in answer.stdout
    for name in ("logistic_regression", "random_forest", "gradient_boosting"):
        assert f"heart-disease-{name} v1" in answer.stdout
    assert 1 == answer.stdout.count("\N{TROPHY}")
    assert "corrected resampled t-test (Nadeau & Bengio 2003)" in answer.stdout
    assert "python scripts/promote-model.py --auto" in answer.stdout


def test_quiet_console(run: Run, quick: Settings) -> None:
    """Standard error holds our own lines only: no MLflow announcements, no bars outside a terminal."""
    answer = run(TRAIN)
    assert {"training heart-disease"} == {line for line in answer.stderr.splitlines() if "steps" not in line and "done" not in line}
    assert not (Path.cwd() / "mlruns").exists()


def test_json(run: Run, quick: Settings) -> None:
    """With --json standard output is one document; exactly one candidate is the best."""
    document = json.loads(run(TRAIN, "--json").stdout)
    assert "heart-disease" == document["family"]
    assert [True, False, False] == [candidate["best_model"] for candidate in document["candidates"]]
    regression = next(item for item in document["candidates"] if item["algorithm"] == "logistic_regression")
    assert "0.9665" == f"{regression['test']['roc_auc']['value']:.4f}"


def test_ascii_console(run: Run, quick: Settings) -> None:
    """On a console without UTF-8 the table is plain ASCII."""
    answer = run(TRAIN, LC_ALL="C", LANG="C", PYTHONIOENCODING="", PYTHONUTF8="0")
    assert 0 == answer.returncode, answer.stderr
    assert answer.stdout.isascii()
    assert answer.stderr.isascii()


def test_unknown_family(run: Run, settings: Settings) -> None:
    """An unknown model is a usage error that lists the known ones."""
    answer = run(TRAIN, "--model", "nonesuch")
    assert 2 == answer.returncode
    assert "unknown family 'nonesuch'" in answer.stderr
    assert 1 == len(answer.stderr.splitlines())


def test_bad_data(run: Run, home: Path) -> None:
    """Data that breaks its contract fails in plain words; no store appears."""
    (home / "data" / "heart-disease.csv").write_text("")
    answer = run(TRAIN)
    assert 1 == answer.returncode
    assert "heart-disease.csv: the file is empty" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (home / "mlflow.db").exists()


def test_promote(run: Run, quick: Settings) -> None:
    """With --promote the best version is in Production afterwards."""
    answer = run(TRAIN, "--promote")
    assert 0 == answer.returncode, answer.stderr
    assert "to Production" in answer.stderr


def test_failing_promotion(run: Run, quick: Settings) -> None:
    """A promotion that fails is said plainly and does not fail the training."""
    answer = run(TRAIN, "--promote", PROMOTION_DATABASE_URL="sqlite:////nowhere/at/all/promotion.db")
    assert 0 == answer.returncode, answer.stderr
    assert "not promoted: " in answer.stderr
