"""docs/IRIS-WORKFLOW.md against real MLflow: its lines run, its figures come out, what it says of others holds."""

from __future__ import annotations

import re
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from models.training.candidates import build_pipeline
from models.training.packaging import log_and_register
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.config.training import Candidate, ParameterValue
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.registry.tracking import connect

pytestmark = pytest.mark.system

DOCUMENT = (REPOSITORY / "docs" / "IRIS-WORKFLOW.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
EXPERIMENTS = re.findall(r"^\| \d.*?\| (\d+) \| (\d+) \| ([\d.]+) \|", DOCUMENT, re.MULTILINE)
NAME = "iris-classifier"


@pytest.fixture(scope="module")
def config() -> FamilyConfig:
    return load_config(REPOSITORY / "config", NAME)


@pytest.fixture(scope="module")
def part(config: FamilyConfig, tmp_path_factory: pytest.TempPathFactory) -> Partition:
    """The documented split of scikit-learn's iris."""
    home = tmp_path_factory.mktemp("iris")
    bunch = load_iris()
    rows = pd.DataFrame(bunch.data, columns=config.features)
    rows[config.target.column] = [config.classes[number] for number in bunch.target]
    path = home / config.data.path
    path.parent.mkdir(parents=True)
    rows.to_csv(path, index=False)
    return split_dataset(load_dataset(config, home), config)


def fitted(config: FamilyConfig, part: Partition, max_depth: int, n_estimators: int) -> Pipeline:
    params: dict[str, ParameterValue] = {"max_depth": max_depth, "n_estimators": n_estimators}
    tried = config.model_copy(update={"candidates": {"random_forest": Candidate(params=params)}})
    return build_pipeline(tried, "random_forest").fit(part.train_features, part.train_target)


@pytest.mark.parametrize(("depth", "trees", "accuracy"), EXPERIMENTS)
def test_experiments_give_the_documented_accuracy(
    config: FamilyConfig, part: Partition, depth: str, trees: str, accuracy: str
) -> None:
    """Each row of the table is what training with these settings really yields."""
    model = fitted(config, part, int(depth), int(trees))
    assert accuracy == f"{model.score(part.test_features, part.test_target):.4f}"


def test_depth_three_is_better(config: FamilyConfig, part: Partition) -> None:
    """The setting that the document names as a better one is."""
    assert 4 == len(EXPERIMENTS)
    assert "(0.9667, scenario B)" in DOCUMENT
    assert "0.9667" == f"{fitted(config, part, 3, 100).score(part.test_features, part.test_target):.4f}"


@pytest.fixture
def client(config: FamilyConfig, part: Partition, settings: Settings) -> MlflowClient:
    """Three versions as training registers them: 1 in Production, 2 and 3 in Staging."""
    experiment = connect(config, settings)
    for depth, trees in ((5, 10), (2, 10), (2, 20)):
        model = fitted(config, part, depth, trees)
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_metric("test_accuracy", model.score(part.test_features, part.test_target))
            log_and_register(
                run, model, config, NAME, part.train_features, {}, card="# iris\n", on_saved=lambda _folder: None
            )
    client = MlflowClient()
    for version, stage in (("1", "Production"), ("2", "Staging"), ("3", "Staging")):
        client.transition_model_version_stage(NAME, version, stage)
    client.set_registered_model_alias(NAME, "production", "1")
    return client


def stages(client: MlflowClient) -> dict[str, str]:
    return {str(found.version): found.current_stage for found in client.search_model_versions(f"name = '{NAME}'")}


def test_documented_lines_run(
    client: MlflowClient,
    part: Partition,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every Python block runs, in order, where `MlflowClient()` finds the store, and does what is said beside it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    names: dict[str, object] = {}
    models = []
    for block in PYTHON:
        exec(compile(block, "docs/IRIS-WORKFLOW.md", "exec"), names)  # noqa: S102  # that the document's lines run is the point
        models.append(names.get("model"))

    said = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"Production: v1, 0\.\d{4}", said[0])
    assert {"Staging: v2", "Staging: v3"} == set(said[1:])
    by_stage, ours = models[2], models[3]
    assert isinstance(by_stage, Pipeline)
    assert isinstance(ours, Pipeline)
    assert by_stage.predict(part.test_features).tolist() == ours.predict(part.test_features).tolist()
    assert {"1": "Archived", "2": "Production", "3": "Staging"} == stages(client)


def test_other_lines_do_what_is_said_of_them(client: MlflowClient) -> None:
    """The lines in the table fail, or surprise, exactly as it says."""
    prod_versions = client.get_latest_versions(NAME, stages=["Production"])
    with pytest.raises(AttributeError, match="run"):
        _ = prod_versions[0].run.data.metrics["test_accuracy"]
    with pytest.raises(IndexError):
        _ = client.get_latest_versions(NAME, stages=["Archived"])[0]
    with pytest.raises(NameError, match="mlflow"):
        exec("from mlflow.tracking import MlflowClient\nmlflow.sklearn.load_model('')", {})  # noqa: S102  # as above
    with pytest.raises(ValueError, match="n_estimators"):
        RandomForestClassifier(...).fit([[0], [1]], [0, 1])
    assert ["3"] == [str(found.version) for found in client.get_latest_versions(NAME, stages=["Staging"])]
    client.transition_model_version_stage(name=NAME, version=2, stage="Production")
    assert {"1": "Production", "2": "Production", "3": "Staging"} == stages(client)


def test_documented_gates_are_configuration(config: FamilyConfig, tmp_path: Path) -> None:
    """The YAML block is accepted where it says it belongs."""
    block = re.search(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert block
    text = (REPOSITORY / "config" / f"{NAME}.yaml").read_text(encoding="utf-8")
    (tmp_path / f"{NAME}.yaml").write_text(text[: text.index("gates:")] + block[1], encoding="utf-8")
    gates = load_config(tmp_path, NAME).gates
    assert (0.90, 0.01) == (gates.thresholds["accuracy"].minimum, gates.better_than_production.minimum_gain)
