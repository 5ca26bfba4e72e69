"""Live metrics: the numbers scikit-learn gives, intervals that hold, and what a prediction means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from promotion.gates.evidence import Interval
from promotion.monitoring.observe.performance import concept, confusion, positives_by_prediction, readings, roc_auc


def drawn(rows: int, accuracy: float, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, rows)
    is_right = random.random(rows) < accuracy
    chosen = np.where(is_right, label, (label + 1) % classes)
    return chosen, label, np.clip(0.5 + (chosen - 0.5) * random.random(rows), 0, 1).round(2)


@pytest.mark.parametrize(("classes", "average"), [(2, "binary"), (3, "macro")])
def test_metrics_are_those_of_scikit_learn(classes: int, average: str) -> None:
    """Of the positive class of two; their mean over the classes of more."""
    chosen, label, probability = drawn(500, 0.8, 1, classes)
    found = readings(chosen, label, probability, classes=classes, reference={}, minimum=1)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(label, chosen, average=average)
    expected = {"accuracy": metrics.accuracy_score(label, chosen), "precision": precision, "recall": recall, "f1": f1}
    if classes == 2:
        expected["roc_auc"] = metrics.roc_auc_score(label, probability)

    assert pytest.approx(expected) == {name: reading.value for name, reading in found.items()}


@pytest.mark.system
def test_intervals_hold_what_they_promise() -> None:
    """Of 100 samples with an accuracy of 0.85, about 95 intervals hold it; and so for the F1."""
    hits = {"accuracy": 0, "f1": 0, "roc_auc": 0}
    truth = {"accuracy": 0.85, "f1": 0.85}
    _chosen, label, probability = drawn(200_000, 0.85, 0)
    truth["roc_auc"] = float(metrics.roc_auc_score(label, probability))
    for seed in range(100):
        found = readings(*drawn(400, 0.85, seed + 1), classes=2, reference={}, minimum=1)
        for name in hits:
            low, high = found[name].low, found[name].high
            assert low is not None
            assert high is not None
            hits[name] += low <= truth[name] <= high

    assert {name: number for name, number in hits.items() if not 88 <= number <= 100} == {}


def test_few_rows_are_not_enough_and_no_rows_have_no_value() -> None:
    """They are shown all the same."""
    few = readings(*drawn(99, 0.9, 1), classes=2, reference={"accuracy": Interval(0.9, 0.8, 0.95)}, minimum=100)[
        "accuracy"
    ]
    none = readings(*(part[:0] for part in drawn(1, 0.9, 1)), classes=2, reference={}, minimum=100)["accuracy"]

    assert (99, False, 0.9, 0.8, 0.95) == (few.rows, few.enough, few.reference, few.reference_low, few.reference_high)
    assert few.value is not None
    assert (None, 0, False) == (none.value, none.rows, none.enough)


def test_labels_of_one_class_have_no_area() -> None:
    """Nothing can be ranked above nothing."""
    ones = np.ones(50, dtype=np.int64)

    assert roc_auc(ones, np.linspace(0, 1, 50)) is None
    assert readings(ones, ones, np.linspace(0, 1, 50), classes=2, reference={}, minimum=1)["roc_auc"].value is None


def test_a_class_the_family_does_not_have_is_wrong() -> None:
    """A prediction of class 7 is never right."""
    chosen, label = np.array([1, 7, 0, 1]), np.array([1, 1, 0, 0])

    assert 0.5 == readings(chosen, label, np.zeros(4), classes=2, reference={}, minimum=1)["accuracy"].value


def test_three_metrics_say_what_a_prediction_meant_at_promotion() -> None:
    """Share of positives among those predicted negative and positive, back from accuracy, precision and recall."""
    chosen, label, _ = drawn(5000, 0.83, 4)
    table = confusion(chosen, label, 2)
    recorded = {
        "accuracy": float(metrics.accuracy_score(label, chosen)),
        "precision": float(metrics.precision_score(label, chosen)),
        "recall": float(metrics.recall_score(label, chosen)),
    }
    expected = (table[1, 0] / table[:, 0].sum(), table[1, 1] / table[:, 1].sum())

    assert pytest.approx(expected) == positives_by_prediction(recorded)
    assert (0.0, 1.0) == positives_by_prediction({"accuracy": 1.0, "precision": 1.0, "recall": 1.0})
    assert (None, None) == positives_by_prediction({"accuracy": 0.5, "precision": 0.0, "recall": 0.0})
    assert (None, None) == positives_by_prediction({"accuracy": 0.9})


def test_the_concept_is_read_by_predicted_class() -> None:
    """With names, rows and the value at promotion; of three classes there is none."""
    chosen, label = np.array([0] * 60 + [1] * 40), np.array([0] * 50 + [1] * 10 + [1] * 20 + [0] * 20)
    before = {name: Interval(0.9, 0.9, 0.9) for name in ("accuracy", "precision", "recall")}
    rows = {"no": 30, "yes": 30}
    found = concept(chosen, label, names=["no", "yes"], reference=before, held_out=rows, minimum=50)

    assert pytest.approx(1 / 6) == found["no"].value
    assert (60, True) == (found["no"].rows, found["no"].enough)
    assert (0.5, 40, False, 0.9) == (found["yes"].value, found["yes"].rows, found["yes"].enough, found["yes"].reference)
    assert found["yes"].reference_low == pytest.approx(0.744, abs=0.001)
    assert {} == concept(chosen, label, names=["a", "b", "c"], reference=before, held_out={}, minimum=50)


def test_what_no_row_can_tell_is_not_told() -> None:
    """No positive, no prediction of one, a class without rows: unknown, where a zero would be a collapse."""
    none, some = np.zeros(200, dtype=np.int64), np.array([0, 1] * 100)

    def values(chosen: np.ndarray, label: np.ndarray, classes: int = 2) -> dict[str, float | None]:
        found = readings(chosen, label, np.full(200, 0.5), classes=classes, reference={}, minimum=1)
        return {name: it.value for name, it in found.items() if name != "accuracy"}

    assert {"precision": None, "recall": None, "f1": None, "roc_auc": None} == values(none, none)
    assert {"precision": None, "recall": 0.0, "f1": 0.0, "roc_auc": 0.5} == values(none, some)
    assert {"precision": None, "recall": None, "f1": None} == values(some, some, classes=3)


@pytest.mark.parametrize("positives", [2, 20])
def test_a_recall_of_few_positives_is_known_as_little_as_these_are_many(positives: int) -> None:
    """None of two found is no collapse yet, none of twenty is: the interval is Wilson's, never of no width."""
    label = np.arange(1000) < positives
    nothing = np.zeros(1000)
    found = readings(nothing.astype(np.int64), label.astype(np.int64), nothing, classes=2, reference={}, minimum=1)
    recall, f1 = found["recall"], found["f1"]

    assert 0.0 == recall.value
    assert pytest.approx(0.658 if positives == 2 else 0.161, abs=0.001) == recall.high
    assert f1.high is not None
    assert 0 < f1.high


def test_the_mean_over_classes_holds_what_its_interval_promises() -> None:
    """Three classes, one of them rare: about 38 of 40 intervals hold the truth."""
    hits = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        label = random.choice(3, 600, p=[0.6, 0.35, 0.05])
        chosen = np.where(random.random(600) < np.array([0.9, 0.8, 0.7])[label], label, (label + 1) % 3)
        recall = readings(chosen, label, np.zeros(600), classes=3, reference={}, minimum=1)["recall"]
        assert recall.low is not None
        assert recall.high is not None
        hits += recall.low <= 0.8 <= recall.high

    assert 35 <= hits
