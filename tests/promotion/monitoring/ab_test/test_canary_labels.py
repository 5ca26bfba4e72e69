"""What the labels that arrived say of a canary and of the version beside it."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.promotion.monitoring.ab_test.test_comparison import Log
from tests.promotion.monitoring.logs import MODEL, NOON, churn

from promotion.config.settings import Settings
from promotion.errors import DataError, UsageError
from promotion.monitoring.ab_test.canary_labels import CanaryLabels

CANARY, STABLE = (MODEL, 2), (MODEL, 1)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Version 1 answers as well; what of the canary's is right is up to the test."""
    log = Log(tmp_path)
    for number in range(40):
        log.add("champion", right=number % 10 < 9, key=f"a{number}")
    return log


def counting(log: Log) -> CanaryLabels:
    """The labels of a family whose file names them."""
    settings = replace(Settings.from_environment(), home=log.path.parent)
    config = churn(monitoring={"labels": log.labels.name})
    return CanaryLabels.of(settings, config, str(log.path), log.path.parent / "no-export")


def test_each_version_is_counted_by_key_since_the_canary_began(log: Log) -> None:
    """Also a key that both answered: nothing makes a client stay with one of both; a shadow answers nobody."""
    for number in range(20):
        log.add("champion", version=2, right=number % 10 < 6, key=f"a{number}")
        log.add("shadow", version=2, right=False, key=f"c{number}")
    log.add("champion", version=2, right=False, key="a0")
    log.add("champion", version=2, right=False, label=False, key="late")
    log.add("champion", version=2, right=False, key="early", time=(NOON - timedelta(days=1)).isoformat())
    log.write()

    assert ((20, 8), (40, 4)) == counting(log)(CANARY, STABLE, NOON)


def test_it_counts_anew_when_labels_arrived(log: Log) -> None:
    """And until then says what it knows, since what has no label says nothing new."""
    labels = counting(log)
    assert ((0, 0), (0, 0)) == labels(CANARY, STABLE, NOON)
    log.write()
    assert ((0, 0), (40, 4)) == labels(CANARY, STABLE, NOON)
    log.add("champion", version=2, right=False)
    log.write()
    os.utime(log.labels, (1, 1))

    assert ((1, 1), (40, 4)) == labels(CANARY, STABLE, NOON)


def test_what_cannot_be_compared_is_said(log: Log) -> None:
    """No labels are named, or they are no labels."""
    with pytest.raises(UsageError, match=r"churn's file names no labels \(monitoring\.labels\)"):
        CanaryLabels.of(replace(Settings.from_environment(), home=log.path.parent), churn(), "log", Path())
    labels = counting(log)
    log.labels.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="column 'request_id' is missing"):
        labels(CANARY, STABLE, NOON)
