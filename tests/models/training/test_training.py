from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from models.training.training import TrainingResult, train
from promotion.auto import BEST_TAG, ROUND_TAG
from promotion.config.commit import Commit, current_commit
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.config.training import Candidate, CrossValidation
from promotion.data.datasets import feature_schema_hash
from promotion.errors import (
    DataError,
    PromotionError,
    RegistryBroken,
    RegistryError,
    RegistryForbidden,
    RegistryUnauthorised,
    RegistryUnreachable,
)

ALGORITHMS = {"logistic_regression", "random_forest", "gradient_boosting"}


def silent(_task: str, _done: int, _total: int) -> None:
    pass


def client(settings: Settings) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(settings.tracking_uri, settings.registry_uri)


def versions(settings: Settings) -> list[ModelVersion]:
    return list(client(settings).search_model_versions())


def best(settings: Settings) -> list[tuple[str, int]]:
    return [(found.name, int(found.version)) for found in versions(settings) if BEST_TAG in found.tags]


@pytest.fixture
def config() -> FamilyConfig:
    """Few folds."""
    return quick(load_config(REPOSITORY / "config", "heart-disease"))


@pytest.fixture
def two(config: FamilyConfig) -> FamilyConfig:
    """Two candidates that train in no time."""
    candidates = {"random_forest": Candidate(params={"n_estimators": 3}), "logistic_regression": Candidate(params={})}
    return config.model_copy(update={"candidates": candidates})


