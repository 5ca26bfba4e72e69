"""Versions that were trained elsewhere are watched: texts drift, classes go by their names, numbers have errors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.promotion.evaluation.received.made import a_received_family, customers
from tests.promotion.factories import a_manifest, seal_unsigned
from tests.promotion.serving.exporting import write

from promotion.errors import DataError
from promotion.export.contract import Contract, FeatureRules
from promotion.export.documents import reference_document, schema_document
from promotion.gates.evidence import Interval
from promotion.monitoring.labels.files import read_labels
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.observe.reference import read_reference
from promotion.monitoring.observe.watch import KnownVersion, Watch
from promotion.monitoring.thresholds import judge
from promotion.monitoring.watched_contract import watched_contract

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
REGRESSION = a_received_family(task="regression", holdout={"path": "holdout.csv", "target": "paid", "id": "customer"})


def a_contract(*, is_regression: bool) -> Contract:
    """A number and a text."""
    columns = {"age": FeatureRules("integer"), "plan": FeatureRules("text")}
    classes = () if is_regression else ("no", "yes")
    target = "paid" if is_regression else "churned"
    return Contract("churn", columns, target, classes, frozenset({"age"}), "")


def watched(folder: Path, *, is_regression: bool, plan: str | None = None, beside: float = 0.0) -> Observation:
    """What is seen of 300 rows, all on one plan where one is named, with labels that the answers miss by so much."""
    contract, rows = a_contract(is_regression=is_regression), customers(300)
    target = rows[contract.target]
    answered = target.to_numpy() if is_regression else 0.1 + 0.8 * np.eye(2)[(target == "yes").astype(int)]
    metrics = {"rmse" if is_regression else "accuracy": Interval(1.0, 0.9, 1.1)}
    export = folder / "export"
    export.mkdir()
    write(export / "schema.json", schema_document(contract))
    write(export / "reference.json", reference_document(contract, rows, answered, metrics, "d" * 64))
    seal_unsigned(export, a_manifest(task="regression" if is_regression else "binary-classification"))
    family = REGRESSION if is_regression else a_received_family()

    log, labels = folder / "log.jsonl", folder / "labels.csv"
    lines = [
        {
            "time": (NOON - timedelta(minutes=number + 1)).isoformat(),
            "request_id": f"r{number}",
            "row": 0,
            "family": "churn",
            "model": "churn",
            "version": 3,
            "role": "champion",
            "features": {"age": row["age"], "plan": plan or row["plan"]},
            **({"prediction": row["paid"] + beside} if is_regression else said(row["churned"])),
            "latency_ms": 1.0,
        }
        for number, row in enumerate(rows.to_dict("records"))
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    pd.DataFrame({"request_id": [f"r{number}" for number in range(300)], contract.target: target}).to_csv(
        labels, index=False
    )
    received = watched_contract(family, folder, [export])
    reference = read_reference(export, list(received.classes))
    known = KnownVersion(("churn", 3), is_recorded=True, metrics={}, semver={}, references={("churn", 3): reference})
    watch = Watch(family, str(log), NOON, timedelta(hours=24), labels=labels, received=received)
    (found,) = observe(watch, known)
    return found


def said(name: str) -> dict[str, Any]:
    """The log's words for a class."""
    return {"class": int(name == "yes"), "label": name, "probability": 0.9 if name == "yes" else 0.1}


@pytest.mark.parametrize("spelled", ["stays", "no"])
def test_labels_come_as_the_data_or_the_server_calls_them(spelled: str, tmp_path: Path) -> None:
    """A family that names its classes still has the values of its data."""
    contract = replace(a_contract(is_regression=False), labels=["stays", "leaves"], answers=["no", "yes"])
    write(tmp_path / "schema.json", schema_document(contract))
    (tmp_path / "labels.csv").write_text(f"request_id,label\na,{spelled}\nb,yes\nc,leaves\n")
    found = watched_contract(a_received_family(), tmp_path, [tmp_path])

    assert ["no", "yes"] == list(found.classes)
    assert [0, 1, 1] == read_labels(tmp_path / "labels.csv", a_received_family(), found).classes.tolist()


@pytest.mark.parametrize("is_regression", [False, True])
def test_what_is_as_at_promotion_is_quiet(tmp_path: Path, *, is_regression: bool) -> None:
    """Every feature and the prediction are compared, nothing drifts, and labels are joined by their own words."""
    found = watched(tmp_path, is_regression=is_regression)

    names = ["predicted value"] if is_regression else ["predicted class", "probability"]
    assert ["age", "plan", *names] == [drift.name for drift in found.drift]
    assert (300, 300) == (found.rows, found.labelled)
    assert [] == [finding for finding in judge(found, Watch(REGRESSION, "", NOON, timedelta()).policy) if finding.level]
    if is_regression:
        assert (0.0, 0.0) == (found.metrics["rmse"].value, found.metrics["mae"].value)
    else:
        assert 1.0 == found.metrics["accuracy"].value


@pytest.mark.parametrize("plan", ["gold", "never seen"])
@pytest.mark.parametrize("is_regression", [False, True])
def test_texts_drift(tmp_path: Path, plan: str, *, is_regression: bool) -> None:
    """All on one plan, known or not, is a warning."""
    found = watched(tmp_path, is_regression=is_regression, plan=plan)
    findings = judge(found, Watch(REGRESSION, "", NOON, timedelta()).policy)
    assert {"warning"} == {finding.level for finding in findings if "plan" in finding.key and finding.level}


def test_numbers_have_errors(tmp_path: Path) -> None:
    """Root mean square and mean absolute error beside those at promotion."""
    found = watched(tmp_path, is_regression=True, beside=2.0)
    rmse = found.metrics["rmse"]
    assert pytest.approx(2.0) == rmse.value == found.metrics["mae"].value
    assert 1.0 == rmse.reference
    assert rmse.enough


def test_without_an_export_the_holdout_says_the_columns(tmp_path: Path) -> None:
    """What runs as code only has none; a folder without a schema is said."""
    customers(50).to_csv(tmp_path / "holdout.csv", index=False)
    found = watched_contract(REGRESSION, tmp_path, [])
    assert {"plan": "text", "age": "number"}.items() <= {
        name: rule.type for name, rule in found.columns.items()
    }.items()
    assert () == tuple(found.classes)
    assert "customer" not in found.features
    assert ["no", "yes"] == list(watched_contract(a_received_family(), tmp_path, []).classes)
    with pytest.raises(DataError, match=r"schema\.json: not the schema of an export"):
        watched_contract(REGRESSION, tmp_path, [tmp_path])
