"""LightGBM where the machine has no OpenMP runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from promotion.config.settings import REPOSITORY
from promotion.errors import UsageError
from promotion.evaluation.received import openmp

WITHOUT_THE_MACHINES = """
import sys
sys.path.insert(0, "src")
from promotion.evaluation.received import openmp
openmp.provide_runtime(OSError("libgomp.so.1: cannot open shared object file"))
import numpy
lightgbm = openmp.load_lightgbm()
table = numpy.arange(400.0).reshape(200, 2)
model = lightgbm.train({"verbosity": -1}, lightgbm.Dataset(table, table[:, 0]), num_boost_round=3)
assert 3 == model.num_trees()
print({line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if "libgomp.so" in line})
"""


@pytest.mark.system
def test_the_bundled_runtime_takes_the_place_of_the_machines() -> None:
    """LightGBM trains with it, and the machine's is not loaded."""
    command = [sys.executable, "-c", WITHOUT_THE_MACHINES]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert (0, "{'/memfd:libgomp.so.1 (deleted)'}\n") == (done.returncode, done.stdout), done.stderr


def test_without_any_runtime_one_line_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should a wheel come without it one day."""
    monkeypatch.setattr(openmp, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"libgomp\.so\.1, which this machine lacks: apt-get install libgomp1"):
        openmp.provide_runtime(OSError("libgomp.so.1: cannot open shared object file"))


LOADED = """
import sys
sys.path.insert(0, "src")
from promotion.evaluation.received import worker
answer = worker.load({"loader": "lightgbm", "path": sys.argv[1]})
print(len(answer(__import__("numpy").zeros((3, 2)))[0]))
"""


@pytest.mark.system
@pytest.mark.needs("bwrap")
def test_a_received_model_loads_where_the_machine_has_no_runtime(tmp_path: Path) -> None:
    """The machine's own is hidden from the process that loads it."""
    lightgbm, table = openmp.load_lightgbm(), np.arange(400.0).reshape(200, 2)
    path = tmp_path / "model.lgb"
    lightgbm.train({"verbosity": -1}, lightgbm.Dataset(table, table[:, 0]), num_boost_round=3).save_model(path)
    machines = [str(file) for file in Path("/usr/lib").rglob("libgomp.so.1*") if not file.is_symlink()]
    hidden = [word for file in machines for word in ("--ro-bind", "/dev/null", file)]

    command = ["bwrap", "--dev-bind", "/", "/", *hidden, sys.executable, "-c", LOADED, str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert (0, "3\n") == (done.returncode, done.stdout), done.stderr
