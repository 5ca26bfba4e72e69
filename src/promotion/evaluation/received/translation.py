"""Turn a loaded model into an ONNX graph, by the converter of its library.

Like the worker, which imports it, it stands alone: it also runs in the sandbox, without this package.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

OPERATORS = {"": 18, "ai.onnx.ml": 3}
"""The newest operators, by domain, that every onnxruntime since 1.14 (February 2023) knows."""
# The newest that onnxmltools knows how to write; what it writes is raised afterwards.
_BOOSTER_OPERATORS = 15
_EXPONENTS = ("Poisson", "Tweedie")


def graph_of(model: Any, columns: list[tuple[str, bool]], name: str, *, precise: bool = False) -> bytes:
    """Convert a model.

    Args:
        model: As its own library loads it.
        columns: Name of each column in the model's order, and whether it holds texts; all others are numbers.
        name: Of the graph.
        precise: Whether what a pipeline does before its last step is computed in 64 bits, as scikit-learn does, where
            the converter can.

    Returns:
        The serialised graph: one input for each column in their order, or a single one of all columns. Its last output
        is what the model answers: probabilities by class in the model's order, or numbers. Of a CatBoost model that has
        no graph, as with categories, CatBoost's own file.

    Raises:
        TypeError: Nothing converts a model of this kind.
    """
    steps: Any = getattr(model, "steps", ())
    if len(steps) == 1:
        model = steps[0][1]
    library = type(model).__module__.partition(".")[0]
    if library == "xgboost":
        return _xgboost(model, len(columns))
    if library == "lightgbm":
        return _lightgbm(model, len(columns))
    if library == "catboost":
        return _catboost_file(model)
    if not hasattr(model, "predict"):
        message = f"a {type(model).__name__} has no ONNX counterpart"
        raise TypeError(message)
    _know_boosters()
    _mend_converters()
    if precise and len(getattr(model, "steps", ())) > 1:
        with contextlib.suppress(Exception):  # what is said of the ordinary graph is what its owner can use
            return _sklearn(_single_at_last(model), columns, name, is_double=True)
    return _sklearn(model, columns, name)


def _single_at_last(pipeline: Any) -> Any:
    """The pipeline with 32 bits before its last step: trees compare in them, whatever precedes them.

    A threshold is often a value that was learned from, scaled in 64 bits; scaled in 32 it falls on either side.
    """
    import skl2onnx.sklapi.register  # noqa: F401  # makes the transformer known
    from skl2onnx.sklapi import CastTransformer

    *before, last = pipeline.steps
    if type(last[1]).__module__.startswith("xgboost") and _is_sparse(before[-1][1]):
        before.append(("zeros", _zeros_are_missing()()))
    return type(pipeline)([*before, ("single", CastTransformer()), last])


def _is_sparse(step: Any) -> bool:
    """Whether a step of a pipeline answers only the cells that are not zero."""
    if steps := getattr(step, "steps", None):
        return _is_sparse(steps[-1][1])
    return getattr(step, "encode", "") == "onehot" or bool(
        getattr(step, "sparse_output_", getattr(step, "sparse_output", False))
    )


@cache
def _zeros_are_missing() -> type:
    """A transformer for XGBoost behind a sparse step: it takes the zeros it is not given for missing cells."""
    from skl2onnx import update_registered_converter
    from sklearn.base import BaseEstimator, TransformerMixin

    class MissingZeros(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        pass

    def shapes(operator: Any) -> None:
        given = operator.inputs[0].type
        operator.outputs[0].type = type(given)(given.shape)

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import guess_proto_type

        cells, answered = operator.inputs[0], operator.outputs[0]
        names = zero, missing, is_zero = [scope.get_unique_variable_name(f"zeros_{each}") for each in "zms"]
        for name, value in zip(names, (0.0, float("nan")), strict=False):
            container.add_initializer(name, guess_proto_type(cells.type), [1], [value])
        container.add_node("Equal", [cells.full_name, zero], is_zero)
        container.add_node("Where", [is_zero, missing, cells.full_name], answered.full_name)

    update_registered_converter(MissingZeros, "MissingZeros", shapes, converter)
    return MissingZeros


def _sklearn(model: Any, columns: list[tuple[str, bool]], name: str, *, is_double: bool = False) -> bytes:
    *before, last = getattr(model, "steps", [("", model)])
    if before and type(last[1]).__module__.startswith("catboost"):
        front = _sklearn(type(model)(before), columns, name, is_double=is_double)
        return _behind(front, _catboost(last[1]))
    from onnx import checker
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = DoubleTensorType if is_double else FloatTensorType
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    each = [(column, (StringTensorType if text else number)([None, 1])) for column, text in columns]
    whole = [("columns", number([None, len(columns)]))]

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
    if is_double:
        checker.check_model(graph, full_check=True)  # some converters write what no runtime takes in 64 bits
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _know_boosters() -> None:
    """Tell skl2onnx how a booster inside a pipeline is converted; a model that holds one has imported its library."""
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


@cache
def _mend_converters() -> None:
    """Complete some of skl2onnx's converters: what they write is not taken, or not what scikit-learn answers."""
    from skl2onnx.common._registration import get_converter, register_converter, register_shape_calculator

    register_shape_calculator("SklearnSimpleImputer", _filled_columns, overwrite=True)
    for alias, mend in (
        ("SklearnHistGradientBoostingClassifier", _with_numbers),
        ("SklearnHistGradientBoostingRegressor", _with_numbers),
        ("SklearnSimpleImputer", _filling),
        ("SklearnOneHotEncoder", _knowing_empty),
        ("SklearnKBinsDiscretizer", _in_its_numbers),
        ("SklearnPolynomialFeatures", _in_its_numbers),
    ):
        converter = get_converter(alias)
        register_converter(alias, mend(converter), overwrite=True, options=converter.get_allowed_options())


