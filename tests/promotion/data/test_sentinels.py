"""Numbers that stand for something else are told, and whatever a bound has settled is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.promotion.houses import houses, table

from promotion.data.datasets import load_dataset
from promotion.data.sentinels import sentinels
from promotion.errors import DataError
from promotion.evaluation.signature import data_problems


def told(home: Path, cells: dict[int, str], **bounds: float) -> list[str]:
    """What is said of houses of which some have another area."""
    family = houses(home)
    column = family.data.columns["area"].model_copy(update={"minimum": None, "maximum": None, **bounds})
    family.data.columns["area"] = column
    rows = table(300).astype(object)
    for row, cell in cells.items():
        rows.loc[row, "area"] = cell
    rows.to_csv(home / family.data.path, index=False)
    return [line for line in sentinels(load_dataset(family, home), family) if "'area'" in line]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({}, []),
        ({3: "-999", 7: "-999"}, ["-999 in 2 of 300 rows"]),
        ({3: "-1"}, ["-1 in 1 of 300 rows"]),
        ({3: "1e30"}, ["1e+30 in 1 of 300 rows"]),
        ({3: "1e30", 4: "-1e30"}, ["-1e+30 in 1", "1e+30 in 1"]),
        ({3: "99999", 4: "-9999", 5: "-999"}, ["99999 in 1", "-9999 in 1", "-999 in 1"]),
        ({3: "-2147483648"}, ["-2147483648 in 1"]),
    ],
)
def test_a_number_far_from_all_others_is_told(tmp_path: Path, cells: dict[int, str], expected: list[str]) -> None:
    """With its column, how often it stands there, and the keys that settle what it is."""
    lines = told(tmp_path, cells)

    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert f"column 'area': {start}" in line
        assert "na_values" in line
        assert ("minimum: " if start.startswith("-") else "maximum: ") in line


@pytest.mark.parametrize("bounds", [{"minimum": -999}, {"minimum": -5000, "maximum": 1e6}])
def test_what_a_bound_allows_is_no_sentinel(tmp_path: Path, bounds: dict[str, Any]) -> None:
    """Who wrote the bound knows the values."""
    assert [] == told(tmp_path, {3: "-999", 7: "-999"}, **bounds)


@pytest.mark.parametrize("cell", ["1e300", "-3.5e38"])
def test_a_number_that_no_model_computes_with_is_refused(tmp_path: Path, cell: str) -> None:
    """Instead of a candidate whose parameters are blamed for it."""
    with pytest.raises(DataError, match=rf"column 'area': must be at most 3.4e\+38 in size: .*line 5 \('{cell}'\)"):
        told(tmp_path, {3: cell})


def test_long_tails_are_no_sentinels(tmp_path: Path) -> None:
    """Incomes and waiting times have a few very large values."""
    drawn = np.random.default_rng(7).lognormal(4, 2, 300)
    assert [] == told(tmp_path, dict(enumerate(map(str, drawn))))


@pytest.mark.system
def test_the_gate_of_the_datas_quality_counts_them(tmp_path: Path) -> None:
    """What a training says, a promotion that asks for good data does not overlook."""
    told(tmp_path, {3: "1e30"})
    family = houses()
    family.data.columns["area"] = family.data.columns["area"].model_copy(update={"minimum": None, "maximum": None})

    assert any("1e+30 in 1 of 300 rows" in problem for problem in data_problems(family, tmp_path))
