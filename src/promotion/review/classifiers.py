"""Two classifiers on the same test rows: what a person checks before one of them goes to Production."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from promotion.config.family import FamilyConfig
from promotion.config.settings import Settings
from promotion.data.arrays import FloatArray
from promotion.data.datasets import load_dataset, split_dataset
from promotion.evaluation.metrics import predicted_class, probability_of
from promotion.pages import number
from promotion.review.findings import NO, YES, Check, ReviewFindings, Table, TableColumn, better
from promotion.review.side_by_side import SideBySide, compare_classifiers

SHARE = 0.10
"""A class whose share of the answers differs by more from its share of the rows is answered with a bias."""
FLIPS = 0.05
"""More changed answers than this share of the rows have to be better ones."""
_QUANTILES = (0.05, 0.5, 0.95)


def review_classes(
    config: FamilyConfig, settings: Settings, first: Any, second: Any, names: tuple[str, str]
) -> ReviewFindings:
    """Hold two classifiers against each other on the family's test split, which neither has learned from.

    Raises:
        DataError: The data is missing or breaks its contract.
        PromotionError: A model does not answer the rows.
    """
    part = split_dataset(load_dataset(config, settings.home), config)
    ours, theirs = (probability_of(model, part.test_features, len(config.classes)) for model in (first, second))
    found = compare_classifiers(config, part, ours, theirs)
    target = np.asarray(part.test_target, dtype=np.int64)
    labels = [predicted_class(each, by_class=each.ndim > 1) for each in (ours, theirs)]
    decisive = next(measure for measure in found.metrics if measure.decides)
    changes = _changes(config, target, *labels)
    shares = _shares(config, target, *labels)
    shift = _shift(config, ours, theirs)
    return ReviewFindings(
        rows=len(target),
        about=f"rows of the test split of {config.data.path}",
        checks=[better(decisive, names), _is_unbiased(shares), _agrees(changes, len(target)), _is_steady(shift)],
        measures=found.metrics,
        tables=[_share_table(shares), _change_table(changes), _shift_table(shift), row_table(found)],
    )


def _shares(config: FamilyConfig, target: Any, first: Any, second: Any) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "actual": float((target == at).mean()),
            "first": float((first == at).mean()),
            "second": float((second == at).mean()),
        }
        for at, name in enumerate(config.labels)
    ]


def _is_unbiased(shares: list[dict[str, Any]]) -> Check:
    biased = [row for row in shares if abs(row["first"] - row["actual"]) > SHARE]
    says = ", ".join(f"{row['class']}: answers {row['first']:.0%}, is {row['actual']:.0%}" for row in biased or shares)
    return Check("No obvious bias towards a class", NO if biased else YES, says)


def _share_table(shares: list[dict[str, Any]]) -> Table:
    columns = [
        TableColumn("class", "Class"),
        TableColumn("actual", "Of the rows", ".1%"),
        TableColumn("first", "Of the answers", ".1%"),
        TableColumn("second", "Of the other's answers", ".1%"),
    ]
    return Table("shares", "Bias", "How often each class occurs, and how often it is answered.", columns, shares)


def _changes(config: FamilyConfig, target: Any, first: Any, second: Any) -> list[dict[str, Any]]:
    """Rows that get another answer, by what the answer was and became."""
    rows = []
    for was, old in enumerate(config.labels):
        for now, new in enumerate(config.labels):
            hit = (second == was) & (first == now)
            if was != now and hit.any():
                right = int((target[hit] == now).sum()), int((target[hit] == was).sum())
                rows.append(
                    {"was": old, "now": new, "rows": int(hit.sum()), "now_right": right[0], "was_right": right[1]}
                )
    return rows


def _agrees(changes: list[dict[str, Any]], rows: int) -> Check:
    changed = sum(row["rows"] for row in changes)
    now, before = (sum(row[key] for row in changes) for key in ("now_right", "was_right"))
    return agreement(rows, changed, (now, before))


def agreement(rows: int, changed: int, right: tuple[int, int]) -> Check:
    """Whether few answers change, or for the better.

    Args:
        rows: How many both answered.
        changed: How many get another answer.
        right: Of these, how many each answers correctly.
    """
    now, before = right
    says = f"{1 - changed / rows:.1%} of {rows:,} rows get the same answer, {changed} another one"
    if changed:
        says += f": of these it is right in {now}, the other was in {before}"
    is_fine = changed <= FLIPS * rows or now > before
    return Check("Few answers change, or for the better", YES if is_fine else NO, says)


def _change_table(changes: list[dict[str, Any]]) -> Table:
    columns = [
        TableColumn("was", "The other answered"),
        TableColumn("now", "Answers now"),
        TableColumn("rows", "Rows", ",d"),
        TableColumn("now_right", "Right now", ",d"),
        TableColumn("was_right", "Right before", ",d"),
    ]
    return Table("changed_labels", "Changed labels", "Rows that get another answer.", columns, changes)


def _shift(config: FamilyConfig, first: FloatArray, second: FloatArray) -> list[dict[str, Any]]:
    """How the probability of each class moved; of two classes of the positive one."""
    whole = first.ndim > 1
    moved = []
    for at, name in enumerate(config.labels if whole else config.labels[1:]):
        ours, theirs = (each[:, at] if whole else each for each in (first, second))
        low, middle, high = (float(value) for value in np.quantile(ours - theirs, _QUANTILES))
        moved.append(
            {
                "class": name,
                "first_mean": float(ours.mean()),
                "second_mean": float(theirs.mean()),
                "mean": float((ours - theirs).mean()),
                "low": low,
                "median": middle,
                "high": high,
                "largest": float(np.abs(ours - theirs).max()),
            }
        )
    return moved


def _is_steady(shift: list[dict[str, Any]]) -> Check:
    worst = max(shift, key=lambda row: abs(row["mean"]))
    mean, low, high = (number(worst[key], "+.3f") for key in ("mean", "low", "high"))
    says = (
        f"the probability of {worst['class']} moved by {mean} on average, 90 % of the rows between {low} and {high}, "
        f"at most {worst['largest']:.3f}"
    )
    return Check("Probabilities have not shifted as a whole", NO if abs(worst["mean"]) > SHARE else YES, says)


def _shift_table(shift: list[dict[str, Any]]) -> Table:
    columns = [
        TableColumn("class", "Probability of"),
        TableColumn("first_mean", "Mean", ".3f"),
        TableColumn("second_mean", "Mean of the other", ".3f"),
        TableColumn("mean", "Mean shift", "+.3f"),
        TableColumn("low", "5 %", "+.3f"),
        TableColumn("median", "Median", "+.3f"),
        TableColumn("high", "95 %", "+.3f"),
        TableColumn("largest", "Largest", ".3f"),
    ]
    return Table("probability_shift", "Probability shift", "First minus second, row by row.", columns, shift)


def row_table(found: SideBySide) -> Table:
    """The rows that get other answers, the farthest apart first."""
    rows = [
        {
            "row": row.row,
            "actual": row.actual,
            "first": f"{row.candidate[0]}, {row.candidate[1]:.3f}",
            "second": f"{row.production[0]}, {row.production[1]:.3f}",
            "apart": row.distance,
            "inputs": ", ".join(f"{name} {value}" for name, value in row.inputs),
        }
        for row in found.disagreements
    ]
    return differing_rows_table(rows)


def differing_rows_table(rows: Sequence[Mapping[str, Any]], *, answer: str = "", apart: str = ".3f") -> Table:
    """Rows that get other answers, with how these and their distance are spelt."""
    columns = [
        TableColumn("row", "Row", ",d"),
        TableColumn("actual", "Actual", answer),
        TableColumn("first", "Answers", answer),
        TableColumn("second", "The other answers", answer),
        TableColumn("apart", "Apart", apart),
        TableColumn("inputs", "Inputs"),
    ]
    note = "The farthest apart first. These are rows of the data: handle this page as you handle the data."
    return Table("disagreements", "Where they disagree", note, columns, rows)
