"""A model as an ONNX graph that a server asks column by column, and the proof that both answer alike.

A graph computes in 32 bits, most models in 64. That differs where a tree compares a scaled measure with a threshold,
which is why our candidates scale for linear models only, why what others put before their trees is computed in 64 bits,
and why nobody believes a translation without the proof.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.data.days import days_since_reference
from promotion.errors import GateRefused
from promotion.evaluation.received.translation import OPERATORS, graph_of
from promotion.export.catboost_file import catboost_answers, is_catboost_file
from promotion.export.contract import Contract
from promotion.export.day_operators import know_days
from promotion.export.documents import TOLERANCE, allowed_difference, decided

LABEL, PROBABILITIES, VALUE = "label", "probabilities", "value"
"""The graph's outputs: of classes int64 [rows] and float32 [rows, classes], of a regression float32 [rows, 1]."""

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
_SHOWN = 60
_FORMAT = 8


class NotTranslatable(GateRefused):
    """The model holds something that has no ONNX counterpart."""


class ParityFailed(GateRefused):
    """The translated model answers otherwise than the registered one; the message has the row and the difference."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the translated model is from the registered one.

    Attributes:
        rows: Number of rows both answered.
        difference: Largest absolute difference of a probability, or of a number that is predicted.
    """

    rows: int
    difference: float


def translate(model: Any, contract: Contract) -> bytes:
    """Turn a fitted pipeline into an ONNX graph.

    Args:
        model: Fitted scikit-learn pipeline that takes raw rows.
        contract: Its columns and classes.

    Returns:
        As `served_graph`.

    Raises:
        NotTranslatable: skl2onnx does not know a part of it.
    """
    know_days()
    try:
        graph = graph_of(model, [(name, name in contract.texts) for name in contract.features], contract.family)
    except Exception as error:
        raise untranslatable(contract, f"{type(error).__name__}: {error}") from error
    return served_graph(graph, contract)


def untranslatable(contract: Contract, reason: str) -> NotTranslatable:
    """The refusal of a model that does not become a graph."""
    return NotTranslatable(
        f"{contract.family}: the model cannot be translated to ONNX ({' '.join(reason.split())[:300]}): choose another "
        f"algorithm, or {contract.instead}"
    )


def served_graph(content: bytes, contract: Contract, order: Sequence[int] | None = None) -> bytes:
    """Give a converted graph the inputs and outputs that a server asks for.

    Args:
        content: The graph: an input for each column, in their order or by their names, or one for all of them.
        contract: The columns and classes.
        order: Place of each class among the probabilities that the graph answers; as they come by default.

    Returns:
        The serialised graph with one input of shape [rows, 1] for each feature by its name, text or float32 (float64
        for all numbers where the graph takes some in 64 bits), and the outputs `LABEL` and `PROBABILITIES`, or `VALUE`.
        The same graph always gives the same bytes.

    Raises:
        NotTranslatable: It is not of that form, or not of operators that every onnxruntime has.
    """
    try:
        model = _prefixed(_current(content, contract), contract)
        _feed(model, contract)
        _answer(model, contract, order)
    except NotTranslatable:
        raise
    except Exception as error:
        raise untranslatable(contract, f"{type(error).__name__}: {error}") from error
    # It lists them in the order of a set.
    operators = sorted(model.opset_import, key=lambda item: str(item.domain))
    del model.opset_import[:]
    model.opset_import.extend(operators)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _current(content: bytes, contract: Contract) -> Any:
    """The graph, its operators raised to those that are added to it: a converter names the oldest that will do."""
    import onnx
    from onnx import helper, version_converter

    model = onnx.load_from_string(content)
    if foreign := sorted({item.domain for item in model.opset_import} - _DOMAINS):
        raise untranslatable(contract, f"it needs operators of {', '.join(foreign)[:_SHOWN]}")
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in _tensors(model.graph)):
        raise untranslatable(contract, "its weights lie in another file")
    # Before the fourth version of the format a constant had to be an input as well.
    model.ir_version = max(model.ir_version, _FORMAT)
    version = max((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), default=None)
    if version is None:
        model.opset_import.append(helper.make_opsetid("", OPERATORS[""]))
    elif version < OPERATORS[""]:
        model = version_converter.convert_version(model, OPERATORS[""])
    return model


def _tensors(graph: Any) -> Any:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _prefixed(model: Any, contract: Contract) -> Any:
    """The graph with names of its own everywhere, which no column can have."""
    from onnx import compose

    return compose.add_prefix(model, _own(contract, "model/"))


def _own(contract: Contract, prefix: str) -> str:
    while any(name.startswith(prefix) for name in contract.features):
        prefix += "/"
    return prefix


