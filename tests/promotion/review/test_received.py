"""Two versions that were trained elsewhere, on every row of the owner's holdout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.promotion.evaluation.received.made import (
    FEATURES,
    LinearRegression,
    a_received_family,
    customers,
    fitted,
    save,
)

from promotion.config.settings import Settings
from promotion.review.received import compare_received, review_received

pytestmark = [pytest.mark.system, pytest.mark.needs("bwrap"), pytest.mark.timeout(300)]

SANDBOX = {"artifacts": {"code": "sandbox"}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a holdout."""
    customers().to_csv(tmp_path / "holdout.csv", index=False)
    return tmp_path


def test_classes_are_compared_row_by_row(home: Path) -> None:
    """Metrics with intervals, curves, matrices, and the rows on which they disagree, with their texts and classes."""
    names = {"yes": "leaves", "no": "stays"}
    family = a_received_family(**SANDBOX, classes=names)
    first, second = (
        save(home / str(seed), fitted(seed), customers()[FEATURES], serialization_format="cloudpickle")
        for seed in (2, 3)
    )
    found = compare_received(family, home, first, second)

    assert ["stays", "leaves"] == list(found.classes)
    assert 300 == found.rows == sum(sum(row) for row in found.matrices[0].counts)
    assert "roc_auc" == found.metrics[0].name
    assert found.metrics[0].difference is not None
    rows = customers()
    answers = [fitted(seed).predict(rows[FEATURES]) for seed in (2, 3)]
    assert found.disagreeing == (answers[0] != answers[1]).sum() == len(found.disagreements)
    shown = found.disagreements[0]
    assert rows["plan"].iloc[shown.row - 1] == dict(shown.inputs)["plan"]
    assert names[rows["churned"].iloc[shown.row - 1]] == shown.actual

    settings = Settings(home=home, tracking_uri="", registry_uri="", database_url="sqlite://")
    review = review_received(family, settings, first, second, ("Staging v2", "Production v1"))
    assert review.checks[0].question.startswith("roc_auc of Staging v2 is better")
    assert 2 == len(review.checks)


def test_numbers_have_metrics_and_residuals(home: Path) -> None:
    """Less of an error is better, and the first is alone where nothing serves."""
    family = a_received_family(task="regression", holdout={"path": "holdout.csv", "target": "paid"}, **SANDBOX)
    model = fitted(last=LinearRegression(), target="paid")
    folder = save(home / "1", model, customers()[FEATURES], serialization_format="cloudpickle")
    found = compare_received(family, home, folder)

    assert "rmse" == found.metrics[0].name
    assert found.metrics[0].second is None
    assert ["Residuals", "Errors"] == [chart.title for chart in found.curves]
    assert [] == [*found.matrices, *found.disagreements]
    errors = model.predict(customers()[FEATURES]) - customers()["paid"]
    assert pytest.approx(np.sqrt((errors**2).mean())) == found.metrics[0].first.value
