"""Any pipeline becomes a graph that a server asks column by column, whatever the columns are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, PolynomialFeatures, PowerTransformer, StandardScaler
from xgboost import XGBClassifier, XGBRegressor

from promotion.evaluation.received.openmp import load_lightgbm
from promotion.evaluation.received.translation import graph_of
from promotion.export.contract import Contract, FeatureRules
from promotion.export.onnx import NotTranslatable, ParityFailed, prove, served_graph, translate

NAMES = [
    ["a", "b", "c"],
    ["money spent (EUR)", "visits/month", "a"],
    ["a b", "a_b", "a-b"],
    ["1st", "class", "prix d'été"],
    ["label", "probabilities", "value"],
    ["model/a", "fed/columns", "answered/scores"],
]
RANDOM = np.random.default_rng(5)


def a_contract(names: list[str], classes: tuple[str, ...] = ("no", "yes"), texts: tuple[str, ...] = ()) -> Contract:
    """Columns of numbers, but for some."""
    columns = {name: FeatureRules("text" if name in texts else "number") for name in names}
    return Contract("churn", columns, "churned", classes, frozenset(names), "serve it elsewhere")


def rows_of(names: list[str], count: int = 60) -> pd.DataFrame:
    """Numbers."""
    return pd.DataFrame(RANDOM.normal(size=(count, len(names))), columns=names)


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
@pytest.mark.parametrize("kind", ["scaled", "bare", "forest", "by name"])
def test_columns_are_called_as_their_owner_likes(names: list[str], kind: str) -> None:
    """No identifier, one that becomes another's when it is made one, an output's, or one of the graph's own."""
    rows = rows_of(names)
    model = {
        "scaled": make_pipeline(StandardScaler(), LogisticRegression()),
        "bare": LogisticRegression(),
        "forest": RandomForestClassifier(3, random_state=1),
        "by name": make_pipeline(
            make_column_transformer((StandardScaler(), names[:2]), (SimpleImputer(), names[2:])), LogisticRegression()
        ),
    }[kind].fit(rows, (rows.sum(axis=1) > 0).astype(int))
    contract = a_contract(names)

    graph = translate(model, contract)

    assert len(rows) == prove(graph, model, contract, rows).rows
    assert names == [item.name for item in onnx.load_from_string(graph).graph.input]


def test_texts_and_columns_nobody_uses() -> None:
    """A column of texts goes in as it is; one that the pipeline leaves out is asked for all the same."""
    rows = rows_of(["age", "unused"]).assign(plan=RANDOM.choice(["basic", "gold"], 60))
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), (StandardScaler(), ["age"]))
    model = make_pipeline(encoded, LogisticRegression()).fit(rows, (rows["plan"] == "gold").astype(int))
    contract = a_contract(list(map(str, rows.columns)), texts=("plan",))
    asked = pd.concat([rows, rows.head(1).assign(plan="never seen")])
    converted = graph_of(model, [(name, name in contract.texts) for name in contract.features], "churn")

    assert 61 == prove(served_graph(converted, contract), model, contract, asked).rows


SCALED = make_pipeline(SimpleImputer(), StandardScaler())
WORDS = {
    "filled": make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
    "constant": make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder()),
    "missing": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
}
LAST = {
    "xgboost": XGBClassifier(n_estimators=20, n_jobs=1),
    "lightgbm": load_lightgbm().LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1),
    "forest": RandomForestClassifier(20, random_state=1),
    "gradient boosting": HistGradientBoostingClassifier(max_iter=20),
    "calibrated": CalibratedClassifierCV(XGBClassifier(n_estimators=5, n_jobs=1)),
    "regression": XGBRegressor(n_estimators=20, n_jobs=1),
}


