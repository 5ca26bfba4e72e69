"""Which metrics have bounds, and what a rare class that is not found any more comes to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.promotion.factories import a_family
from tests.promotion.monitoring.test_thresholds import levels, reading, seen

from promotion.config.policy import Levels, Monitoring
from promotion.gates.evidence import Interval
from promotion.monitoring.observe.performance import readings

PROMOTED = {
    "accuracy": Interval(0.98, 0.97, 0.99),
    "recall": Interval(0.80, 0.74, 0.85),
    "roc_auc": Interval(0.95, 0.93, 0.97),
}


@pytest.mark.parametrize(
    ("family", "metric", "level"),
    [
        ({}, "roc_auc", "critical"),  # picks the winner
        ({}, "f1", "info"),
        ({"selection_metric": "f1"}, "f1", "critical"),
        ({"gates": {"thresholds": {"precision": {"minimum": 0.5}}}}, "precision", "critical"),
        ({"monitoring": {"metrics": {"f1": {"warning": 0.05}}}}, "f1", "warning"),
        ({"monitoring": {"metrics": {"f1": {"critical": 0.2}}}}, "f1", None),
        ({"monitoring": {"metrics": {"accuracy": {"info": 0.05}}}}, "accuracy", "info"),
        ({"monitoring": {"critical": {"error_rate": 0.02}}}, "roc_auc", "warning"),
        ({"monitoring": {"metrics": {"roc_auc": {}}}}, "roc_auc", None),
    ],
)
def test_the_familys_own_metrics_have_bounds(family: dict[str, Any], metric: str, level: str | None) -> None:
    """Those it selects and gates by have the accuracy's; `monitoring.metrics` says otherwise."""
    found = levels(seen(metrics={metric: reading(0.8)}), a_family(**family).monitoring_policy)

    assert level == found.get(metric)


def test_an_error_has_bounds_where_the_family_says_so() -> None:
    """In the target's unit, for which none suits every family."""
    worse = seen(metrics={"mae": reading(15.0, 10.0)})

    assert {} == levels(worse)
    assert {"mae": "critical"} == levels(worse, Monitoring(metrics={"mae": Levels(critical=3.0)}))


def year(recall: float, days: int = 365) -> list[set[str]]:
    """What is told on each day of 500 labels, two in a hundred of them positive: metrics by level `critical`."""
    random, policy = np.random.default_rng(20261121), a_family().monitoring_policy
    found = []
    for _ in range(days):
        label = (random.random(500) < 0.02).astype(np.int64)
        chosen = np.where(label == 1, random.random(500) < recall, random.random(500) < 0.01).astype(np.int64)
        chosen = chosen if recall else np.zeros_like(label)
        score = np.clip(chosen * 0.6 + 0.4 * random.random(500), 0, 1) if recall else np.zeros(500)
        metrics = readings(chosen, label, score, classes=2, reference=PROMOTED, minimum=100)
        found.append({key for key, level in levels(seen(metrics=metrics), policy).items() if level == "critical"})
    return found


def test_a_model_that_finds_nothing_any_more_is_critical() -> None:
    """Two positives in a hundred, none of them found: the accuracy is as good as ever, the recall fell to 0."""
    told = year(recall=0.0, days=60)

    assert {"recall", "roc_auc"} >= set.union(*told)
    assert 58 <= sum("recall" in day for day in told)


@pytest.mark.system
def test_a_healthy_model_of_a_rare_class_wakes_nobody() -> None:
    """A year of days with about ten positives: the recall jumps, and chance explains it."""
    assert 0 == sum("recall" in day for day in year(recall=0.80, days=180))
