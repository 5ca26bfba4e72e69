"""What tests of several packages share: a home of their own, and MLflow's real SQLite store in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from promotion.settings import REPOSITORY, Settings

OURS = ("PROMOTION_HOME", "PROMOTION_DATABASE_URL", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test talks to the developer's stores, or sends usage data anywhere."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of `config/` and `data/`, named by PROMOTION_HOME."""
    folder = tmp_path / "home"
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, folder / name)
    monkeypatch.setenv("PROMOTION_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables in a SQLite file; making them takes seconds, copying them nothing."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def settings(home: Path, empty_store: Path) -> Settings:
    """The default places in a test's own home, with an empty MLflow store."""
    shutil.copy(empty_store, home / "mlflow.db")
    return Settings.from_environment()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Call a command file as a person does: its own process, from some other folder."""

    def call(
        script: str, *arguments: str, python: str = sys.executable, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, str(REPOSITORY / script), *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    return call