def quick(config: FamilyConfig) -> FamilyConfig:
    return config.model_copy(update={"cross_validation": CrossValidation(folds=2, repeats=2)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[TrainingResult, Settings]:
    """The documented candidates, trained once into a store of their own."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(REPOSITORY / "data", home / "data")
    shutil.copy(empty_store, home / "mlflow.db")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    settings = Settings(
        home=home, tracking_uri=uri, registry_uri=uri, database_url=f"sqlite:///{home / 'promotion.db'}"
    )
    return train(quick(load_config(REPOSITORY / "config", "heart-disease")), settings, silent), settings


def run_of(trained: tuple[TrainingResult, Settings], algorithm: str) -> Run:
    result, settings = trained
    candidate = next(candidate for candidate in result.candidates if candidate.algorithm == algorithm)
    return client(settings).get_run(candidate.run_id)


@pytest.mark.system
def test_documented_scores(trained: tuple[TrainingResult, Settings]) -> None:
    """On the documented split the logistic regression reaches ROC-AUC 0.9665, the random forest about 0.95."""
    scores = {candidate.algorithm: candidate.test["roc_auc"].value for candidate in trained[0].candidates}
    assert "0.9665" == f"{scores['logistic_regression']:.4f}"
    assert pytest.approx(0.95, abs=0.005) == scores["random_forest"]
    assert (242, 61) == trained[0].rows


@pytest.mark.system
def test_best_by_cross_validation(trained: tuple[TrainingResult, Settings]) -> None:
    """Candidates are ranked by the mean of their folds, whatever the test rows say."""
    means = [candidate.cross_validation["roc_auc"].mean() for candidate in trained[0].candidates]
    assert sorted(means, reverse=True) == means
    assert all(4 == candidate.cross_validation["f1"].size for candidate in trained[0].candidates)


@pytest.mark.system
def test_registered_versions_and_tags(trained: tuple[TrainingResult, Settings]) -> None:
    """Every candidate has a READY version with its score and round; the best one alone carries best_model."""
    result, settings = trained
    found = {version.name: version for version in versions(settings)}
    assert {f"heart-disease-{algorithm}" for algorithm in ALGORITHMS} == set(found)
    for candidate in result.candidates:
        version = found[candidate.model]
        assert "READY" == version.status
        assert f"{candidate.test['roc_auc'].value:.4f}" == version.tags["roc_auc"]
        assert result.round == version.tags[ROUND_TAG]
        assert candidate.run_id == version.run_id
    assert [(result.candidates[0].model, 1)] == best(settings)
    assert "true" == found[result.candidates[0].model].tags[BEST_TAG]


@pytest.mark.system
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_logged_run(trained: tuple[TrainingResult, Settings], algorithm: str) -> None:
    """Each run holds params, metrics with intervals, the pictures, and where it came from."""
    run = run_of(trained, algorithm)
    assert "FINISHED" == run.info.status
    assert {"algorithm": algorithm, "random_state": "42"}.items() <= run.data.params.items()
    names = {"roc_auc", "accuracy", "precision", "recall", "f1"}
    expected = (
        names | {"cv_roc_auc_mean", "cv_roc_auc_std"} | {f"{name}_{end}" for name in names for end in ("low", "high")}
    )
    assert expected <= run.data.metrics.keys()
    config = load_config(REPOSITORY / "config", "heart-disease")
    tags = {"data_sha256": config.data.sha256, "feature_schema_hash": feature_schema_hash(config)}
    if (commit := trained[0].commit) is not None:
        tags |= {"git_commit": commit.sha, "git_dirty": str(commit.dirty).lower()}
    assert tags.items() <= run.data.tags.items()
    pictures = {file.path for file in client(trained[1]).list_artifacts(run.info.run_id)}
    assert {"roc_curve.png", "confusion_matrix.png", "permutation_importance.png"} <= pictures


def test_commit(tmp_path: Path) -> None:
    """The commit is the checked-out one, dirty when a tracked file differs; outside a repository there is none."""
    assert current_commit(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    assert Commit(git("rev-parse", "HEAD"), dirty=False, author="t@localhost") == current_commit(tmp_path)
    (tmp_path / "file").write_text("2")
    assert Commit(git("rev-parse", "HEAD"), dirty=True, author="t@localhost") == current_commit(tmp_path)


@pytest.mark.system
def test_artifacts_stay_at_home(trained: tuple[TrainingResult, Settings]) -> None:
    """With the default store, artifacts lie in the home's own folder wherever the command was started."""
    folder = trained[1].artifact_folder / "heart-disease"
    assert 9 == len(list(folder.rglob("*.png")))
    assert 3 == len(list(folder.rglob("model.skops")))
    assert not [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib"}]


@pytest.mark.system
def test_exact_requirements(trained: tuple[TrainingResult, Settings]) -> None:
    """A model names the exact versions it needs."""
    text = next(trained[1].artifact_folder.rglob("requirements.txt")).read_text()
    assert f"mlflow=={mlflow.__version__}" in text
    assert all("==" in line for line in text.splitlines())


@pytest.mark.system
def test_raw_rows_through_mlflow(trained: tuple[TrainingResult, Settings]) -> None:
    """MLflow's own loader takes raw rows of the file, whole numbers and missing cells included, and has a signature."""
    mlflow.set_tracking_uri(trained[1].tracking_uri)
    mlflow.set_registry_uri(trained[1].registry_uri)
    rows = pd.read_csv(REPOSITORY / "data" / "heart-disease.csv").drop(columns="num")
    for algorithm in sorted(ALGORITHMS):
        model = mlflow.pyfunc.load_model(f"models:/heart-disease-{algorithm}/1")
        answers = model.predict(rows)
        with pytest.raises(mlflow.MlflowException, match="missing inputs"):
            model.predict(rows.drop(columns="ca"))
        assert (303,) == answers.shape
        assert {0, 1} == set(answers)
        assert list(rows.columns) == model.metadata.get_input_schema().input_names()
        assert 3 == len(model.input_example)


@pytest.mark.system
def test_second_training_takes_the_tag_over(two: FamilyConfig, settings: Settings) -> None:
    """After a second training one version of the family is best, of the newest round; strangers keep their tags."""
    train(two, settings, silent)
    mlflow_client = client(settings)
    loser = next(version for version in versions(settings) if BEST_TAG not in version.tags)
    mlflow_client.set_model_version_tag(loser.name, str(loser.version), BEST_TAG, "true")
    mlflow_client.create_registered_model("stranger")
    mlflow_client.create_model_version("stranger", "/nowhere", tags={BEST_TAG: "true"})
    second = train(two, settings, silent)
    assert [("stranger", 1), (second.candidates[0].model, 2)] == sorted(best(settings), key=lambda item: item[1])


@pytest.mark.system
def test_crash_before_the_end(two: FamilyConfig, settings: Settings) -> None:
    """When training dies before all are registered, the old best keeps its tag and the new round has none."""
    first = train(two, settings, silent)

    def die(task: str, done: int, _total: int) -> None:
        if (task, done) == ("logging and registering", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(two, settings, die)
    assert 3 == len(versions(settings))
    assert [(first.candidates[0].model, 1)] == best(settings)


@pytest.mark.system
def test_two_trainings_at_once(two: FamilyConfig, settings: Settings) -> None:
    """Two trainings that finish together leave one best version, not two and not none."""
    code = (
        "import sys; from models.training.training import train; from promotion.config.family import FamilyConfig;"
        "from promotion.config.settings import Settings; settings = Settings.from_environment();"
        "train(FamilyConfig.model_validate_json(sys.argv[1]), settings, lambda *_: None)"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PROMOTION_HOME": str(settings.home)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, two.model_dump_json(exclude_unset=True)], env=environment)
        for _ in range(2)
    ]
    assert [0, 0] == [process.wait(timeout=100) for process in processes]
    assert 4 == len(versions(settings))
    assert 1 == len(best(settings))


@pytest.mark.system
def test_single_candidate(config: FamilyConfig, settings: Settings) -> None:
    """One candidate is best without a comparison, and its model's name may lack the algorithm."""
    alone = {"logistic_regression": Candidate(params={})}
    result = train(config.model_copy(update={"candidates": alone, "registered_model": ["heart"]}), settings, silent)
    assert result.comparison is None
    assert [("heart", 1)] == best(settings)


@pytest.mark.system
def test_bad_data(two: FamilyConfig, home: Path) -> None:
    """Data that breaks its contract stops the training before any store is touched."""
    (home / two.data.path).write_text("age,sex\n1,1\n")
    with pytest.raises(DataError):
        train(two, Settings.from_environment(), silent)
    assert not (home / "mlflow.db").exists()


def test_too_few_rows_for_the_folds(two: FamilyConfig, settings: Settings) -> None:
    """More folds than rows of the rarer class is refused, not trained on empty classes."""
    many = two.model_copy(update={"cross_validation": CrossValidation(folds=150, repeats=1)})
    with pytest.raises(DataError, match="150 folds needs one in each"):
        train(many, settings, silent)
    assert [] == versions(settings)


@pytest.mark.system
def test_deleted_experiment(two: FamilyConfig, settings: Settings) -> None:
    """A deleted experiment is named together with the command that restores it."""
    number = client(settings).create_experiment("heart-disease")
    client(settings).delete_experiment(number)
    with pytest.raises(RegistryError, match=f"is deleted: restore it with `mlflow experiments restore -x {number}`"):
        train(two, settings, silent)


class Answers(BaseHTTPRequestHandler):
    """A tracking server that answers everything with one status."""

    status = 500

    def do_GET(self) -> None:
        """Refuse."""
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"no")

    do_POST = do_GET  # noqa: N815  # http.server's name

    def log_message(self, *_arguments: object) -> None:
        """Keep the console clean."""


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    handler = type("Status", (Answers,), {"status": request.param})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("server", "expected"),
    [(401, RegistryUnauthorised), (403, RegistryForbidden), (500, RegistryBroken), (404, RegistryBroken)],
    indirect=["server"],
)
def test_server_that_refuses(
    two: FamilyConfig, settings: Settings, server: str, expected: type[PromotionError]
) -> None:
    """A server's refusals are told apart: log in, ask for permission, or repair the server."""
    with pytest.raises(expected, match=server):
        train(two, replace(settings, tracking_uri=server, registry_uri=server), silent)


def test_server_that_is_not_there(two: FamilyConfig, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable server is said in one line, and nothing is registered anywhere else."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    nowhere = "http://127.0.0.1:9"
    with pytest.raises(RegistryUnreachable, match="is the database or server up"):
        train(two, replace(settings, tracking_uri=nowhere, registry_uri=nowhere), silent)
    assert [] == versions(settings)


def test_read_only_store(two: FamilyConfig, settings: Settings) -> None:
    """A store in a place that cannot be opened is one line naming it."""
    uri = f"sqlite:///{settings.home}/absent/mlflow.db"
    (settings.home / "absent").write_text("a file, not a folder")
    with pytest.raises(RegistryBroken, match="absent"):
        train(two, replace(settings, tracking_uri=uri, registry_uri=uri), silent)
