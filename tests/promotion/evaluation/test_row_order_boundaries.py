"""When errors gather in a file: how many rows it takes, how surely, by how much, and where it begins."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import kolmogorov

from promotion.data.datasets import Dataset
from promotion.data.splits import Belonging
from promotion.evaluation import row_order
from promotion.evaluation.row_order import order_problems


def a_dataset(target: Any) -> Dataset:
    """Rows of which only the target is looked at."""
    index = pd.RangeIndex(len(target))
    none = Belonging(np.zeros(len(target), dtype=np.int64))
    return Dataset(
        pd.DataFrame(index=index), np.asarray(target), "0" * 64, Path("x.csv"), none, pd.DataFrame(index=index)
    )


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said where a forest errs like this, of classes unless a target says otherwise."""

    def found(errors: Any, excess: Any = None, target: Any = None) -> list[str]:
        wrong = np.asarray(errors, dtype=np.float64)
        beyond = wrong - wrong.mean() if excess is None else np.asarray(excess, dtype=np.float64)
        for name in ("_of_classes", "_of_numbers"):
            monkeypatch.setattr(row_order, name, lambda *_arguments: (wrong, beyond))
        return order_problems(a_dataset(np.arange(len(wrong)) % 2 if target is None else target), 1)

    return found


def halves(before: Any, after: Any, rows: int = 1000) -> Any:
    """One value in the first half, another one in the second."""
    return np.repeat([before, after], rows // 2)


def share(rate: float, rows: int) -> Any:
    """So many ones among zeros, spread evenly."""
    return np.diff(np.floor(np.arange(rows + 1) * rate + 1e-9))


@pytest.mark.parametrize("rows", [100, 1000])
def test_the_place_and_both_rates_are_told(problems: Any, rows: int) -> None:
    """Counted from one, with how improbable that is by chance."""
    chance = float(kolmogorov(math.sqrt(rows) / 2))

    (said,) = problems(halves(0, 1, rows))
    assert said == (
        f"from row {rows // 2 + 1} of {rows} on, a small forest errs in 100% of the rows, before it in 0% "
        f"(p = {chance:.1g}): find out how the file was put together"
    )
    assert "errs in 0% of the rows, before it in 100%" in problems(halves(1, 0, rows))[0]


@pytest.mark.parametrize(
    ("target", "is_told"),
    [
        (np.arange(100) % 2, True),
        (np.arange(98) % 2, False),
        (np.arange(100) < 10, True),
        (np.arange(100) < 9, False),
        (np.arange(100) >= 90, True),
        (np.arange(100) >= 91, False),
        (np.arange(100) % 2 * 2, True),  # the class in between does not occur
        (np.zeros(100, dtype=np.int64), False),
        (np.linspace(0, 1, 100), True),
        (np.linspace(0, 1, 98), False),
        (np.where(np.arange(100) < 5, 0.5, 1.0), True),  # numbers are no classes, however rare
        (np.ones(100), False),
    ],
)
def test_so_many_rows_it_takes(problems: Any, target: Any, *, is_told: bool) -> None:
    """A hundred, ten of the rarest class, and more than one answer; of numbers a hundred."""
    kind = np.int64 if target.dtype == np.bool_ else target.dtype

    assert is_told is bool(problems(halves(0, 1, len(target)), target=target.astype(kind)))


@pytest.mark.parametrize(("reach", "is_told"), [(1.94, False), (1.95, True), (1.96, True), (0.5, False)])
def test_so_surely_it_must_be_so(problems: Any, reach: float, *, is_told: bool) -> None:
    """Chance does it less often than once in a thousand files: from 1.949 standard deviations of the bridge on."""
    step = reach / math.sqrt(250 - reach**2)
    excess = halves(-step, step) + np.tile([1.0, -1.0], 500)

    assert is_told is bool(problems(halves(0, 1), excess))
    assert is_told is bool(problems(halves(0, 1), -excess))


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [(0.2, 0.252, True), (0.2, 0.248, False), (0.252, 0.2, True), (0.248, 0.2, False), (0.0, 0.052, True)],
)
def test_by_so_much_an_error_rate_must_change(problems: Any, before: float, after: float, *, is_told: bool) -> None:
    """A twentieth, in either direction."""
    errors = np.concatenate([share(before, 500), share(after, 500)])

    assert is_told is bool(problems(errors, halves(-1, 1)))


@pytest.mark.parametrize(
    ("before", "after", "is_told"),
    [(4.0, 5.0, True), (4.0, 4.99, False), (5.0, 4.0, True), (4.99, 4.0, False), (0.0, 1.0, True)],
)
def test_by_so_much_an_error_must_grow(problems: Any, before: float, after: float, *, is_told: bool) -> None:
    """By a quarter from the better to the worse part; the medians are told."""
    errors = halves(before, after)
    errors[0] = errors[-1] = 1e6

    found = problems(errors, halves(-1, 1), target=np.linspace(0, 1, 1000))

    assert is_told is bool(found)
    said = f"a small forest is off by {after:.4g} in half of the rows, before it by {before:.4g} (p"
    assert all(said in line for line in found)


def test_where_nothing_varies_nothing_is_told(problems: Any) -> None:
    """Neither where every row is answered alike, nor at the very last row, behind which nothing begins."""
    assert [] == problems(np.ones(1000))
    (line,) = problems(halves(0, 1), np.concatenate([np.ones(999) + np.arange(999) % 2, [5.0]]))
    assert line.startswith("from row 1000 of 1000 on, ")


def test_ranks_are_within_tenths_and_means_within_groups() -> None:
    """Equal values are in one tenth, the lower one; a group that does not occur has no mean."""
    assert [place // 10 for place in range(100)] == row_order._tenths(np.arange(100.0)).tolist()
    assert [0] * 60 + [6] * 10 + [7] * 10 + [8] * 10 + [9] * 10 == row_order._tenths(
        np.maximum(np.arange(100.0), 59)
    ).tolist()
    assert [0, 2, 5, 7] == row_order._tenths(np.array([3.0, 4.0, 5.0, 6.0])).tolist()
    centred = row_order._centred(np.array([1.0, 3.0, 10.0, 5.0]), np.array([0, 0, 2, 2]))
    assert [-1.0, 1.0, 2.5, -2.5] == centred.tolist()


def test_features_become_numbers_without_a_gap() -> None:
    """Texts by their order, an empty cell as the median, a column of them as nothing."""
    features = pd.DataFrame({"t": ["b", "a", "b"], "x": [1.0, np.nan, 4.0], "e": [np.nan] * 3}, dtype=object)
    features[["x", "e"]] = features[["x", "e"]].astype(np.float64)
    dataset = a_dataset(np.arange(3))
    whole = Dataset(features, dataset.target, "0" * 64, dataset.path, dataset.belonging, dataset.others)

    assert {"t": [1, 0, 1], "x": [1.0, 2.5, 4.0], "e": [0.0] * 3} == row_order._table(whole).to_dict("list")
