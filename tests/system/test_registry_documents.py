"""Every block of the two documents on the model registry runs as it is written, on a small invented chain of stores.

The documents speak of the versions 3, 5 and 7, so the numbers between are used up and deleted.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from tests.conftest import OURS
from tests.models.forecast.small_family import FAMILY, make_small, one_core
from tests.promotion.factories import Store

from models.train_ensemble import main as train
from models.validate_model import main as validate
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

# The first document: console blocks with what they print, and what a person types.
REGISTRATION = """\
$ python src/models/train_ensemble.py

Training LightGBM... ✓
Training XGBoost... ✓
Training CatBoost... ✓
Creating ensemble... ✓
Registering model to MLflow Model Registry...
✓ Model registered: rossmann-ensemble version 7
"""
VALIDATION = """\
$ python src/models/validate_model.py

Loading model version 7...
Evaluating on holdout validation set...
Validation RMSPE: 0.0978
✓ Performance meets threshold (< 0.10)
Promoting to Staging...
✓ Model version 7 promoted to Staging
"""
PROMOTION = """\
$ python src/models/validate_model.py --promote-to-production

Loading Staging model (version 7)...
Archiving current Production model (version 5)...
Promoting version 7 to Production...
✓ Model version 7 is now in Production
✓ Previous Production model (version 5) archived
"""
VALIDATE_LATEST = """\
# Validate latest registered model
python src/models/validate_model.py
"""
PREDICT_BOTH = """\
# Generate predictions using Staging model
python src/models/predict.py --stage Staging --output predictions_staging.csv

# Compare with current Production
python src/models/predict.py --stage Production --output predictions_production.csv

# Review predictions, check for anomalies
"""
PROMOTE_STAGING = """\
# Promote Staging model to Production
python src/models/validate_model.py --promote-to-production
"""
PREDICT = """\
# Use Production model (default)
python src/models/predict.py --stage Production

# Test with Staging model
python src/models/predict.py --stage Staging
"""
ROLLBACK_BY_NUMBER = """\
# Find archived version number
mlflow ui  # Check Registry tab for Archived models

# Promote archived version back to Production
python src/models/validate_model.py --promote-to-production --version 5
"""
ROLLBACK_AFTER_ARCHIVING = """\
# Archive problematic Production model
# Promote previous Archived version to Production
python src/models/validate_model.py --promote-to-production --version 5
"""

# The second document: Python blocks, and commands.
LOAD_BY_STAGE = """\
from models.model_registry import load_model

# Load production model
model = load_model("rossmann-ensemble", stage="Production")

# Load staging model
model = load_model("rossmann-ensemble", stage="Staging")

# Make predictions
predictions = model.predict(X_test)
"""
LOAD_BY_VERSION = """\
# Load specific version
model = load_model("rossmann-ensemble", stage="3")
predictions = model.predict(X_test)
"""
VALIDATE_AND_STAGE = """\
# Validate and auto-promote to Staging
python src/models/validate_model.py
"""
PROMOTE_ANY = """\
# Promote Staging to Production
python src/models/validate_model.py --promote-to-production

# Promote specific version
python src/models/validate_model.py --promote-to-production --version 3
"""
PROMOTE_FROM_PYTHON = """\
from models.model_registry import promote_model

# Promote to Production
promote_model(
    model_name="rossmann-ensemble",
    version="3",
    stage="Production",
    archive_existing=True  # Archive current Production model
)
"""
GET_VERSION = """\
from models.model_registry import get_model_version

# Get current Production version
version = get_model_version("rossmann-ensemble", stage="Production")
print(f"Production version: {version}")
"""
GET_DETAILS = """\
from models.model_registry import get_model_info

# Get info for specific version
info = get_model_info("rossmann-ensemble", version="3")
print(f"Stage: {info['current_stage']}")
print(f"Run ID: {info['run_id']}")

# Get all versions
all_info = get_model_info("rossmann-ensemble")
for version in all_info['versions']:
    print(f"Version {version['version']}: {version['stage']}")
"""
LIST_MODELS = """\
from models.model_registry import list_registered_models

models = list_registered_models()
for model_name in models:
    print(model_name)
