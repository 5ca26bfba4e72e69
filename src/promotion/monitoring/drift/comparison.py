"""How far live rows moved from the reference, on the reference's own classes of values."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import chdtrc

from promotion.data.arrays import FloatArray, IntArray
from promotion.monitoring.drift.classes import Bins
from promotion.monitoring.observe.observation import Bin, Drift

_TABLE_ROWS = 2


def population_stability_index(reference: IntArray, live: IntArray) -> float:
    """Sum over the classes of (q - p) ln(q / p), p and q the shares of reference and live rows; dimensionless.

    It is the symmetrised Kullback-Leibler divergence (Jeffreys 1946) under the name credit scoring gave it (Siddiqi
    2006, who calls 0.1 a shift to look at and 0.25 a large one). Half a row is added to every class, so that a class
    which one side never saw counts without making the index infinite.

    Args:
        reference: Rows of each class, shape (classes,).
        live: The same of the live rows.
    """
    p, q = _shares(reference), _shares(live)
    return float(((q - p) * np.log(q / p)).sum())


def expected_by_chance(reference: IntArray, live: IntArray) -> float:
    """Mean of the index when both sides are drawn from one distribution: (classes - 1) (1 / m + 1 / n).

    To first order the index is then (1 / m + 1 / n) times a chi-square variable with classes - 1 degrees of freedom
    (Yurdakul & Naranjo 2020, Journal of Risk Model Validation 14(4)).

    Args:
        reference: Rows of each class, shape (classes,), m together.
        live: The same of the live rows, n together.
    """
    return float((len(reference) - 1) * (1 / max(reference.sum(), 1) + 1 / max(live.sum(), 1)))


def homogeneity_p_value(reference: IntArray, live: IntArray) -> float:
    """Probability of counts this different when both come from one distribution: Pearson's chi-square test.

    Both sides are samples, the reference too: its shares are not taken for the truth, which on a few hundred training
    rows would make drift out of nothing.

    Args:
        reference: Rows of each class, shape (classes,).
        live: The same of the live rows.
    """
    table = np.stack([reference, live])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < _TABLE_ROWS or not table.sum(axis=1).all():
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def compare_distributions(
    name: str,
    of: Literal["feature", "prediction"],
    bins: Bins,
    live: IntArray,
    *,
    minimum_rows: int,
    importance: float | None = None,
) -> Drift:
    """One distribution against its reference.

    Its size and certainty are those on classes as fine as the rows of both sides carry, down to those of the reference
    itself; what is shown are tenths.

    Args:
        name: What is compared.
        of: What kind of thing it is.
        bins: The classes, with the reference rows of each.
        live: Live rows of each class, shape (classes,).
        minimum_rows: Live rows below which nothing is said.
        importance: Of the feature; None when it is not known.
    """
    rows, known = int(live.sum()), int(bins.counts.sum())
    reference, counted = bins.comparable(live)
    unseen = bins.unseen(live)
    return Drift(
        name=name,
        of=of,
        psi=population_stability_index(reference, counted) if rows else None,
        by_chance=expected_by_chance(reference, counted) if rows else 0.0,
        p_value=homogeneity_p_value(reference, counted) if rows else None,
        rows=rows,
        reference_rows=known,
        enough=rows >= minimum_rows,
        unseen=unseen.share if unseen.reference else None,
        unseen_p_value=unseen.p_value,
        importance=importance,
        bins=_shown(bins, live),
    )


def _shown(bins: Bins, live: IntArray) -> list[Bin]:
    reference, counted, labels = bins.grouped(live, bins.counts.sum())
    shares = zip(labels, reference / max(reference.sum(), 1), counted / max(counted.sum(), 1), strict=True)
    return [Bin(label, float(p), float(q)) for label, p, q in shares if p or q]


def unknown(name: str, of: Literal["feature", "prediction"], rows: int, *, minimum_rows: int) -> Drift:
    """A distribution without a reference."""
    return Drift(name, of, None, 0.0, None, rows, 0, enough=rows >= minimum_rows)


def _shares(counts: IntArray) -> FloatArray:
    smoothed = counts + 0.5
    shares: FloatArray = smoothed / smoothed.sum()
    return shares
