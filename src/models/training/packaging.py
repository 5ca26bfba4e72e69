"""How a fitted pipeline becomes files and a registered version; `promotion.evaluation.loading` is the way back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from skops.io.exceptions import UntrustedTypesFoundException

from promotion.artifacts.files import MODEL_CARD
from promotion.artifacts.trusted_types import BOOSTER_TYPES, TRUSTED_TYPES
from promotion.config.family import FamilyConfig
from promotion.errors import ArtifactRefused
from promotion.evaluation.signature import signature_types
from promotion.registry.tracking import require_registered_model
from promotion.registry.upload import UploadPlace, open_place

# What loading and scoring imports; exact, so that a served model computes what was evaluated.
REQUIREMENTS = ("mlflow", "scikit-learn", "skops", "pandas", "numpy", "scipy")
EXAMPLE_ROWS = 3
_EXACT = {"long": "int64", "boolean": "bool"}
_BOOSTERS = {"catboost": "catboost", "lightgbm": "lightgbm", "xgboost": "xgboost-cpu"}
"""Distribution of each booster's library."""


def log_and_register(
    run: Any,
    model: Any,
    config: FamilyConfig,
    name: str,
    features: Any,
    tags: Mapping[str, str],
    *,
    card: str,
    on_saved: Callable[[Path], None],
) -> int:
    """Register a fitted pipeline as a new version of `name`; see `publish` for what is not said here.

    Args:
        run: The MLflow run.
        model: Fitted scikit-learn pipeline that takes raw rows.
        config: The family; its data contract is the signature.
        name: Registered model.
        features: Data frame whose first rows are the input example.
        tags: Of the version.
        card: Markdown for `MODEL_CARD.md`.
        on_saved: Called with the complete folder.

    Raises:
        ArtifactRefused: The model holds a type outside `TRUSTED_TYPES` and `BOOSTER_TYPES`.
    """
    return publish(run, name, tags, save=partial(_save, model, config, features), card=card, on_saved=on_saved)


def publish(
    run: Any,
    name: str,
    tags: Mapping[str, str],
    *,
    save: Callable[[Path, Any], None],
    card: str,
    on_saved: Callable[[Path], None],
) -> int:
    """Save a model, show the folder to the caller, and register exactly those bytes as a new version of `name`.

    Requirements are given, so MLflow starts no process to infer them; and what MLflow would do after saving (load the
    model again and answer the example, announce itself on the console) is left to the tests.

    Args:
        run: The MLflow run.
        name: Registered model.
        tags: Of the version, read after `on_saved`; they exist as soon as the version does.
        save: Writes the model into a folder that does not exist yet, under the MLflow `Model` it is given.
        card: Markdown for `MODEL_CARD.md`.
        on_saved: Called once with the complete folder, before anything is uploaded; what it raises ends the work with
            nothing registered, what it adds to the folder belongs to the version.

    Returns:
        The version's number.

    Raises:
        RegistryError: The tracking server does not say what it offers.
    """
    import mlflow
    from mlflow.models import Model

    client = mlflow.MlflowClient()
    place = open_place(client, run)
    identity = {"model_uuid": place.model_id, "model_id": place.model_id} if place.model_id else {}
    description = Model(artifact_path=place.location, run_id=run.info.run_id, **identity)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        save(folder, description)
        (folder / MODEL_CARD).write_text(card, encoding="utf-8")
        on_saved(folder)
        place.upload(folder)
    return _register(client, name, place, run, tags)


def _save(model: Any, config: FamilyConfig, features: Any, folder: Path, description: Any) -> None:
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException

    library = type(model.steps[-1][1]).__module__.partition(".")[0]
    booster = [_BOOSTERS[library]] if library in _BOOSTERS else []
    kinds = {name: _EXACT[kind] for name, kind in signature_types(config).items() if kind in _EXACT}
    try:
        mlflow.sklearn.save_model(
            model,
            folder,
            mlflow_model=description,
            serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
            skops_trusted_types=sorted(TRUSTED_TYPES | BOOSTER_TYPES if booster else TRUSTED_TYPES),
            pip_requirements=pinned([*REQUIREMENTS, *booster]),
            signature=_signature(config),
            input_example=features.head(EXAMPLE_ROWS).astype(kinds),
        )
    except MlflowException as error:
        if isinstance(error.__context__, UntrustedTypesFoundException):
            raise ArtifactRefused(f"{config.family}: types outside our allow-list: {error.__context__}") from error
        raise


def pinned(packages: Iterable[str]) -> list[str]:
    """The packages with exactly the versions that are installed here."""
    return [f"{package}=={version(package)}" for package in packages]


def _signature(config: FamilyConfig) -> Any:
    """The data contract as MLflow checks it: every column required; MLflow refuses whole numbers for a double."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs = [ColSpec(DataType[kind], name) for name, kind in signature_types(config).items()]
    answer = np.int64 if config.classes else np.float64
    return ModelSignature(Schema(inputs), Schema([TensorSpec(np.dtype(answer), (-1,))]))


def _register(client: Any, name: str, place: UploadPlace, run: Any, tags: Mapping[str, str]) -> int:
    require_registered_model(client, name)
    registered = client.create_model_version(
        name, place.source, run.info.run_id, tags=dict(tags), await_creation_for=None, model_id=place.model_id
    )
    number = int(registered.version)
    place.link(name, number)
    return number
