"""Every benchmark still runs: once, small and untimed, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from promotion.config.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SMALL = {
    "command_start.py": ("--rounds 1", " s  promotion check --help"),
    "doctor.py": ("--models 3 --versions 4 --rounds 1", "| HTTP | "),
    "drift_false_alarms.py": ("--runs 2", "| half a standard deviation | "),
    "false_rollbacks.py": ("--years 20", "| 0.20 | "),
    "journal.py": ("--models 2 --versions 3 --events 5", "audit.py verify, whole process"),
    "monitoring.py": ("--rows 2000", "MB (largest process)"),
    "overview.py": ("--families 3 --versions 5 --rounds 1", "| 3 | "),
    "predict.py": ("--stores 3 --rows 500 --rounds 1", "read, load, predict, write .parquet"),
    "promotion.py": ("--models 1 --promotions 2", "     1        20 "),
    "registry_read.py": ("--models 3 --versions 3 --rounds 1", "| HTTP | best_model |"),
    "rossmann.py": ("--stores 3", "holdout RMSPE"),
    "sandbox.py": ("--rows 2000 --trees 5 --rounds 1", "start of the sandbox beside the interpreter's own"),
    "serving.py": ("--seconds 1 --algorithm logistic_regression --batch 10 --repeats 1", "| mlflow models serve, "),
    "serving_load.py": ("--requests 100 --batch 50 --rounds 1 --seconds 1", "| 2 | "),
    "serving_soak.py": ("--minutes 0.1 --clients 2 --growth 1", "| minute | RSS MB |"),
    "training.py": ("--rounds 1", "all of train.py"),
    "transfer.py": ("--large 2 --small 3 --workers 1 --rounds 1", "| 4 | 30,000 | "),
}
"""The options that make each of them small, and a piece of the last lines of its table."""


def test_no_benchmark_is_forgotten() -> None:
    """A new one says how it is made small."""
    assert sorted(SMALL) == sorted(path.name for path in (REPOSITORY / "benchmarks").glob("*.py"))


REHEARSED = ("monitoring.py", "--rows 2000 --replay 2", "576 looks over 2 days, ")
"""The same one's other half."""
MARKS = {
    "sandbox.py": [pytest.mark.needs("bwrap")],
    "serving.py": [pytest.mark.needs("wrk")],
    "serving_load.py": [pytest.mark.needs("wrk")],
}


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        pytest.param(*call, marks=MARKS.get(call[0], []), id=call[0])
        for call in [*((name, *small) for name, small in SMALL.items()), REHEARSED]
    ],
)
def test_a_benchmark_prints_its_table(name: str, options: str, expected: str, tmp_path: Path) -> None:
    """Its figures mean nothing at that size."""
    command = [sys.executable, str(REPOSITORY / "benchmarks" / name), *options.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert 0 == done.returncode, done.stdout + done.stderr
    assert expected in done.stdout
