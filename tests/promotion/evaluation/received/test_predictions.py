"""What a model answers, from its process to the task's terms: as data, or a refusal in one line."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from promotion.evaluation.received.predictions import classes, numbers, require_known
from promotion.evaluation.received.process import ModelFailed, RawAnswers, _parsed
from promotion.evaluation.received.worker import packed


def sent(values: Any, rows: int, names: Any = None) -> RawAnswers:
    """Answers as they come out of the worker."""
    return _parsed(*packed(values, names), rows)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0, 2.0], "the model answers 2 for 3 rows"),
        (["a", "b", "c"], "answers 'a', expected a number"),
        ([None, None, None], "answers 'None', expected a number"),
        ([1.0, None, 2.0], "answers '1.0', expected a number"),
        ([1.0, math.nan, 2.0], "answer to row 12 is nan, not a finite number \\(1 such rows\\)"),
        ([1.0, math.inf, -math.inf], "answer to row 12 is inf"),
        (7.0, "answers a single value for 3 rows"),
        ([[1.0, 2.0]] * 3, "answers 2 values a row"),
        ([[[1.0]]] * 3, "shape \\[3, 1, 1\\]"),
        ({"p": [1.0]}, "answers 1 for 3 rows"),
    ],
)
def test_answers_that_are_no_numbers(values: Any, reason: str) -> None:
    """Of the wrong length or shape, texts, nothing, not finite."""
    with pytest.raises(ModelFailed, match=reason):
        numbers(sent(values, 3), first=10)


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3],
        np.array([[1.0], [2.0], [3.0]]),
        pd.Series([1, 2, 3]),
        pd.DataFrame({"prediction": [1, 2, 3]}),
        {"prediction": np.array([1, 2, 3])},
        pd.DataFrame({"row": [7, 8, 9], "Prediction": [1, 2, 3], "spread": [0.1, 0.1, 0.1]}),
        {"spread": [0.1, 0.1, 0.1], "predictions": [1, 2, 3]},
        [{"prediction": 1, "why": "a"}, {"prediction": 2, "why": "b"}, {"prediction": 3, "why": "c"}],
        [Decimal(1), Decimal(2), Decimal(3)],
        np.array([1, 2, 3], dtype=object),
    ],
)
def test_numbers_of_every_kind(values: Any) -> None:
    """Lists, arrays, columns, series, frames."""
    assert [1.0, 2.0, 3.0] == numbers(sent(values, 3)).tolist()


@pytest.mark.parametrize(
    ("values", "named", "names", "predicted", "probability"),
    [
        (["no", "yes"], None, ["no", "yes"], [0, 1], None),
        ([0, 1], None, ["0", "1"], [0, 1], None),
        ([0.0, 1.0], None, ["0", "1"], [0, 1], None),
        ([False, True], None, ["0", "1"], [0, 1], None),
        ([False, True], None, ["no", "yes"], [0, 1], None),
        (["True", "False"], None, ["false", "true"], [1, 0], None),
        ([0.2, 0.7], None, ["no", "yes"], [0, 1], [0.2, 0.7]),
        ([0.2, 0.7], None, ["yes", "no"], [1, 0], [0.8, 0.3]),
        ([[0.8, 0.2], [0.3, 0.7]], None, ["no", "yes"], [0, 1], [0.2, 0.7]),
        ([[0.8, 0.2], [0.3, 0.7]], ["yes", "no"], ["no", "yes"], [1, 0], [0.8, 0.3]),
        ([[0.8, 0.2], [0.3, 0.7]], [0, 1], ["no", "yes"], [0, 1], [0.2, 0.7]),
        ([[0.1, 0.2, 0.7]], None, ["a", "b", "c"], [2], [[0.1, 0.2, 0.7]]),
        ([[0.1, 0.2, 0.7]], ["a", "b", "d"], ["a", "b", "c"], [-1], [[0.1, 0.2, 0.0]]),
        ([2, 0], None, ["a", "b", "c"], [2, 0], None),
        (["z"], None, ["a", "b", "c"], [-1], None),
        ([10, 2], None, ["2", "5", "10"], [2, 0], None),
        (["True", "False"], None, ["no", "yes"], [1, 0], None),
        (["1", "0"], None, ["no", "yes"], [1, 0], None),
        ([b"yes", b"no"], None, ["no", "yes"], [1, 0], None),
        (pd.DataFrame({"yes": [0.2], "no": [0.8]}), None, ["no", "yes"], [0], [0.2]),
        ({"yes": [0.2], "no": [0.8]}, None, ["no", "yes"], [0], [0.2]),
        ([{"yes": 0.2, "no": 0.8}], None, ["no", "yes"], [0], [0.2]),
        (pd.DataFrame([[0.2, 0.8]]), None, ["no", "yes"], [1], [0.8]),
        (pd.DataFrame({"prediction": ["yes"], "probability": [0.9]}), None, ["no", "yes"], [1], None),
        ([[0.8, 0.2]], ["False", "True"], ["no", "yes"], [0], [0.2]),
        ([[0.8, 0.7, 0.6]], ["c", "a", "b"], ["a", "b", "c"], [2], None),
        ([[-3.0, 0.7, 6.0]], ["c", "a", "b"], ["a", "b", "c"], [1], None),
    ],
)
def test_classes_of_every_kind(
    values: Any, named: Any, names: list[str], predicted: list[int], probability: Any
) -> None:
    """Names, codes, booleans, one probability a row or one a class, in the model's own order."""
    found = classes(sent(values, len(predicted), named), names)

    assert predicted == found.predicted.tolist()
    assert (probability is None) == (found.probability is None)
    if found.probability is not None:
        assert np.allclose(probability, found.probability)


