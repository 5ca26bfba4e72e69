"""The process a received model runs in: it loads the model and answers rows.

It stands alone, because it also runs with the model's own libraries and, in the sandbox, without this package. What it
sends is data: a frame is the lengths of its two parts (`FRAME`), a JSON object, and bytes. Asked with rows as an Arrow
stream it answers with numbers (float64, little-endian, row by row) or a JSON list of texts.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import numbers
import os
import struct
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

FRAME = struct.Struct("<IQ")
RowAnswering = Callable[[Any], "tuple[Any, Any]"]
"""Of a data frame: the model's answers, and the classes its columns stand for, if it says so."""
_VECTOR, _MATRIX = 1, 2
_PREDICTION = frozenset({"prediction", "predictions"})
_MLFLOW_FLAVOURS = ("sklearn", "xgboost", "lightgbm", "catboost")


def main() -> None:
    """Load what the order on the command line names, then answer frame by frame until the input ends."""
    order = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    questions = os.fdopen(os.dup(0), "rb")
    # Whatever a library prints must not end up inside an answer, and nobody else reads the rows.
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        answer = load(order)
    except BaseException as error:  # noqa: BLE001  # a model may fail in any way; the parent reports it
        send_frame(answers, {"failed": in_one_line(error)})
        return
    send_frame(answers, {"ready": True})
    held: Any = None
    while (asked := next_frame(questions)) is not None:
        header, payload = asked
        try:
            if header["do"] == "translate":
                send_frame(answers, {"translated": True}, translated(order, header))
                continue
            if payload:
                held = rows_in(payload, order)
            if header["do"] == "hold":
                send_frame(answers, {"held": True})
                continue
            rows = held if header["do"] == "predict" else held[header["row"] : header["row"] + 1]
            reply, data = packed(*answer(rows))
        except BaseException as error:  # noqa: BLE001  # as above
            reply, data = {"failed": in_one_line(error)}, b""
        send_frame(answers, reply, data)


def load(order: dict[str, Any]) -> RowAnswering:
    """The model of an order, by its loader."""
    try:
        return _LOADERS[order["loader"]](order)
    except OSError as error:
        _beside("openmp").provide_runtime(error)
        return _LOADERS[order["loader"]](order)


def translated(order: dict[str, Any], asked: dict[str, Any]) -> bytes:
    """The model of an order as an ONNX graph."""
    if order["loader"] == "onnx":
        return Path(order["path"]).read_bytes()
    model = _NATIVE[order["loader"]](order)
    graph: bytes = _beside("translation").graph_of(model, asked["columns"], asked["name"], precise=True)
    return graph


