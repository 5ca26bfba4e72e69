from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pandas as pd
import pytest

from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import load_dataset, split_dataset
from promotion.errors import ArtifactRefused, PromotionError
from promotion.evaluation.cost import THREAD_POOLS, measure, worker_environment
from promotion.evaluation.cost_worker import BLOCK_REQUESTS, BLOCKS, WARM_UP_REQUESTS, timed
from promotion.evaluation.holdout import HoldoutEvaluator
from promotion.gates.evidence import Measurement

pytestmark = pytest.mark.system  # each starts processes to measure

Interpreter = Callable[[str], None]

# Runs in the measuring process before anything else: prints while the model works, and writes down what it sees.
WITNESS = """
import atexit, json, os, sys, threading, time
def talk():
    while "sklearn" not in sys.modules:
        time.sleep(0.1)
    print("noise", flush=True)
    os.write(1, b"noise")
def note():
    import joblib, threadpoolctl
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    seen = {"modules": [*sys.modules], "threads": pools, "cores": joblib.cpu_count(), "environment": {**os.environ}}
    open(os.path.join(os.path.dirname(__file__), "seen.json"), "w").write(json.dumps(seen))
threading.Thread(target=talk).start()
atexit.register(note)
"""


@dataclass(frozen=True)
class Witnessed:
    """A measurement, and what was seen inside its process when it ended."""

    measurement: Measurement
    modules: set[str]
    threads: list[int]
    cores: int
    environment: dict[str, str]


def start_with(script: Path, line: str) -> str:
    """An interpreter that starts through a line of shell."""
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    """The test rows of heart-disease."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    return split_dataset(load_dataset(config, REPOSITORY), config).test_features


@pytest.fixture(scope="module")
def witnessed(fitted_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    """The real model measured once, as the gates do, in a process that talks and is watched."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    folder = tmp_path_factory.mktemp("witness")
    (folder / "sitecustomize.py").write_text(WITNESS)
    line = f'export PYTHONPATH="{folder}:$PYTHONPATH"; exec "{sys.executable}" "$@"'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
        for name in THREAD_POOLS:
            patch.setenv(name, "2")  # whatever the caller's own environment says
        patch.setattr(sys, "executable", start_with(folder / "python", line))
        measurement = HoldoutEvaluator(config, REPOSITORY).measure(fitted_model)
    seen = json.loads((folder / "seen.json").read_text())
    return Witnessed(measurement, set(seen["modules"]), seen["threads"], seen["cores"], seen["environment"])


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """Let the measuring process start through a line of shell."""
    return lambda line: monkeypatch.setattr(sys, "executable", start_with(tmp_path / "python", line))


@pytest.mark.system
def test_real_model_is_measured(witnessed: Witnessed) -> None:
    """A registered pipeline yields plausible figures in their units, whatever its libraries print meanwhile."""
    found = witnessed.measurement

    assert 0.05 < found.latency_p50_ms <= found.latency_p95_ms < 1000
    assert 0.05 < found.cpu_ms_per_request < 1000
    assert 50 < found.peak_memory_mb < 1000
    assert 30 <= found.requests <= BLOCKS * BLOCK_REQUESTS


@pytest.mark.system
def test_only_what_scoring_needs_is_loaded(witnessed: Witnessed) -> None:
    """The measuring process holds neither MLflow nor plots nor databases, whose memory is not the model's."""
    assert {"sklearn", "pandas"} == {"sklearn", "pandas"} & witnessed.modules
    assert set() == {"mlflow", "matplotlib", "sqlalchemy", "pandera", "requests"} & witnessed.modules


@pytest.mark.system
def test_every_thread_pool_has_one_thread(witnessed: Witnessed) -> None:
    """The figures are one core's: no library computes with a second thread."""
    assert {1} == {*witnessed.threads, witnessed.cores}


@pytest.mark.system
def test_credentials_stay_here(witnessed: Witnessed) -> None:
    """The process that runs a model does not get the registry's password."""
    assert "PATH" in witnessed.environment
    assert "hunter2" not in witnessed.environment.values()


def test_memory_is_the_processs_own_peak() -> None:
    """Memory that was freed again counts, memory of the process that started it does not."""
    ballast = bytearray(300_000_000)
    code = "from promotion.evaluation.cost_worker import peak_memory; bytearray(80_000_000); print(peak_memory())"
    environment = worker_environment()
    peak = int(subprocess.check_output([sys.executable, "-c", code], env=environment))

    assert 80e6 < peak < 200e6, f"beside {len(ballast)} bytes of the parent"