"""


@dataclass(frozen=True)
class Place:
    """A home with the command files where the documents have them; a copy shares the models' files."""

    home: Path
    keys: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a person's shell would hold, and nothing of the developer's."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": str(self.home),
            "PROMOTION_HOME": str(self.home),
            "PROMOTION_KEYS": str(self.keys),
            "PROMOTION_ACTOR": "anna",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    @property
    def store(self) -> Store:
        """MLflow's store, as its own client sees it."""
        mlflow, journal = (f"sqlite:///{self.home / name}" for name in ("mlflow.db", "promotion.db"))
        return Store(Settings(self.home, mlflow, mlflow, journal), self.home)

    def bash(self, block: str) -> str:
        """Run a block as a shell does; returns standard output."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def copy(self, name: str) -> Place:
        """The same stores once more: what is moved there leaves the original as it is."""
        home = self.home.parent / name
        shutil.copytree(self.home, home, symlinks=True, ignore=shutil.ignore_patterns("mlartifacts", "*.csv"))
        shutil.copytree(self.home / "data", home / "data", dirs_exist_ok=True)
        return Place(home, self.keys)

    def shows(self, version: int) -> str:
        """Where MLflow shows a version."""
        return str(self.store.client.get_model_version(FAMILY, str(version)).current_stage)


@dataclass
class Walk:
    """What the first document's flow printed, and the homes it left on the way.

    Attributes:
        place: Its home, in the end.
        reviewed: A copy: version 3 archived, 5 in Production, 7 in Staging.
        promoted: A copy: 7 in Production, 5 and 3 archived.
        printed: Standard output by block.
    """

    place: Place
    reviewed: Place
    promoted: Place
    printed: dict[str, str] = field(default_factory=dict)


def _console(block: str) -> tuple[str, list[str]]:
    """The command of a console block, and the lines it prints."""
    command, _, output = block.partition("\n\n")
    return command.removeprefix("$ "), output.splitlines()


@contextmanager
def _acting_in(place: Place) -> Iterator[None]:
    """This process as a command in that home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in OURS:
            patch.delenv(name, raising=False)
        for name, value in place.environment.items():
            if name.startswith(("PROMOTION_", "MLFLOW_")):
                patch.setenv(name, value)
        yield


def _use_up(client: MlflowClient, place: Place, *numbers: int) -> None:
    for number in numbers:
        assert number == int(client.create_model_version(FAMILY, source=str(place.home)).version)
        client.delete_model_version(FAMILY, str(number))


def _serve_two(place: Place) -> None:
    """Train version 3 and version 5, each validated and promoted, before the documents' story begins."""
    client = place.store.client
    client.create_registered_model(FAMILY)
    runner = CliRunner()
    with _acting_in(place):
        for used_up in ((1, 2), (4,)):
            _use_up(client, place, *used_up)
            for command, arguments in ((train, ["--sample"]), (validate, []), (validate, ["--promote-to-production"])):
                result = runner.invoke(command, arguments)
                assert 0 == result.exit_code, result.output
    _use_up(client, place, 6)


