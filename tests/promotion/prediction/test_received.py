"""Rows are answered by versions that were trained elsewhere, in the target's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.promotion.evaluation.received.made import (
    FEATURES,
    LinearRegression,
    a_received_family,
    customers,
    fitted,
    save,
    save_code,
)

from promotion.config.schema import FamilyConfig
from promotion.errors import ArtifactRefused, DataError
from promotion.evaluation.received.process import ModelFailed
from promotion.prediction.received import ReceivedAnswers, ReceivedRows, holdout_rows

SANDBOX = {"artifacts": {"code": "sandbox"}}
REGRESSION = {"task": "regression", "holdout": {"path": "holdout.csv", "target": "paid", "id": "customer"}}


class Asking:
    """A model that says whether it names its columns."""

    def __init__(self, *, names_columns: bool) -> None:
        self.names_columns = self.takes_text = names_columns


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a holdout."""
    customers(60).to_csv(tmp_path / "holdout.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("names_columns", [True, False])
def test_rows_are_numbered_and_named(home: Path, *, names_columns: bool) -> None:
    """The target is never fed; what names a row is shown, and fed only where a signature asks for it."""
    family = a_received_family(**REGRESSION)
    asked = next(iter(holdout_rows(family, home, 7).chunks(Asking(names_columns=names_columns))))

    assert list(range(7)) == asked.shown["row"].tolist()
    assert "c00006" == asked.shown["customer"].iloc[-1]
    assert asked.actual is not None
    assert 7 == len(asked.actual) == len(asked.features)
    assert names_columns == ("customer" in asked.features)
    assert "paid" not in asked.features
    assert "churned" in asked.features


def test_rows_without_their_target(home: Path) -> None:
    """As they come when nobody knows yet; a family without a holdout feeds what there is."""
    customers(5)[FEATURES].to_csv(home / "asked.csv", index=False)
    bare = FamilyConfig.model_validate({"family": "churn", "registered_model": "churn"})
    for family in (a_received_family(), bare):
        asked = next(iter(ReceivedRows(family, home / "asked.csv").chunks(Asking(names_columns=True))))
        assert asked.actual is None
        assert FEATURES == list(asked.features)


def test_a_file_that_is_not_there(home: Path) -> None:
    """Said before a model is loaded."""
    with pytest.raises(DataError, match="no such file"):
        ReceivedRows(a_received_family(), home / "nowhere.csv").check()


def test_code_is_not_loaded_unless_the_file_says_so(home: Path) -> None:
    """The refusal names the line."""
    folder = save_code(home / "model", "return np.ones(len(rows))", customers(5)[FEATURES])
    with pytest.raises(ArtifactRefused, match=r"write `artifacts: \{code: sandbox\}`"):
        ReceivedAnswers(a_received_family(), folder, home)


@pytest.mark.system
def test_a_class_goes_by_its_name(home: Path) -> None:
    """The prediction is a word of the holdout's, the probability that of the positive one."""
    rows = customers(30)[FEATURES]
    folder = save(home / "model", fitted(), rows, serialization_format="skops", skops_trusted_types=["numpy.dtype"])
    found = ReceivedAnswers(a_received_family(), folder, home).answer(rows)

    assert fitted().predict(rows).tolist() == found["prediction"].tolist()
    np.testing.assert_allclose(fitted().predict_proba(rows)[:, 1], found["probability"])
    negative = a_received_family(holdout={"path": "holdout.csv", "target": "churned", "positive": "no"})
    turned = ReceivedAnswers(negative, folder, home).answer(rows)
    assert turned["prediction"].tolist() == found["prediction"].tolist()
    np.testing.assert_allclose(1 - found["probability"], turned["probability"])


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return np.where(rows['age'] > 50, 'yes', 'no')", {"yes", "no"}),
        ("return np.where(rows['age'] > 50, 'yes', 'perhaps')", {"yes", "perhaps"}),
        ("return (rows['age'] > 50).to_numpy()", {"yes", "no"}),
        ("return np.where(rows['age'] > 50, 0.9, 0.2)", {"yes", "no"}),
    ],
)
def test_code_answers_in_the_sandbox(home: Path, body: str, wanted: set[str]) -> None:
    """Words, truths or a probability; a word that the holdout does not know stays what it is."""
    rows = customers(30)[FEATURES]
    folder = save_code(home / "model", body, rows)
    found = ReceivedAnswers(a_received_family(**SANDBOX), folder, home).answer(rows)
    assert wanted == set(found["prediction"])


@pytest.mark.system
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return np.ones(len(rows) - 1)", "answers 29 for 30 rows"),
        ("return ['a lot'] * len(rows)", "answers 'a lot', expected a number"),
        ("return [None] * len(rows)", "answers .*None.*, expected a number"),
        ("return np.full(len(rows), np.nan)", "nan, not a finite number"),
    ],
)
def test_what_is_no_answer_is_refused(home: Path, body: str, reason: str) -> None:
    """In one line, and nothing is written."""
    rows = customers(30)[FEATURES]
    folder = save_code(home / "model", body, rows)
    with pytest.raises(ModelFailed, match=reason) as caught:
        ReceivedAnswers(a_received_family(**REGRESSION, **SANDBOX), folder, home).answer(rows)
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.system
@pytest.mark.needs("bwrap")
def test_a_number(home: Path) -> None:
    """A pickled regression, of rows as a CSV has them."""
    model: Any = fitted(last=LinearRegression(), target="paid")
    folder = save(home / "model", model, customers(30)[FEATURES], serialization_format="cloudpickle")
    answers = ReceivedAnswers(a_received_family(**REGRESSION, **SANDBOX), folder, home)
    asked = next(iter(holdout_rows(a_received_family(**REGRESSION), home, 60).chunks(answers)))
    found = answers.answer(asked.features)
    wanted = model.predict(pd.read_csv(home / "holdout.csv")[FEATURES])
    np.testing.assert_allclose(wanted, found["prediction"])