def test_waiting_is_latency_but_not_cpu_time() -> None:
    """A model that waits is slow without using the processor."""
    found = timed(lambda _request: time.sleep(0.001), ["row"])

    assert 1 <= found["latency_p50_ms"] <= found["latency_p95_ms"]
    assert 0 < found["cpu_ms_per_request"] < 0.5


def test_working_is_cpu_time() -> None:
    """A model that computes for half a millisecond of CPU time is billed half a millisecond."""

    def work(_request: object) -> None:
        end = time.process_time() + 0.0005
        while time.process_time() < end:
            pass

    assert pytest.approx(0.5, rel=0.25) == timed(work, ["row"])["cpu_ms_per_request"]


def test_least_disturbed_block_counts() -> None:
    """A machine that is busy during one block leaves no trace in the figures."""
    calls = count()

    def disturbed_at_first(_request: object) -> None:
        if next(calls) < WARM_UP_REQUESTS + BLOCK_REQUESTS:
            time.sleep(0.003)

    found = timed(disturbed_at_first, ["row"])
    assert found["latency_p95_ms"] < 2
    assert BLOCK_REQUESTS < found["requests"] <= BLOCKS * BLOCK_REQUESTS  # fewer where the time is up


def test_waiting_for_a_processor_is_told_apart_from_working() -> None:
    """Two endless loops on the only core: the latency has their turns in it, the undisturbed one does not."""
    busy = "import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    core = min(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    loops = [subprocess.Popen([sys.executable, "-c", busy.format(core=core)]) for _ in range(2)]
    try:
        os.sched_setaffinity(0, {core})
        found = timed(lambda _request: sum(range(1_000_000)), ["row"])
    finally:
        os.sched_setaffinity(0, before)
        for loop in loops:
            loop.kill()
            loop.wait()

    assert found["undisturbed_p95_ms"] < found["latency_p95_ms"] / 1.3
    assert 0.2 < found["waiting"] < 0.95


def test_slow_requests_are_seen() -> None:
    """When one request in ten is slow in every block, the 95th percentile says so and the median does not."""
    calls = count()
    found = timed(lambda _request: time.sleep(0.005 if next(calls) % 10 == 0 else 0), ["row"])

    assert found["latency_p50_ms"] < 4
    assert found["latency_p95_ms"] >= 5


def test_rows_take_turns() -> None:
    """Every row is asked, the missing cells of one included, not the first one again and again."""
    asked: list[int] = []
    timed(asked.append, [1, 2, 3])
    assert [1, 2, 3, 1, 2, 3] == asked[:6]


@pytest.mark.system
def test_model_that_does_not_fit_the_rows(fitted_model: Path, rows: pd.DataFrame) -> None:
    """A model that fails on a row is one line with its reason."""
    with pytest.raises(
        PromotionError, match=r"model: the model cannot answer a request of one row: ValueError: .*thal"
    ):
        measure(fitted_model, rows.drop(columns="thal"))


def test_refused_artifact(fitted_model: Path, rows: pd.DataFrame, tmp_path: Path) -> None:
    """An artifact with a pickle is refused with the loader's own line, here as everywhere."""
    folder = Path(shutil.copytree(fitted_model, tmp_path / "model"))
    (folder / "model.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(ArtifactRefused, match=r"pickle is never loaded \(found model\.pkl\)"):
        measure(folder, rows)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kill -KILL $$", "was killed, as the system does when memory runs out"),
        ("kill -SEGV $$", "crashed with SIGSEGV"),
        ("echo talk >&2; echo last words >&2; exit 7", "ended with exit code 7: last words"),
        ("exit 0", "ended with exit code 0: it said nothing"),
        (f'ulimit -v 150000; exec "{sys.executable}" "$@"', "ended with exit code 1: .*(Memory|memory|map segment)"),
    ],
)
def test_measuring_process_dies(
    line: str, expected: str, fitted_model: Path, rows: pd.DataFrame, interpreter: Interpreter
) -> None:
    """A crash, a kill or too little memory is one line that says so."""
    interpreter(line)
    with pytest.raises(PromotionError, match=f"{fitted_model}: the measuring process {expected}") as caught:
        measure(fitted_model, rows)
    assert "\n" not in str(caught.value)


def test_measuring_process_hangs(fitted_model: Path, rows: pd.DataFrame, interpreter: Interpreter) -> None:
    """A model that never answers is ended after the time-out."""
    interpreter("exec sleep 60")
    start = time.monotonic()
    with pytest.raises(PromotionError, match=r"measuring did not end within 0\.2 s"):
        measure(fitted_model, rows, timeout=0.2)
    assert time.monotonic() - start < 10
