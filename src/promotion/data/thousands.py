"""Separators of thousands that would pass for the mark of a fraction, so that 5.000 were read as 5."""

from __future__ import annotations

import pandas as pd

AMBIGUOUS = "must not be written such that 5{mark}000 may be 5 or 5000"
ADVICE = "write 5000 without a separator, or 5 without a fraction"
_MANY = 50
"""Fractions that have three digits each, where other cells have none: zeros at the end would be left out by chance."""


def thousands(cells: pd.Series, decimal: str, *, are_whole: bool, most: float | None = None) -> pd.Series:
    """Which cells may have a separator of thousands where `decimal` stands, such as `5.000`.

    Only three digits behind one to three others can be thousands: a fraction in the column that is written otherwise,
    such as `0.000` or `1234.000`, says that all of them are fractions. What was measured to three digits is written so
    in every cell; of such a column a fraction is only doubted where other cells have none.

    Args:
        cells: Texts as they stand in the file; others, and missing ones, are in no doubt.
        decimal: What separates a number's whole part from its fraction.
        are_whole: Whether the column holds whole numbers; one with another fraction than zero is refused as none.
        most: The column's maximum; read as thousands, a number beyond it says as well that all are fractions.
    """
    texts = cells.map(lambda cell: cell.strip() if isinstance(cell, str) else "")
    marked = texts.str.contains(decimal, regex=False)
    found = texts[marked]
    digits = "000" if are_whole else r"\d{3}"
    if found.empty or not found.str.fullmatch(rf"[+-]?[1-9]\d{{0,2}}[{decimal}]{digits}").all():
        return marked & False
    if most is not None and found.str.replace(decimal, "", regex=False).astype(float).max() > most:
        return marked & False
    others_have_none = texts[~marked].str.fullmatch(r"[+-]?\d{1,3}").any()
    is_chance = len(found) < _MANY and not found.str.endswith("000").all()
    if not are_whole and (is_chance or not others_have_none):
        return marked & False
    return marked