def _beside(name: str) -> Any:
    """A module that lies beside this file, in the sandbox as well."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None  # noqa: S101  # of a file's name there is always one
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows_in(payload: bytes, order: dict[str, Any]) -> Any:
    """The rows of an Arrow stream as a data frame, or as the tensor that the signature asks for."""
    import pyarrow as pa

    frame = pa.ipc.open_stream(payload).read_all().to_pandas(date_as_object=False)
    for name in frame.columns:
        # As a CSV was read when today's models learned: texts are objects, and a missing one is NaN.
        if str(frame[name].dtype) in {"object", "str", "string"}:
            column = frame[name].astype(object)
            frame[name] = column.where(column.notna(), float("nan"))
    if order.get("positional"):
        frame.columns = range(len(frame.columns))
    if tensor := order.get("tensor"):
        return frame.to_numpy(dtype=tensor["dtype"]).reshape([-1, *tensor["shape"][1:]])
    return frame


def packed(values: Any, classes: Any) -> tuple[dict[str, Any], bytes]:
    """Answers as a header and bytes."""
    import numpy as np

    if hasattr(values, "toarray"):
        values = values.toarray()
    values, columns = _by_column(values)
    array = np.asarray(values)
    if array.dtype == object:
        array = _told_apart(array)
    if array.dtype.kind == "S":
        array = array.astype("U")
    header: dict[str, Any] = {"shape": list(array.shape)}
    if classes is not None:
        header["classes"] = [item.item() if hasattr(item, "item") else item for item in classes]
    if columns is not None:
        header["columns"] = [str(name) for name in columns]
    if array.dtype.kind in "OUS":
        return {**header, "kind": "text"}, json.dumps(array.tolist(), default=str).encode()
    kind = "boolean" if array.dtype.kind == "b" else "number"
    return {**header, "kind": kind}, np.ascontiguousarray(array, dtype="<f8").tobytes()


def _by_column(values: Any) -> tuple[Any, Any]:
    """Answers, and what their columns are called, of a table, a dictionary, or a dictionary a row.

    Of several columns the one that is called the prediction is the answer.
    """
    import pandas as pd

    if isinstance(values, list) and values and all(isinstance(row, dict) for row in values):
        values = pd.DataFrame(values)
    names = list(values) if isinstance(values, dict) else getattr(values, "columns", None)
    if names is not None:
        chosen = list(names) if len(names) == 1 else [name for name in names if str(name).lower() in _PREDICTION]
        if len(chosen) == 1:
            values, names = values[chosen[0]], None
        elif isinstance(values, dict):
            values = pd.DataFrame(values)
    return (values.to_numpy() if hasattr(values, "to_numpy") else values), names


def _told_apart(array: Any) -> Any:
    """An array of objects as numbers, where all are; None stays what it is."""
    import numpy as np

    items = array.ravel().tolist()
    if all(isinstance(item, (numbers.Real, Decimal, np.bool_)) for item in items):
        kind = bool if items and all(isinstance(item, (bool, np.bool_)) for item in items) else float
        return array.astype(kind)
    return array


def in_one_line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def send_frame(file: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    """Write a frame."""
    text = json.dumps(header).encode()
    file.write(FRAME.pack(len(text), len(payload)) + text + payload)
    file.flush()


def next_frame(file: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read a frame; None where the input ends."""
    start = file.read(FRAME.size)
    if len(start) < FRAME.size:
        return None
    length, size = FRAME.unpack(start)
    return json.loads(file.read(length)), file.read(size)


def _estimator(model: Any, order: dict[str, Any]) -> RowAnswering:
    """Of anything with scikit-learn's methods."""
    if order["classes"] and hasattr(model, "predict_proba"):
        return lambda rows: (model.predict_proba(rows), getattr(model, "classes_", None))
    return lambda rows: (model.predict(rows), None)


def _skops(order: dict[str, Any]) -> RowAnswering:
    return _estimator(_skops_model(order), order)


def _skops_model(order: dict[str, Any]) -> Any:
    import skops.io

    model = skops.io.load(order["path"], trusted=order["trusted"])
    if order["checks_trees"]:
        from promotion.evaluation.tree_check import find_unsafe_tree

        if reason := find_unsafe_tree(model):
            message = f"{reason}: do not use this file, register the model again"
            raise ValueError(message)
    return model


def _xgboost_model(order: dict[str, Any]) -> Any:
    import xgboost

    return xgboost.Booster(model_file=order["path"])


def _xgboost(order: dict[str, Any]) -> RowAnswering:
    import xgboost

    booster = _xgboost_model(order)
    best = booster.attr("best_iteration")
    rounds = (0, int(best) + 1) if best else (0, 0)

    def answer(rows: Any) -> tuple[Any, Any]:
        frame = _with_categories(_ordered(rows, booster.feature_names), booster)
        matrix = xgboost.DMatrix(frame, enable_categorical=True)
        return booster.predict(matrix, iteration_range=rounds), None

    return answer


def _lightgbm_model(order: dict[str, Any]) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=order["path"])


def _lightgbm(order: dict[str, Any]) -> RowAnswering:
    booster = _lightgbm_model(order)
    return lambda rows: (booster.predict(_with_categories(_ordered(rows, booster.feature_name()))), None)


def _catboost_model(order: dict[str, Any]) -> Any:
    import catboost

    if not order["is_regressor"]:
        model = catboost.CatBoostClassifier().load_model(order["path"], format=order["format"])
        if len(model.classes_):  # a plain CatBoost may be either
            return model
    return catboost.CatBoostRegressor().load_model(order["path"], format=order["format"])


