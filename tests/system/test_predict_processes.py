"""`predict.py` as a process: on Spark, killed in the middle, and its review in a real browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser
from tests.models.forecast.conftest import STORES, make_sales, quick_plan
from tests.programs import java_home
from tests.system.test_pages_in_browser import WIDTHS, look

from models.forecast import ENSEMBLE
from models.forecast.data.generator import invent_sales
from models.forecast.ensemble import Ensemble
from models.forecast.training.learning import Learner
from promotion.config.settings import REPOSITORY, Settings
from promotion.registry.stages import Stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

Register = Callable[..., int]
COMMAND = [sys.executable, str(REPOSITORY / "src" / "models" / "predict.py")]
LOGISTIC, SALES = "heart-disease-logistic_regression", "rossmann-ensemble"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sales ensemble's native files, where a version keeps them."""
    folder = tmp_path_factory.mktemp("ensemble") / "model"
    Learner(make_sales(), quick_plan()).learn().ensemble.save(folder / ENSEMBLE)
    return folder


@pytest.fixture
def shop(settings: Settings) -> Settings:
    """A home with the data of that ensemble."""
    invented = invent_sales(STORES, 942, 42)
    folder = settings.home / "data" / "rossmann"
    folder.mkdir()
    invented.train.to_csv(folder / "train.csv", index=False)
    invented.store.to_csv(folder / "store.csv", index=False)
    return settings


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **java_home(), "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=800
    )


@pytest.mark.needs("java", "pyspark")
@pytest.mark.parametrize("family", [pytest.param("heart-disease", marks=pytest.mark.peers), SALES])
def test_spark_answers_what_pandas_answers(
    family: str, shop: Settings, register: Register, fitted_model: Path, artifact: Path, tmp_path: Path
) -> None:
    """The same rows in the same order, every number the same to 1e-9."""
    is_sales = family == SALES
    register(SALES if is_sales else LOGISTIC, Stage.PRODUCTION, artifact if is_sales else fitted_model)
    dates = ("--start-date", "2014-01-01") if is_sales else ()
    found = {}
    for engine in ("pandas", "spark"):
        output = tmp_path / f"{engine}.parquet"
        done = call(*("--model-name", family, "--engine", engine, "--output", str(output)), *dates, cwd=tmp_path)
        assert 0 == done.returncode, done.stderr
        found[engine] = pd.read_parquet(output)

    assert len(found["pandas"]) > 60
    pd.testing.assert_frame_equal(found["pandas"], found["spark"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("number", "code", "hidden"), [(signal.SIGINT, 130, 0), (signal.SIGTERM, 130, 0), (signal.SIGKILL, -9, 1)]
)
def test_who_is_stopped_half_way_leaves_no_half_table(
    number: signal.Signals, code: int, hidden: int, settings: Settings, register: Register, tmp_path: Path
) -> None:
    """The old table stays as it was, no new one is there; only a process that was killed leaves a hidden file."""
    register(LOGISTIC, Stage.PRODUCTION)
    rows = pd.read_csv(settings.home / "data" / "heart-disease.csv")
    pd.concat([rows] * 3000).to_parquet(tmp_path / "rows.parquet", index=False)
    folder = tmp_path / "out"
    folder.mkdir()
    output = folder / "out.csv"
    output.write_text("before\n")

    process = subprocess.Popen(
        [*COMMAND, "--model-name", "heart-disease", "--input", str(tmp_path / "rows.parquet"), "--output", str(output)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no threads here; a runner may ignore it
    )
    deadline = time.monotonic() + 300
    while not any(part.stat().st_size for part in folder.glob(".out.csv.*")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]

    assert code == process.returncode, said
    assert "before\n" == output.read_text()
    assert [] == list(folder.glob("out.csv.json"))
    assert hidden == len(list(folder.glob(".out.csv.*")))


def test_the_review_is_whole_quiet_and_readable(
    browser: Browser,  # the fixture
    shop: Settings,
    register: Register,
    artifact: Path,
    tmp_path: Path,
) -> None:
    """One request, no word on the console, nothing wider than the window, every text with enough contrast."""
    ensemble = Ensemble.load(artifact / ENSEMBLE)
    weights = {name: 1.4 * weight for name, weight in ensemble.weights.items()}
    replace(ensemble, weights=weights).save(tmp_path / "biased" / ENSEMBLE)
    register(SALES, Stage.PRODUCTION, artifact)
    register(SALES, Stage.STAGING, tmp_path / "biased")
    register(LOGISTIC, Stage.PRODUCTION)
    register(LOGISTIC, Stage.STAGING)

    for family in (SALES, "heart-disease"):
        path = tmp_path / f"{family}.html"
        done = call("--model-name", family, "--compare", "Staging", "Production", "--output", str(path), cwd=tmp_path)
        assert 0 == done.returncode, done.stderr
        for scheme in ("light", "dark"):
            for width in WIDTHS:
                seen = look(browser, path, scheme, width)
                (tmp_path / f"{family}-{scheme}-{width}.png").write_bytes(seen.picture)
                assert [path.as_uri()] == seen.requests
                assert [] == seen.console
                assert seen.widths[0] <= width
                assert [] == seen.faint
                assert 0 == seen.unnamed
                assert 1 == seen.counts["h1"]
                assert seen.counts["table"] == seen.counts["thead"] >= 4
