"""A fitted pipeline as an ONNX graph, and the proof that both answer alike.

The graph computes in 32 bits, the pipeline in 64. That differs where a tree compares a scaled measure with a threshold,
which is why our candidates scale for linear models only, and why nobody believes a translation without the proof.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.config.family import FamilyConfig
from promotion.errors import GateRefused
from promotion.export.documents import TOLERANCE, decided

LABEL, PROBABILITIES = "label", "probabilities"
"""The graph's outputs: int64 [rows], float32 [rows, classes]."""

# The newest operators that every onnxruntime since 1.14 (February 2023) knows.
_OPERATORS = 18


class NotTranslatable(GateRefused):
    """The pipeline holds something that has no ONNX counterpart."""


class ParityFailed(GateRefused):
    """The translated model answers otherwise than the registered one; the message has the row and the difference."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the translated model is from the registered one.

    Attributes:
        rows: Number of rows both answered.
        difference: Largest absolute difference of a probability.
    """

    rows: int
    difference: float


def translate(model: Any, config: FamilyConfig) -> bytes:
    """Turn a fitted pipeline into an ONNX graph.

    Args:
        model: Fitted scikit-learn pipeline that takes raw rows.
        config: The family; the graph has one float32 input of shape [rows, 1] for each of its features, by name.

    Returns:
        The serialised graph; the same model always gives the same bytes.

    Raises:
        NotTranslatable: skl2onnx does not know a part of it.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    try:
        graph = convert_sklearn(
            model,
            name=config.family,
            initial_types=[(name, FloatTensorType([None, 1])) for name in config.features],
            final_types=[
                (LABEL, Int64TensorType([None])),
                (PROBABILITIES, FloatTensorType([None, len(config.classes)])),
            ],
            options={id(model): {"zipmap": False}},
            target_opset={"": _OPERATORS, "ai.onnx.ml": 3},
        )
    except Exception as error:
        summary = " ".join(str(error).split())
        raise NotTranslatable(
            f"{config.family}: the model cannot be translated to ONNX ({type(error).__name__}: {summary}): choose "
            "another algorithm, or --native for the registered files as they are"
        ) from error
    _decide(graph)
    # It lists them in the order of a set.
    operators = sorted(graph.opset_import, key=lambda item: str(item.domain))
    del graph.opset_import[:]
    graph.opset_import.extend(operators)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _decide(graph: Any) -> None:
    """Give the first of equally likely classes, as scikit-learn's `predict` does.

    The translated trees add up in 32 bits, where 25 votes of 50 come out a little above or below one half: their own
    label would depend on rounding, and with it on the number of threads.
    """
    from onnx import helper, numpy_helper

    body = graph.graph
    kept = [node for node in body.node if LABEL not in node.output]
    del body.node[:]
    body.node.extend(kept)
    body.initializer.append(numpy_helper.from_array(np.array(1 / TOLERANCE, dtype=np.float32), "steps"))
    body.node.append(helper.make_node("Mul", [PROBABILITIES, "steps"], ["in_steps"], "scale"))
    body.node.append(helper.make_node("Round", ["in_steps"], ["whole_steps"], "round"))
    body.node.append(helper.make_node("ArgMax", ["whole_steps"], [LABEL], "decide", axis=1, keepdims=0))


def prove(graph: bytes, model: Any, config: FamilyConfig, rows: pd.DataFrame) -> Parity:
    """Ask both models the same rows.

    Args:
        graph: What `translate` returned.
        model: The pipeline.
        config: The family.
        rows: Rows × features, float64, missing cells NaN.

    Raises:
        ParityFailed: A probability differs by more than `TOLERANCE`, or a label where the model is decided.
    """
    label, probability = answers(graph, rows)
    expected_label = np.asarray(model.predict(rows), dtype=np.int64)
    expected = np.asarray(model.predict_proba(rows), dtype=np.float64)
    if probability.shape != expected.shape:
        raise ParityFailed(f"{config.family}: the ONNX graph answers {probability.shape}, expected {expected.shape}")
    differences = np.abs(probability - expected).max(axis=1)
    # NaN is no rounding either.
    wrong = ((label != expected_label) & decided(expected)) | ~(differences <= TOLERANCE)
    if wrong.any():
        number = int(np.argmax(np.where(wrong, np.nan_to_num(differences, nan=np.inf), -1.0)))
        values = ", ".join(f"{name}={rows.iloc[number][name]:g}" for name in config.features)
        raise ParityFailed(
            f"{config.family}: the ONNX translation differs from the registered model in {int(wrong.sum())} of "
            f"{len(rows)} held-out rows: the largest difference of a probability is {differences[number]:.2g} (allowed "
            f"{TOLERANCE:g}), label {label[number]} instead of {expected_label[number]}, in row {number} ({values}): "
            "nothing was exported; --native exports the registered files as they are",
            row={name: _plain(rows.iloc[number][name]) for name in config.features},
            difference=_plain(differences[number]),
        )
    return Parity(len(rows), float(differences.max()))


def answers(graph: bytes, rows: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What a translated model answers.

    Args:
        graph: What `translate` returned.
        rows: Rows × features, missing cells NaN.

    Returns:
        Labels of shape (rows,) and probabilities of shape (rows, classes).
    """
    # From 1.31 on it reports its use to its maker unless told otherwise before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # As the server runs it: the order of additions, and with it the last digit, depends on the number of threads.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: the library is silent
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed: Mapping[str, NDArray[np.float32]] = {name: rows[[name]].to_numpy(dtype=np.float32) for name in rows.columns}
    label, probability = session.run([LABEL, PROBABILITIES], feed)
    return np.asarray(label, dtype=np.int64), np.asarray(probability, dtype=np.float64)


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
