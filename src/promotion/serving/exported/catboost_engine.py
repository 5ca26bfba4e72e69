"""The engine for CatBoost's own file, which is data and runs no code: of models that it writes no ONNX graph of."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promotion.serving.errors import ExportRefused
from promotion.serving.exported.engines import Prediction

if TYPE_CHECKING:
    from pathlib import Path

    from promotion.serving.exported.folder import Schema
    from promotion.serving.exported.rows import Matrix


class CatBoostEngine:
    """CatBoost with one thread a call; a number that is a category is one by its whole value.

    Args:
        path: The file.
        schema: Its columns by name, spaces and underscores being the same; by place where the file names others.

    Raises:
        ExportRefused: CatBoost is not installed, or the file does not load, or has other columns or classes.
    """

    def __init__(self, path: Path, schema: Schema) -> None:
        if find_spec("catboost") is None:
            raise ExportRefused("engine catboost needs catboost; build the image for this export")
        import catboost

        model = catboost.CatBoostRegressor() if schema.is_regression else catboost.CatBoostClassifier()
        try:
            self._model = model.load_model(str(path), format="cbm")
            names = list(self._model.feature_names_)
        except catboost.CatBoostError as error:
            reason = str(error).splitlines()[0]
            raise ExportRefused(f"{path} cannot be loaded: {reason}; export the model again") from error
        taken, given = ([name.replace(" ", "_") for name in each] for each in (names, schema.names))
        by_name = set(taken) <= set(given) and len(set(given)) == len(given)
        if not by_name and len(taken) != len(given):
            raise ExportRefused(f"{path}: columns {', '.join(names)}; expected those of schema.json")
        self._places = [given.index(name) for name in taken] if by_name else list(range(len(taken)))
        self._categories = set(self._model.get_cat_feature_indices())
        is_text = [schema.features[place].type == "text" for place in self._places]
        self._texts = {place for place, text in enumerate(is_text) if text}
        self._order = None if schema.is_regression else _order(path, self._model.classes_.tolist(), schema)

    def predict(self, matrix: Matrix) -> Prediction:
        """Score rows."""
        # A table of objects is what CatBoost reads fastest, single rows and many.
        cells = np.empty((matrix.shape[1], len(self._places)), dtype=object)
        for at, place in enumerate(self._places):
            cells[:, at] = self._column(at, matrix[place])
        if self._order is None:
            values = np.asarray(self._model.predict(cells, thread_count=1), dtype=np.float32)
            return Prediction(np.zeros(len(values), dtype=np.int64), values.reshape(-1, 1))
        probabilities = self._model.predict_proba(cells, thread_count=1)[:, self._order]
        return Prediction(probabilities.argmax(axis=1), probabilities.astype(np.float32))

    def _column(self, at: int, cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Cells as CatBoost tells categories apart: 3.0 is none, 3 is the one that was learned."""
        if at in self._texts:
            return cells
        numbers = cells.astype(np.float64)
        return numbers.astype(np.int64) if at in self._categories else numbers


def _order(path: Path, own: list[Any], schema: Schema) -> list[int]:
    """Where the model has the probability of each class: by its name, or it answers their places in the alphabet."""
    told = list(schema.answers or schema.labels)
    named, wanted = ([_class_text(each) for each in classes] for classes in (own, told))
    if len(named) != len(wanted):
        raise ExportRefused(f"{path}: classes {', '.join(named)}; expected {', '.join(wanted)}: export the model again")
    if set(named) != set(wanted):
        named = [_class_text(each) for each in sorted(told, key=lambda each: (isinstance(each, str), each))]
    return [named.index(each) for each in wanted]


def _class_text(value: object) -> str:
    """A class as text, the same for 1, 1.0 and "1.0", and for True and "true"."""
    text = str(value).strip().removesuffix(".0")
    return text.lower() if text in {"True", "False"} else text
