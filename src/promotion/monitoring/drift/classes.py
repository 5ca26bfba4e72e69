"""The classes that the values of a column are counted in, and what of them the reference never saw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import betaln

from promotion.data.arrays import FloatArray, IntArray

FAR = 4
"""Beyond so many times the greatest distance from the median that training saw a value is far out."""
_FEW = 30
_TENTHS = 10
_ROUNDING = 1e-6
_ROWS_A_CLASS = 20
_LEAST_EXPECTED = 5


@dataclass(frozen=True, slots=True)
class Unseen:
    """Live values such as no reference row has: beyond the smallest and the largest, or codes that were not there.

    Attributes:
        beyond: How many live rows have such a value.
        rows: Live rows with a value.
        reference: Reference rows with a value.
        alone: Reference rows that would be beyond, too, were they not there themselves, less one of measured values.
        far: Live rows that are far out.
    """

    beyond: int
    rows: int
    reference: int
    alone: int
    far: int = 0

    @property
    def share(self) -> float:
        """Of the live rows with a value."""
        return self.beyond / self.rows if self.rows else 0.0

    @property
    def p_value(self) -> float:
        """Probability of so many when both sides come from one distribution, whichever that is: exact.

        Of all values in order the outermost `beyond + alone` hold no more than `alone` of the reference
        (hypergeometric; Wilks 1942, Annals of Mathematical Statistics 13:400-409). Tails no heavier than Cauchy's hold
        beyond `FAR` times the distance one in `FAR` of what is beyond it, so that few far out weigh as many.
        """
        found = [_chance(self, self.beyond)]
        if self.far:
            found.append(_chance(self, min(FAR * self.far, self.rows)))
        return min(1.0, len(found) * min(found))


@dataclass(frozen=True)
class Bins:
    """How the values of one column are counted, and how often the reference rows fell into each class.

    The last class always holds the rows without a value, so that a rising share of them is drift as well. Of codes, the
    class before it holds those that training never saw; of measured values two classes at either end do, and the outer
    one of them those that are more than `FAR` times as far from the median as any that training saw.

    Attributes:
        counts: Reference rows of each class, shape (classes,).
        edges: Of a measured column: lower edge of each inner class and upper edge of the last, strictly rising.
        codes: Of a column of codes: the codes, rising.
        texts: Of a column of texts: the most frequent ones.
    """

    counts: IntArray
    edges: FloatArray | None = None
    codes: FloatArray | None = None
    texts: tuple[str, ...] | None = None

    @classmethod
    def measured(cls, edges: Any, counts: Any, missing: float = 0.0) -> Self:
        """Of a histogram, and the share of rows without a value."""
        found = np.asarray(counts, dtype=np.float64)
        rising = np.unique(np.asarray(edges, dtype=np.float64))
        if len(found) == 1 and len(rising) == 1:
            # A column that was constant: any other value is a new one.
            return cls.coded({str(rising[0]): int(found[0])}, missing)
        if not len(found):
            return cls.coded({}, missing)
        if len(found) != len(rising) - 1:
            message = f"{len(found)} counts for {len(rising)} edges"
            raise ValueError(message)
        return cls(with_missing([0, 0, *found, 0, 0], missing), edges=rising)

    @classmethod
    def coded(cls, counts: Mapping[str, int], missing: float = 0.0) -> Self:
        """Of counts by code, and the share of rows without a value."""
        by_code = sorted((float(code), int(count)) for code, count in counts.items())
        codes = np.array([code for code, _ in by_code])
        return cls(with_missing([*(count for _, count in by_code), 0], missing), codes=codes)

    def places_of_texts(self, values: pa.Array) -> IntArray:
        """The class that each of some texts falls into; null is a row without a value."""
        known = self.texts or ()
        place = pc.fill_null(pc.index_in(values, value_set=pa.array(known, type=pa.string())), len(known))
        missing = np.asarray(values.is_null())
        return np.where(missing, len(self.counts) - 1, np.asarray(place, dtype=np.int64))

    def places(self, values: FloatArray) -> IntArray:
        """The class that each of some values falls into.

        Args:
            values: Shape (rows,); NaN is a row without a value.
        """
        if self.edges is not None:
            # As numpy.histogram counts: a class holds its lower edge.
            place = _passed(self.cuts, values)
        else:
            codes = self.codes if self.codes is not None else np.empty(0)
            near = _passed(codes, values) - 1
            known = codes[near] == values if len(codes) else np.zeros(len(values), dtype=np.bool_)
            place = np.where(known, near, len(codes))
        place[np.isnan(values)] = len(self.counts) - 1
        return place

    def count(self, values: FloatArray) -> IntArray:
        """How many of some values fall into each class; see `places`."""
        return np.bincount(self.places(values), minlength=len(self.counts))

    def unseen(self, live: IntArray) -> Unseen:
        """How many live values are such as no reference row has.

        Args:
            live: Live rows of each class, shape (classes,).
        """
        present, reference = int(live[:-1].sum()), int(self.counts[:-1].sum())
        if self.edges is not None:
            beyond, far = int(live[[0, 1, -3, -2]].sum()), int(live[[0, -2]].sum())
            return Unseen(beyond, present, reference, alone=1, far=far)
        # Codes that occur once tell how often a new one comes, and both vary.
        once = int((self.counts[:-2] == 1).sum())
        alone = once + round(2 * math.sqrt(once)) + int(self.counts[-2])
        return Unseen(int(live[-2]), present, reference, alone)

    def comparable(self, live: IntArray) -> tuple[IntArray, IntArray]:
        """Reference and live rows on classes as fine as the rows of both sides carry, those that neither has left out.

        Args:
            live: Live rows of each class, shape (classes,).
        """
        known, rows = int(self.counts.sum()), int(live.sum())
        if self.edges is not None:
            reference, counted, _ = self.grouped(live, _ROWS_A_CLASS * max(1.0, known / max(rows, 1)))
        else:
            # Expected of both sides together, so that which side a rare code is on decides nothing.
            rare = (self.counts + live) * min(known, rows) < _LEAST_EXPECTED * (known + rows)
            rare[-2], rare[-1] = True, False
            reference, counted = (np.append(side[~rare], side[rare].sum()) for side in (self.counts, live))
        seen = np.flatnonzero(reference + counted)
        return reference[seen], counted[seen]

    def grouped(self, live: IntArray, rows: float) -> tuple[IntArray, IntArray, list[str]]:
        """Reference and live rows of each class, and what it holds, neighbours being put together.

        Args:
            live: Live rows of each class, shape (classes,).
            rows: How many reference rows a class of measured values is to hold; it is never more than a tenth of them.
        """
        if self.edges is None:
            codes = self.codes if self.codes is not None else ()
            return self.counts, live, [*(self.texts or (f"{code:g}" for code in codes)), "other", "missing"]
        inner = self.counts[2:-3]
        least = max(min(rows, inner.sum() / _TENTHS), 1)
        if least not in self._groupings:
            middles = inner.cumsum() - inner / 2
            _, starts = np.unique(middles // least, return_index=True)
            firsts = np.array([0, *(starts + 2), len(live) - 3, len(live) - 1])
            ends = [f"{edge:.4g}" for edge in (*self.edges[starts], self.edges[-1])]
            between = [_range(low, high) for low, high in pairwise(ends)]
            labels = [f"< {ends[0]}", *between, f"> {ends[-1]}", "missing"]
            self._groupings[least] = firsts, np.add.reduceat(self.counts, firsts), labels
        firsts, reference, labels = self._groupings[least]
        return reference, np.add.reduceat(live, firsts), labels

    @cached_property
    def _groupings(self) -> dict[float, tuple[IntArray, IntArray, list[str]]]:
        """Where classes were put together before: the same reference is looked at again and again."""
        return {}

    @cached_property
    def cuts(self) -> FloatArray:
        """Where one class of measured values ends and the next begins."""
        edges = np.asarray(self.edges)
        low, high = edges[0], edges[-1]
        # A log may have rounded to single precision what training saw.
        rounding = _ROUNDING * max(abs(low), abs(high))
        inner = self.counts[2:-3]
        middle = edges[int(np.searchsorted(inner.cumsum(), inner.sum() / 2))]
        # Where most values are the same there is no telling how far is far.
        far = [
            end + (FAR - 1) * (end - middle) if end != middle else without
            for end, without in ((low, -np.inf), (high, np.inf))
        ]
        return np.array([far[0], low - rounding, *edges[1:-1], high + rounding, far[1]])


def _passed(cuts: FloatArray, values: FloatArray) -> IntArray:
    """How many of some rising cuts each value has reached; among few of them a search costs more than comparing."""
    if len(cuts) > _FEW:
        return np.searchsorted(cuts, values, side="right")
    return sum((values >= cut for cut in cuts), np.zeros(len(values), dtype=np.int64))


def _range(low: str, high: str) -> str:
    if low == "-inf":
        return f"< {high}"
    return f"> {low}" if high == "inf" else f"{low} – {high}"


def with_missing(counts: Sequence[float], share: float) -> IntArray:
    """Counts, and behind them the rows without a value, from their share of all rows."""
    present = sum(counts)
    missing = round(present * share / (1 - share)) if share < 1 else 1
    return np.array([*counts, missing], dtype=np.int64)


def _chance(unseen: Unseen, beyond: int) -> float:
    if not beyond or unseen.reference <= unseen.alone:
        return 1.0
    known, rows = unseen.reference, unseen.rows
    drawn = min(beyond + unseen.alone, known + rows)
    ours = np.arange(max(drawn - rows, 0), min(unseen.alone, drawn) + 1)
    ways = _log_choose(known, ours) + _log_choose(rows, drawn - ours) - _log_choose(known + rows, drawn)
    return min(1.0, float(np.exp(ways).sum()))


def _log_choose(among: int, chosen: Any) -> Any:
    """Logarithm of the binomial coefficient."""
    return -np.log1p(among) - betaln(among - chosen + 1, chosen + 1)
