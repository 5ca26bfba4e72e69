"""What the commands' tests share: a registry to promote in, and the promotion command in this process."""

from __future__ import annotations

import os
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from tests.commands.governed_home import governed_home
from tests.conftest import made_once
from tests.promotion.factories import Store
from tests.promotion.shared_home import SharedHome, restore

from models.training.training import train
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings

Promote = Callable[..., Result]
LOGISTIC, FOREST = "heart-disease-logistic_regression", "heart-disease-random_forest"


@pytest.fixture
def store(settings: Settings, shared_home: SharedHome) -> Store:
    """MLflow's SQLite store in the test's home, with short verbs to register and move versions."""
    return shared_home.store


@pytest.fixture
def promote(monkeypatch: pytest.MonkeyPatch) -> Promote:
    """Call `scripts/promote-model.py` without paying for a new process; acts as anna."""
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    main = runpy.run_path(str(REPOSITORY / "scripts" / "promote-model.py"), run_name="promote_model")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.fixture(scope="session")
def _trained_home(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The heart-disease family after one real training of the logistic regression, whose version is number 2."""
    return made_once(tmp_path_factory, "trained", lambda home: _train(home, empty_store))


def _train(home: Path, empty_store: Path) -> None:
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    path = home / "config" / "heart-disease.yaml"
    config = yaml.safe_load(path.read_text())
    config["candidates"] = {"logistic_regression": config["candidates"]["logistic_regression"]}
    config["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(config))
    shutil.copy(empty_store, home / "mlflow.db")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    client.create_registered_model(LOGISTIC)
    client.create_model_version(LOGISTIC, source=str(home / "data"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PROMOTION_HOME", str(home))
        environment.setenv("PROMOTION_KEYS", str(home / "keys"))
        environment.setenv("PROMOTION_ACTOR", "tess@lab.example")
        settings = Settings.from_environment()
        train(load_config(settings.config_folder, "heart-disease"), settings, lambda *_progress: None)
    client.delete_model_version(LOGISTIC, "1")


@pytest.fixture
def trained(_trained_home: Path, store: Store) -> Store:
    """That training, in the test's own home: MLflow, journal and signing key."""
    restore(_trained_home / "mlflow.db", store.home / "mlflow.db")
    shutil.copy(_trained_home / "promotion.db", store.home)
    shutil.copytree(_trained_home / "keys", os.environ["PROMOTION_KEYS"], dirs_exist_ok=True)
    shutil.copy(_trained_home / "config" / "heart-disease.yaml", store.home / "config")
    return store


@pytest.fixture(scope="session")
def _governed_home(empty_store: Path, fitted_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SharedHome:
    return governed_home(tmp_path_factory.mktemp("governed"), empty_store, fitted_model)


@pytest.fixture
def governed(_governed_home: SharedHome, monkeypatch: pytest.MonkeyPatch) -> Store:
    """That family, on 5 December; the acting account is jenkins."""
    store = _governed_home.back_to("staged")
    monkeypatch.setenv("PROMOTION_HOME", str(store.home))
    monkeypatch.setenv("PROMOTION_KEYS", str(store.home / "keys"))
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-05T09:00:00")
    monkeypatch.setenv("PROMOTION_ACTOR", "jenkins")
    return store


@pytest.fixture
def governance() -> Promote:
    """Call a command of `mlops/registry` by its name, without paying for a new process."""

    def call(name: str, *arguments: str) -> Result:
        path = REPOSITORY / "mlops" / "registry" / f"{name}.py"
        return CliRunner().invoke(runpy.run_path(str(path), run_name=name)["main"], arguments)

    return call
