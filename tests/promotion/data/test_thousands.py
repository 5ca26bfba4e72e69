"""A separator of thousands is not taken for the mark of a fraction, nor a fraction for it."""

from __future__ import annotations

import pandas as pd
import pytest

from promotion.data.thousands import thousands


@pytest.mark.parametrize(
    ("cells", "decimal", "are_whole", "doubted"),
    [
        (["5.000", "12.000", "800"], ".", True, 2),
        (["5,000", "12,000", None], ",", True, 2),
        (["5.263", "12.000"], ".", True, 0),
        (["5.000", "0.000"], ".", True, 0),
        (["5.000", "1234.000"], ".", True, 0),
        (["5.000", "6.0"], ".", True, 0),
        (["5.000", "6.000"], ".", False, 0),
        (["5.000", "800"], ".", False, 1),
        (["5.100", "6.234"], ".", False, 0),
        (["1.125", "2"], ".", False, 0),
        (["1.125"] * 50 + ["812"], ".", False, 50),
        (["1.125"] * 50 + ["0.813", "812"], ".", False, 0),
        ([5.0, 6.0], ".", True, 0),
        ([], ".", True, 0),
    ],
)
def test_only_what_may_be_both_is_doubted(
    cells: list[str | float | None], decimal: str, are_whole: bool, doubted: int
) -> None:
    """Groups of three digits throughout; any other fraction in the column says what the mark means."""
    assert doubted == thousands(pd.Series(cells, dtype=object), decimal, are_whole=are_whole).sum()


def test_a_maximum_says_which_it_is() -> None:
    """An age of 63.000 is none of sixty-three thousand years."""
    ages = pd.Series(["63.000", "41.000"])
    assert 2 == thousands(ages, ".", are_whole=True).sum()
    assert 0 == thousands(ages, ".", are_whole=True, most=120).sum()