@pytest.mark.parametrize(
    ("values", "named", "reason"),
    [
        ([None, "yes"], None, "answer to row 1 is None"),
        ([0.5, math.nan], None, "answer to row 2 is nan"),
        ([3.5, -2.0], None, "neither one of the classes \\(no, yes\\) nor a probability"),
        ([[0.8, 0.8], [0.1, 0.1]], None, "do not add up to 1"),
        ([[0.5, 0.2, 0.3]] * 2, None, "3 values a row for 2 classes"),
        ([[0.5, 0.5]] * 2, ["a"], "names 1 classes"),
        ([["no", "yes"]] * 2, None, "several texts a row"),
        ([[0.5, 0.5]] * 2, ["A", "B"], "classes are A, B, none of them one of the classes \\(no, yes\\)"),
        (pd.DataFrame({"id": [1, 2], "score": [0.2, 0.3]}), None, "columns are id, score, none of them"),
    ],
)
def test_answers_that_are_no_classes(values: Any, named: Any, reason: str) -> None:
    """Nothing, not finite, margins instead of probabilities."""
    with pytest.raises(ModelFailed, match=reason):
        classes(sent(values, 2, named), ["no", "yes"])


@pytest.mark.parametrize("values", [["Y", "N"], [b"Y", b"N"], ["churned", "stays"]])
def test_answers_in_other_words_are_no_errors_of_the_model(values: Any) -> None:
    """Not one class of the holdout among them: refused, instead of an accuracy of 0."""
    raw = sent(values, 2)
    with pytest.raises(ModelFailed, match=r"and to no row one of the classes \(no, yes\)"):
        require_known(classes(raw, ["no", "yes"]), raw, ["no", "yes"])


@pytest.mark.parametrize(
    ("document", "payload"),
    [
        ({"kind": "number", "shape": [2]}, b"1234567"),
        ({"kind": "object", "shape": [2]}, b"0" * 16),
        ({"kind": "text", "shape": [2]}, b'["a"]'),
        ({"kind": "number", "shape": [2, 0]}, b""),
        ({"kind": "number", "shape": [2, 10**9]}, b""),
        ({"kind": "number", "shape": []}, b""),
    ],
)
def test_a_forged_answer_is_none(document: dict[str, Any], payload: bytes) -> None:
    """Lengths that do not fit, types that are none."""
    with pytest.raises(ModelFailed):
        _parsed(document, payload, 2)
