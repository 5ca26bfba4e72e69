"""Models of other teams, scored on every row of the owner's holdout, in a process of their own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sklearn.linear_model import LogisticRegression
from tests.promotion.evaluation.received.made import (
    FEATURES,
    LinearRegression,
    RandomForestClassifier,
    a_received_family,
    customers,
    fitted,
    save,
    save_code,
)

from promotion.data import tables
from promotion.errors import ArtifactRefused, PromotionError
from promotion.evaluation.received.evaluator import ReceivedEvaluator
from promotion.evaluation.received.predictor import ReceivedPredictor

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
BOX = {"artifacts": {"code": "sandbox"}}
PAID = {"task": "regression", "holdout": {"path": "holdout.csv", "target": "paid"}}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    frame = customers()
    frame.to_csv(folder / "holdout.csv", index=False)
    frame.to_parquet(folder / "holdout.parquet")
    return folder


@pytest.fixture(scope="module")
def safe(home: Path) -> Path:
    """A logistic regression saved by skops."""
    return save(
        home / "safe",
        fitted(),
        customers()[FEATURES],
        serialization_format="skops",
        skops_trusted_types=["numpy.dtype"],
    )


@pytest.fixture(scope="module")
def pickled(home: Path) -> Path:
    """A forest saved by cloudpickle."""
    model = fitted(last=RandomForestClassifier(30, random_state=1))
    return save(home / "pickled", model, customers()[FEATURES], serialization_format="cloudpickle")


def expected(model: Any, rows: pd.DataFrame) -> float:
    """The area under the curve as scikit-learn has it."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows["churned"] == "yes", model.predict_proba(rows[FEATURES])[:, 1]))


@pytest.mark.parametrize("file", ["holdout.csv", "holdout.parquet", "file://{home}/holdout.parquet"])
def test_a_safe_model_is_scored_on_every_row(home: Path, safe: Path, file: str) -> None:
    """From a CSV, a Parquet file or an address: the same as in the open."""
    rows = {"path": file.format(home=home), "target": "churned"}
    found = ReceivedEvaluator(a_received_family(holdout=rows), home).evaluate(safe)

    assert 300 == found.rows
    assert pytest.approx(expected(fitted(), customers())) == found.metrics["roc_auc"]


