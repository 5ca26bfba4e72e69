"""Versions that were trained elsewhere, classes and numbers, are served and watched: log, labels, drift, alert."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.promotion.evaluation.received.made import FEATURES, a_received_family, customers
from tests.promotion.factories import a_journal, a_manifest, a_version, promote, seal_unsigned
from tests.promotion.monitoring.receivers import receiving
from tests.promotion.serving.conftest import Serve, Served
from tests.promotion.serving.exporting import write
from tests.promotion.serving.test_received import exported

from promotion.config.settings import REPOSITORY
from promotion.export.documents import reference_document
from promotion.gates.evidence import Interval
from promotion.monitoring.watched_contract import watched_contract


@pytest.mark.parametrize("is_regression", [False, True])
@pytest.mark.system
def test_what_the_server_logs_is_watched(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_regression: bool
) -> None:
    """Rows as at promotion are quiet; other rows whose labels say otherwise are a drift, and critical, and told."""
    home, task = tmp_path / "home", "regression" if is_regression else "binary-classification"
    folder, pipeline = exported(tmp_path / "export", task=task)
    target = "paid" if is_regression else "churned"
    family = a_received_family(
        task=task,
        holdout={"path": "holdout.csv", "target": target, **({} if is_regression else {"positive": "yes"})},
        monitoring={
            "channels": {"team": "TEAM_URL"},
            "routing": {"critical": ["team"], "warning": ["team"], "info": []},
            **({"metrics": {"rmse": {"warning": 2.0, "critical": 10.0}}} if is_regression else {}),
        },
    )
    _promoted(home, family, folder, pipeline, target)
    log, labels = tmp_path / "predictions.jsonl", tmp_path / "labels.csv"
    monkeypatch.setenv("PROMOTION_HOME", str(home))
    for name in ("PROMETHEUS_URL", "PREDICTION_LOG_SOURCE", "PROMOTION_CLOCK"):
        monkeypatch.delenv(name, raising=False)
    good, bad = customers(300, seed=5), customers(2000, seed=6).assign(plan="gold", age=89)
    bad[target] = bad["paid"] + 300 if is_regression else "no"

    with receiving() as team:
        monkeypatch.setenv("TEAM_URL", team.url)
        good = _asked(serve(folder, PREDICTION_LOG=str(log)), good, "good")
        good[["request_id", "row", target]].to_csv(labels, index=False)
        healthy = _looked(folder, log, labels)
        quiet = list(team.titles)
        bad = _asked(serve(folder, PREDICTION_LOG=str(log)), bad, "bad")
        pd.concat([good, bad])[["request_id", "row", target]].to_csv(labels, index=False)
        worse = _looked(folder, log, labels)

    metric = "rmse" if is_regression else "accuracy"
    assert (0, [], 300) == (healthy["exit_code"], quiet, healthy["versions"][0]["labelled"]), healthy["versions"][0]
    (version,) = worse["versions"]
    levels = {it["key"]: it["level"] for it in version["findings"]}
    assert (3, 2300, 2300) == (worse["exit_code"], version["rows"], version["labelled"])
    assert {metric: "critical", "drift:plan": "warning", "drift:age": "warning"}.items() <= levels.items()
    assert any(metric in title for title in team.titles), team.titles
    assert (home / "reports" / "monitoring" / "churn.html").is_file()


def _promoted(home: Path, family: Any, folder: Path, pipeline: Any, target: str) -> None:
    """The family's file, the version in Production, and what it was worth, in its export."""
    (home / "config").mkdir(parents=True)
    document = family.model_dump(mode="json", exclude_unset=True)
    (home / "config" / "churn.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    promote(a_journal(home), "churn", a_version("churn", 3))
    rows = customers(1000, seed=4)
    answered = pipeline.predict(rows[FEATURES])
    if target == "paid":
        worth = {"rmse": float(np.sqrt(((answered - rows[target]) ** 2).mean()))}
    else:
        worth = {"accuracy": float((answered == rows[target]).mean())}
        answered = pipeline.predict_proba(rows[FEATURES])
    metrics = {name: Interval(value, value * 0.95, value * 1.05) for name, value in worth.items()}
    contract = watched_contract(family, home, [folder])
    write(folder / "reference.json", reference_document(contract, rows, answered, metrics, "d" * 64))
    seal_unsigned(folder, a_manifest(task=family.task))


def _asked(server: Served, rows: pd.DataFrame, request: str) -> pd.DataFrame:
    """Ask about all rows, a few hundred in a request, until all are in the log; which request and row each was."""
    parts = []
    for first in range(0, len(rows), 500):
        part, name = rows.iloc[first : first + 500], f"{request}-{first}"
        sent = json.loads(part[FEATURES].to_json(orient="records"))
        assert 200 == server.post("/predict", {"rows": sent}, **{"X-Request-Id": name}).status_code
        parts.append(part.assign(request_id=name, row=np.arange(len(part))))
    server.answering.close()
    return pd.concat(parts)


def _looked(folder: Path, log: Path, labels: Path) -> dict[str, Any]:
    """What the command says of the family."""
    script = [sys.executable, str(REPOSITORY / "scripts" / "monitor-model.py"), "--model", "churn", "--json"]
    given = ["--log", str(log), "--labels", str(labels), "--export", str(folder)]
    done = subprocess.run([*script, *given], capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    assert "versions" in document, done.stderr
    return document
