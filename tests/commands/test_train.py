from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from promotion.config.settings import REPOSITORY, Settings

Run = Callable[..., subprocess.CompletedProcess[str]]
TRAIN = "src/models/train.py"


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Few folds, so that the commands under test take seconds."""
    path = settings.config_folder / "heart-disease.yaml"
    document = yaml.safe_load(path.read_text())
    document["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return settings


@pytest.mark.system
def test_table(run: Run, quick: Settings, tmp_path: Path) -> None:
    """The command shows every candidate with its interval, one best, how sure the choice is, and the next step.

    Standard error holds our own lines only: no MLflow announcements, no bars outside a terminal. Nothing is written to
    the folder it was started in.
    """
    answer = run(TRAIN)
    assert 0 == answer.returncode, answer.stderr
    assert "0.9665 (0.9" in answer.stdout
    for name in ("logistic_regression", "random_forest", "gradient_boosting"):
        assert f"heart-disease-{name} v1" in answer.stdout
    assert 1 == answer.stdout.count("\N{TROPHY}")
    assert "corrected resampled t-test (Nadeau & Bengio 2003)" in answer.stdout
    assert "python scripts/promote-model.py --auto" in answer.stdout
    tasks = ("cross-validating", "fitting and testing", "logging and registering")
    expected = [line for task in tasks for line in (f"{task} ({6 if 'cross' in task else 3} steps) …", f"{task}: done")]
    assert ["training heart-disease", *expected] == answer.stderr.splitlines()
    assert {"keys"} == {path.name for path in tmp_path.iterdir()}


HARDENED = """
import _multiprocessing, errno, os, runpy, sys
class SemLock(_multiprocessing.SemLock):
    def __new__(cls, *arguments, **more):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
_multiprocessing.SemLock = SemLock
sys.argv = [sys.argv[1]]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.system
def test_training_goes_on_in_one_process(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine does not let processes share memory: the same figures, and one line that says so."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT")
    command = [sys.executable, "-c", HARDENED, str(REPOSITORY / TRAIN)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == answer.returncode, answer.stderr
    assert "0.9665 (0.9" in answer.stdout
    told = "training in one process: /dev/shm cannot be written (Permission denied), and other processes need it"
    assert ["training heart-disease", told] == answer.stderr.splitlines()[:2]
    assert "joblib" not in answer.stderr


@pytest.mark.system
def test_json_and_promote(run: Run, quick: Settings) -> None:
    """With --json standard output is one document with one best; with --promote that one goes to Production."""
    answer = run(TRAIN, "--json", "--promote")
    assert 0 == answer.returncode, answer.stderr
    document = json.loads(answer.stdout)
    assert "heart-disease" == document["family"]
    assert [True, False, False] == [candidate["best_model"] for candidate in document["candidates"]]
    regression = next(item for item in document["candidates"] if item["algorithm"] == "logistic_regression")
    assert "0.9665" == f"{regression['test']['roc_auc']['value']:.4f}"
    assert f"promoted {document['candidates'][0]['model']} v1 to Production" in answer.stderr


@pytest.mark.system
def test_failing_promotion_on_an_ascii_console(run: Run, quick: Settings, tmp_path: Path) -> None:
    """A promotion that fails is said plainly and fails no training; a console without UTF-8 gets plain ASCII."""
    path = quick.config_folder / "heart-disease.yaml"
    path.write_text(path.read_text().replace("minimum: 0.8", "minimum: 0.999"))
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "", "PYTHONUTF8": "0"}
    answer = run(TRAIN, "--promote", **plain)
    assert 0 == answer.returncode, answer.stderr
    assert "not promoted: " in answer.stderr
    assert answer.stdout.isascii()
    assert answer.stderr.isascii()


@pytest.mark.system
def test_unknown_family(run: Run, settings: Settings) -> None:
    """An unknown model is a usage error that lists the known ones."""
    answer = run(TRAIN, "--model", "nonesuch")
    assert 2 == answer.returncode
    assert "unknown family 'nonesuch'" in answer.stderr
    assert 1 == len(answer.stderr.splitlines())


@pytest.mark.system
def test_bad_data(run: Run, home: Path) -> None:
    """Data that breaks its contract fails in plain words; no store appears."""
    (home / "data" / "heart-disease.csv").write_text("")
    answer = run(TRAIN)
    assert 1 == answer.returncode
    assert "heart-disease.csv: the file is empty" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (home / "mlflow.db").exists()


@pytest.mark.system
def test_a_forecast_family_is_handed_to_its_own_command(
    home: Path, run: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A pipeline need not know what a family foretells; what the ensemble cannot do is said before it starts."""
    result = run("src/models/train.py", "--model", "rossmann-ensemble", "--promote")

    assert 2 == result.returncode
    assert "rossmann-ensemble is promoted by hand" in result.stderr