def test_rows_come_in_chunks(home: Path, safe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: the figures are those of all at once."""
    whole = ReceivedEvaluator(a_received_family(), home).evaluate(safe)
    monkeypatch.setattr(tables, "CHUNK_ROWS", 70)
    parts = ReceivedEvaluator(a_received_family(), home).evaluate(safe)
    assert (300, dict(whole.metrics)) == (parts.rows, dict(parts.metrics))


@pytest.mark.needs("bwrap")
def test_a_pickle_is_scored_in_the_sandbox_alone(home: Path, safe: Path, pickled: Path) -> None:
    """Refused with the line that allows it; allowed, it is scored and compared with a safe one on the same rows."""
    with pytest.raises(ArtifactRefused, match=r"model\.pkl is a pickle.*artifacts: \{code: sandbox\}"):
        ReceivedEvaluator(a_received_family(), home).evaluate(pickled)
    evaluator = ReceivedEvaluator(a_received_family(**BOX), home)
    forest, line = evaluator.evaluate(pickled), evaluator.evaluate(safe)
    assert forest.metrics["roc_auc"] == pytest.approx(
        expected(fitted(last=RandomForestClassifier(30, random_state=1)), customers())
    )
    difference = evaluator.difference(forest, line, "roc_auc")
    assert difference.low < difference.value < difference.high
    assert evaluator.measure(pickled).latency_p50_ms > 0


@pytest.mark.needs("bwrap")
def test_regression_and_no_signature(home: Path) -> None:
    """A number per row, with paired intervals of its error; without a signature all features are fed."""
    model = fitted(last=LinearRegression(), target="paid")
    folder = save(home / "numbers", model, None, serialization_format="cloudpickle")
    evaluator = ReceivedEvaluator(a_received_family(**PAID, **BOX, selection_metric="mae"), home)
    found = evaluator.evaluate(folder)
    answered = model.predict(customers()[FEATURES])

    assert found.metrics["mae"] == pytest.approx(float(np.abs(answered - customers()["paid"]).mean()))
    assert (0, 0, 0) == tuple(
        getattr(evaluator.difference(found, found, "rmse"), end) for end in ("value", "low", "high")
    )


@pytest.mark.needs("bwrap")
def test_a_model_from_code_that_only_names_classes(home: Path) -> None:
    """It has no area under the curve, and all else."""
    folder = save_code(home / "labels", """return np.where(rows["age"] > 54, "yes", "no")""", customers()[FEATURES])
    found = ReceivedEvaluator(a_received_family(**BOX, selection_metric="f1"), home).evaluate(folder)

    assert "roc_auc" not in found.metrics
    assert found.metrics["f1"] > 0.7


def boosters(flavour: str) -> tuple[Any, list[str]]:
    """A booster of each library that learned from the numbers alone."""
    rows, names = customers(400, 2), ["age", "spent", "visits"]
    target = (rows["churned"] == "yes").astype(int)
    if flavour == "xgboost":
        import xgboost

        return xgboost.XGBClassifier(n_estimators=20).fit(rows[names], target), names
    if flavour == "lightgbm":
        import lightgbm

        return lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(rows[names], target), 20), names
    if flavour == "catboost":
        import catboost

        names = [*names, "plan"]
        return catboost.CatBoostClassifier(
            iterations=20, verbose=False, allow_writing_files=False, cat_features=["plan"]
        ).fit(rows[names], rows["churned"]), names
    from skl2onnx import to_onnx

    model = LogisticRegression().fit(rows[names].to_numpy(np.float32), target)
    return to_onnx(model, rows[names].to_numpy(np.float32)[:1]), names


@pytest.mark.parametrize("flavour", ["xgboost", "lightgbm", "catboost", "onnx"])
def test_boosters_and_onnx_need_no_sandbox(home: Path, flavour: str) -> None:
    """Their own files run no code; targets that are words are told apart all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, names = boosters(flavour)
    frame = customers()[names].astype(np.float32 if flavour == "onnx" else {})
    folder = save(home / flavour, model, frame, flavour=flavour)
    found = ReceivedEvaluator(a_received_family(), home).evaluate(folder)

    assert found.metrics["roc_auc"] > 0.75


@pytest.mark.needs("bwrap")
def test_a_boosters_scikit_learn_class_gets_its_texts_as_categories(home: Path) -> None:
    """As it learned them; they come out of a CSV as texts, which it refuses."""
    import lightgbm

    names, rows = ["age", "plan"], customers(400, 2)
    learned = rows[names].assign(plan=rows["plan"].astype("category"))
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(learned, rows["churned"])
    folder = save(home / "wrapped", model, rows[names], flavour="lightgbm")
    found = ReceivedEvaluator(a_received_family(**BOX), home).evaluate(folder)

    assert found.metrics["roc_auc"] > 0.75


def test_categories_whose_names_a_booster_does_not_keep_are_not_guessed(home: Path) -> None:
    """As before XGBoost 3.1: which text is at which place depended on the rows that it came with."""
    import xgboost

    names, rows = ["age", "plan"], customers(400, 2)
    codes = rows[names].assign(plan=rows["plan"].astype("category").cat.codes).to_numpy()
    matrix = xgboost.DMatrix(codes, rows["churned"] == "yes", feature_names=names, feature_types=["q", "c"])
    model = xgboost.train({"objective": "binary:logistic"}, matrix, 20)
    folder = save(home / "nameless", model, rows[names], flavour="xgboost")
    with pytest.raises(PromotionError, match="keeps no names of them, and 'plan' holds texts"):
        ReceivedEvaluator(a_received_family(), home).evaluate(folder)


@pytest.mark.needs("bwrap")
def test_a_tensor_is_filled_by_the_columns_in_their_order(home: Path) -> None:
    """What names a row is none of them; too many columns are told by their names."""
    names, rows = ["age", "spent", "visits"], customers(400, 2)
    model = LogisticRegression().fit(rows[names].to_numpy(), rows["churned"])
    tensor = ModelSignature(Schema([TensorSpec(np.dtype("float64"), (-1, 3))]))
    folder = save(home / "tensor", model, serialization_format="cloudpickle", signature=tensor)
    customers()[["customer", *names, "churned"]].to_csv(home / "few.csv", index=False)
    holdout = {"path": "few.csv", "target": "churned", "positive": "yes", "id": "customer"}
    found = ReceivedEvaluator(a_received_family(**BOX, holdout=holdout), home).evaluate(folder)

    assert found.metrics["roc_auc"] > 0.75
    problems = ReceivedEvaluator(a_received_family(**BOX), home).schema_problems(folder)
    assert 1 == len(problems)
    assert "the signature asks for 3 by their place" in problems[0]


@pytest.mark.parametrize("metric", ["rmze", "neg_log_losss"])
def test_an_unknown_metric_is_named_with_its_line(home: Path, safe: Path, metric: str) -> None:
    """Before anything is loaded."""
    evaluator = ReceivedEvaluator(a_received_family(selection_metric=metric), home)
    with pytest.raises(PromotionError, match=f"selection_metric: unknown metric '{metric}'"):
        evaluator.evaluate(safe)


def test_it_predicts_in_a_process_of_its_own(home: Path, safe: Path) -> None:
    """As the registered model would."""
    rows = customers()[FEATURES].head(5)
    found = ReceivedPredictor(a_received_family(), safe).predict(rows)
    assert fitted().predict(rows).tolist() == found.tolist()
