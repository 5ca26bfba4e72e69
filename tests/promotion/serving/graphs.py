"""Graphs that answer what their one input says, so that a test chooses every probability to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def echo(classes: int = 2) -> bytes:
    """A graph whose last class has the probability x, whose first has 1 - x, and that names the likeliest."""

    def value(name: str, kind: int, *shape: int | None) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [
        helper.make_node("Sub", ["one", "x"], ["rest"]),
        helper.make_node("Concat", ["rest", *["x"] * (classes - 1)], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "echo",
        [value("x", TensorProto.FLOAT, None, 1)],
        [value("label", TensorProto.INT64, None), value("probabilities", TensorProto.FLOAT, None, classes)],
        [numpy_helper.from_array(np.ones((1, 1), dtype=np.float32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
