"""Labelling habits by simulation: which of them speak for all rows, and which take no healthy version back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.promotion.monitoring.logs import (
    DAY,
    NOON,
    PROMOTED,
    Traffic,
    a_watch,
    churn,
    known,
    write_export,
    write_labels,
    write_log,
)

from promotion.config.policy import Monitoring
from promotion.monitoring.label_bias import label_bias
from promotion.monitoring.observe.observation import Observation
from promotion.monitoring.observe.observe import observe
from promotion.monitoring.rollback_trigger import triggers
from promotion.monitoring.thresholds import judge

ROWS, WINDOWS = 2000, 60
NAMES = ["no", "yes"]
HABITS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "everything": (lambda day: day.all, False),
    "a sample of 20 %": (lambda day: day.random < 0.2, False),
    "late, the older the more": (lambda day: day.random < 1 - day.time, False),
    "positives only": (lambda day: day.label == 1, True),
    "complaints": (lambda day: day.random < np.where(day.chosen == day.label, 0.05, 0.6), True),
    "what the model flags": (lambda day: day.chosen == 1, True),
    "doubtful cases first": (lambda day: np.abs(day.score - 0.5) < 0.2, True),
    "one hour of the day": (lambda day: (day.time > 0.5) & (day.time < 0.54), True),
}


class Day:
    """A healthy version's day: calibrated scores, right about seven times in eight."""

    def __init__(self, random: np.random.Generator) -> None:
        self.all = np.ones(ROWS, dtype=np.bool_)
        self.score = random.beta(0.5, 0.6, ROWS)
        self.label = (random.random(ROWS) < self.score).astype(np.int64)
        self.chosen = (self.score >= 0.5).astype(np.int64)
        self.time = np.arange(ROWS) / ROWS
        self.random = random.random(ROWS)


@pytest.mark.parametrize("habit", list(HABITS))
def test_rows_chosen_for_their_label_or_answer_do_not_speak_for_all(habit: str) -> None:
    """Samples and late labels do, in nearly every window; the others in none."""
    choose, is_biased = HABITS[habit]
    random = np.random.default_rng(20261121)
    found = []
    for _ in range(WINDOWS):
        day = Day(random)
        inside = choose(day)
        everything = ((day.time * 1e9).astype(np.int64), day.chosen, day.score.astype(np.float32))
        found.append(bool(label_bias([part[inside] for part in everything], everything, NAMES)))

    assert (WINDOWS if is_biased else 0) == pytest.approx(sum(found), abs=0 if is_biased else 1)


def test_a_regression_is_compared_by_its_predictions() -> None:
    """Labels of the dearest half only."""
    random = np.random.default_rng(1)
    price, times = random.normal(size=1000), np.arange(1000)
    dear, some = price > 0, random.random(1000) < 0.3

    assert "prediction" in label_bias([part[dear] for part in (times, price, price)], (times, price, price), [])
    assert "" == label_bias([part[some] for part in (times, price, price)], (times, price, price), [])


def watched(folder: Path, keep: Callable[[int, int], bool], **traffic: Any) -> Observation:
    """A day of which some labels arrive, by predicted and by true class."""
    rows = Traffic(2000, **traffic)
    chosen = [line["class"] for line in rows.lines]
    labels = [it for it, answer in zip(rows.labels, chosen, strict=True) if keep(answer, it[2])]
    log = write_log(folder / "log.jsonl", [rows])
    found = write_labels(folder / "labels.csv", [replace(rows, rows=0, labels=labels)])
    export = write_export(folder / "export")
    return next(iter(observe(a_watch(log, found), known(export, live_since=NOON - DAY - timedelta(hours=1)))))


