"""How an exported model computes: ONNX, or the model's own library in the image of a model that does not convert."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from promotion.serving.errors import ExportRefused

if TYPE_CHECKING:
    from promotion.serving.exported.folder import ExportFolder
    from promotion.serving.exported.rows import Matrix


class Prediction(NamedTuple):
    """What a model says.

    Attributes:
        classes: Position of the predicted class, shape (rows,); of a regression zeros.
        probabilities: Of each class, shape (rows, classes); of a regression the number, shape (rows, 1).
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
        options.log_severity_level = 3  # errors only: advice on how a graph is built is for who builds it
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = export.folder / "model.onnx"
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions have no public base class.
            reason = str(error).splitlines()[0]
            raise ExportRefused(f"{path} cannot be loaded: {reason}; export the model again") from error
        schema = export.data_schema
        self._names, self._is_regression = schema.names, schema.is_regression
        self._texts = [feature.type == "text" for feature in schema.features] if schema.has_texts else []
        taken = {item.name: item.type for item in self._session.get_inputs()}
        inputs = tuple(taken)
        self._number = np.float64 if "tensor(double)" in taken.values() else np.float32
        # By place: a column may be called as an output usually is.
        self._outputs = [item.name for item in self._session.get_outputs()]
        if sorted(inputs) != sorted(self._names) or len(self._outputs) != (1 if self._is_regression else 2):
            wanted = "value" if self._is_regression else "label and probabilities"
            raise ExportRefused(
                f"{path}: inputs {', '.join(inputs)} and outputs {', '.join(sorted(self._outputs))}; expected the "
                f"columns of schema.json, {wanted}: export the model again"
            )

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows."""
        columns = self._columns(matrix) if self._texts else matrix.astype(self._number)[:, :, np.newaxis]
        found = self._session.run(self._outputs, dict(zip(self._names, columns, strict=True)))
        if self._is_regression:
            return Prediction(np.zeros(len(found[0]), dtype=np.int64), found[0])
        return Prediction(found[0].reshape(-1), found[1])

    def _columns(self, matrix: Matrix) -> list[npt.NDArray[Any]]:
        """Cells as the graph takes them: a missing text is an empty one."""
        # Never an array of numpy's own texts, of which each takes as much memory as the longest.
        return [
            np.array(["" if cell is None else cell for cell in cells] if is_text else cells, dtype=object)
            .astype(object if is_text else self._number)
            .reshape(-1, 1)
            for cells, is_text in zip(matrix, self._texts, strict=True)
        ]
