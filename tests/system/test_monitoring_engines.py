"""The monitor on Spark: the same numbers as in this process, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from tests.programs import java_home
from tests.promotion.monitoring.logs import NOON, Traffic, churn, write_export, write_labels, write_log

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

Run = Callable[..., CompletedProcess[str]]


@pytest.mark.needs("java", "pyspark")
def test_spark_sees_what_this_process_sees(tmp_path: Path, run: Run) -> None:
    """Several files, versions, damage and labels: one document, whoever counted."""
    logs = tmp_path / "logs"
    logs.mkdir()
    traffic = [Traffic(2000, version=1, seed=1), Traffic(3000, accuracy=0.8, shift=0.5, missing=0.1, seed=2)]
    for number, part in enumerate(traffic):
        write_log(logs / f"predictions.jsonl.{number}", [part], "damage")
    labels = write_labels(tmp_path / "labels.csv", traffic)
    (tmp_path / "config").mkdir()
    document = churn().model_dump(mode="json", exclude_unset=True)
    (tmp_path / "config" / "churn.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    export = write_export(tmp_path / "export")
    environment = {
        "PROMOTION_HOME": str(tmp_path),
        "PROMOTION_CLOCK": NOON.isoformat(),
        "SPARK_LOCAL_IP": "127.0.0.1",
        **java_home(),
    }
    arguments = ("--model", "churn", "--log", str(logs), "--labels", str(labels), "--export", str(export))
    seen = {
        engine: run("scripts/monitor-model.py", *arguments, "--dry-run", "--json", "--engine", engine, **environment)
        for engine in ("pandas", "spark")
    }

    assert (3, 3) == (seen["pandas"].returncode, seen["spark"].returncode), seen["spark"].stderr
    assert json.loads(seen["pandas"].stdout) == json.loads(seen["spark"].stdout)
    assert 2 == json.loads(seen["spark"].stdout)["versions"][0]["left_out"]["bad_lines"]
