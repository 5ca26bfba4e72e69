"""Read a model's raw answers as what the task asks for: classes with or without probabilities, or numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promotion.config.printable import first_names
from promotion.data.arrays import FloatArray, IntArray
from promotion.evaluation.received.process import ModelFailed, RawAnswers
from promotion.evaluation.received.rows import class_name, class_order

_BINARY = 2
_SUM_TOLERANCE = 1e-2
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of every row, in the task's terms.

    Attributes:
        predicted: Of classes: the class answered, a position in the holdout's; -1 for one that no row is of.
            Of numbers: the numbers.
        probability: Of the positive class, shape (rows,); of several classes each, shape (rows, classes); None for a
            model that only names classes, and for numbers.
    """

    predicted: IntArray | FloatArray
    probability: FloatArray | None = None

    def at(self, rows: IntArray) -> Answers:
        """The answers to some of the rows."""
        return Answers(self.predicted[rows], None if self.probability is None else self.probability[rows])


def numbers(raw: RawAnswers, first: int = 0) -> FloatArray:
    """Answers of a regression.

    Args:
        raw: Of some rows.
        first: Number of the first of them, for messages.

    Raises:
        ModelFailed: They are texts, several a row, missing or not finite.
    """
    if raw.kind == "text":
        raise ModelFailed(f"the model answers {_said(raw, 0)}, expected a number")
    values = raw.cells
    if values.ndim > 1 and values.shape[1] != 1:
        raise ModelFailed(f"the model answers {values.shape[1]} values a row, expected one number")
    values = values.reshape(len(values))
    _require_finite(values, first)
    return np.asarray(values, dtype=np.float64)


def classes(raw: RawAnswers, names: Sequence[str], first: int = 0) -> Answers:
    """Answers of a classification.

    Args:
        raw: Of some rows.
        names: The holdout's classes; of two the positive one last.
        first: Number of the first row, for messages.

    Raises:
        ModelFailed: They are missing, not finite, of a wrong number of columns, or no probabilities.
    """
    values = raw.cells
    if values.ndim > 1 and values.shape[1] == 1:
        values = values[:, 0]
    if raw.kind == "text":
        if values.ndim > 1:
            raise ModelFailed("the model answers several texts a row, expected a class")
        for row, value in enumerate(values):
            if value is None or value == "" or (isinstance(value, float) and np.isnan(value)):
                raise ModelFailed(f"the model's answer to row {first + row + 1} is {value!r}, expected a class")
        said = [class_name(value) for value in values]
        words = _words(said, names) or {}
        return Answers(_places([words.get(value, value) for value in said], names))
    _require_finite(values, first)
    if values.ndim > 1:
        return _of_columns(values, raw, names)
    if raw.kind == "boolean":
        return Answers(_places(["true" if value else "false" for value in values], _truths(names)))
    return _of_numbers(values, names)


def require_known(answers: Answers, raw: RawAnswers, names: Sequence[str]) -> None:
    """Refuse answers of which not one is a class of the holdout: the model speaks of others.

    Args:
        answers: To all rows.
        raw: To some of them, as the model gave them.
        names: The holdout's classes.

    Raises:
        ModelFailed: It does.
    """
    if (answers.predicted == _UNKNOWN).all():
        raise ModelFailed(f"the model answers {_said(raw, 0)}, and to no row one of the classes ({first_names(names)})")


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers to several chunks as one."""
    scored = [part.probability for part in parts]
    known = [part for part in scored if part is not None]
    return Answers(
        np.concatenate([part.predicted for part in parts]),
        np.concatenate(known) if len(known) == len(scored) else None,
    )


def _of_numbers(values: FloatArray, names: Sequence[str]) -> Answers:
    """Class codes, or one probability a row."""
    found = {class_name(value) for value in np.unique(values)[: 10 * len(names) + 10]}
    if found <= set(names) or (found <= {str(place) for place in range(len(names))} and len(names) > _BINARY):
        known = names if found <= set(names) else sorted(names)
        places = _places([class_name(value) for value in values], _coded(known, found))
        order = np.array([list(names).index(name) for name in known])
        return Answers(order[places])
    if len(names) != _BINARY or values.min() < 0 or values.max() > 1:
        raise ModelFailed(
            f"the model answers {values.flat[0]:g}, which is neither one of the classes ({', '.join(names[:5])}) nor a "
            "probability"
        )
    positive = values if names[1] == sorted(names, key=class_order)[1] else 1 - values
    return Answers((positive > 0.5).astype(np.int64), positive)  # noqa: PLR2004  # as scikit-learn's predict


def _of_columns(values: FloatArray, raw: RawAnswers, names: Sequence[str]) -> Answers:
    """A probability for each class."""
    columns = _columns(values.shape[1], raw, names)
    chosen = [columns[place] for place in values.argmax(axis=1)]
    if values.min() < 0 or np.abs(values.sum(axis=1) - 1).max() > _SUM_TOLERANCE:
        if raw.classes or raw.columns:  # such as one chance for each class against all others
            return Answers(_places(chosen, names))
        raise ModelFailed("the model answers several values a row that are no probabilities: they do not add up to 1")
    ordered = np.zeros((len(values), len(names)))
    for place, name in enumerate(names):
        if name in columns:
            ordered[:, place] = values[:, columns.index(name)]
    return Answers(_places(chosen, names), ordered[:, 1] if len(names) == _BINARY else ordered)


def _columns(count: int, raw: RawAnswers, names: Sequence[str]) -> list[str]:
    """The class that each column stands for: as the model says, or in the order of all classes."""
    stated = [class_name(name) for name in raw.classes or raw.columns or ()]
    columns = stated or sorted(names, key=class_order)
    if len(columns) != count:
        raise ModelFailed(f"the model answers {count} values a row for {len(columns)} classes")
    if (words := _words(columns, names)) is None:
        what = "classes" if raw.classes else "columns"
        raise ModelFailed(
            f"the model's {what} are {first_names(stated)}, none of them one of the classes ({first_names(names)})"
        )
    return [words.get(name, name) for name in columns]


def _words(said: Sequence[str], names: Sequence[str]) -> dict[str, str] | None:
    """What a model calls classes in the holdout's words: the same, as true and false, or by their places."""
    codes = {str(place): name for place, name in enumerate(sorted(names, key=class_order))}
    known: list[dict[str, str]] = [{name: name for name in names}, dict(zip(_truths(names), names, strict=True))]
    if set(said) & known[0].keys():
        return known[0]
    return next((words for words in (known[1], codes) if set(said) <= words.keys()), None)


def _truths(names: Sequence[str]) -> list[str]:
    """Classes as booleans, where they are 0 and 1 or no and yes."""
    words = {"1": "true", "0": "false", "yes": "true", "no": "false"}
    return [words.get(name.lower(), name) for name in names]


def _coded(names: Sequence[str], found: set[str]) -> list[str]:
    return list(names) if found <= set(names) else [str(place) for place in range(len(names))]


def _places(found: Sequence[str], names: Sequence[str]) -> IntArray:
    places = {name: place for place, name in enumerate(names)}
    return np.array([places.get(name, _UNKNOWN) for name in found], dtype=np.int64)


def _require_finite(values: NDArray[np.floating], first: int) -> None:
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        count = int((~finite).sum())
        raise ModelFailed(
            f"the model's answer to row {first + row + 1} is {values[row]}, not a finite number ({count} such rows)"
        )


def _said(raw: RawAnswers, row: int) -> str:
    return f"{str(np.ravel(raw.cells)[row])[:60]!r}" if raw.cells.size else "nothing"
