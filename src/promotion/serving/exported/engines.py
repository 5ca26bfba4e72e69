"""How an exported model computes: ONNX, or scikit-learn in the image built for models that do not convert."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from promotion.serving.errors import ExportRefused
from promotion.serving.exported.folder import ExportFolder
from promotion.serving.exported.rows import Matrix


class Prediction(NamedTuple):
    """What a model says.

    Attributes:
        classes: Position of the predicted class, shape (rows,).
        probabilities: Of each class, shape (rows, classes).
    """

    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


class Engine(Protocol):
    """A loaded model; `predict` is called from several threads."""

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows; `matrix` holds features by rows in the schema's order."""
        ...


class OnnxEngine:
    """onnxruntime with one thread a call: a row takes microseconds, and concurrency comes from requests.

    Args:
        export: Its `model.onnx` takes one column of shape (rows, 1) for each feature.

    Raises:
        ExportRefused: The graph cannot be loaded, or has other inputs or outputs than the schema.
    """

    def __init__(self, export: ExportFolder) -> None:
        # It reports its use to its maker unless told otherwise before it is imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = export.folder / "model.onnx"
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no public base class.
            reason = str(error).splitlines()[0]
            raise ExportRefused(f"{path} cannot be loaded: {reason}; export the model again") from error
        self._names = export.data_schema.names
        inputs = tuple(item.name for item in self._session.get_inputs())
        outputs = {item.name for item in self._session.get_outputs()}
        if sorted(inputs) != sorted(self._names) or not {"label", "probabilities"} <= outputs:
            raise ExportRefused(
                f"{path}: inputs {', '.join(inputs)} and outputs {', '.join(sorted(outputs))}; expected the columns of "
                "schema.json, label and probabilities: export the model again"
            )

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows."""
        columns = matrix.astype(np.float32)[:, :, np.newaxis]
        classes, probabilities = self._session.run(
            ["label", "probabilities"], dict(zip(self._names, columns, strict=True))
        )
        return Prediction(classes.reshape(-1), probabilities)
