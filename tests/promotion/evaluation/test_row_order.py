"""Rows that were appended from elsewhere are noticed; a file that is merely sorted is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from promotion.data.datasets import Dataset
from promotion.data.splits import Belonging
from promotion.evaluation.row_order import order_problems

ROWS = 400


def a_dataset(labels_of_chance: int = 0, order_by: str | None = None) -> Dataset:
    """Two features that tell the class in most rows; the last rows may have labels without relation to them."""
    random = np.random.default_rng(5)
    features = pd.DataFrame({"x": random.normal(size=ROWS), "z": random.normal(size=ROWS)})
    features.loc[::17, "z"] = np.nan
    target = np.asarray(features["x"] + random.normal(scale=0.4, size=ROWS) > 0, dtype=np.int64)
    if labels_of_chance:
        target[-labels_of_chance:] = random.integers(0, 2, labels_of_chance)
    if order_by is not None:
        key = target if order_by == "class" else features[order_by].to_numpy()
        place = np.argsort(key, kind="stable")
        features, target = features.iloc[place].reset_index(drop=True), target[place]
    return Dataset(features, target, "0" * 64, Path("x.csv"), Belonging(target), pd.DataFrame(index=features.index))


@pytest.mark.system
def test_rows_whose_labels_are_chance_are_named() -> None:
    """The place where the errors begin to gather, both error rates and the probability stand in one line."""
    (problem,) = order_problems(a_dataset(labels_of_chance=80), seed=42)

    place = int(problem.split()[2])
    assert 290 < place < 345, problem
    assert "a small forest errs in" in problem


@pytest.mark.parametrize("order_by", ["class", "x"])
@pytest.mark.system
def test_a_file_of_one_kind_is_in_order_however_it_is_sorted(order_by: str) -> None:
    """Neither sorting by class nor by feature looks like another kind of rows."""
    assert [] == order_problems(a_dataset(order_by=order_by), seed=42)


def test_too_few_rows_say_nothing() -> None:
    """Below a hundred rows, or with a class of a handful, no change could be told from chance."""
    whole = a_dataset(labels_of_chance=300)
    few = Dataset(whole.features[:90], whole.target[:90], "0" * 64, whole.path, whole.belonging, whole.others)
    assert [] == order_problems(few, seed=42)
    rare = np.zeros(ROWS, dtype=np.int64)
    rare[:3] = 1
    assert [] == order_problems(
        Dataset(whole.features, rare, "0" * 64, whole.path, whole.belonging, whole.others), seed=42
    )


def a_measurement(odd: str = "", order_by: str = "") -> Dataset:
    """A number that two features tell, as uncertainly as a third one says; the last fifth may be of another kind."""
    random = np.random.default_rng(5)
    features = pd.DataFrame({"x": random.normal(size=ROWS), "w": random.gamma(2, size=ROWS)})
    target = (3 * features["x"] + random.normal(scale=0.3, size=ROWS) * (1 + features["w"])).to_numpy(copy=True)
    last = slice(ROWS * 4 // 5, None)
    if odd == "chance":
        target[last] = random.permutation(target[last])
    elif odd == "shift":
        target[last] += 5
    elif odd == "unit":
        target[last] *= 2.54
    if order_by:
        place = np.argsort(target if order_by == "target" else features[order_by].to_numpy(), kind="stable")
        features, target = features.iloc[place].reset_index(drop=True), target[place]
    none = Belonging(np.zeros(ROWS, dtype=np.int64))
    return Dataset(features, target, "0" * 64, Path("x.csv"), none, pd.DataFrame(index=features.index))


@pytest.mark.system
@pytest.mark.parametrize("odd", ["chance", "shift", "unit"])
def test_numbers_of_another_kind_are_named(odd: str) -> None:
    """Chance, an offset or another unit: the place, and how far off the answers are on either side of it."""
    (problem,) = order_problems(a_measurement(odd), seed=42)

    place = int(problem.split()[2])
    assert 250 < place < 345, problem
    assert "a small forest is off by" in problem


@pytest.mark.system
@pytest.mark.parametrize("order_by", ["", "target", "x", "w"])
def test_a_measurement_is_in_order_however_it_is_sorted(order_by: str) -> None:
    """Also where a feature says how uncertain the target is, and the file is sorted by it."""
    assert [] == order_problems(a_measurement(order_by=order_by), seed=42)
