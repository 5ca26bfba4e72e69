"""How often labels take a healthy version back within a year, by habit, and how soon a real drop is noticed."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")
    import promotion.cli.environment

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import click
import numpy as np
from scipy.stats import chi2

from promotion.config.policy import Monitoring
from promotion.data.arrays import FloatArray, IntArray
from promotion.monitoring.label_bias import NEARLY_ALL

POLICY = Monitoring()
DAYS, LABELS_A_DAY, AT_ONCE = 365, 250, 250
"""A look at the end of each day; labels that arrive a day, as many as a window needs and some; years in memory."""
BEFORE, AFTER, LOOK = 1_000, 2_000, 20
"""Labels before and after a drop, and between two looks."""
TENTHS = 10
CERTAIN = 1 - (1 - POLICY.confidence) / 50
"""Of the trigger, which is stricter than the alerts."""
HELD_OUT = 430
BIAS_DISTANCE, BIAS_P_VALUE = 0.05, 0.0005
Choice = FloatArray
"""Probability that a row gets a label, by tenth of its score and whether it was answered right, shape (10, 2)."""


@dataclass(frozen=True)
class Version:
    """What a version's rows are like: a calibrated score in tenths, the upper half being predicted positive.

    Attributes:
        rows: Share of the rows by tenth and whether they are answered wrong or right, shape (10, 2).
    """

    rows: FloatArray

    @property
    def accuracy(self) -> float:
        """Share answered right."""
        return float(self.rows[:, 1].sum())


def healthy() -> Version:
    """Right nine times in ten, sure of most rows, as the scores say."""
    score = (np.arange(TENTHS) + 0.5) / TENTHS
    share = np.array([0.42, 0.08, 0.03, 0.02, 0.01, 0.01, 0.02, 0.03, 0.08, 0.30])
    right = np.maximum(score, 1 - score)
    return Version(np.stack([share * (1 - right), share * right], axis=1))


def habits() -> dict[str, Choice]:
    """Which rows get a label."""
    every = np.ones((TENTHS, 2))
    positive, doubtful = np.arange(TENTHS) >= TENTHS / 2, np.isin(np.arange(TENTHS), (3, 4, 5, 6))
    label = np.stack([~positive, positive], axis=1)  # what a row is, if it was answered wrong or right
    return {
        "everything": every,
        "a sample of 20 %, or late labels": 0.2 * every,
        "positives only": label * every,
        "complaints": every * [0.6, 0.05],
        "what the model flags": positive[:, None] * every,
        "doubtful cases first": np.where(doubtful[:, None], 1.0, 0.02) * every,
    }


def wilson_ends(right: Any, rows: Any, confidence: float) -> tuple[Any, Any]:
    """Both ends of Wilson's interval, of arrays."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (right + z * z / 2) / (rows + z * z)
    reach = z / (rows + z * z) * np.sqrt(right * (rows - right) / rows + z * z / 4)
    return middle - reach, middle + reach


def is_certain(right: Any, rows: Any, promised: Any, held_out: int, confidence: float) -> Any:
    """Whether an accuracy is surely below the promised one, of arrays: MOVER, as the monitor reckons."""
    value, low = promised / held_out, wilson_ends(promised, held_out, confidence)[0]
    live, high = right / rows, wilson_ends(right, rows, confidence)[1]
    return value - live > np.hypot(high - live, value - low)


def looks_biased(labelled: IntArray, everything: IntArray) -> Any:
    """`promotion.monitoring.label_bias.label_bias` of arrays, of the class and of the score by tenths.

    Args:
        labelled: Rows by tenth, shape (…, 10).
        everything: Likewise.
    """
    halves = [part.reshape(*part.shape[:-1], 2, -1).sum(axis=-1) for part in (labelled, everything)]
    found = np.zeros(labelled.shape[:-1], dtype=np.bool_)
    for ours, whole in (halves, (labelled, everything)):
        some, rows = ours.sum(axis=-1, keepdims=True), whole.sum(axis=-1, keepdims=True)
        others = whole - ours
        distance = np.abs(ours / np.maximum(some, 1) - whole / rows).sum(axis=-1) / 2
        expected = whole * some / rows
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.nansum((ours - expected) ** 2 / expected, axis=-1)
            statistic += np.nansum((others - (whole - expected)) ** 2 / (whole - expected), axis=-1)
        seen = (whole > 0).sum(axis=-1)
        found |= (distance > BIAS_DISTANCE) & (chi2.sf(statistic, seen - 1) < BIAS_P_VALUE)
    nearly_all = labelled.sum(axis=-1) >= NEARLY_ALL * everything.sum(axis=-1)
    return found & ~nearly_all


