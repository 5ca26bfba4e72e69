"""The libraries a model names: what of its files is followed, and a model of years ago that runs with its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.promotion.evaluation.received.made import a_received_family, customers
from tests.system.peer_environments import peer_python

from promotion.evaluation.received import environments
from promotion.evaluation.received.environments import EnvironmentRefused, model_environment
from promotion.evaluation.received.evaluator import ReceivedEvaluator
from promotion.evaluation.received.process import ModelFailed

TRAIN = """
import sys, mlflow, pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
rows, names = pd.read_csv(sys.argv[1]), ["age", "plan", "spent"]
columns = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
model = make_pipeline(columns, RandomForestClassifier(10, random_state=1)).fit(rows[names], rows["churned"])
mlflow.sklearn.save_model(model, sys.argv[2], signature=infer_signature(rows[names]))
"""


def asked(folder: Path, requirements: str, **files: str) -> list[str]:
    """What is installed for a model with these files."""
    (folder / "requirements.txt").write_text(requirements)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return environments._requirements(folder)


def test_an_index_of_the_models_is_not_followed(tmp_path: Path) -> None:
    """Names and versions count, options do not."""
    text = (
        "--index-url https://evil.example/simple\n--extra-index-url=http://evil\n-f https://evil\n--pre\n# of then\n\n"
        "mlflow==2.9.2\nscikit-learn[tests]>=1.3,<2 ; python_version > '3.8'  # of then\nnumpy\n"
    )
    expected = ["mlflow==2.9.2", "numpy", "scikit-learn[tests]>=1.3,<2 ; python_version > '3.8'"]
    assert expected == asked(tmp_path, text)


@pytest.mark.parametrize(
    "line",
    [
        "evil @ https://evil.example/evil-1.0-py3-none-any.whl",
        "git+https://evil.example/evil.git",
        "./evil",
        "/opt/evil",
        "evil.whl/../x",
        "file:///tmp/evil",
        "code\\evil",
        "-r others.txt",
        "-e .",
        "--editable=git+https://evil.example/evil.git",
        "-c constraints.txt",
        "--requ others.txt",
    ],
)
def test_what_lies_elsewhere_refuses(tmp_path: Path, line: str) -> None:
    """An address, a repository, a path: nothing is fetched from there, and nothing is left out in silence."""
    with pytest.raises(EnvironmentRefused, match=r"requirements\.txt line 2: .* installs from elsewhere"):
        asked(tmp_path, f"mlflow\n{line}\n")


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"python_env": "python: 3.9.7\n"}, "3.9"),
        ({"conda": "dependencies:\n- python=3.10.2\n- pip:\n  - mlflow\n"}, "3.10"),
        ({"python_env": "build_dependencies: [pip]\n"}, None),
    ],
)
def test_the_models_python(tmp_path: Path, files: dict[str, str], version: str | None) -> None:
    """As its files say; this one's where they do not."""
    asked(tmp_path, "mlflow\n", **files)
    assert version is None or version == environments._python_version(tmp_path)


def test_a_python_that_is_not_here_is_refused_in_words(tmp_path: Path) -> None:
    """With what to do."""
    asked(tmp_path, "mlflow\n", python_env="python: 3.4.1\n")
    with pytest.raises(EnvironmentRefused, match=r"wants Python 3\.4, which is not on this machine: score"):
        model_environment(tmp_path, tmp_path / "cache")


@pytest.mark.system
@pytest.mark.timeout(300)
def test_requirements_that_cannot_be_built_refuse_in_one_line(tmp_path: Path) -> None:
    """And leave nothing that counts as an environment."""
    asked(tmp_path, "numpy==0.0.0.1\n")
    for _ in range(2):
        with pytest.raises(EnvironmentRefused, match="requirements cannot be installed as wheels: ") as caught:
            model_environment(tmp_path, tmp_path / "cache")
        assert 1 == len(str(caught.value).splitlines())


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.timeout(900)
def test_a_model_of_mlflow_2_9_runs_with_its_scikit_learn_of_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today's scikit-learn cannot run it, and says so; its own scores it, from an environment that is made once."""
    python = peer_python("mlflow-2.9.2", "mlflow==2.9.2", "scikit-learn==1.3.2", "setuptools<81")
    customers().to_csv(tmp_path / "holdout.csv", index=False)
    model = tmp_path / "model"
    subprocess.run([python, "-c", TRAIN, tmp_path / "holdout.csv", model], check=True, capture_output=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    box = {"code": "sandbox"}

    with pytest.raises(ModelFailed, match="the model fails: "):
        ReceivedEvaluator(a_received_family(artifacts=box), tmp_path).evaluate(model)
    found = ReceivedEvaluator(a_received_family(artifacts=box, environment="model"), tmp_path).evaluate(model)
    assert found.metrics["roc_auc"] > 0.99
    made = list((tmp_path / "cache").rglob("complete"))
    before = made[0].stat().st_mtime_ns
    assert [before] == [path.stat().st_mtime_ns for path in made]
    model_environment(model)
    assert [before] == [path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("complete")]
