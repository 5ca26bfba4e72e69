"""LightGBM where the machine has no OpenMP runtime."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models.forecast import openmp
from promotion.config.settings import REPOSITORY
from promotion.errors import UsageError

WITHOUT_THE_MACHINES = """
import sys
sys.path.insert(0, "src")
from models.forecast import openmp
openmp._provide_runtime()
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
        openmp._provide_runtime()
