"""The proof that a translation answers alike, at its edges: on the tolerance, beyond it, undecided, and no number."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.facts import is_fact
from tests.promotion.factories import a_family
from tests.promotion.serving.graphs import echo

from promotion.export import onnx
from promotion.export.contract import contract_of
from promotion.export.documents import (
    TOLERANCE,
    allowed_difference,
    decided,
    emptied,
    expected_document,
    reference_document,
    schema_document,
)
from promotion.export.export import Exported
from promotion.export.onnx import Parity, ParityFailed, answers, prove, translate
from promotion.gates.evidence import Interval

BEYOND = math.nextafter(TOLERANCE, 1)


class Told:
    """A model that answers what it was told.

    Args:
        probabilities: One list a row.
        labels: One a row; by default the likeliest class.
    """

    def __init__(self, probabilities: list[list[float]], labels: list[int] | None = None) -> None:
        self._probabilities = np.array(probabilities, dtype=np.float64)
        self._labels = self._probabilities.argmax(axis=1) if labels is None else np.array(labels)

    def predict(self, _rows: pd.DataFrame) -> Any:
        """The labels."""
        return self._labels

    def predict_proba(self, _rows: pd.DataFrame) -> Any:
        """The probabilities."""
        return self._probabilities


def proven(x: list[float], model: Told) -> Parity:
    """Hold a graph that answers [1 - x, x] against a model."""
    return prove(echo(), model, contract_of(a_family()), pd.DataFrame({"x": x}, dtype=np.float64))


@pytest.mark.parametrize(
    ("x", "expected", "passed"),
    [
        (0.0, [1.0, 0.0], True),
        (0.0, [1.0, TOLERANCE], True),
        (0.0, [1.0, -TOLERANCE], True),
        (0.0, [1.0, math.nextafter(TOLERANCE, 0)], True),
        (0.0, [1.0, BEYOND], False),
        (0.0, [1.0, -BEYOND], False),
        (1.0, [TOLERANCE, 1.0], True),
        (1.0, [BEYOND, 1.0], False),
        (0.0, [1.0, math.nan], False),
        (0.0, [math.nan, 0.0], False),
        (0.0, [1.0, math.inf], False),
        (math.nan, [1.0, 0.0], False),
        (math.nan, [math.nan, math.nan], False),
    ],
)
def test_a_probability_may_differ_by_the_tolerance(x: float, expected: list[float], *, passed: bool) -> None:
    """On it is rounding, beyond it is another model; NaN is never alike, not even to itself."""
    model = Told([[0.75, 0.25], expected], labels=[0, int(x > 0.5)])

    if passed:
        assert 2 == proven([0.25, x], model).rows
    else:
        with pytest.raises(ParityFailed):
            proven([0.25, x], model)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([0.5, 0.5], False),
        ([0.0, TOLERANCE], False),
        ([TOLERANCE, 0.0], False),
        ([0.0, BEYOND], True),
        ([BEYOND, 0.0], True),
        ([0.4, 0.4, 0.2], False),
        ([0.2, 0.4, 0.4], False),
        ([0.2, 0.2, 0.6], True),
        ([math.nan, 0.0], False),
    ],
)
def test_a_model_is_decided_beyond_the_tolerance(probabilities: list[float], *, expected: bool) -> None:
    """Between the two likeliest of its classes."""
    assert [expected] == decided(np.array([probabilities])).tolist()


def test_a_label_must_agree_where_the_model_is_decided() -> None:
    """Equally likely classes may be named either way; a wrong label of a sure model is another model."""
    assert Parity(1, 0.0) == proven([0.5], Told([[0.5, 0.5]], labels=[1]))
    with pytest.raises(ParityFailed, match=r"in 1 of 1 held-out rows.*label 0 instead of 1, in row 0 \(x=0\.25\)"):
        proven([0.25], Told([[0.75, 0.25]], labels=[1]))
    with pytest.raises(ParityFailed, match=r"in 1 of 1 held-out rows.*label 1 instead of 0, in row 0 \(x=0\.75\)"):
        proven([0.75], Told([[0.25, 0.75]], labels=[0]))


def test_the_largest_difference_is_told() -> None:
    """Of the rows that were right, and of those that were not."""
    assert Parity(3, 2.0**-20) == proven([0.0, 0.25, 1.0], Told([[1.0, 2.0**-20], [0.75, 0.25 + 2.0**-21], [0.0, 1.0]]))

    with pytest.raises(ParityFailed) as caught:
        proven([0.0, 0.25, 0.75, 1.0], Told([[1.0, 0.0], [0.625, 0.375], [0.75, 0.25], [0.0, 1.0]]))

    assert (
        "tiny: the ONNX translation differs from the registered model in 2 of 4 held-out rows: the largest difference "
        "of a probability is 0.5 (allowed 1e-05), label 1 instead of 0, in row 2 (x=0.75): nothing was exported; "
        "--native exports the registered files as they are"
    ) == str(caught.value)
    assert ({"x": 0.75}, 0.5) == (caught.value.details["row"], caught.value.details["difference"])


def test_a_difference_that_is_no_number_is_the_largest() -> None:
    """And null to a machine, which cannot spell it; an empty cell as well. A row that agrees is never the one shown."""
    with pytest.raises(ParityFailed) as caught:
        proven([0.5, math.nan, 0.0], Told([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]))
    assert ({"x": None}, None) == (caught.value.details["row"], caught.value.details["difference"])
    assert "in 2 of 3 held-out rows" in str(caught.value)
    assert "in row 1 (x=nan)" in str(caught.value)

    with pytest.raises(ParityFailed, match=r"in row 1 \(x=0\)"):
        proven([0.0, 0.0], Told([[1.0, TOLERANCE], [1.0, 0.0]], labels=[0, 1]))


def test_another_number_of_classes_is_another_model() -> None:
    """Whatever it answers."""
    with pytest.raises(ParityFailed, match=r"tiny: the ONNX graph answers \(1, 2\), expected \(1, 3\)"):
        proven([0.25], Told([[0.75, 0.25, 0.0]]))
    with pytest.raises(ParityFailed, match=r"tiny: the ONNX graph answers \(1, 2\), expected \(1, 1\)"):
        proven([0.25], Told([[0.75]]))


def test_a_graph_answers_in_64_bits() -> None:
    """Labels and probabilities as the model's own, so that differences are not rounded away."""
    label, probability = answers(echo(3), pd.DataFrame({"x": [0.25, 0.75]}))

    assert ([0, 1], [[0.75, 0.25, 0.25], [0.25, 0.75, 0.75]]) == (label.tolist(), probability.tolist())
    assert (np.dtype(np.int64), np.dtype(np.float64)) == (label.dtype, probability.dtype)


