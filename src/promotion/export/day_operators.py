"""The operators by which a graph takes a day apart, as the steps of a pipeline do with NumPy.

A graph is given days since 1970-01-01 where the pipeline is given texts: the server reads those.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from promotion.data.days import MISSING_DAY

_DAY, _MONTH, _YEAR = (f"datetime64[{unit}]" for unit in "DMY")


@cache
def know_days() -> None:
    """Tell skl2onnx of the NumPy functions that count days, months and years."""
    from skl2onnx.common._registration import (
        get_converter,
        get_shape_calculator,
        register_converter,
        register_shape_calculator,
    )
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    alias = "SklearnFunctionTransformer"
    convert, shapes = get_converter(alias), get_shape_calculator(alias)

    def shaped(operator: Any) -> None:
        step, given = operator.raw_operator, operator.inputs[0].type
        if step.func not in {np.asarray, np.choose}:
            shapes(operator)
            return
        is_whole = step.func is np.asarray and step.kw_args["dtype"] == "int64"
        kind = Int64TensorType if is_whole else FloatTensorType if step.func is np.choose else type(given)
        operator.outputs[0].type = kind(given.shape)

    def converted(scope: Any, operator: Any, container: Any) -> None:
        step = operator.raw_operator
        if step.func not in {np.asarray, np.choose}:
            convert(scope, operator, container)
            return
        days = _Days(scope, container, operator.inputs[0])
        if step.func is np.choose:
            found = days.chosen(step.kw_args["choices"])
        else:
            counts = {_DAY: days.marked, _MONTH: days.months, _YEAR: days.years, "int64": days.whole}
            count = counts.get(step.kw_args["dtype"])
            found = count() if count else days.given
        container.add_node("Identity", found, operator.outputs[0].full_name)

    register_shape_calculator(alias, shaped, overwrite=True)
    register_converter(alias, converted, overwrite=True)


class _Days:
    """Writes nodes that compute with the cells of one input."""

    def __init__(self, scope: Any, container: Any, cells: Any) -> None:
        from skl2onnx.common.data_types import guess_proto_type

        self._scope, self._container = scope, container
        self.given, self._kind = cells.full_name, guess_proto_type(cells.type)

    def marked(self) -> str:
        """Days, missing ones marked as NumPy marks them."""
        return self._of("Where", self._of("IsNaN", self.given), self._number(MISSING_DAY), self.given)

    def months(self) -> str:
        """Months since January 1970."""
        return self._counted(self._of("Sub", self._month(), 12 * 1970))

    def years(self) -> str:
        """Years since 1970."""
        return self._counted(self._of("Sub", self._of("Div", self._month(), 12), 1970))

    def whole(self) -> str:
        """Whole numbers, without what is behind the point."""
        from onnx import TensorProto

        return self._cast(self.given, TensorProto.INT64)

    def chosen(self, choices: list[float]) -> str:
        """The choice whose place the number is, counted round and round."""
        from onnx import TensorProto

        name = self._scope.get_unique_variable_name("choices")
        self._container.add_initializer(name, TensorProto.FLOAT, [len(choices)], choices)
        return self._of("Gather", name, self._of("Mod", self.given, len(choices)))

    def _month(self) -> str:
        """Months since January of the year 0, of days from its first of March on, with which leap days end a year.

        The Gregorian calendar repeats itself after 400 years, which have 146,097 days; four years have 1,461 or 1,460,
        a hundred 36,524; five months from March or August on have 153. Division drops what is behind the point.
        """
        from onnx import TensorProto

        of = self._of
        known = of("Where", self._is_missing(), self._number(0.0), self.given)
        day = of("Add", self._cast(known, TensorProto.INT64), 719_468)
        cycle = of("Div", day, 146_097)
        day = of("Sub", day, of("Mul", cycle, 146_097))
        leaps = of("Sub", of("Div", day, 36_524), of("Add", of("Div", day, 1_460), of("Div", day, 146_096)))
        year = of("Div", of("Add", day, leaps), 365)
        before = of("Sub", of("Add", of("Mul", year, 365), of("Div", year, 4)), of("Div", year, 100))
        month = of("Div", of("Add", of("Mul", of("Sub", day, before), 5), 2), 153)
        years = of("Add", year, of("Mul", cycle, 400))
        return of("Add", of("Mul", years, 12), of("Add", month, 2))

    def _counted(self, whole: str) -> str:
        return self._of("Where", self._is_missing(), self.given, self._cast(whole, self._kind))

    def _is_missing(self) -> str:
        return self._of("Equal", self.given, self._number(MISSING_DAY))

    def _cast(self, name: str, kind: int) -> str:
        found: str = self._scope.get_unique_variable_name("cast")
        self._container.add_node("Cast", name, found, to=kind)
        return found

    def _number(self, value: float) -> str:
        name: str = self._scope.get_unique_variable_name("number")
        self._container.add_initializer(name, self._kind, [1], [value])
        return name

    def _of(self, operator: str, *given: str | int) -> str:
        names = [self._whole(each) if isinstance(each, int) else each for each in given]
        found: str = self._scope.get_unique_variable_name("day")
        self._container.add_node(operator, names, found)
        return found

    def _whole(self, value: int) -> str:
        from onnx import TensorProto

        name: str = self._scope.get_unique_variable_name("whole")
        self._container.add_initializer(name, TensorProto.INT64, [1], [value])
        return name