@pytest.mark.parametrize(("last", "words"), list(zip(LAST, [*WORDS, *WORDS], strict=True)))
@pytest.mark.system
def test_boosters_and_trees_behind_a_preparation(last: str, words: str) -> None:
    """Thresholds are scaled values of rows learned from, with a decimal: 32 bits would put many on the other side."""
    rows = pd.DataFrame(
        {
            "age": RANDOM.integers(20, 80, 800) / 10,
            "spent": RANDOM.integers(90, 300, 800) / 10,
            "plan": RANDOM.choice(np.array(["basic", "gold"], dtype=object), 800),
        }
    )
    rows.loc[::13, "age"] = rows.loc[::17, "plan"] = np.nan
    target = rows["age"].fillna(4) + rows["spent"] / 5 + RANDOM.normal(size=800)
    prepared = make_column_transformer((SCALED, ["age", "spent"]), (WORDS[words], ["plan"]))
    contract = a_contract(["age", "spent", "plan"], () if last == "regression" else ("no", "yes"), texts=("plan",))
    model = make_pipeline(prepared, clone(LAST[last])).fit(rows, target if not contract.classes else target > 9)

    graph = graph_of(model, [(name, name in contract.texts) for name in contract.features], "churn", precise=True)

    assert 800 == prove(served_graph(graph, contract), model, contract, rows).rows


@pytest.mark.parametrize("nested", [False, True])
def test_zeros_that_a_sparse_step_leaves_out(nested: bool) -> None:
    """XGBoost takes them for missing cells, and a real missing cell, too."""
    rows = rows_of(["age"], 400).assign(plan=RANDOM.choice([f"p{number}" for number in range(12)], 400))
    rows.loc[::13, "age"] = np.nan
    encoded = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="passthrough")
    model = make_pipeline(make_pipeline(encoded) if nested else encoded, XGBClassifier(n_estimators=20, n_jobs=1))
    model.fit(rows, (rows["plan"] > "p5") ^ (rows["age"] > 0.5))
    contract = a_contract(["age", "plan"], texts=("plan",))
    assert encoded.sparse_output_

    graph = graph_of(model, [("age", False), ("plan", True)], "churn", precise=True)

    assert 400 == prove(served_graph(graph, contract), model, contract, rows).rows


@pytest.mark.parametrize(
    "steps",
    [
        [SimpleImputer(add_indicator=True), StandardScaler()],
        [SimpleImputer(), PolynomialFeatures(2)],
        [SimpleImputer(), KBinsDiscretizer(5)],
        [SimpleImputer(), KBinsDiscretizer(5, encode="ordinal")],
    ],
    ids=["says what it filled", "polynomials", "sparse bins", "numbers of bins"],
)
@pytest.mark.parametrize("last", ["xgboost", "forest"])
def test_more_preparations_in_64_bits(steps: list[Any], last: str) -> None:
    """Also where the converter knows 32 only, or forgets a column."""
    rows = pd.DataFrame({"age": RANDOM.integers(20, 80, 800) / 10, "spent": RANDOM.integers(90, 300, 800) / 10})
    rows.loc[::13, "age"] = np.nan
    model = make_pipeline(*map(clone, steps), clone(LAST[last])).fit(rows, rows["age"].fillna(4) * rows["spent"] > 90)
    contract = a_contract(["age", "spent"])

    graph = graph_of(model, [("age", False), ("spent", False)], "churn", precise=True)

    assert 800 == prove(served_graph(graph, contract), model, contract, rows).rows
    double = {item.type.tensor_type.elem_type for item in onnx.load_from_string(graph).graph.input}
    assert {TensorProto.DOUBLE} == double


def test_what_cannot_be_computed_in_64_bits_is_computed_in_32() -> None:
    """A power that its converter knows in 32 only; the proof decides whether that will do."""
    rows = rows_of(["a", "b"])
    model = make_pipeline(StandardScaler(), PowerTransformer(), LogisticRegression())
    model.fit(rows, rows["a"] > 0)
    contract = a_contract(["a", "b"])

    graph = graph_of(model, [("a", False), ("b", False)], "churn", precise=True)

    assert 60 == prove(served_graph(graph, contract), model, contract, rows).rows
    assert {TensorProto.FLOAT} == {item.type.tensor_type.elem_type for item in onnx.load_from_string(graph).graph.input}


