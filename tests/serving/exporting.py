"""A small export for tests: really fitted pipelines, really converted, in the folder the server reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType

from models.candidates import build_pipeline
from models.datasets import Partition, load_dataset, split
from models.packaging import TRUSTED_TYPES
from models.sources import make_missing
from promotion.config import FamilyConfig, load_config
from promotion.settings import REPOSITORY

ROWS = 20


def fit(family: str, algorithm: str, home: Path = REPOSITORY) -> tuple[FamilyConfig, Partition, Any]:
    """The family's config, its data and the fitted pipeline."""
    config = load_config(home / "config", family)
    make_missing(config, home)
    parts = split(load_dataset(config, home), config)
    return config, parts, build_pipeline(config, algorithm).fit(parts.train_features, parts.train_target)


def export(
    folder: Path,
    config: FamilyConfig,
    parts: Partition,
    pipeline: Any,
    *,
    version: int = 3,
    engine: str = "onnx",
    model: str = "heart-disease-logistic_regression",
) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True)
    names = list(parts.train_features.columns)
    if engine == "onnx":
        inputs = [(name, FloatTensorType([None, 1])) for name in names]
        graph = to_onnx(pipeline, initial_types=inputs, options={"zipmap": False}, target_opset=18)
        (folder / "model.onnx").write_bytes(graph.SerializeToString())
    else:
        (folder / "model").mkdir()
        skops.io.dump(pipeline, folder / "model" / "model.skops")
    columns = config.data.columns
    labels = columns[config.target.column].labels or ["0", "1"]
    features = [
        {
            "name": name,
            "type": columns[name].type,
            "minimum": columns[name].minimum,
            "maximum": columns[name].maximum,
            "codes": columns[name].codes,
            "unit": columns[name].unit,
            "description": columns[name].description,
            "hint": columns[name].hint,
            "nullable": columns[name].max_missing > 0,
        }
        for name in names
    ]
    write(
        folder / "schema.json",
        {
            "features": features,
            "target": config.target.column,
            "labels": labels,
            "positive": 1 if len(labels) == 2 else None,
        },
    )
    rows = parts.test_features.head(ROWS)
    probabilities = pipeline.predict_proba(rows)
    write(
        folder / "expected.json",
        {
            "rows": records(rows),
            "labels": probabilities.argmax(axis=1).tolist(),
            "probabilities": probabilities.tolist(),
        },
    )
    sign(
        folder,
        {
            "format": 1,
            "family": config.family,
            "model": model,
            "version": version,
            "semver": "1.2.0",
            "run_id": "0123456789abcdef0123456789abcdef",
            "stage": "Production",
            "artifact_digest": "a" * 64,
            "gate_report": None,
            "git_sha": "b" * 40,
            "task": config.task,
            "engine": engine,
            **({} if engine == "onnx" else {"trusted": sorted(TRUSTED_TYPES)}),
        },
    )
    return folder


def sign(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest over what lies in the folder now."""
    files = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    write(folder / "manifest.json", {**manifest, "files": files})


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null where a value is missing."""
    return [
        {str(name): None if np.isnan(value) else value for name, value in row.items()}
        for row in frame.astype(float).to_dict("records")
    ]


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
