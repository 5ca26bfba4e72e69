"""A loaded version: it proves at start that it still answers as it did when it was exported, then only predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from promotion.serving.errors import ConfigurationError, ExportRefused
from promotion.serving.exported.engines import Engine, OnnxEngine, Prediction
from promotion.serving.exported.folder import ENGINE_FILES, ExportFolder, Schema, ServedManifest
from promotion.serving.exported.rows import Matrix, RowReader

Role = Literal["champion", "challenger", "shadow"]
TOLERANCE = 1e-5
"""Largest difference of a probability from the registry's model; what the export demands as well."""


@dataclass(frozen=True, slots=True)
class Model:
    """One version and its part in the answers.

    Attributes:
        role: `champion`, or as what the second version runs.
        manifest: Which version it is.
        schema: Its columns and classes.
        engine: What computes.
    """

    role: Role
    manifest: ServedManifest
    schema: Schema
    engine: Engine

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows.

        Raises:
            ArithmeticError: A probability is not a number.
        """
        prediction = self.engine.predict(matrix)
        if not np.isfinite(prediction.probabilities).all():
            what = "answer" if self.schema.is_regression else "probability"
            raise ArithmeticError(f"the model's {what} is not a number")
        return prediction

    def scores(self, prediction: Prediction) -> npt.NDArray[np.float32]:
        """One probability a row: of the positive class of two, of the predicted class otherwise; or the number."""
        classes, probabilities = prediction
        if self.schema.is_regression:
            return probabilities[:, 0]
        if self.schema.positive is not None:
            return probabilities[:, self.schema.positive]
        return probabilities[np.arange(len(classes)), classes]


def open_model(export: ExportFolder, role: Role) -> Model:
    """Load the model and let it answer the rows that were exported with it, which warms it up as well.

    Raises:
        ExportRefused: It cannot be loaded, or answers differently.
    """
    model = Model(role, export.manifest, export.data_schema, _load_engine(export))
    place = f"{export.folder}/expected.json"
    rows = export.expected.rows
    if not rows:
        raise ExportRefused(f"{place}: no rows to prove the model on; export the model again")
    matrix = RowReader(export.data_schema, len(rows)).from_rows(rows)
    try:
        classes, probabilities = model.predict(matrix)
    except ArithmeticError as error:
        raise ExportRefused(f"{place}: {error}; do not serve it, export it again") from error
    if export.data_schema.is_regression:
        _require_numbers(place, np.array(export.expected.values), probabilities)
        return model
    wanted, labels = np.array(export.expected.probabilities), np.array(export.expected.labels)
    alike = wanted.shape == probabilities.shape and labels.shape == classes.shape
    if not alike or len(export.data_schema.labels) != wanted.shape[1]:
        raise ExportRefused(f"{place}: not as many rows or classes as the model answers; export the model again")
    differences = np.abs(probabilities - wanted).max(axis=1)
    worst = int(differences.argmax())
    # Not "greater than": a NaN is no rounding either.
    if not differences[worst] <= TOLERANCE or (classes != labels).any():
        raise ExportRefused(
            f"{place}: the model answers differently here: probabilities by up to {differences[worst]:.2g} "
            f"(row {worst}, at most {TOLERANCE:g}); do not serve it, export it again"
        )
    return model


def _require_numbers(place: str, wanted: npt.NDArray[np.float64], found: npt.NDArray[np.float32]) -> None:
    """As `promotion.export.documents.allowed_difference` allows it."""
    if (len(wanted), 1) != found.shape:
        raise ExportRefused(f"{place}: not as many rows as the model answers; export the model again")
    differences = np.abs(found[:, 0] - wanted)
    if not (differences <= TOLERANCE * np.maximum(np.abs(wanted), wanted.std())).all():
        raise ExportRefused(
            f"{place}: the model answers differently here: by up to {differences.max():.2g}; do not serve it, export "
            "it again"
        )


def check_alike(champion: Model, challenger: Model) -> None:
    """Refuse a challenger that does not take the champion's rows or predicts something else.

    Raises:
        ConfigurationError: Columns, what they allow, or classes differ.
    """
    texts = {"unit", "description", "hint"}
    for name in ("features", "target", "labels", "positive"):
        ours, theirs = (
            [feature.model_dump(exclude=texts) for feature in model.schema.features]
            if name == "features"
            else getattr(model.schema, name)
            for model in (champion, challenger)
        )
        if ours != theirs:
            raise ConfigurationError(
                f"the challenger {challenger.manifest.model} {challenger.manifest.version} has other {name} "
                f"than {champion.manifest.model} {champion.manifest.version}; only versions with one contract compare"
            )


def _load_engine(export: ExportFolder) -> Engine:
    """The engine the manifest names; a model's own library is only imported for a model that needs it."""
    if export.manifest.engine == "onnx":
        return OnnxEngine(export)
    if export.manifest.engine == "catboost":
        from promotion.serving.exported.catboost_engine import CatBoostEngine

        return CatBoostEngine(export.folder / ENGINE_FILES["catboost"][0], export.data_schema)
    from promotion.serving.exported.native import NativeEngine

    return NativeEngine(export)