def test_a_number_is_proven_to_its_size() -> None:
    """A regression by a share of the number; half a unit beside is another model."""
    rows = rows_of(["a", "b"])
    model = LinearRegression().fit(rows, rows["a"] * 1e6 + 3e6)
    contract = a_contract(["a", "b"], classes=())
    graph = translate(model, contract)

    assert 60 == prove(graph, model, contract, rows).rows
    model.intercept_ += 500
    with pytest.raises(ParityFailed, match=r"in 60 of 60 .* difference of a number is 5e\+02 \(allowed .*serve it"):
        prove(graph, model, contract, rows)


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_a_number_that_is_none_is_no_rounding(answer: float) -> None:
    """Whichever of the two answers it."""
    rows = rows_of(["a"])
    model = LinearRegression().fit(rows, rows["a"])
    contract = a_contract(["a"], classes=())
    graph = translate(model, contract)
    model.intercept_ = answer
    with pytest.raises(ParityFailed):
        prove(graph, model, contract, rows)


def a_graph(*nodes: Any, output: str = "y", kind: int = TensorProto.FLOAT, domain: str = "") -> bytes:
    """One input of two columns."""
    made = helper.make_graph(
        list(nodes),
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info(output, kind, [None, 1])],
    )
    operators = [helper.make_opsetid("", 9), *([helper.make_opsetid(domain, 1)] if domain else [])]
    content: bytes = helper.make_model(made, opset_imports=operators, ir_version=4).SerializeToString()
    return content


def test_one_probability_a_row_is_that_of_the_second_class() -> None:
    """As a network with one output says it; the classes come in the order that is asked for."""
    graph = a_graph(
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["y"]),
    )
    rows = rows_of(["a", "b"])

    class Answers:
        def predict(self, rows: pd.DataFrame) -> Any:
            return self.predict_proba(rows).argmax(axis=1)

        def predict_proba(self, rows: pd.DataFrame) -> Any:
            yes = 1 / (1 + np.exp(-rows.mean(axis=1).to_numpy()))
            return np.stack([yes, 1 - yes], axis=1)

    contract = a_contract(["a", "b"], classes=("yes", "no"))
    assert 60 == prove(served_graph(graph, contract, order=[1, 0]), Answers(), contract, rows).rows


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (a_graph(helper.make_node("Odd", ["x"], ["y"], domain="evil"), domain="evil"), "needs operators of evil"),
        (b"no graph", "the model cannot be translated"),
    ],
)
def test_a_graph_that_no_runtime_has_is_refused(graph: bytes, reason: str) -> None:
    """In one line, with what to do instead."""
    with pytest.raises(NotTranslatable, match=reason) as caught:
        served_graph(graph, a_contract(["a", "b"]))
    assert "serve it elsewhere" in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


def test_weights_in_another_file_are_refused() -> None:
    """A graph reads nothing but itself."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    graph = a_graph(helper.make_node("Constant", [], ["w"], value=tensor), helper.make_node("Add", ["x", "w"], ["y"]))
    with pytest.raises(NotTranslatable, match="weights lie in another file"):
        served_graph(graph, a_contract(["a", "b"]))


def test_a_graph_that_does_not_run_is_refused() -> None:
    """A shape that is found out only then."""
    graph = a_graph(helper.make_node("Reshape", ["x", "bad"], ["y"]))
    model = onnx.load_from_string(graph)
    model.graph.initializer.append(helper.make_tensor("bad", TensorProto.INT64, [1], [7]))
    contract = a_contract(["a", "b"])
    with pytest.raises(NotTranslatable, match="the graph does not run"):
        prove(served_graph(model.SerializeToString(), contract), None, contract, rows_of(["a", "b"]))