def _with_numbers(convert: Any) -> Any:
    """Truth values as integers: protobuf takes no others for them since its version 6."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        add = container.add_node

        def numbered(value: Any) -> Any:
            return [int(each) for each in value] if isinstance(value, list) and bool in map(type, value) else value

        container.add_node = lambda *places, **named: add(*places, **{key: numbered(it) for key, it in named.items()})
        try:
            convert(scope, operator, container)
        finally:
            container.add_node = add

    return converter


def _in_its_numbers(convert: Any) -> Any:
    """Some converters write 32 bits whatever comes in: here they write what comes in. Sparse bins become dense."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        from skl2onnx.common.data_types import DoubleTensorType

        step = operator.raw_operator
        if isinstance(operator.inputs[0].type, DoubleTensorType):
            container = _Doubles(scope, container)
        if getattr(step, "encode", "") != "onehot":
            convert(scope, operator, container)
            return
        step.encode = "onehot-dense"
        try:
            convert(scope, operator, container)
        finally:
            step.encode = "onehot"

    return converter


class _Doubles:
    """A converter's container where what is written in 32 bits becomes 64."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope, self._container = scope, container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_initializer(self, name: str, kind: int, *content: Any) -> None:
        """Numbers that the graph holds."""
        from onnx import TensorProto

        self._container.add_initializer(name, TensorProto.DOUBLE if kind == TensorProto.FLOAT else kind, *content)

    def add_node(self, kind: str, given: Any, answered: Any, **named: Any) -> None:
        """A step of the graph."""
        from onnx import TensorProto, numpy_helper

        if kind == "Cast" and named["to"] == TensorProto.FLOAT:
            named["to"] = TensorProto.DOUBLE
        if kind == "ConstantOfShape":
            named["value"] = numpy_helper.from_array(numpy_helper.to_array(named["value"]).astype("f8"))
        if kind != "OneHotEncoder":
            self._container.add_node(kind, given, answered, **named)
            return
        single = self._scope.get_unique_variable_name("single")  # it knows no other
        self._container.add_node(kind, given, single, **named)
        self._container.add_node("Cast", single, answered, to=TensorProto.DOUBLE)


def _filled_columns(operator: Any) -> None:
    """What an imputer answers: the columns it can fill, and one for each of those it marks."""
    imputer, given = operator.raw_operator, operator.inputs[0].type
    filled = sum(value == value for value in imputer.statistics_)  # noqa: PLR0124
    marked = len(imputer.indicator_.features_) if imputer.add_indicator else 0
    operator.outputs[0].type = type(given)([given.shape[0], filled + marked])


def _filling(convert: Any) -> Any:
    """ONNX's own Imputer knows numbers of 32 bits and marks nothing; here a missing cell is chosen by what it is.

    A missing text comes as an empty one.
    """

    def converter(scope: Any, operator: Any, container: Any) -> None:
        import numpy as np
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType, StringTensorType, guess_proto_type

        imputer, given = operator.raw_operator, operator.inputs[0].type
        if isinstance(imputer.fill_value, str) and not isinstance(given, StringTensorType):
            # A day, which is a text to the pipeline and comes as a number: what is missing stays so.
            cells = [each.full_name for each in operator.inputs]
            container.add_node("Concat", cells, operator.outputs[0].full_name, axis=1)
            return
        is_text, marks_text = isinstance(given, StringTensorType), isinstance(imputer.missing_values, str)
        is_new = isinstance(given, DoubleTensorType) or is_text or imputer.add_indicator
        if not is_new or (is_text and marks_text):
            convert(scope, operator, container)
            return
        known = np.asarray(imputer.statistics_, dtype=object if is_text else np.float64)
        is_nan = imputer.missing_values is None or imputer.missing_values != imputer.missing_values
        if (imputer.add_indicator and is_text) or not is_nan or any(value != value for value in known):  # noqa: PLR0124
            message = "an imputer of these columns fills NaN, in each of them, and marks no texts"
            raise NotImplementedError(message)
        names = (scope.get_unique_variable_name(f"imputer_{each}") for each in "abcdefgh")
        cells, marks, missing, fill, filled, marked, is_marked, flags = names
        container.add_node("Concat", [each.full_name for each in operator.inputs], cells, axis=1)
        if is_text:
            keys = {"keys_strings": [""], "values_int64s": [1], "default_int64": 0}
            container.add_node("LabelEncoder", cells, marks, op_domain="ai.onnx.ml", op_version=2, **keys)
            container.add_node("Cast", marks, missing, to=TensorProto.BOOL)
        else:
            container.add_node("IsNaN", cells, missing)
        kind, answered = guess_proto_type(given), operator.outputs[0].full_name
        container.add_initializer(fill, kind, [1, len(known)], known.tolist())
        container.add_node("Where", [missing, fill, cells], filled if imputer.add_indicator else answered)
        if imputer.add_indicator:
            columns = imputer.indicator_.features_.tolist()
            container.add_initializer(marked, TensorProto.INT64, [len(columns)], columns)
            container.add_node("Gather", [missing, marked], is_marked, axis=1)
            container.add_node("Cast", is_marked, flags, to=kind)
            container.add_node("Concat", [filled, flags], answered, axis=1)

    return converter


def _knowing_empty(convert: Any) -> Any:
    """A missing text comes as an empty one; where an encoder learned that texts may be missing, it is that category."""

    def converter(scope: Any, operator: Any, container: Any) -> None:
        import numpy as np

        encoder = operator.raw_operator
        learned = encoder.categories_
        encoder.categories_ = [
            np.array(["" if each is None or each != each else each for each in known], dtype=object)  # noqa: PLR0124
            if known.dtype == object
            else known
            for known in learned
        ]
        try:
            convert(scope, operator, container)
        finally:
            encoder.categories_ = learned

    return converter


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


def _behind(front: bytes, booster: bytes) -> bytes:
    """A graph that answers columns, and behind it a booster's own, which takes them."""
    import onnx
    from onnx import compose

    first, second = map(onnx.load_from_string, (front, booster))
    for item in (first, second):
        del item.opset_import[:]
        item.opset_import.extend(onnx.helper.make_opsetid(*each) for each in OPERATORS.items())
        item.ir_version = max(first.ir_version, second.ir_version)
    second = compose.add_prefix(second, "booster/")
    joint = compose.merge_models(first, second, io_map=[(first.graph.output[0].name, second.graph.input[0].name)])
    content: bytes = joint.SerializeToString(deterministic=True)
    return content


def _catboost_file(model: Any) -> bytes:
    from catboost import CatBoostError

    loss = str(model.get_all_params().get("loss_function"))
    # Its graph leaves the exponent out, and takes a number for each category that no tree asks for.
    if loss.startswith(_EXPONENTS) or model.get_cat_feature_indices() or model.get_text_feature_indices():
        return _catboost(model, "cbm")
    try:
        return _catboost(model)
    except CatBoostError:
        return _catboost(model, "cbm")


def _catboost(model: Any, kind: str = "onnx") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model.save_model(str(path), format=kind)
        return path.read_bytes()
