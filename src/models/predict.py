"""Use a promoted model: predictions for rows of a CSV file, or for sample rows of the family's data."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import project_environment

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import click
import numpy as np
import pandas as pd

from models.datasets import load_dataset, read_rows, split
from models.model_registry import Model, find_version, load_version
from promotion.config import FamilyConfig, family_of, load_configs
from promotion.console import command, echo, talk
from promotion.errors import DataError, UnknownFamily
from promotion.registry import ModelVersion, open_registry
from promotion.settings import Settings

SHOWN = 20
_BINARY = 2


@command()
@click.option("--model-name", required=True, help="A family or one of its registered models.")
@click.option("--stage", default="Production", show_default=True, help="A stage, or a version: 3 or 1.2.0.")
@click.option("--input", "source", type=click.Path(path_type=Path), help="CSV with the family's feature columns.")
@click.option("--output", type=click.Path(path_type=Path), help="CSV to write, with the version that made it.")
@click.option("--rows", default=5, show_default=True, type=click.IntRange(min=1), help="Sample rows without --input.")
def main(model_name: str, stage: str, source: Path | None, output: Path | None, rows: int) -> None:
    """Predict with the version in Production, or in another stage.

    Without --input the rows come from the family's test split, which no model has learned from, and the table shows
    the actual class too. Rows are numbered as in the file, from 0.
    """
    settings = Settings.from_environment()
    registry = open_registry(settings)
    version = find_version(registry, model_name, stage)
    config = _config(settings, version)
    features, actual = sample(config, settings.home, rows) if source is None else (read_rows(config, source), None)
    predictions = predict(load_version(registry, version), features)
    if actual is not None:
        predictions["actual"] = actual
    if output is None:
        echo(f"{len(features)} rows of {source or config.data.path}, predicted by {version} ({version.stage})")
        echo(predictions.reset_index().to_string(index=False, max_rows=SHOWN))
    else:
        write(predictions.assign(model=version.model, version=version.number, run_id=version.run_id), output)
        talk(f"{output}: {len(predictions)} predictions of {version} ({version.stage}) written")


def sample(config: FamilyConfig, home: Path, rows: int) -> tuple[pd.DataFrame, pd.Series[int]]:
    """The first rows of the family's test split.

    Returns:
        At most `rows` × `len(config.features)`, and the actual class (0 or 1) of each.

    Raises:
        DataError: The family's file is missing or breaks its contract.
    """
    parts = split(load_dataset(config, home), config)
    features = parts.test_features.head(rows)
    return features, pd.Series(parts.test_target[:rows], index=features.index)


def predict(model: Model, features: pd.DataFrame) -> pd.DataFrame:
    """Predict every row.

    Args:
        model: What `load_version` returned.
        features: Raw rows that keep the family's contract.

    Returns:
        By the rows' index: `prediction` (the class's position), and `probability` when the model gives one: of the
        positive class of two, of the predicted class of more.
    """
    result = pd.DataFrame({"prediction": model.predict(features)}, index=features.index)
    score: Any = getattr(model, "predict_proba", None)
    if score is not None:
        probability = np.asarray(score(features))
        # Of two classes the second is the positive one; of more, the one that was predicted is what people ask about.
        shown = probability[:, 1] if probability.shape[1] == _BINARY else probability.max(axis=1)
        result["probability"] = shown.round(4)
    return result.rename_axis("row")


def write(predictions: pd.DataFrame, path: Path) -> None:
    """Write a CSV whole or not at all.

    Raises:
        DataError: The file cannot be written.
    """
    temporary: Path | None = None
    try:
        with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8") as file:
            temporary = Path(file.name)
            predictions.to_csv(file, lineterminator="\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot write predictions: {error.strerror}; nothing was written") from error


def _config(settings: Settings, version: ModelVersion) -> FamilyConfig:
    config = family_of(version.model, load_configs(settings.config_folder))
    if config is None:
        raise UnknownFamily(
            f"{version.model} belongs to no family in {settings.config_folder}, so its columns are unknown: "
            "add a configuration, or use models.model_registry.load_model"
        )
    return config


if __name__ == "__main__":
    main()