def _catboost(order: dict[str, Any]) -> RowAnswering:
    model = _catboost_model(order)

    def answer(rows: Any) -> tuple[Any, Any]:
        frame = _ordered(rows, model.feature_names_)
        is_asked = order["classes"] and hasattr(model, "predict_proba")
        return (model.predict_proba(frame), model.classes_) if is_asked else (model.predict(frame), None)

    return answer


def _ordered(rows: Any, names: Any) -> Any:
    """The columns as a booster learned them: it goes by position."""
    if not hasattr(rows, "columns"):
        return rows
    found = {str(name).replace(" ", "_"): name for name in rows.columns}
    wanted = [str(name).replace(" ", "_") for name in names or ()]
    if set(wanted) <= set(found) and wanted:
        rows = rows[[found[name] for name in wanted]]
    return rows


def _with_categories(rows: Any, booster: Any = None) -> Any:
    """Texts as categories, the only texts that XGBoost and LightGBM know.

    Args:
        rows: For the booster.
        booster: Of XGBoost, which before 3.1 keeps the categories' places and not their names.
    """
    texts = [name for name in rows.columns if rows[name].dtype == object] if hasattr(rows, "columns") else []
    if texts and booster is not None and (not hasattr(booster, "get_categories") or booster.get_categories().empty()):
        message = (
            f"it learned the places of categories and keeps no names of them, and {texts[0]!r} holds texts: train it "
            "with XGBoost 3.1 or newer, on categories"
        )
        raise ValueError(message)
    return rows.astype(dict.fromkeys(texts, "category")) if texts else rows


def _onnx(order: dict[str, Any]) -> RowAnswering:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(order["path"], providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    types = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int64)": "i8", "tensor(int32)": "i4"}
    types |= {"tensor(bool)": "?", "tensor(string)": "O"}

    def answer(rows: Any) -> tuple[Any, Any]:
        if len(inputs) == 1 and not (hasattr(rows, "columns") and inputs[0].name in rows.columns):
            feed = {inputs[0].name: np.asarray(rows).astype(types[inputs[0].type])}
        else:
            feed = {}
            for item in inputs:
                column = rows[item.name].to_numpy().astype(types[item.type])
                feed[item.name] = column.reshape(-1, 1) if len(item.shape) == _MATRIX else column
        found = session.run(outputs, feed)
        answers = found[-1] if order["classes"] else found[0]
        if isinstance(answers, list) and answers and isinstance(answers[0], dict):  # skl2onnx's ZipMap
            classes = sorted(answers[0])
            return np.array([[row[name] for name in classes] for row in answers]), classes
        return answers, None

    return answer


def _mlflow_model(order: dict[str, Any]) -> Any:
    """By its library's own flavour; None where it has only that of plain code."""
    flavours = [name for name in _MLFLOW_FLAVOURS if name in order["flavours"]]
    return importlib.import_module("mlflow." + flavours[0]).load_model(order["path"]) if flavours else None


def _mlflow(order: dict[str, Any]) -> RowAnswering:
    """As MLflow loads it, which runs whatever code the model brings."""
    if {"xgboost", "lightgbm"} & set(order["flavours"]):
        answer = _estimator(model := _mlflow_model(order), order)
        booster = model.get_booster() if hasattr(model, "get_booster") else None
        return lambda rows: answer(_with_categories(rows, booster))
    if order["classes"] and hasattr(model := _mlflow_model(order), "predict_proba"):
        return _estimator(model, order)
    import mlflow.pyfunc

    function = mlflow.pyfunc.load_model(order["path"])
    return lambda rows: (function.predict(rows), None)


_LOADERS: dict[str, Callable[[dict[str, Any]], RowAnswering]] = {
    "skops": _skops,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
    "mlflow": _mlflow,
}

_NATIVE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "skops": _skops_model,
    "xgboost": _xgboost_model,
    "lightgbm": _lightgbm_model,
    "catboost": _catboost_model,
    "mlflow": _mlflow_model,
}

if __name__ == "__main__":
    main()