def test_labels_of_positives_only_take_nothing_back_and_wake_nobody(tmp_path: Path) -> None:
    """The accuracy of these rows is not the version's: coverage and reason are named, no level is given."""
    seen = watched(tmp_path, lambda _answer, label: label == 1, accuracy=0.75)
    (accuracy,) = (it for it in judge(seen, Monitoring()) if it.key == "accuracy")
    (trigger,) = (it for it in triggers(seen, Monitoring()) if it.key == "accuracy")

    assert (None, False) == (accuracy.level, trigger.fires)
    expected = "labels cover {} of the rows and do not look like all: predicted 'y > 0' is {} of them and 50% of all"
    assert expected.format("49.7%", "75%") in accuracy.text
    # Of its own windows, which are three of 200 labels.
    assert expected.format("49.0%", "76%") in trigger.text
    assert {None} == {it.level for it in judge(seen, Monitoring()) if it.key.startswith("concept")}


def test_a_sample_tells_and_takes_back_only_where_the_family_says_that_it_is_enough(tmp_path: Path) -> None:
    """Half of the rows are labelled, and the version is bad: an alert; a rollback where `label_coverage` is written."""
    number = iter(range(10_000))
    seen = watched(tmp_path, lambda _answer, _label: next(number) % 4 < 2, accuracy=0.6)

    def fires(policy: Monitoring) -> tuple[bool, str | None]:
        level = next(it.level for it in judge(seen, policy) if it.key == "accuracy")
        return next(it.fires for it in triggers(seen, policy) if it.key == "accuracy"), level

    assert (False, "critical") == fires(Monitoring())
    assert (True, "critical") == fires(Monitoring(label_coverage=0.4))
    assert (False, None) == fires(Monitoring(label_coverage=0.6))
    (finding,) = (it for it in judge(seen, Monitoring()) if it.key == "accuracy")
    assert "on 1,000 labelled rows (50.1% of all)" in finding.text


@pytest.mark.parametrize(("twice", "level"), [(80, "critical"), (1000, None)])
def test_rows_whose_two_labels_differ_are_chosen_rows(tmp_path: Path, twice: int, level: str | None) -> None:
    """Where so many that were right have a second label, what is left says little of all; a few hide nothing."""
    rows = Traffic(2000, accuracy=0.7)
    right = [it for it, line in zip(rows.labels, rows.lines, strict=True) if it[2] == line["class"]]
    again = [f"{request},{row},{1 - label}" for request, row, label in right[:twice]]
    labels = write_labels(tmp_path / "labels.csv", [rows], *again)
    log, export = write_log(tmp_path / "log.jsonl", [rows]), write_export(tmp_path / "export")
    (seen,) = observe(a_watch(log, labels), known(export))
    (accuracy,) = (it for it in judge(seen, Monitoring()) if it.key == "accuracy")

    assert level == accuracy.level
    said = f"{twice:,} of 2,000 labelled rows have two labels that differ and are left out"
    assert (level is None) is (said in accuracy.text), accuracy.text


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("accuracy", [0.8, 0.9])
def test_complaints_that_arrive_before_all_other_labels_take_no_healthy_version_back(
    share: float, accuracy: float, tmp_path: Path
) -> None:
    """Of the last hours only those rows have a label that were answered wrong: the newest windows hold nothing else."""
    random = np.random.default_rng(20261201)
    rows = Traffic(8000, accuracy=accuracy)
    chosen = np.array([line["class"] for line in rows.lines])
    truth = np.array([label for _, _, label in rows.labels])
    age = 24 * (1 - np.arange(len(truth)) / len(truth))
    usual, complains = random.random(len(truth)) < share, random.random(len(truth)) < 0.6
    arrived = np.where(age > 6, usual, complains & (chosen != truth))
    labels = [it for it, is_there in zip(rows.labels, arrived, strict=True) if is_there]
    log = write_log(tmp_path / "log.jsonl", [rows])
    found = write_labels(tmp_path / "labels.csv", [replace(rows, rows=0, labels=labels)])
    export = write_export(tmp_path / "export", metrics=dict.fromkeys(PROMOTED, accuracy))
    (seen,) = observe(a_watch(log, found), known(export, live_since=NOON - DAY - timedelta(hours=1)))

    for policy in (Monitoring(), Monitoring(label_coverage=0.2), Monitoring(label_coverage=0.9)):
        assert not any(it.fires for it in triggers(seen, policy)), policy.label_coverage


