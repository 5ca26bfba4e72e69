"""Spark answers as this process does, whatever the columns are called and hold."""

from __future__ import annotations

from pathlib import Path

import mlflow.sklearn
import pandas as pd
import pytest
from tests.programs import java_home
from tests.promotion.houses import renamed

from models.training.candidates import build_pipeline
from promotion.artifacts.trusted_types import TRUSTED_TYPES
from promotion.data.datasets import load_dataset
from promotion.evaluation.loading import load_artifact
from promotion.prediction.predict_rows import answer
from promotion.prediction.spark import spark_answers


@pytest.mark.system
@pytest.mark.needs("java", "pyspark")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Spark's own, at a moment of its own
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "names",
    [["Date", "row", "a.b", "A", "a", "x`y", "self"], ["1", "c0", "Date", "row", "`", "`.`", "日本"]],
    ids=["dots", "places"],
)
def test_columns_of_every_kind_and_name_are_answered_alike(
    names: list[str], skops_flavour: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, truths, days and gaps; names with dots and backticks, and two that differ by case only."""
    for name, value in {**java_home(), "SPARK_LOCAL_IP": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    config, _ = renamed([*names, "target"], tmp_path)
    dataset = load_dataset(config, tmp_path)
    folder = tmp_path / "model"
    mlflow.sklearn.save_model(
        build_pipeline(config, "ridge").fit(dataset.features, dataset.target),
        str(folder),
        serialization_format="skops",
        skops_trusted_types=sorted(TRUSTED_TYPES),
        pip_requirements=[],
    )

    with spark_answers(folder) as answering:
        found = answering(dataset.features)

    pd.testing.assert_frame_equal(answer(load_artifact(folder), dataset.features), found, rtol=1e-9)
