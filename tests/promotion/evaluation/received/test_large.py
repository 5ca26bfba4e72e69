"""A holdout larger than memory and an artifact larger than the disk: scored in parts, or refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.promotion.evaluation.received.made import a_received_family, save
from tests.promotion.factories import a_version, small_disk

from promotion.artifacts.files import local_artifact
from promotion.config.settings import REPOSITORY
from promotion.errors import RegistryError
from promotion.evaluation.received.predictor import ReceivedPredictor

GIGABYTE = 1 << 30
ROOM_MB = 200
SCORED = """
import resource, sys
from pathlib import Path
from tests.promotion.evaluation.received.made import a_received_family
from promotion.evaluation.received.evaluator import ReceivedEvaluator
home = Path(sys.argv[1])
for file in ("small.parquet", sys.argv[2]):
    family = a_received_family(task="regression", holdout={"path": file, "target": "y"})
    found = ReceivedEvaluator(family, home).evaluate(home / "model")
    print(found.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


class OneFolder:
    """A registry whose every version has the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def artifact_uri(self, _version: object) -> str:
        """Where they are."""
        return str(self._folder)


@pytest.mark.system
@pytest.mark.timeout(600)
def test_a_holdout_larger_than_the_room_is_scored(tmp_path: Path) -> None:
    """Some 300 MB of it, every row, in less than 200 MB more than a thousand rows take."""
    import xgboost

    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.normal(size=(50_000, 40)), columns=[f"x{place}" for place in range(40)])
    rows["y"] = rows.sum(axis=1)
    features, target = rows.drop(columns="y").head(1000), rows["y"].head(1000)
    save(tmp_path / "model", xgboost.XGBRegressor(n_estimators=5).fit(features, target), features, flavour="xgboost")
    rows.head(1000).to_parquet(tmp_path / "small.parquet")
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pq.ParquetWriter(tmp_path / "large.parquet", table.schema, compression="none", use_dictionary=False) as file:
        for _ in range(19):
            file.write_table(table)
    assert (tmp_path / "large.parquet").stat().st_size > 300_000_000

    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCORED, str(tmp_path), "large.parquet"],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    (small, before), (large, after) = ([int(number) for number in line.split()] for line in found.splitlines())
    assert (1000, 950_000) == (small, large)
    assert after - before < ROOM_MB


def test_an_artifact_larger_than_the_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gigabytes, mostly a hole, where one is free: said before they are copied, and nothing stays behind."""
    (tmp_path / "disk").mkdir()
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "MLmodel").write_text("flavors:\n  python_function: {loader_module: anything}\n")
    with (artifact / "model.pkl").open("wb") as file:
        file.truncate(2 * GIGABYTE)
    with small_disk(tmp_path / "disk", "1g"):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        with (
            pytest.raises(RegistryError, match="make room there, or name another folder with TMPDIR") as caught,
            local_artifact(OneFolder(artifact), a_version()),  # type: ignore[arg-type]  # all it asks
        ):
            pass
        assert 1 == len(str(caught.value).splitlines())
        with pytest.raises(RegistryError, match="make room there") as caught:
            ReceivedPredictor(a_received_family(artifacts={"code": "sandbox"}), artifact)
        assert 1 == len(str(caught.value).splitlines())
        assert [] == list((tmp_path / "disk").rglob("*.pkl"))
