"""One trained, promoted, exported and built model for all tests of the image, by the commands a person would call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from promotion.config.settings import REPOSITORY

FAMILY = "heart-disease"
Command = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Built:
    """A home, and what `build-image.py --json` said of the image built from it."""

    home: Path
    document: dict[str, Any]

    @property
    def reference(self) -> str:
        """The image's name."""
        return str(self.document["image"])

    @property
    def export(self) -> Path:
        """The folder it was built from."""
        return self.home / "build" / "export" / FAMILY

    def call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call a command file on this home."""
        return call(self.home, script, *arguments)


def call(home: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PROMOTION_HOME": str(home),
        "PROMOTION_KEYS": str(home / "keys"),
        "PROMOTION_ACTOR": "anna",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return subprocess.run(
        [sys.executable, str(REPOSITORY / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=True, timeout=120
    ).stdout.strip()


RECEIVED = "churn"
_RECEIVED_FILE = """\
family: churn
registered_model: churn
task: binary-classification
holdout: {path: holdout.csv, target: churned, positive: "yes", id: customer}
"""


@pytest.fixture(scope="session")
def received(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A CatBoost model with text and boolean categories, trained and logged by others, as an image."""
    import catboost
    import mlflow
    from mlflow.models import infer_signature
    from tests.promotion.evaluation.received.made import FEATURES, customers

    home = tmp_path_factory.mktemp("received")
    (home / "config").mkdir()
    (home / "config" / f"{RECEIVED}.yaml").write_text(_RECEIVED_FILE)
    customers().to_csv(home / "holdout.csv", index=False)
    rows = customers(400, 2)
    model = catboost.CatBoostClassifier(
        iterations=20, verbose=False, allow_writing_files=False, cat_features=["plan", "is_member"]
    ).fit(rows[FEATURES], rows["churned"])
    folder = home / "logged"
    signature = infer_signature(rows[FEATURES])
    mlflow.catboost.save_model(model, folder, signature=signature, pip_requirements=["mlflow", "catboost"])
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}", f"sqlite:///{home / 'mlflow.db'}")
    client.create_registered_model(RECEIVED)
    client.create_model_version(RECEIVED, str(folder))
    last = ""
    for script, *arguments in (
        ("scripts/promote-model.py", RECEIVED, "1", "--reason", "as an image"),
        ("scripts/export-model.py", "--model", RECEIVED),
        ("scripts/build-image.py", "--model", RECEIVED, "--json"),
    ):
        done = call(home, script, *arguments)
        assert 0 == done.returncode, f"{script}: {done.stdout}{done.stderr}"
        last = done.stdout
    return Built(home, json.loads(last))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """From raw rows to an image; one candidate and two folds are enough for that."""
    home = tmp_path_factory.mktemp("image")
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    path = home / "config" / f"{FAMILY}.yaml"
    config = yaml.safe_load(path.read_text())
    config["candidates"] = {"random_forest": {"params": {"n_estimators": 20}}}
    config["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(config))
    last = ""
    for script, *arguments in (
        ("src/models/train.py",),
        ("scripts/promote-model.py", "--auto"),
        ("scripts/export-model.py",),
        ("scripts/build-image.py", "--json"),
    ):
        done = call(home, script, "--model", FAMILY, *arguments)
        assert 0 == done.returncode, f"{script}: {done.stdout}{done.stderr}"
        last = done.stdout
    return Built(home, json.loads(last))
