"""Answer rows with a version that was trained elsewhere, in a process of its own, in the target's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from promotion.config.family import FamilyConfig
from promotion.data.tables import read_chunks
from promotion.evaluation.received import predictions as read
from promotion.evaluation.received.flavours import describe_model
from promotion.evaluation.received.predictor import raw_answers, require_allowed
from promotion.evaluation.received.process import RawAnswers
from promotion.evaluation.received.rows import HoldoutFile, class_name, in_order, told_classes
from promotion.prediction.inputs import Asked, AskedRows

_ROW = "row"


class ReceivedAnswers:
    """A version's files, asked a chunk at a time: each in a process of its own, with the limits of the family's file.

    Args:
        config: The family; without a task the answers are those of the model as they come.
        folder: The version's files; a private copy.
        home: Folder the holdout's path is relative to.

    Raises:
        ArtifactRefused: They are no model that is loaded, or run code and the family's file does not allow that.
    """

    def __init__(self, config: FamilyConfig, folder: Path, home: Path) -> None:
        self._config, self._folder, self._home = config, folder, home
        self._tells_classes = config.stated_task not in {None, "regression"}
        self._model = describe_model(folder, classes=self._tells_classes)
        require_allowed(config, self._model)

    @property
    def folder(self) -> Path:
        """The version's files."""
        return self._folder

    @property
    def takes_text(self) -> bool:
        """Whether cells are read as they are written."""
        return self._model.takes_text

    @property
    def names_columns(self) -> bool:
        """Whether it says what they are called."""
        return self._model.names_columns

    def answer(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Predict every row.

        Args:
            rows: Cells as they stand in the file; the index holds their lines.

        Returns:
            By the rows' index: `prediction`, a class by its name or a number, and `probability` where the model says
            one: of the positive class of two, of the predicted class of more.

        Raises:
            PromotionError: The rows do not fit the signature, or the model does not answer them.
        """
        raw = raw_answers(self._config, self._folder, self._model, rows)
        return pd.DataFrame(self._columns(raw), index=rows.index)

    def _columns(self, raw: RawAnswers) -> dict[str, Any]:
        if self._config.stated_task is None:
            cells = raw.cells
            return {"prediction": cells if cells.ndim == 1 else list(cells)}
        if not self._tells_classes:
            return {"prediction": read.numbers(raw)}
        names = self._names(raw)
        found = read.classes(raw, names)
        columns: dict[str, Any] = {"prediction": _values(names)[found.predicted]}
        if found.probability is not None:
            chances = found.probability
            columns["probability"] = chances if chances.ndim == 1 else chances.max(axis=1)
        return columns

    def _names(self, raw: RawAnswers) -> list[str]:
        """The classes: the model's own where it says them, else those of the holdout."""
        if raw.kind == "text":
            # A class that no row of the holdout is of is answered all the same.
            return in_order([*map(class_name, raw.cells.ravel()), *self._known], None)
        return told_classes(raw.classes, self._known, self._config.holdout.positive)

    @cached_property
    def _known(self) -> list[str]:
        return HoldoutFile(self._config.holdout, self._home, self._config.task).classes


class ReceivedRows(AskedRows):
    """Rows of a file as they stand there; what they must hold is the model's signature's to say.

    Args:
        config: The family.
        source: CSV or Parquet; or the family's holdout, which is read from its private copy.
        count: How many, from the first on; all of them when None.
    """

    def __init__(self, config: FamilyConfig, source: Path | HoldoutFile, count: int | None = None) -> None:
        if isinstance(source, HoldoutFile):
            super().__init__(source.name, source.copy)
        else:
            super().__init__(str(source), source)
        self._source = source
        self._rules = config.stated_holdout
        self._count = count

    def check(self) -> None:
        """Read the first rows."""
        for _chunk in islice(read_chunks(self.path, as_text=True), 1):
            return

    def chunks(self, model: Any) -> Iterator[Asked]:
        """All rows, the first ones where only so many are asked for."""
        left = self._count
        for chunk in read_chunks(self.path, as_text=model.takes_text):
            rows = chunk.rows.head(left) if left is not None else chunk.rows
            left = left - len(rows) if left is not None else None
            if not len(rows):
                return
            shown = pd.DataFrame({_ROW: chunk.first + np.arange(len(rows))}, index=rows.index)
            features, actual = self._parted(rows, model, shown)
            yield Asked(features, shown, chunk.done, actual)

    def _parted(self, rows: pd.DataFrame, model: Any, shown: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series | None]:
        rules = self._rules
        if rules is None:
            return rows, None
        if rules.id in rows and rules.id != _ROW:
            shown[rules.id] = rows[rules.id]
        beside = {rules.target} if model.names_columns else {rules.target, rules.id, rules.group, rules.time}
        features = rows.drop(columns=[name for name in rows.columns if name in beside])
        return features, rows.get(rules.target)


def holdout_rows(config: FamilyConfig, home: Path, count: int | None) -> ReceivedRows:
    """The first rows of the family's holdout.

    Raises:
        DataError: It cannot be fetched.
    """
    return ReceivedRows(config, HoldoutFile(config.holdout, home, config.task), count)


def _values(names: Sequence[str]) -> Any:
    """Classes as numbers, where all are."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return np.array(names, dtype=object)
    return np.array(numbers, dtype=np.int64 if all(number.is_integer() for number in numbers) else np.float64)