def _feed(model: Any, contract: Contract) -> None:
    """Put one input for each column before the graph's own."""
    from onnx import TensorProto, helper, numpy_helper

    graph, own = model.graph, _own(contract, "fed/")
    kept = {tensor.name for tensor in graph.initializer}
    inputs = [item for item in graph.input if item.name not in kept]
    names, texts = contract.features, contract.texts
    takes_doubles = any(item.type.tensor_type.elem_type == TensorProto.DOUBLE for item in inputs)
    number = TensorProto.DOUBLE if takes_doubles else TensorProto.FLOAT
    nodes = []
    if len(inputs) == 1:
        source = f"{own}columns"
        nodes.append(helper.make_node("Concat", list(names), [source], axis=1))
        given = TensorProto.STRING if all(name in texts for name in names) else number
        nodes += _cast(source, inputs[0], given, own, contract)
    else:
        prefix = _own(contract, "model/")
        by_name = {item.name.removeprefix(prefix): item for item in inputs}
        matched = [by_name.get(name) for name in names] if by_name.keys() <= set(names) else inputs
        if len(matched) != len(names):
            raise untranslatable(contract, f"it takes {len(inputs)} inputs, and there are {len(names)} columns")
        for name, item in zip(names, matched, strict=True):
            if item is not None:
                nodes += _cast(name, item, TensorProto.STRING if name in texts else number, own, contract)
    graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), f"{own}flat"))
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.STRING if name in texts else number, [None, 1])
        for name in names
    )
    body = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(body)


def _cast(source: str, item: Any, given: int, own: str, contract: Contract) -> list[Any]:
    """The nodes that give an input of the graph a column, or all of them, in the type that it takes."""
    from onnx import TensorProto, helper

    kind = item.type.tensor_type
    if (given == TensorProto.STRING) != (kind.elem_type == TensorProto.STRING):
        raise untranslatable(contract, f"its input {item.name[:_SHOWN]} takes other cells than the column has")
    nodes = []
    if len(kind.shape.dim) == 1:
        flat = f"{own}{item.name}"
        nodes, source = [helper.make_node("Reshape", [source, f"{own}flat"], [flat])], flat
    if kind.elem_type == given:
        return [*nodes, helper.make_node("Identity", [source], [item.name])]
    return [*nodes, helper.make_node("Cast", [source], [item.name], to=kind.elem_type)]


def _answer(model: Any, contract: Contract, order: Sequence[int] | None) -> None:
    """Put the outputs that a server asks for behind the graph's own."""
    from onnx import TensorProto, helper, numpy_helper

    graph, own = model.graph, _own(contract, "answered/")
    name = _scores(graph)
    nodes = [helper.make_node("Cast", [name], [f"{own}scores"], to=TensorProto.FLOAT)]
    source, width = f"{own}scores", len(contract.classes) or 1

    def constant(key: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{own}{key}"))
        return f"{own}{key}"

    def then(operator: str, inputs: list[str], key: str, **options: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [key], **options))
        return key

    outputs: dict[str, tuple[int, list[Any]]]
    shape = constant("shape", np.array([-1, width], dtype=np.int64))
    if not contract.classes:
        value = then("Reshape", [source, shape], _free(contract, VALUE))
        outputs = {value: (TensorProto.FLOAT, [None, 1])}
    else:
        if _width(graph, name) == 1:
            one, column = constant("one", np.array(1, dtype=np.float32)), constant("column", np.array([-1, 1]))
            positive = then("Reshape", [source, column], f"{own}positive")
            negative = then("Sub", [one, positive], f"{own}negative")
            source = then("Concat", [negative, positive], f"{own}both", axis=1)
        if order is not None and list(order) != list(range(width)):
            source = then("Gather", [source, constant("order", np.array(order))], f"{own}ordered", axis=1)
        probabilities = then("Reshape", [source, shape], _free(contract, PROBABILITIES))
        label = _decide(probabilities, then, constant, contract, own)
        outputs = {label: (TensorProto.INT64, [None]), probabilities: (TensorProto.FLOAT, [None, width])}
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.extend(helper.make_tensor_value_info(key, *kind) for key, kind in outputs.items())


def _decide(probabilities: str, then: Any, constant: Any, contract: Contract, own: str) -> str:
    """Give the first of equally likely classes, as scikit-learn's `predict` does.

    The translated trees add up in 32 bits, where 25 votes of 50 come out a little above or below one half: their own
    label would depend on rounding, and with it on the number of threads.
    """
    steps = constant("steps", np.array(1 / TOLERANCE, dtype=np.float32))
    scaled = then("Mul", [probabilities, steps], f"{own}in_steps")
    rounded = then("Round", [scaled], f"{own}whole_steps")
    label: str = then("ArgMax", [rounded], _free(contract, LABEL), axis=1, keepdims=0)
    return label


def _scores(graph: Any) -> str:
    """What the graph answers as a tensor: a list of probabilities by class is unpacked."""
    name: str = graph.output[-1].name
    for node in list(graph.node):
        if node.op_type == "ZipMap" and name in node.output:
            graph.node.remove(node)
            return str(node.input[0])
    return name


def _width(graph: Any, name: str) -> int:
    """Columns of an output, as far as the graph says; one where it has a single dimension."""
    for item in (*graph.output, *graph.value_info):
        if item.name == name:
            sizes = item.type.tensor_type.shape.dim
            return 1 if len(sizes) == 1 else int(sizes[-1].dim_value)
    return 0


