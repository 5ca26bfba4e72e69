"""Turn a loaded model into an ONNX graph, by the converter of its library.

Like the worker, which imports it, it stands alone: it also runs in the sandbox, without this package.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

OPERATORS = {"": 18, "ai.onnx.ml": 3}
"""The newest operators, by domain, that every onnxruntime since 1.14 (February 2023) knows."""
# The newest that onnxmltools knows how to write; what it writes is raised afterwards.
_BOOSTER_OPERATORS = 15


def graph_of(model: Any, columns: list[tuple[str, bool]], name: str) -> bytes:
    """Convert a model.

    Args:
        model: As its own library loads it.
        columns: Name of each column in the model's order, and whether it holds texts; all others are numbers.
        name: Of the graph.

    Returns:
        The serialised graph: one input for each column in their order, or a single one of all columns. Its last output
        is what the model answers: probabilities by class in the model's order, or numbers.

    Raises:
        TypeError: Nothing converts a model of this kind.
    """
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        return _xgboost(model, len(columns))
    if library == "lightgbm":
        return _lightgbm(model, len(columns))
    if library == "catboost":
        return _catboost(model)
    if not hasattr(model, "predict"):
        message = f"a {type(model).__name__} has no ONNX counterpart"
        raise TypeError(message)
    return _sklearn(model, columns, name)


def _sklearn(model: Any, columns: list[tuple[str, bool]], name: str) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    _know_boosters()
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    each = [(column, (StringTensorType if text else FloatTensorType)([None, 1])) for column, text in columns]
    whole = [("columns", FloatTensorType([None, len(columns)]))]

    def convert(inputs: list[tuple[str, Any]]) -> Any:
        return convert_sklearn(model, name=name, initial_types=inputs, options=options, target_opset=OPERATORS)

    try:
        graph = convert(each)
    except Exception:
        # An estimator that is no pipeline takes a single input; a choice of columns by name takes one for each.
        if any(text for _, text in columns):
            raise
        try:
            graph = convert(whole)
        except Exception:  # noqa: BLE001  # the first reason is the one that says something
            graph = None
        if graph is None:
            raise
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _know_boosters() -> None:
    """Tell skl2onnx how boosters inside a pipeline are converted; a model that holds one has imported its library."""
    if not sys.modules.keys() & {"xgboost", "lightgbm"}:
        return
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    classes = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for library, prefix, convert in (("xgboost", "XGB", convert_xgboost), ("lightgbm", "LGBM", convert_lightgbm)):
        for kind, shapes, options in (
            ("Classifier", calculate_linear_classifier_output_shapes, classes),
            ("Regressor", calculate_linear_regressor_output_shapes, None),
        ):
            if (model := getattr(sys.modules.get(library), prefix + kind, None)) is not None:
                update_registered_converter(model, prefix + kind, shapes, convert, options=options)


def _xgboost(model: Any, columns: int) -> bytes:
    from onnxmltools import convert_xgboost

    booster = (model.get_booster() if hasattr(model, "get_booster") else model).copy()
    if best := booster.attr("best_iteration"):
        booster = booster[: int(best) + 1]
    booster.feature_names = None
    content: bytes = convert_xgboost(booster, **_one_input(columns)).SerializeToString(deterministic=True)
    return content


def _lightgbm(model: Any, columns: int) -> bytes:
    from onnxmltools import convert_lightgbm

    booster = getattr(model, "booster_", model)
    content: bytes = convert_lightgbm(booster, **_one_input(columns), zipmap=False).SerializeToString(
        deterministic=True
    )
    return content


def _one_input(columns: int) -> dict[str, Any]:
    from onnxmltools.convert.common.data_types import FloatTensorType

    kinds = [("columns", FloatTensorType([None, columns]))]
    return {"initial_types": kinds, "target_opset": _BOOSTER_OPERATORS}


def _catboost(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.save_model(str(path), format="onnx")
        return path.read_bytes()
