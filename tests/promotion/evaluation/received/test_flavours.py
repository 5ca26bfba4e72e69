"""Which file of a version is the model, who loads it, and whether that runs code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from promotion.errors import ArtifactRefused
from promotion.evaluation.received.flavours import describe_model

FUNCTION = {"loader_module": "mlflow.pyfunc.model", "python_model": "python_model.pkl"}


def a_version(folder: Path, flavours: dict[str, Any], inputs: Any = None, **files: bytes) -> Path:
    """A version's folder with this MLmodel."""
    document: dict[str, Any] = {"flavors": flavours}
    if inputs is not None:
        document["signature"] = {"inputs": json.dumps(inputs)}
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("flavours", "files", "loader", "why"),
    [
        ({"xgboost": {"data": "model.ubj"}}, {"model_ubj": b"{L\x00"}, "xgboost", ""),
        ({"lightgbm": {"data": "model.lgb"}}, {"model_lgb": b"tree\nversion=v4\n"}, "lightgbm", ""),
        ({"catboost": {"data": "model.cb"}}, {"model_cb": b"CBM1"}, "catboost", ""),
        ({"onnx": {"data": "model.onnx"}}, {"model_onnx": b"\x08\x0a"}, "onnx", ""),
        (
            {"lightgbm": {"data": "model.pkl"}, "python_function": FUNCTION},
            {"model_pkl": pickle.dumps([1])},
            "mlflow",
            "model.pkl is a pickle",
        ),
        (
            {"sklearn": {"pickled_model": "model.pkl"}, "python_function": FUNCTION},
            {"model_pkl": pickle.dumps([1])},
            "mlflow",
            "model.pkl is a pickle",
        ),
        ({"python_function": FUNCTION}, {}, "mlflow", "mlflow.pyfunc.model runs code of the model"),
        (
            {"tensorflow": {}, "python_function": {"loader_module": "mlflow.tensorflow"}},
            {},
            "mlflow",
            "mlflow.tensorflow",
        ),
    ],
)
def test_who_loads_it(tmp_path: Path, flavours: dict[str, Any], files: dict[str, bytes], loader: str, why: str) -> None:
    """A library's own format is safe; a pickle under its name is none."""
    found = describe_model(a_version(tmp_path, flavours, **files), classes=True)

    assert loader == found.order["loader"]
    assert why in found.runs_code
    assert bool(why) == bool(found.runs_code)


@pytest.mark.parametrize(
    ("flavours", "reason"),
    [
        ({"spacy2": {}}, r"nobody here can load its flavours \(spacy2\)"),
        ({}, r"flavours \(none\)"),
        ({"xgboost": {"data": "../model.ubj"}}, "expected a file inside the model's folder"),
        ({"xgboost": {"data": "gone.ubj"}}, "expected a file inside the model's folder"),
        ({"xgboost": {}}, "does not say which file is its model"),
        pytest.param(
            {"sklearn": {"pickled_model": "a.skops", "serialization_format": "skops"}},
            "not readable as a skops model",
            marks=pytest.mark.system,  # scikit-learn takes seconds to import
        ),
    ],
)
def test_what_nobody_loads_is_refused(tmp_path: Path, flavours: dict[str, Any], reason: str) -> None:
    """In one line."""
    (tmp_path / "a.skops").write_text("no zip")
    with pytest.raises(ArtifactRefused, match=reason) as caught:
        describe_model(a_version(tmp_path, flavours), classes=True)
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize(
    "text", ["", "- 1", "flavors: 3", "a: [", "flavors: {python_function: {}}\nsignature: {inputs: '['}"]
)
def test_a_malformed_description_is_refused(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with it."""
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ArtifactRefused, match="MLmodel: "):
        describe_model(tmp_path, classes=True)


def test_several_tensors_are_columns_where_each_holds_a_value_a_row(tmp_path: Path) -> None:
    """As an ONNX graph with one input a column; what no table holds is refused."""
    several = [
        {"type": "tensor", "name": "age", "tensor-spec": {"dtype": "int64", "shape": [-1, 1]}},
        {"type": "tensor", "name": "plan", "tensor-spec": {"dtype": "object", "shape": [-1]}},
    ]
    found = describe_model(a_version(tmp_path, {"python_function": FUNCTION}, several), classes=True)
    assert found.inputs is not None
    assert [("age", "long"), ("plan", "string")] == [(column.name, column.type) for column in found.inputs]
    assert found.names_columns
    several[0]["tensor-spec"] = {"dtype": "float32", "shape": [-1, 28, 28]}
    with pytest.raises(ArtifactRefused, match="several tensors, which no table holds"):
        describe_model(a_version(tmp_path, {"python_function": FUNCTION}, several), classes=True)


def test_signatures(tmp_path: Path) -> None:
    """Columns with their types, columns by place, a tensor, or nothing."""
    columns = [{"type": "long", "name": "a"}, {"type": "string", "name": "b", "required": False}]
    found = describe_model(a_version(tmp_path, {"python_function": FUNCTION}, columns), classes=True)
    assert found.inputs is not None
    assert [("a", "long", True), ("b", "string", False)] == [
        (column.name, column.type, column.required) for column in found.inputs
    ]
    unnamed = describe_model(a_version(tmp_path, {"python_function": FUNCTION}, [{"type": "double"}]), classes=True)
    assert unnamed.order["positional"]
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
    found = describe_model(a_version(tmp_path, {"python_function": FUNCTION}, tensor), classes=True)
    assert found.inputs is not None
    assert ([(None, "float")] * 3, {"dtype": "float32", "shape": [-1, 3]}) == (
        [(column.name, column.type) for column in found.inputs],
        found.order["tensor"],
    )
    assert not found.takes_text
    image = [{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 28, 28]}}]
    assert describe_model(a_version(tmp_path, {"python_function": FUNCTION}, image), classes=True).inputs is None
    assert describe_model(a_version(tmp_path, {"python_function": FUNCTION}), classes=True).inputs is None
