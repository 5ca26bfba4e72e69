"""The engine for models that do not convert to ONNX; only their image holds scikit-learn, skops and pandas."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from promotion.serving.errors import ExportRefused
from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.folder import ENGINE_FILES, ExportFolder
from promotion.serving.exported.rows import Matrix, written_day

# Whatever a manifest says: types beyond what skops itself vouches for.
TRUSTABLE = frozenset(
    {
        "numpy.asarray",
        "numpy.choose",
        "numpy.dtype",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
NEEDED = ("pandas", "sklearn", "skops")


class NativeEngine:
    """A scikit-learn pipeline from a skops file.

    Args:
        export: Its folder holds `model/model.skops`, its manifest the types to trust.

    Raises:
        ExportRefused: The image lacks a package, the manifest trusts more than it may, or the file does not load.
    """

    def __init__(self, export: ExportFolder) -> None:
        if absent := [name for name in NEEDED if find_spec(name) is None]:
            raise ExportRefused(f"engine native needs {', '.join(absent)}; build the image for it, or export to ONNX")
        from skops import io
        from skops.io.exceptions import UntrustedTypesFoundException

        if beyond := sorted(set(export.manifest.trusted) - TRUSTABLE):
            raise ExportRefused(f"{export.folder}/manifest.json: trusts {', '.join(beyond)}, which no model may need")
        path = export.folder / ENGINE_FILES["native"][0]
        try:
            self._pipeline = io.load(path, trusted=list(export.manifest.trusted))
        except (UntrustedTypesFoundException, TypeError, ValueError, OSError) as error:
            raise ExportRefused(f"{path} cannot be loaded: {error}") from error
        self._days = [feature.name for feature in export.data_schema.features if feature.type == "date"]
        self._names, self._is_regression = export.data_schema.names, export.data_schema.is_regression

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows; the class is the most probable one, as in the ONNX graph."""
        import pandas as pd

        frame = pd.DataFrame(matrix.T, columns=list(self._names))
        for name in self._days:
            frame[name] = frame[name].astype(object).map(written_day, na_action="ignore")
        if self._is_regression:
            values = np.asarray(self._pipeline.predict(frame), dtype=np.float32)
            return Prediction(np.zeros(len(values), dtype=np.int64), values.reshape(-1, 1))
        probabilities = np.asarray(self._pipeline.predict_proba(frame))
        classes = np.asarray(self._pipeline.predict(frame), dtype=np.int64)
        return Prediction(classes, probabilities.astype(np.float32))