def _free(contract: Contract, name: str) -> str:
    """A name for an output that no column has."""
    while name in contract.features:
        name += "_"
    return name


def prove(graph: bytes, model: Any, contract: Contract, rows: pd.DataFrame) -> Parity:
    """Ask both models the same rows.

    Args:
        graph: What `served_graph` returned, or CatBoost's own file.
        model: The registered one.
        contract: Its columns and classes.
        rows: Rows × features, missing cells NaN.

    Raises:
        ParityFailed: A probability differs by more than `TOLERANCE`, a number by more than `allowed_difference`, or a
            label where the model is decided.
    """
    is_file = is_catboost_file(graph)
    graph_name, translation = ("CatBoost's file",) * 2 if is_file else ("the ONNX graph", "the ONNX translation")
    try:
        found = catboost_answers(graph, contract, rows) if is_file else answers(graph, rows)
    except Exception as error:
        raise untranslatable(contract, f"{graph_name.replace('ONNX ', '')} does not run: {error}") from error
    if not contract.classes:
        number = np.asarray(model.predict(rows), dtype=np.float64)
        _require_shape(contract, found[0], number.reshape(-1, 1), graph_name)
        differences = np.abs(found[0][:, 0] - number)
        allowed = allowed_difference(number)
        _require_alike(contract, rows, ~(differences <= allowed), differences, f"{allowed.min():.2g}", translation)
        return Parity(len(rows), float(differences.max()))
    label, probability = found
    expected_label = np.asarray(model.predict(rows), dtype=np.int64).reshape(-1)  # CatBoost answers a column
    expected = np.asarray(model.predict_proba(rows), dtype=np.float64)
    _require_shape(contract, probability, expected, graph_name)
    differences = np.abs(probability - expected).max(axis=1)
    # NaN is no rounding either.
    wrong = ((label != expected_label) & decided(expected)) | ~(differences <= TOLERANCE)
    labels = [f", label {ours} instead of {theirs}" for ours, theirs in zip(label, expected_label, strict=True)]
    _require_alike(contract, rows, wrong, differences, f"{TOLERANCE:g}", translation, labels)
    return Parity(len(rows), float(differences.max()))


def _require_shape(contract: Contract, found: NDArray[np.float64], expected: NDArray[np.float64], what: str) -> None:
    if found.shape != expected.shape:
        raise ParityFailed(f"{contract.family}: {what} answers {found.shape}, expected {expected.shape}")


def _require_alike(
    contract: Contract,
    rows: pd.DataFrame,
    wrong: NDArray[np.bool_],
    differences: NDArray[np.float64],
    allowed: str,
    what: str,
    labels: Sequence[str] = (),
) -> None:
    if not wrong.any():
        return
    number = int(np.argmax(np.where(wrong, np.nan_to_num(differences, nan=np.inf), -1.0)))
    row = rows.iloc[number]
    values = ", ".join(f"{name}={_shown(row[name])}" for name in contract.features)
    raise ParityFailed(
        f"{contract.family}: {what} differs from the registered model in {int(wrong.sum())} of "
        f"{len(rows)} held-out rows: the largest difference of a {'probability' if labels else 'number'} is "
        f"{differences[number]:.2g} (allowed {allowed}){labels[number] if labels else ''}, in row {number} "
        f"({values}): nothing was exported; {contract.instead}",
        row={name: _plain(row[name]) for name in contract.features},
        difference=_plain(differences[number]),
    )


def answers(graph: bytes, rows: pd.DataFrame) -> list[NDArray[Any]]:
    """What a translated model answers.

    Args:
        graph: What `served_graph` returned.
        rows: Rows × features, missing cells NaN.

    Returns:
        Labels of shape (rows,) and probabilities of shape (rows, classes); of a regression numbers of shape (rows, 1).
    """
    # From 1.31 on it reports its use to its maker unless told otherwise before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # As the server runs it: the order of additions, and with it the last digit, depends on the number of threads.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: the library is silent
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    feed = {item.name: _column(rows[item.name], item.type) for item in session.get_inputs()}
    found = session.run(None, feed)
    return [np.asarray(each, dtype=np.int64 if each.dtype == np.int64 else np.float64) for each in found]


def _column(cells: pd.Series, kind: str) -> NDArray[Any]:
    """Cells as a graph's input of this kind takes them: a missing text is an empty one, a day is a number."""
    if kind == "tensor(string)":
        return cells.astype(object).where(cells.notna(), "").to_numpy().reshape(-1, 1)
    if any(isinstance(cell, str) for cell in cells):
        cells = days_since_reference(cells)
    number = np.float64 if kind == "tensor(double)" else np.float32
    return cells.to_numpy(dtype=number, na_value=np.nan).reshape(-1, 1)


def _shown(cell: Any) -> str:
    return cell[:_SHOWN] if isinstance(cell, str) else f"{cell:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return float(value) if np.isfinite(value) else None
