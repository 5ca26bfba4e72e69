"""The distribution: what is in it, and that it installs and promotes beside somebody's own MLflow, pins and models."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from promotion.config.settings import PACKAGE, REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NEWEST = "mlflow<4,!=3.18.0"  # as pyproject.toml allows
# What a team's training script does: MLflow's own calls first, then ours.
SCRIPT = """
import json, os, sys
import mlflow, sklearn.linear_model
import promotion
from promotion.errors import NothingToDo
from promotion.evaluation.loading import UnloadableModel

mlflow.set_experiment("churn")
for rows in ([[0.0], [1.0]], [[1.0], [2.0]]):
    model = sklearn.linear_model.LogisticRegression().fit(rows, [0, 1])
    with mlflow.start_run():
        mlflow.sklearn.log_model(model, "model", registered_model_name="churn", serialization_format="cloudpickle")

promotion.register("churn", 1)
promotion.promote("churn", 1, reason="the first")
assert promotion.check("churn", 2).report.passed
promotion.promote("churn", 2, stage="Staging")
promotion.promote("churn", 2, reason="newer rows")
promotion.rollback("churn", reason="worse on the new customers")
try:
    promotion.promote("churn", 1)
except NothingToDo as error:
    refused = str(error)
try:
    promotion.load_model("churn")
except UnloadableModel as error:
    unloadable = str(error)
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"
answers = promotion.load_model("churn").predict([[0.0], [1.0]])
(shown,) = promotion.list_models()
print(json.dumps({
    "mlflow": mlflow.__version__,
    "at": promotion.__file__,
    "history": [f"{event.action} {event.number}" for event in promotion.history("churn")],
    "shown": {str(version.number): version.stage for version in shown.versions},
    "aliases": dict(shown.aliases),
    "refused": refused,
    "unloadable": unloadable,
    "answers": [int(answer) for answer in answers],
    "theirs": "models" in sys.modules,
}))
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions, built as `python -m build` builds them, from a copy: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(REPOSITORY / name, source)
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, source], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    """The one wheel."""
    (found,) = dist.glob("*.whl")
    return found


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every module, template, style sheet and migration of `promotion`, and its metadata: no models, no tests."""
    names = set(ZipFile(wheel).namelist())
    ours = {name for name in names if not name.startswith("promotion_layer-0.2.0.dist-info/")}
    kept = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}

    assert {path.relative_to(PACKAGE.parent).as_posix() for path in kept} == ours
    suffixes = {"promotion/py.typed", "promotion/pages/page.css", "promotion/pages/base.html.j2"}
    assert suffixes | {"promotion/journal/migrations/versions/0001_journal.py"} <= ours
    assert "promotion_layer-0.2.0-py3-none-any.whl" == wheel.name


def test_the_metadata_can_be_read_by_people(wheel: Path, dist: Path) -> None:
    """Name, licence, readme, ranges, extras; the source distribution builds the same and has no tests."""
    written = ZipFile(wheel).read("promotion_layer-0.2.0.dist-info/METADATA").decode()
    metadata, text = Parser().parsestr(written), written.partition("\n\n")[2]

    assert ("promotion-layer", "Apache-2.0", "text/markdown") == (
        metadata["Name"],
        metadata["License-Expression"],
        metadata["Description-Content-Type"],
    )
    assert (REPOSITORY / "README.md").read_text(encoding="utf-8") == text
    extras = {"train", "export", "monitor", "evaluate", "deploy", "serve", "spark", "s3", "postgres", "dev"}
    assert extras == set(metadata.get_all("Provides-Extra", []))
    core = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in core if "==" in line]
    assert not [line for line in core if line.startswith(("catboost", "lightgbm", "xgboost", "matplotlib", "onnx"))]
    (source,) = dist.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        assert not [name for name in archive.getnames() if "/tests" in name or "/models/" in name]


@pytest.mark.parametrize(
    "pins",
    [
        pytest.param((NEWEST,), id="newest"),
        pytest.param(("mlflow==2.22.*", "sqlalchemy==2.0.*"), id="mlflow-2.22", marks=pytest.mark.peers),
    ],
)
def test_the_wheel_fits_beside_somebodys_own_pins(pins: tuple[str, ...], wheel: Path, tmp_path: Path) -> None:
    """Installed after theirs it changes none of their versions; their `models` is left alone; and it promotes."""
    python = tmp_path / "venv" / "bin" / "python"
    _uv("venv", "--python", sys.executable, str(tmp_path / "venv"))
    _uv("pip", "install", "--python", str(python), *pins)
    theirs = Path(_said(python, "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()) / "models"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("raise RuntimeError('their models, imported by us')\n")
    before = _versions(python)

    _uv("pip", "install", "--python", str(python), str(wheel))

    after = _versions(python)
    assert before == {name: version for name, version in after.items() if name in before}
    home = tmp_path / "home"
    home.mkdir()
    found = json.loads(_said(python, SCRIPT, home).splitlines()[-1])
    assert found["at"].startswith(str(tmp_path / "venv"))
    acts = ["rollback 1", "rollback 2", "promote 2", "promote 1", "stage 2", "promote 1", "register 1"]
    assert acts == found["history"]
    assert {"1": "Production", "2": "Archived"} == found["shown"]
    assert {"production": 1} == found["aliases"], "the version that was left is known bad"
    assert "churn v1 is in Production already: nothing to do" == found["refused"]
    assert "pickle" in found["unloadable"].lower()
    assert [0, 1] == found["answers"]
    assert not found["theirs"]


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", "--quiet", *arguments], check=True)


def _versions(python: Path) -> dict[str, str]:
    command = [sys.executable, "-m", "uv", "--quiet", "pip", "list", "--format", "json", "--python", str(python)]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {item["name"]: item["version"] for item in listed}


def _said(python: Path, script: str, home: Path | None = None) -> str:
    """What a script prints that runs outside the checkout, with its stores in a home of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if home:
        environment |= {
            "PROMOTION_HOME": str(home),
            "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
            "PROMOTION_ACTOR": "anna",
        }
    command = [str(python), "-c", script]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return done.stdout
