"""Our client against MLflow 2.7.1 behind a login: train, list, promote, predict, and document 000's own lines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml
from tests.system.old_servers import ADMIN, OLD, OldServer, serve_old
from tests.system.representer_servers import environment, serve

from promotion.config.settings import REPOSITORY

LOGISTIC, FOREST = "heart-disease-logistic_regression", "heart-disease-random_forest"
PUBLISH = Path(__file__).parent / "publish_model.py"
CONSUMER = f"""
import warnings
warnings.simplefilter("ignore")
from pathlib import Path
import mlflow.artifacts, mlflow.sklearn
from mlflow.tracking import MlflowClient
client = MlflowClient()
version = client.get_latest_versions("{LOGISTIC}", stages=["Production"])[0]
print(version.version, client.get_run(version.run_id).data.metrics["roc_auc"].__round__(4))
print(type(mlflow.sklearn.load_model("models:/{LOGISTIC}/Production")).__name__)
files = Path(mlflow.artifacts.download_artifacts("models:/{LOGISTIC}/Production"))
print([path.name for path in files.glob("*.md")])
"""

pytestmark = [pytest.mark.system, pytest.mark.peers, pytest.mark.timeout(600)]
Command = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class World:
    """An old server and a home whose commands log in to it."""

    server: OldServer
    home: Path

    def run(self, script: str, *arguments: str, **variables: str) -> Command:
        """Run one of our commands."""
        return subprocess.run(
            [sys.executable, REPOSITORY / script, *arguments],
            env=environment(PROMOTION_HOME=self.home, PROMOTION_ACTOR="anna", **(self.server.credentials | variables)),
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two quick candidates, trained into the old server by the command."""
    folder = tmp_path_factory.mktemp("old")
    home = folder / "home"
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    path = home / "config" / "heart-disease.yaml"
    config = yaml.safe_load(path.read_text())
    config["candidates"] = {"logistic_regression": {"params": {}}, "random_forest": {"params": {"n_estimators": 5}}}
    config["cross_validation"] = {"folds": 2, "repeats": 1}
    path.write_text(yaml.safe_dump(config))
    with serve_old(folder) as server:
        yield World(server, home)


@pytest.fixture(scope="module")
def training(world: World) -> Command:
    return world.run("src/models/train.py", "--json")


@pytest.fixture(scope="module")
def promoted(world: World, training: Command) -> list[Command]:
    """The forest first, then the better model, then nothing left to do."""
    return [
        world.run("scripts/promote-model.py", FOREST),
        world.run("scripts/promote-model.py", "--auto"),
        world.run("scripts/promote-model.py", "--auto"),
    ]


def test_training_registers_all(training: Command, world: World) -> None:
    """Training ends 0; the server lists both versions with their scores, the best one tagged."""
    assert 0 == training.returncode, training.stderr
    listing = world.run("scripts/promote-model.py", "--list", "--json")
    models = {model["name"]: model["versions"][0]["tags"] for model in json.loads(listing.stdout)}
    trained = {
        item["model"]: f"{item['test']['roc_auc']['value']:.4f}" for item in json.loads(training.stdout)["candidates"]
    }

    assert trained == {name: tags["roc_auc"] for name, tags in models.items()}
    assert [LOGISTIC] == [name for name, tags in models.items() if tags.get("best_model") == "true"]


def test_server_is_old_and_asks_for_a_login(world: World) -> None:
    """The server is what these tests claim: MLflow 2.7.1, no logged models, nothing for strangers."""
    assert OLD == requests.get(f"{world.server.url}/version", timeout=10, auth=ADMIN).text
    logged_models = f"{world.server.url}/api/2.0/mlflow/logged-models"
    assert 404 == requests.post(logged_models, json={}, timeout=10, auth=ADMIN).status_code
    assert 401 == requests.get(f"{world.server.url}/api/2.0/mlflow/runs/get", timeout=10).status_code


def test_promotion_moves_stages_and_aliases(promoted: list[Command], world: World) -> None:
    """Promoting by name and by --auto work as on a new server, the old champion is archived."""
    forest, best, again = promoted
    assert (0, 0, 5) == (forest.returncode, best.returncode, again.returncode), best.stderr
    assert f"Successfully promoted {LOGISTIC} v1 to Production" in best.stdout
    assert f"MLflow shows {LOGISTIC}@production as v1" in best.stderr
    listing = json.loads(world.run("scripts/promote-model.py", "--list", "--json").stdout)
    stages = {model["name"]: model["versions"][0]["stage"] for model in listing}
    assert {LOGISTIC: "Production", FOREST: "Archived"} == stages


def test_prediction_loads_from_the_run(promoted: list[Command], world: World) -> None:
    """The champion's files come out of its run and predict."""
    prediction = world.run("src/models/predict.py", "--model-name", "heart-disease")
    assert 0 == prediction.returncode, prediction.stderr
    assert f"predicted by {LOGISTIC} v1 (Production)" in prediction.stdout


def test_consumers_load_it_with_plain_mlflow(promoted: list[Command], world: World) -> None:
    """Stage, metric, model and card are where MLflow's own client looks for them."""
    answer = subprocess.run(
        [sys.executable, "-c", CONSUMER],
        env=environment(**world.server.credentials),
        cwd=world.home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == answer.returncode, answer.stderr
    assert ["1 0.9665", "Pipeline", "['MODEL_CARD.md']"] == answer.stdout.splitlines()


@pytest.mark.parametrize("script", ["src/models/train.py", "scripts/promote-model.py --auto"])
def test_wrong_password_is_one_line(world: World, script: str) -> None:
    """A wrong password ends each command with 1 and says which variables to set."""
    refused = world.run(*script.split(), MLFLOW_TRACKING_PASSWORD="wrong")  # noqa: S106  # that is the point
    assert 1 == refused.returncode
    assert "MLFLOW_TRACKING_PASSWORD" in refused.stderr.splitlines()[-1]
    assert ADMIN[1] not in refused.stderr


@pytest.fixture(params=["old", "new"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables that lead to a server storing artifacts itself, of MLflow 2.7.1 and of ours."""
    if request.param == "old":
        yield request.getfixturevalue("world").server.credentials
        return
    with serve(Path(sys.executable), f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path) as server:
        yield {"MLFLOW_TRACKING_URI": server.url}


def test_uploaded_bytes_are_the_saved_ones(served: dict[str, str], tmp_path: Path) -> None:
    """The digest before the upload is the digest of what a server gives back."""
    answer = subprocess.run(
        [sys.executable, PUBLISH],
        env=environment(PROMOTION_HOME=REPOSITORY, PYTHONPATH=REPOSITORY / "src", **served),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == answer.returncode, answer.stderr
    saved, served_back, files = answer.stdout.splitlines()
    assert saved == served_back
    assert {"MLmodel", "MODEL_CARD.md", "model.skops"} <= set(files.split())
