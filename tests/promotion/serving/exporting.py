"""Exports of freshly fitted pipelines, by the exporter's own parts but without a registry to take the version from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from tests.promotion.factories import a_manifest, seal_unsigned

from models.data.sources import make_missing
from models.training.candidates import build_pipeline
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.config.family import FamilyConfig, load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import Partition, load_dataset, split_dataset
from promotion.export.contract import contract_of
from promotion.export.documents import EXPECTED_ROWS, expected_document, schema_document
from promotion.export.folder import Manifest, ServingEngine, canonical_json
from promotion.export.onnx import translate

LOGISTIC = "heart-disease-logistic_regression"


def fit(family: str, algorithm: str, home: Path = REPOSITORY) -> tuple[FamilyConfig, Partition, Any]:
    """The family's config, its data and the fitted pipeline."""
    config = load_config(home / "config", family)
    make_missing(config, home)
    parts = split_dataset(load_dataset(config, home), config)
    return config, parts, build_pipeline(config, algorithm).fit(parts.train_features, parts.train_target)


def export(
    folder: Path,
    config: FamilyConfig,
    parts: Partition,
    pipeline: Any,
    *,
    version: int = 3,
    engine: ServingEngine = "onnx",
    model: str = LOGISTIC,
) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True)
    if engine == "onnx":
        (folder / "model.onnx").write_bytes(translate(pipeline, contract_of(config)))
    else:
        (folder / "model").mkdir()
        skops.io.dump(pipeline, folder / "model" / "model.skops")
    answers = expected_document(contract_of(config), pipeline, parts.test_features, EXPECTED_ROWS)
    write(folder / "schema.json", schema_document(contract_of(config)))
    write(folder / "expected.json", answers)
    manifest = a_manifest(
        family=config.family,
        model=model,
        version=version,
        semver="1.2.0",
        run_id="0123456789abcdef0123456789abcdef",
        git_sha="b" * 40,
        task=config.task,
        engine=engine,
        trusted=[] if engine == "onnx" else sorted(TRUSTED_TYPES),
    )
    seal_unsigned(folder, manifest)
    return folder


def reseal(folder: Path) -> None:
    """Make the manifest agree with files that were changed."""
    manifest = Manifest(**json.loads((folder / "manifest.json").read_text(encoding="utf-8")))
    seal_unsigned(folder, manifest)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: null where a value is missing."""
    return [
        {str(name): None if np.isnan(value) else value for name, value in row.items()}
        for row in frame.astype(float).to_dict("records")
    ]


def write(path: Path, content: Any) -> None:
    path.write_text(canonical_json(content), encoding="utf-8")
