"""Load a model from a version's files: skops or native boosters, no type is trusted because the files say so.

What no family configures is loaded by MLflow, which runs the code it brings, pickles aside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from promotion.artifacts.description import read_description
from promotion.artifacts.files import artifact_digest, local_artifact
from promotion.artifacts.provenance import require_recorded
from promotion.artifacts.scanning import PICKLE_SUFFIXES, problems
from promotion.artifacts.trusted_types import BOOSTER_TYPES, TRUSTED_TYPES
from promotion.config.family import FamilyConfigs
from promotion.errors import ArtifactRefused, PromotionError
from promotion.evaluation.received.openmp import load_lightgbm
from promotion.evaluation.tasks import task_of_artifact
from promotion.evaluation.tree_check import find_unsafe_tree
from promotion.registry.contract import ModelVersion, Registry

if TYPE_CHECKING:
    import pandas as pd

    from promotion.journal.reader import JournalReader

_PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"


class UnloadableModel(PromotionError):
    """The artifact cannot be turned into a model without running code nobody vouched for, or at all."""


class Predictor(Protocol):
    """Anything that predicts: our own models, a scikit-learn pipeline or a sales ensemble, and those MLflow loads."""

    def predict(self, rows: pd.DataFrame, /) -> Any:
        """One prediction a row; `rows` has one column a feature."""


def load_version(
    registry: Registry, journal: JournalReader, configs: FamilyConfigs, version: ModelVersion
) -> Predictor:
    """Load one version.

    Raises:
        ArtifactTampered: Its files, or its registration, are not what the journal recorded.
        ArtifactRefused: A configured family's artifact is not one we load.
        UnloadableModel: MLflow cannot load it, or not without running a pickle.
        RegistryError: MLflow did not answer.
    """
    with local_artifact(registry, version) as folder:
        require_recorded(journal, version, lambda: artifact_digest(folder))
        # By configuration, never by what the artifact says of itself: a crafted one would choose the weaker loader.
        config = configs.owner(version.model)
        if config is None or not config.has_holdout:
            return _load_foreign(version, folder)
        if not config.has_contract:
            from promotion.evaluation.received.predictor import ReceivedPredictor

            return ReceivedPredictor(config, folder)
        ours: Predictor = load_artifact(folder)
        return ours


def load_artifact(folder: Path) -> Any:
    """Load the model in a model folder, without MLflow, without running its code and without trusting the folder.

    Returns:
        A scikit-learn pipeline, or a sales ensemble from its native booster files.

    Raises:
        ArtifactRefused: MLmodel is missing or malformed, the model is not a skops file inside the folder, a pickle lies
            beside it, or it holds a type outside `TRUSTED_TYPES` and `BOOSTER_TYPES`, or a malformed tree.
    """
    if task := task_of_artifact(folder):
        return task.load(folder)
    flavour = _sklearn_flavour(folder)
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLE_SUFFIXES)
    if pickles or flavour.get("serialization_format") != "skops":
        found = ", ".join(pickles) or f"serialization_format {flavour.get('serialization_format', 'pickle')!r}"
        raise ArtifactRefused(f"{folder}: pickle is never loaded (found {found}): log the model with skops")
    path = _inside(folder, flavour.get("pickled_model"))
    try:
        if any(name.startswith("lightgbm.") for name in skops.io.get_untrusted_types(file=path)):
            load_lightgbm()
        model = skops.io.load(path, trusted=sorted(TRUSTED_TYPES | BOOSTER_TYPES))
    except UntrustedTypesFoundException as error:
        raise ArtifactRefused(f"{path}: types outside our allow-list: {error}") from error
    except Exception as error:
        summary = " ".join(str(error).split())
        raise ArtifactRefused(f"{path}: not readable as a skops model: {type(error).__name__}: {summary}") from error
    if reason := find_unsafe_tree(model):
        raise ArtifactRefused(f"{path}: {reason}: do not use this file, register the model again")
    return model


def _load_foreign(version: ModelVersion, folder: Path) -> Predictor:
    is_allowed = os.environ.setdefault(_PICKLES, "false").lower() in {"true", "1"}
    import mlflow.pyfunc
    from mlflow import environment_variables

    # An MLflow that does not know the variable unpickles whatever it is given.
    if not is_allowed and not hasattr(environment_variables, _PICKLES) and (found := problems(folder)):
        raise UnloadableModel(f"{version} cannot be loaded: {'; '.join(found)}; {_PICKLES}=true loads it all the same")
    try:
        read_description(folder)  # MLflow itself reads it without bounds
        model: Predictor = mlflow.pyfunc.load_model(str(folder))
    except Exception as error:
        summary = " ".join(str(error).split())
        raise UnloadableModel(f"{version} cannot be loaded: {summary}") from error
    return model


def _sklearn_flavour(folder: Path) -> Mapping[str, Any]:
    flavours = read_description(folder)["flavors"]
    flavour: Mapping[str, Any] | None = flavours.get("sklearn")
    if not isinstance(flavour, dict):
        kinds = ", ".join(sorted(map(str, flavours)))
        raise ArtifactRefused(f"{folder / 'MLmodel'}: expected a scikit-learn model, found flavours: {kinds}")
    return flavour


def _inside(folder: Path, name: object) -> Path:
    if not isinstance(name, str):
        raise ArtifactRefused(f"{folder / 'MLmodel'}: flavors.sklearn.pickled_model: expected a file name")
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ArtifactRefused(f"{folder / 'MLmodel'}: {name!r}: expected a file inside the model's folder")
    return path
