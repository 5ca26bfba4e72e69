"""A received version that answers rows as its registered model would, from a process of its own."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from promotion.artifacts.files import copy_files
from promotion.config.family import FamilyConfig
from promotion.errors import ArtifactRefused
from promotion.evaluation.received.columns import typed_rows
from promotion.evaluation.received.environments import model_environment
from promotion.evaluation.received.flavours import ReceivedModel, describe_model
from promotion.evaluation.received.process import ModelWorker, RawAnswers
from promotion.gates.artifact import sandbox_line

if TYPE_CHECKING:
    import pandas as pd


def open_worker(
    config: FamilyConfig, folder: Path, model: ReceivedModel, variables: dict[str, str] | None = None
) -> ModelWorker:
    """The process for a model: in the sandbox where it runs code, or libraries that it names.

    Args:
        config: The family.
        folder: The model's files; a private copy.
        model: What they say.
        variables: Added to its environment.

    Raises:
        ArtifactRefused: It runs code, and the family's file does not allow that.
        EnvironmentRefused: Its own libraries cannot be installed.
    """
    require_allowed(config, model)
    is_foreign = config.environment == "model"
    in_sandbox = bool(model.runs_code) or is_foreign
    return ModelWorker(
        folder,
        {**model.order, "checks_trees": not in_sandbox},
        config.artifacts,
        python=model_environment(folder) if is_foreign else None,
        in_sandbox=in_sandbox,
        variables=variables,
    )


class ReceivedPredictor:
    """Predicts with a private copy of a version's files, a process a call.

    Raises:
        ArtifactRefused: They are not of a kind that is loaded, or run code and the family's file does not allow that.
        RegistryError: They cannot be copied.
    """

    def __init__(self, config: FamilyConfig, folder: Path) -> None:
        self._config = config
        folder_of_ours = Path(mkdtemp(prefix="model-"))
        weakref.finalize(self, shutil.rmtree, folder_of_ours, ignore_errors=True)
        self._folder = folder_of_ours / "files"
        copy_files(folder, self._folder, f"the model in {folder}")
        self._model = describe_model(self._folder, classes=False)
        require_allowed(config, self._model)

    def predict(self, rows: pd.DataFrame, /) -> Any:
        """One prediction a row.

        Raises:
            PromotionError: The rows do not fit the model's signature, or the model does not answer them.
        """
        return raw_answers(self._config, self._folder, self._model, rows).cells


def raw_answers(config: FamilyConfig, folder: Path, model: ReceivedModel, rows: pd.DataFrame) -> RawAnswers:
    """What a model says of rows, asked in a process of its own.

    Args:
        config: The family.
        folder: The model's files; a private copy.
        model: What they are.
        rows: With the columns that the model's signature names.

    Raises:
        PromotionError: The rows do not fit the signature, or the model does not answer them.
    """
    stream = typed_rows(rows, model.inputs, [str(name) for name in rows.columns], "the rows")
    with open_worker(config, folder, model) as worker:
        return worker.predict(stream, len(rows))


def require_allowed(config: FamilyConfig, model: ReceivedModel) -> None:
    """Refuse to load what runs code where the family's file does not allow that.

    Raises:
        ArtifactRefused: It does; the message names the line.
    """
    if model.runs_code and config.artifacts.code != "sandbox":
        raise ArtifactRefused(f"{model.runs_code}, so it is not loaded: {sandbox_line(config)}")