def test_the_library_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """It warns of what it leaves out of a graph, which is nothing to tell anybody."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(echo())
    graph.graph.initializer.append(numpy_helper.from_array(np.ones(1, dtype=np.float32), "unused"))

    answers(graph.SerializeToString(), pd.DataFrame({"x": [0.25]}))

    assert ("", "") == capfd.readouterr()


@pytest.mark.system
def test_a_graph_is_for_every_runtime_since_2023() -> None:
    """Operators of no later version than 18, of 3 for trees and the like; the same bytes each time."""
    import onnx
    from sklearn.linear_model import LogisticRegression

    config = a_family()
    model = _as_columns(LogisticRegression()).fit(pd.DataFrame({"x": [0.0, 1.0]}), [0, 1])

    content = translate(model, contract_of(config))

    found = {it.domain: it.version for it in onnx.load_from_string(content).opset_import}
    assert {"", "ai.onnx.ml"} == set(found)
    assert found[""] <= 18
    assert found["ai.onnx.ml"] <= 3
    assert content == translate(model, contract_of(config))
    assert 2 == prove(content, model, contract_of(config), pd.DataFrame({"x": [0.25, 2.0]})).rows


def _as_columns(model: Any) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    return Pipeline([("columns", ColumnTransformer([("all", "passthrough", ["x"])])), ("model", model)])


COLUMNS = {
    "x": {"type": "number", "minimum": 0, "max_missing": 0.1, "unit": "cm", "hint": "as measured"},
    "n": {"type": "integer", "maximum": 9},
    "c": {"type": "code", "codes": [3, 7], "max_missing": 0.5},
    "y": {"type": "code", "codes": [0, 1]},
}
CONTRACT = contract_of(a_family(numeric=["x", "n"], data={"path": "data/tiny.csv", "columns": COLUMNS}))


def rows(*values: tuple[float, float, float]) -> pd.DataFrame:
    """Rows of x, n and c."""
    return pd.DataFrame(values, columns=["x", "n", "c"], dtype=np.float64)


@pytest.mark.parametrize(("limit", "expected"), [(0, []), (1, [0]), (2, [0, 2]), (3, [0, 2]), (99, [0, 2])])
def test_rows_to_compare_with_are_decided_and_so_many(limit: int, expected: list[int]) -> None:
    """The first ones, without those the model is undecided about."""
    asked = rows((1.0, 1, 3), (2.0, 2, 3), (3.0, 3, 7))
    model = Told([[0.75, 0.25], [0.5, 0.5 + TOLERANCE / 2], [0.0, BEYOND]])

    document = expected_document(CONTRACT, model, asked, limit)

    assert [[1, 2, 3][number] for number in expected] == [row["n"] for row in document["rows"]]
    assert [[0, 1, 1][number] for number in expected] == document["labels"]
    assert [[[0.75, 0.25], [], [0.0, BEYOND]][number] for number in expected] == document["probabilities"]


def test_a_cell_is_what_a_person_would_send() -> None:
    """A number with its point, a whole number and a code without, an empty cell as null."""
    document = expected_document(CONTRACT, Told([[1.0, 0.0], [1.0, 0.0]]), rows((2.0, 4, 7), (math.nan,) * 3), 9)

    assert [{"x": 2.0, "n": 4, "c": 7}, dict.fromkeys(["x", "n", "c"])] == document["rows"]
    assert [float, int, int] == [type(cell) for cell in document["rows"][0].values()]


def test_only_cells_that_may_be_empty_are_emptied() -> None:
    """From the first tolerated share on; with none there is nothing to ask once more."""
    found = emptied(CONTRACT, rows((1.0, 2, 3)))

    assert [True, False, True] == found.iloc[0].isna().tolist()
    assert 1 == len(found)
    assert 0 == len(emptied(contract_of(a_family()), pd.DataFrame({"x": [1.0]})))


def test_the_contract_of_a_column() -> None:
    """Bounds, codes and words as configured; null where nothing is; nullable from the first tolerated share on."""
    nothing = dict.fromkeys(["minimum", "maximum", "codes", "unit", "hint"])
    document = schema_document(CONTRACT)

    assert [
        nothing
        | {"name": "x", "type": "number", "minimum": 0, "unit": "cm", "hint": "as measured"}
        | {"description": "", "nullable": True},
        nothing | {"name": "n", "type": "integer", "maximum": 9, "description": "", "nullable": False},
        nothing | {"name": "c", "type": "code", "codes": [3, 7], "description": "", "nullable": True},
    ] == document["features"]
    assert ("y", ["not y > 0", "y > 0"], 1) == (document["target"], document["labels"], document["positive"])


def reference(train: pd.DataFrame, probability: list[list[float]], **metrics: Interval) -> dict[str, Any]:
    """What live traffic would be compared with."""
    return reference_document(CONTRACT, train, np.array(probability), metrics, "d" * 64)


def test_the_reference_has_a_bin_for_each_tenth() -> None:
    """Ten of the values, fewer where values repeat, one for a constant, none without values; and ten of answers."""
    hundred = pd.DataFrame({"x": np.arange(101.0), "n": [5.0] * 101, "c": [3.0] * 100 + [math.nan]})
    found = reference(hundred, [[0.95, 0.05], [0.9, 0.1], [0.0, 1.0], [0.5, 0.5]])

    features = found["features"]
    assert pytest.approx([0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]) == features["x"]["edges"]
    assert (10, 101) == (len(features["x"]["counts"]), sum(features["x"]["counts"]))
    assert (50.0, 0.0, 100.0, 0.0) == tuple(features["x"][name] for name in ("mean", "minimum", "maximum", "missing"))
    assert math.sqrt(850) == pytest.approx(features["x"]["std"])
    assert ([5.0, 5.0], [101], 0.0) == tuple(features["n"][name] for name in ("edges", "counts", "std"))
    assert ({"3": 100}, 1 / 101) == (features["c"]["codes"], features["c"]["missing"])
    assert (101, "d" * 64) == (found["rows"], found["data_sha256"])
    answered = found["predictions"]
    assert {"not y > 0": 3, "y > 0": 1} == answered["labels"]
    assert [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0] == answered["probability"]["edges"]
    assert [1, 1, 0, 0, 0, 1, 0, 0, 0, 1] == answered["probability"]["counts"]


def test_the_reference_of_more_classes_counts_the_chosen_ones_probability() -> None:
    """There is no positive class of three."""
    train = rows((1.0, 1, 3))
    labels = {"type": "label", "labels": ["a", "b", "c"]}
    family = a_family(
        task="multiclass-classification",
        target={"column": "y"},
        numeric=["x", "n"],
        data={"path": "data/tiny.csv", "columns": COLUMNS | {"y": labels}},
        selection_metric="accuracy",
    )
    answered = np.array([[0.15, 0.8, 0.05], [0.35, 0.3, 0.35], [0.0, 0.0, 1.0]])

    found = reference_document(contract_of(family), train, answered, {}, "d" * 64)["predictions"]

    assert {"a": 1, "b": 1, "c": 1} == found["labels"]
    assert [0, 0, 0, 1, 0, 0, 0, 0, 1, 1] == found["probability"]["counts"]
    assert schema_document(contract_of(family))["positive"] is None


def test_a_column_without_values_has_no_statistics() -> None:
    """Null and empty, never NaN, which JSON cannot spell."""
    found = reference(rows((math.nan, 1, math.nan)), [[1.0, 0.0]])["features"]

    nothing = dict.fromkeys(["mean", "std", "minimum", "maximum"])
    assert {"missing": 1.0, "edges": [], "counts": []} | nothing == found["x"]
    assert {"missing": 1.0, "codes": {}} == found["c"]


@pytest.mark.parametrize("end", [math.nan, math.inf, -math.inf])
def test_a_metric_with_an_end_that_is_no_number_is_left_out(end: float) -> None:
    """Value, lower and upper end: any of them."""
    good = Interval(0.9, 0.8, 1.0)
    bad = [Interval(end, 0.8, 1.0), Interval(0.9, end, 1.0), Interval(0.9, 0.8, end)]

    found = reference(rows((1.0, 1, 3)), [[1.0, 0.0]], good=good, a=bad[0], b=bad[1], c=bad[2])

    assert {"good": {"value": 0.9, "low": 0.8, "high": 1.0}} == found["metrics"]


@pytest.mark.parametrize("kind", [Parity, Exported])
def test_a_proof_stays_as_it_was_made(kind: type) -> None:
    """And so does the export that stands on it."""
    assert is_fact(kind)


@pytest.mark.parametrize(
    ("expected", "allowed"),
    [
        ([], []),
        ([0.0], [0.0]),
        ([4.0], [4.0]),
        ([-4.0], [4.0]),
        ([4.0, 4.0], [4.0, 4.0]),
        ([-3.0, 3.0], [3.0, 3.0]),
        ([-3.0, 0.0, 0.0, 3.0], [3.0, 4.5**0.5, 4.5**0.5, 3.0]),
        ([math.nan], [math.nan]),
        ([1.0, math.inf], [math.nan, math.nan]),
    ],
)
def test_a_number_may_differ_by_a_share_of_it_or_of_their_spread(expected: list[float], allowed: list[float]) -> None:
    """Whichever is more; a number that is none allows nothing."""
    found = allowed_difference(np.array(expected))

    assert pytest.approx([TOLERANCE * each for each in allowed], nan_ok=True) == found.tolist()


@pytest.mark.parametrize(
    ("answered", "differing"),
    [
        ([4.0, 4.0, 4.0], 0),
        ([4.0, 4.0 + 3.9e-5, 4.0], 0),
        ([4.0, 4.0 - 3.9e-5, 4.0], 0),
        ([4.0, 4.0 + 4.1e-5, 4.0], 1),
        ([4.0, 4.0 - 4.1e-5, 4.0], 1),
        ([5.0, 4.0, 4.5], 2),
        ([math.nan, 4.0, 4.0], 1),
        ([math.inf, 4.0, 4.0], 1),
    ],
)
def test_a_translated_regression_answers_alike(
    answered: list[float], differing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number; the largest difference is told, with its row, and no label is."""
    rows = pd.DataFrame({"x": [0.0, 1.0, 2.0]})
    contract = replace(contract_of(a_family()), classes=())
    monkeypatch.setattr(onnx, "answers", lambda _graph, _rows: [np.array(answered).reshape(-1, 1)])
    model = Told([[1.0]], [4, 4, 4])

    if not differing:
        assert pytest.approx(max(abs(each - 4) for each in answered)) == prove(b"", model, contract, rows).difference
        return
    with pytest.raises(ParityFailed, match=rf"in {differing} of 3 held-out rows.*a number is") as caught:
        prove(b"", model, contract, rows)
    worst = answered.index(next(each for each in answered if not abs(each - 4) < 4e-5))
    assert f"in row {worst} (x={worst})" in str(caught.value)
    assert ", label" not in str(caught.value)