@pytest.mark.parametrize(
    ("share", "drop", "level"),
    [(0.02, 0.0, "warning"), (0.3, 0.15, "warning"), (1.0, 0.15, "critical"), (0.9, 0.15, "critical")],
)
def test_few_labels_that_may_be_chosen_for_their_answer_warn_and_wake_nobody(
    share: float, drop: float, level: str, tmp_path: Path
) -> None:
    """Complaints of a model whose answers do not show them; a sample after a drop; and what no choice explains."""
    random = np.random.default_rng(20261202)

    def keep(answer: int, label: int) -> bool:
        return bool(random.random() < (share if drop else (0.5 if answer != label else share)))

    seen = watched(tmp_path, keep, accuracy=0.9 - drop)
    (accuracy,) = (it for it in judge(seen, Monitoring()) if it.key == "accuracy")

    assert level == accuracy.level, accuracy.text
    assert (level == "warning") is ("warning, not critical: were all rows without a label" in accuracy.text)
    stated = next(it for it in judge(seen, Monitoring(label_coverage=0.01)) if it.key == "accuracy")
    assert "critical" == stated.level


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_model_that_finds_no_positive_any_more_is_critical_on_a_sample(share: float, tmp_path: Path) -> None:
    """Right answers to the rows without a label would find none either."""
    random = np.random.default_rng(20261203)
    rows = Traffic(4000)
    for line in rows.lines:
        line |= {"class": 0, "label": "not y > 0", "probability": float(0.4 * random.random())}
    labels = [(name, row, int(random.random() < 0.1)) for name, row, _ in rows.labels if random.random() < share]
    log = write_log(tmp_path / "log.jsonl", [rows])
    found = write_labels(tmp_path / "labels.csv", [replace(rows, rows=0, labels=labels)])
    export = write_export(tmp_path / "export", metrics={"accuracy": 0.9, "recall": 0.8, "roc_auc": 0.9})
    (seen,) = observe(a_watch(log, found), known(export, live_since=NOON - DAY - timedelta(hours=1)))
    bounds = {"roc_auc": {"critical": 0.05}, "recall": {"critical": 0.2}}
    levels = {it.key: it.level for it in judge(seen, Monitoring.model_validate({"metrics": bounds}))}

    assert ("critical", "critical") == (levels["recall"], levels["roc_auc"])


def test_late_labels_count_from_where_as_many_arrived_as_the_family_asks_for(tmp_path: Path) -> None:
    """After a week every row has its label, and a tenth of the newest: the newest day with enough is judged."""
    random = np.random.default_rng(20261204)
    rows = Traffic(8000, since=NOON - 8 * DAY, accuracy=0.6)
    age = 8 * (1 - np.arange(8000) / 8000)
    labels = [it for it, days in zip(rows.labels, age, strict=True) if random.random() < days / 7]
    log = write_log(tmp_path / "log.jsonl", [rows])
    found = write_labels(tmp_path / "labels.csv", [replace(rows, rows=0, labels=labels)])
    config = churn(monitoring={"label_coverage": 0.6, "action": "rollback"})
    past = known(write_export(tmp_path / "export"), live_since=NOON - 30 * DAY)
    (seen,) = observe(a_watch(log, found, config=config), past)
    level = next(it.level for it in judge(seen, config.monitoring_policy) if it.key == "accuracy")
    (trigger,) = (it for it in triggers(seen, config.monitoring_policy) if it.key == "accuracy")

    assert ("critical", True) == (level, trigger.fires), trigger.text
    assert seen.coverage is not None
    assert seen.coverage >= 0.6