def years_taken_back(version: Version, choice: Choice, held_out: int, years: int, random: np.random.Generator) -> int:
    """In how many years it is taken back at least once, the family having said that these labels are enough."""
    sustained, bound = POLICY.sustained, POLICY.rollback.accuracy_drop or 0.0
    rows = round(LABELS_A_DAY / float((version.rows * choice).sum()))
    gone = 0
    for first in range(0, years, AT_ONCE):
        some = min(AT_ONCE, years - first)
        all_rows = random.multinomial(rows, version.rows.ravel(), size=(some, DAYS)).reshape(some, DAYS, TENTHS, 2)
        labelled = random.binomial(all_rows, np.asarray(choice, dtype=np.float64))
        right, labels = labelled[..., 1].sum(axis=-1), labelled.sum(axis=(-1, -2))
        promised_right = random.binomial(held_out, version.accuracy, size=(some, 1))
        promised = promised_right / held_out
        bad = (labels >= sustained.minimum_labels) & (promised - right / np.maximum(labels, 1) > bound)
        of = sustained.of
        sums = [_rolling(part, of) for part in (right, labels, bad, labelled.sum(axis=-1), all_rows.sum(axis=-1))]
        fires = bad[:, of - 1 :] & (sums[2] >= sustained.needed) & (sums[1] > 0)
        fires &= is_certain(sums[0], np.maximum(sums[1], 1), promised_right, held_out, CERTAIN)
        fires &= ~looks_biased(sums[3], sums[4])
        gone += int(fires.any(axis=1).sum())
    return gone


def _rolling(values: Any, of: int) -> Any:
    """Sums of so many days, ending with each."""
    total = np.cumsum(values, axis=1, dtype=np.int64)
    before = np.concatenate([np.zeros_like(total[:, :1]), total[:, :-of]], axis=1)
    return total[:, of - 1 :] - before


def labels_until_noticed(promised: float, drop: float, years: int, random: np.random.Generator) -> tuple[Any, Any]:
    """After how many labels since the drop people are told that it is critical, and it is taken back; inf for never.

    Labels arrive in order, and windows hold as few as they may: `minimum_labels` of alert and trigger.
    """
    truth = np.where(np.arange(BEFORE + AFTER) < BEFORE, promised, promised - drop)
    total = np.cumsum(random.random((years, BEFORE + AFTER)) < truth, axis=1)
    promised_right = random.binomial(HELD_OUT, promised, size=(years, 1))
    value = promised_right / HELD_OUT
    ends = np.arange(BEFORE, BEFORE + AFTER, LOOK)

    def window(size: int, back: int = 0) -> Any:
        return total[:, ends - 1 - back] - total[:, ends - 1 - back - size]

    alert, size = POLICY.minimum_labels, POLICY.sustained.minimum_labels
    told = value - window(alert) / alert > (POLICY.critical.accuracy_drop or 0.0)
    told &= is_certain(window(alert), alert, promised_right, HELD_OUT, POLICY.confidence)
    of, bound = POLICY.sustained.of, POLICY.rollback.accuracy_drop or 0.0
    bad = np.stack([value - window(size, place * size) / size > bound for place in range(of)])
    back = bad[0] & (bad.sum(axis=0) >= POLICY.sustained.needed)
    back &= is_certain(window(of * size), of * size, promised_right, HELD_OUT, CERTAIN)
    first = [np.where(it.any(axis=1), ends[it.argmax(axis=1)] - BEFORE, np.inf) for it in (told, back)]
    return first[0], first[1]


def sequential_labels(before: float, after: float) -> float:
    """Labels that a sequential test (CUSUM) needs on average, told wrongly in one year of a thousand.

    ln(labels between two false alarms) / the divergence of the two accuracies (Lorden 1971, Annals of Mathematical
    Statistics 42:1897-1908).
    """
    divergence = after * math.log(after / before) + (1 - after) * math.log((1 - after) / (1 - before))
    return math.log(1_000 * DAYS * LABELS_A_DAY) / divergence


@click.command()
@click.option("--years", default=3_000, show_default=True, help="How many years of each row.")
def main(years: int) -> None:
    """Print a table of false rollbacks, and one of real drops."""
    random = np.random.default_rng(20261130)
    version = healthy()
    click.echo("| labelling habit | held-out rows | taken back within the year |\n|---|---|---|")
    for habit, choice in habits().items():
        for held_out in (61, HELD_OUT):
            gone = years_taken_back(version, choice, held_out, years, random)
            click.echo(f"| {habit} | {held_out} | {gone / years:.2%} |")
    click.echo("\n| drop from 0.90 | people told, labels: median, 90 % | taken back | twice a sequential test |")
    click.echo("|---|---|---|---|")
    for drop in (0.05, 0.10, 0.15, 0.20):
        found = labels_until_noticed(0.90, drop, years, random)
        figures = [", ".join("–" if np.isinf(value) else f"{value:,.0f}" for value in _quantiles(it)) for it in found]
        twice = 2 * sequential_labels(0.90, 0.90 - drop)
        click.echo(f"| {drop:.2f} | {figures[0]} | {figures[1]} | {twice:,.0f} |")


def _quantiles(labels: FloatArray) -> FloatArray:
    found: FloatArray = np.quantile(labels, [0.5, 0.9], method="higher")
    return found


if __name__ == "__main__":
    main()
