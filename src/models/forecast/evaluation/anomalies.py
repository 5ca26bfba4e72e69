"""Forecasts that nobody would believe at a glance: what a reviewer reads line by line."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.forecast.history import day_numbers
from promotion.data.arrays import FloatArray
from promotion.review.findings import NO, YES, Check, Table, TableColumn

ABOVE_RECORD, APART, WRONG = 1.25, 0.30, 0.50
"""An anomaly: this many times the store's best day so far; this far apart from the other version; this far off."""
WORTH_A_LOOK = 0.05
"""Two forecasts are counted as different where they lie further apart than this share of the sales."""
SHOWN_ANOMALIES = 30
_COLUMNS = (
    TableColumn("store", "Store", "d"),
    TableColumn("day", "Day"),
    TableColumn("sales", "Sales", ",.0f"),
    TableColumn("first", "Forecast", ",.0f"),
    TableColumn("second", "The other's", ",.0f"),
)


def best_days(rows: pd.DataFrame, origin: int) -> pd.Series:
    """Each store's best day before the holdout, euros, by store."""
    past = rows[day_numbers(rows["Date"]) <= origin]
    best: pd.Series = past.groupby("Store")["Sales"].max()
    return best


def find_anomalies(rows: pd.DataFrame, first: FloatArray, second: FloatArray, best: pd.Series) -> pd.DataFrame:
    """The forecasts that somebody should look at.

    Args:
        rows: Store, Date and Sales, above zero.
        first: Forecast under review, euros, shape (rows,).
        second: The other version's.
        best: What `best_days` returned.

    Returns:
        The farthest off first, with columns store, day, sales, first, second, error and why.
    """
    sales = rows["Sales"].to_numpy(dtype=np.float64)
    record = rows["Store"].map(best).to_numpy(dtype=np.float64)
    error = first / sales - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = first / second - 1
    reasons = {
        "no positive number": ~(np.isfinite(first) & (first > 0)),
        f"above {ABOVE_RECORD:g} × the store's best day": first > ABOVE_RECORD * record,
        f"more than {APART:.0%} apart": np.abs(apart) > APART,
        f"more than {WRONG:.0%} off": np.abs(error) > WRONG,
    }
    why = [", ".join(name for name, hit in reasons.items() if hit[row]) for row in range(len(error))]
    table = pd.DataFrame(
        {
            "store": rows["Store"].to_numpy(),
            "day": rows["Date"].dt.strftime("%Y-%m-%d").to_numpy(),
            "sales": sales,
            "first": first,
            "second": second,
            "error": error,
            "why": why,
        }
    )
    found = table[table["why"] != ""]
    return found.iloc[np.argsort(-np.abs(found["error"].to_numpy()), kind="stable")]


def anomaly_table(found: pd.DataFrame) -> Table:
    """What `find_anomalies` found, for the page."""
    columns = [*_COLUMNS, TableColumn("error", "Off by", "+.0%"), TableColumn("why", "Why it is here")]
    note = f"{len(found)} in all, the farthest off first, at most {SHOWN_ANOMALIES} shown."
    rows = [{str(key): value for key, value in row.items()} for row in found.head(SHOWN_ANOMALIES).to_dict("records")]
    return Table("anomalies", "Anomalies", note, columns, rows)


def disagreement_table(rows: pd.DataFrame, first: FloatArray, second: FloatArray) -> Table:
    """The days on which two versions say the most different things, and which of them was nearer.

    Args:
        rows: Store, Date and Sales, above zero.
        first: Forecast under review, euros, shape (rows,).
        second: The other version's.
    """
    sales = rows["Sales"].to_numpy(dtype=np.float64)
    apart = (first - second) / sales
    nearer = np.abs(second - sales) - np.abs(first - sales)
    far = np.abs(apart) > WORTH_A_LOOK
    shown = np.argsort(-np.abs(apart), kind="stable")[:SHOWN_ANOMALIES]
    table = [
        {
            "store": int(rows["Store"].iloc[at]),
            "day": f"{rows['Date'].iloc[at]:%Y-%m-%d}",
            "sales": float(sales[at]),
            "first": float(first[at]),
            "second": float(second[at]),
            "apart": float(apart[at]),
            "nearer": "this one" if nearer[at] > 0 else "the other" if nearer[at] < 0 else "both alike",
        }
        for at in shown
        if apart[at]
    ]
    columns = [*_COLUMNS, TableColumn("apart", "Apart, of sales", "+.0%"), TableColumn("nearer", "Nearer")]
    note = (
        f"{far.sum():,} of {len(sales):,} forecasts lie more than {WORTH_A_LOOK:.0%} of the sales apart: this one is "
        f"nearer in {(far & (nearer > 0)).sum():,}, the other in {(far & (nearer < 0)).sum():,}. The farthest apart "
        f"first, at most {SHOWN_ANOMALIES} shown."
    )
    return Table("disagreements", "Where they disagree", note, columns, table)


def has_none(found: pd.DataFrame, rows: int) -> Check:
    """The checklist's line about `rows` forecasts."""
    if found.empty:
        return Check("No anomalies", YES, f"none among {rows:,} forecasts")
    counts = found["why"].str.split(", ").explode().value_counts()
    listed = ", ".join(f"{count} {why}" for why, count in counts.items())
    return Check("No anomalies", NO, f"{len(found)} of {rows:,} forecasts: {listed}")