@pytest.fixture(scope="module")
def walk(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The first document from registration to rollback; predictions are another test's."""
    folder = tmp_path_factory.mktemp("documents")
    place = Place(folder / "home", folder / "keys")
    shutil.copytree(REPOSITORY / "config", place.home / "config")
    shutil.copy(empty_store, place.home / "mlflow.db")
    (place.home / "src").symlink_to(REPOSITORY / "src")
    make_small(place.home)
    with one_core():
        _serve_two(place)
        printed = {REGISTRATION: place.bash(_console(REGISTRATION)[0])}
    printed[VALIDATION] = place.bash(VALIDATE_LATEST)
    reviewed = place.copy("reviewed")
    printed[PROMOTION] = place.bash(PROMOTE_STAGING)
    return Walk(place, reviewed, place.copy("promoted"), printed)


@pytest.mark.parametrize("block", [REGISTRATION, VALIDATION, PROMOTION], ids=["register", "validate", "promote"])
def test_the_console_shows_what_the_document_shows(walk: Walk, block: str) -> None:
    """Line by line, but for the figure that was measured."""
    figure = walk.place.store.tags(FAMILY, 7)["rmspe"]

    assert [line.replace("0.0978", figure) for line in _console(block)[1]] == walk.printed[block].splitlines()


def test_a_version_has_what_the_document_lists(walk: Walk) -> None:
    """Hyper-parameters, weights, metrics, environment, data version and code are with the run and the version."""
    client = walk.place.store.client
    version = client.get_model_version(FAMILY, "7")
    run = client.get_run(version.run_id)

    assert {"catboost.weight", "lightgbm.rounds"} <= set(run.data.params)
    assert {"rmspe", "cv_ensemble_rmspe_mean", "validation_rmspe"} <= set(run.data.metrics)
    assert {"validated_at", "validation_data_sha256"} <= set(run.data.tags)
    files = {path.name for path in (walk.place.home / "mlartifacts").rglob("*")}
    assert {"conda.yaml", "requirements.txt", "lightgbm.txt", "xgboost.ubj", "catboost.cbm"} <= files


def test_the_registry_tab_names_the_archived_version_and_it_returns(walk: Walk) -> None:
    """`mlflow ui` in the same folder shows version 5 as archived; promoting it is recorded as a rollback."""
    browse, _, promote = ROLLBACK_BY_NUMBER.partition("\n\n")
    place = walk.promoted.copy("rolled-back")

    with _running(browse, place) as address:
        found = requests.get(f"{address}/api/2.0/mlflow/model-versions/search", timeout=20).json()["model_versions"]
    assert {"3": "Archived", "5": "Archived", "7": "Production"} == {
        version["version"]: version["current_stage"] for version in found
    }

    printed = place.bash(promote)

    assert "✓ Model version 5 is now in Production" == printed.splitlines()[-2]
    assert ("Production", "Archived") == (place.shows(5), place.shows(7))
    assert "rollback" == place.store.service().journal.history(FAMILY, limit=1)[0].action


def test_the_second_way_back_leads_to_the_same_place(walk: Walk) -> None:
    """The version that serves is archived by the one command that brings the other one back."""
    place = walk.promoted.copy("second-way")

    place.bash(ROLLBACK_AFTER_ARCHIVING)

    assert ("Production", "Archived") == (place.shows(5), place.shows(7))


def test_predictions_of_both_stages_are_files_of_the_same_rows(walk: Walk) -> None:
    """What the review compares: one file a stage, the same days and stores in both."""
    walk.reviewed.bash(PREDICT_BOTH)

    staging, production = (
        (walk.reviewed.home / f"predictions_{stage}.csv").read_text(encoding="utf-8").splitlines()
        for stage in ("staging", "production")
    )
    assert len(staging) == len(production) > 1
    assert staging[0] == production[0]


def test_production_is_the_default_and_staging_is_asked_for(walk: Walk) -> None:
    """Both commands run without a file to write."""
    walk.reviewed.bash(PREDICT)


def test_a_newer_version_is_validated_and_an_older_one_promoted_by_number(walk: Walk) -> None:
    """The staged version enters Production, then a named one that served before replaces it."""
    place = walk.reviewed.copy("by-number")

    printed = place.bash(PROMOTE_ANY).splitlines()

    assert "✓ Model version 7 is now in Production" in printed
    assert "✓ Model version 3 is now in Production" in printed
    assert ["Production", "Archived", "Archived"] == [place.shows(number) for number in (3, 5, 7)]


def test_validating_twice_finds_nothing_more(walk: Walk) -> None:
    """The second document's validation is the first one's: once everything is staged there is nothing to do."""
    assert VALIDATE_AND_STAGE.splitlines()[1] == VALIDATE_LATEST.splitlines()[1]
    done = subprocess.run(
        ["bash", "-c", VALIDATE_AND_STAGE],
        cwd=walk.reviewed.home,
        env=walk.reviewed.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 5 == done.returncode, done.stderr


def _execute(block: str, names: dict[str, Any]) -> list[str]:
    """Run a Python block with the names of earlier ones; returns what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(block, "document", "exec"), names)  # noqa: S102  # our own text, above
    return printed.getvalue().splitlines()


@pytest.fixture
def rows(walk: Walk) -> Any:
    """`X_test` of the document: raw rows of the last days, without their sales."""
    from models.forecast.data.sales import load_sales
    from models.forecast.rows import INPUT_COLUMNS

    config = load_config(walk.reviewed.home / "config", FAMILY)
    return load_sales(config, walk.reviewed.home).rows[list(INPUT_COLUMNS)].tail(40)


def test_the_python_blocks_that_read(walk: Walk, rows: Any) -> None:
    """Models load by stage and by version and predict raw rows; version, details and names are as printed there."""
    names: dict[str, Any] = {"X_test": rows}
    with _acting_in(walk.reviewed):
        for block in (LOAD_BY_STAGE, LOAD_BY_VERSION):
            assert [] == _execute(block, names)
            assert (40,) == np.shape(names["predictions"])
            assert np.isfinite(names["predictions"]).all()
        run = walk.reviewed.store.client.get_model_version(FAMILY, "3").run_id
        assert ["Production version: 5"] == _execute(GET_VERSION, names)
        assert [
            "Stage: Archived",
            f"Run ID: {run}",
            "Version 7: Staging",
            "Version 5: Production",
            "Version 3: Archived",
        ] == _execute(GET_DETAILS, names)
        assert [FAMILY] == _execute(LIST_MODELS, names)


def test_the_python_block_that_promotes(walk: Walk) -> None:
    """Version 3 served before, so it returns, recorded as a rollback; the version in Production is archived."""
    place = walk.reviewed.copy("from-python")

    with _acting_in(place):
        _execute(PROMOTE_FROM_PYTHON, {})

    assert ["Production", "Archived", "Staging"] == [place.shows(number) for number in (3, 5, 7)]
    assert (
        "rollback by anna: taken back, no reason given" in place.store.client.get_model_version(FAMILY, "3").description
    )


@contextmanager
def _running(command: str, place: Place) -> Iterator[str]:
    """A command that does not end, on a free port; gives its address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = place.environment | {
        "MLFLOW_PORT": str(port),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (place.home / "ui.log").open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=place.home,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process, place.home / "ui.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(f"{address}/health", timeout=2).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    pytest.fail(f"the user interface did not start: {log.read_text(encoding='utf-8')[-2000:]}")
