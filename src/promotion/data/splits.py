"""Which rows are learned from and which are kept apart: drawn by class, by group or by time, always the same ones."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from promotion.config.family import FamilyConfig
from promotion.config.training import Split
from promotion.data.arrays import IntArray
from promotion.data.contract import as_numbers
from promotion.data.days import EXAMPLE
from promotion.errors import DataError

_DRAWS = 100
"""Splits by group that are drawn; the one that is nearest to the wanted size and classes is taken."""


@dataclass(frozen=True)
class Belonging:
    """What of a row decides on which side of a split it is; one entry a row each.

    Attributes:
        strata: What is spread alike over all parts: the class, and what `split.stratify` names.
        groups: Number of what the row belongs to, by `split.groups`; None without.
        times: Rank of when it was, by `split.time`; None without.
    """

    strata: IntArray
    groups: IntArray | None = None
    times: IntArray | None = None

    def of(self, rows: IntArray) -> Belonging:
        """The same of some rows."""
        return Belonging(
            self.strata[rows],
            None if self.groups is None else self.groups[rows],
            None if self.times is None else self.times[rows],
        )


def belonging(target: IntArray, cells: Mapping[str, pd.Series], split: Split, decimal: str = ".") -> Belonging:
    """Read what the columns of `split` say of each row.

    Args:
        target: Class of each row; one for all where a number is predicted.
        cells: By name, the cells of those columns as text, their lines in the index.
        split: Names them.
        decimal: What separates a number's whole part from its fraction.

    Raises:
        DataError: A group or a time is missing, or a time is none.
    """
    strata = pd.Series(target).astype(str)
    for name in split.stratify:
        strata += "\0" + cells[name].fillna("").astype(str).reset_index(drop=True)
    return Belonging(
        strata=pd.factorize(strata, sort=True)[0].astype(np.int64) if split.stratify else target,
        groups=None if split.groups is None else _groups(cells[split.groups], split.groups),
        times=None if split.time is None else _ranks(cells[split.time], split.time, decimal),
    )


def split_rows(rows: Belonging, split: Split) -> tuple[IntArray, IntArray]:
    """Places of the rows to learn from and of those to be examined on.

    Raises:
        ValueError: They cannot be drawn; says why.
    """
    if rows.times is not None:
        return _newest(rows.times, split.test_size)
    if rows.groups is not None:
        return _by_group(rows, rows.groups, split)
    if alone := int((np.bincount(rows.strata) == 1).sum()):
        beside = f", beside the class those of {', '.join(split.stratify)}," if split.stratify else ""
        message = f"{alone} of the values{beside} to spread alike over both sides stand in one row each"
        raise ValueError(message)
    from sklearn.model_selection import train_test_split

    learn, check = train_test_split(
        np.arange(len(rows.strata)), test_size=split.test_size, random_state=split.seed, stratify=rows.strata
    )
    return learn, check


def folds(rows: Belonging, config: FamilyConfig) -> list[tuple[IntArray, IntArray]]:
    """Places of what each fold of the cross-validation learns from and is checked on.

    Raises:
        DataError: There are fewer groups or times than folds, or fewer rows of a class.
    """
    plan, seed = config.cross_validation, config.split.seed
    if rows.times is not None:
        windows = list(_windows(rows.times, plan.folds, config))
        if any(_lacks_a_class(rows.strata, part) for window in windows for part in window):
            raise DataError(
                f"{config.data.path}: a fold of {plan.folds} windows of {config.split.time!r}, or what came before it, "
                "has no row of some class: add rows or lower cross_validation.folds"
            )
        return windows
    smallest = int(np.bincount(rows.strata)[np.unique(rows.strata)].min())
    if rows.groups is None and smallest < plan.folds:
        rarest = " of the rarest class" if config.classes or config.split.stratify else ""
        raise DataError(
            f"{config.data.path}: {smallest} training rows{rarest}, cross-validation with "
            f"{plan.folds} folds needs one in each: add rows or lower cross_validation.folds"
        )
    from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold

    if rows.groups is None:
        splitter = RepeatedStratifiedKFold(n_splits=plan.folds, n_repeats=plan.repeats, random_state=seed)
        return list(splitter.split(rows.strata, rows.strata))
    count = len(np.unique(rows.groups))
    found = []
    for repeat in range(plan.repeats if count >= plan.folds else 0):
        drawn = StratifiedGroupKFold(plan.folds, shuffle=True, random_state=seed + repeat)
        found += list(drawn.split(rows.strata, rows.strata, rows.groups))
    if not found or any(_lacks_a_class(rows.strata, check) for _, check in found):
        raise DataError(
            f"{config.data.path}: the {count} groups of {config.split.groups!r} in the training rows cannot be spread "
            f"over {plan.folds} folds with each class in each: add rows or lower cross_validation.folds"
        )
    return found


def _lacks_a_class(strata: IntArray, rows: IntArray) -> bool:
    return len(np.unique(strata[rows])) < len(np.unique(strata))


def _newest(times: IntArray, share: float) -> tuple[IntArray, IntArray]:
    """Rows before a moment, and from it on; what happened at one time is never on both sides."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    cut = int(np.searchsorted(ordered, ordered[min(len(ordered) - 1, round(len(ordered) * (1 - share)))]))
    if not 0 < cut < len(ordered):
        message = f"the newest {share:.0%} of the rows cannot be told from the others: too many are of one time"
        raise ValueError(message)
    return order[:cut], order[cut:]


def _by_group(rows: Belonging, groups: IntArray, split: Split) -> tuple[IntArray, IntArray]:
    if len(np.unique(groups)) == 1:
        message = f"all rows are of one group of {split.groups!r}"
        raise ValueError(message)
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(_DRAWS, test_size=split.test_size, random_state=split.seed)
    drawn = splitter.split(rows.strata, rows.strata, groups)
    whole = np.bincount(rows.strata) / len(rows.strata)

    def distance(part: tuple[IntArray, IntArray]) -> float:
        share = np.bincount(rows.strata[part[1]], minlength=len(whole)) / len(part[1])
        return float(abs(len(part[1]) / len(rows.strata) - split.test_size) + np.abs(share - whole).max())

    best: tuple[IntArray, IntArray] = min(drawn, key=distance)
    if any(_lacks_a_class(rows.strata, part) for part in best):
        message = f"the groups of {split.groups!r} cannot be divided so that every class is on both sides"
        raise ValueError(message)
    return best


def _windows(times: IntArray, count: int, config: FamilyConfig) -> Iterator[tuple[IntArray, IntArray]]:
    """Parts of the past, each foretold from all that came before it, oldest first."""
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    cuts = [int(np.searchsorted(ordered, ordered[len(ordered) * k // (count + 1)])) for k in range(1, count + 1)]
    cuts.append(len(ordered))
    for start, end in pairwise(cuts):
        if not 0 < start < end:
            raise DataError(
                f"{config.data.path}: {len(np.unique(times))} different times in {config.split.time!r} are too few for "
                f"{count} folds: lower cross_validation.folds"
            )
        yield order[:start], order[start:end]


def _groups(cells: pd.Series, name: str) -> IntArray:
    _require_whole(cells, cells.notna(), name, "must not be empty, as split.groups names it")
    return np.asarray(pd.factorize(cells.map(_same_name))[0], dtype=np.int64)


def _same_name(cell: object) -> str:
    """A name as all who write it otherwise mean it: `P7`, `p7 `, or of numbers 7, 7.0 and 007."""
    name = unicodedata.normalize("NFKC", str(cell)).strip().casefold()
    whole, point, rest = name.partition(".")
    return whole.lstrip("0") if whole.isdecimal() and not (point and rest.strip("0")) else name


def _ranks(cells: pd.Series, name: str, decimal: str) -> IntArray:
    """Ranks of moments: of numbers, or of dates where more cells are dates."""
    numbers = as_numbers(cells, decimal).replace([np.inf, -np.inf], np.nan)
    days = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
    moments = numbers if numbers.count() >= days.count() else days
    rule = f"must be a number such as 1{decimal}5 or a date such as {EXAMPLE}, as split.time names it"
    _require_whole(cells, moments.notna(), name, rule)
    return np.asarray(pd.factorize(moments, sort=True)[0], dtype=np.int64)


def _require_whole(cells: pd.Series, fine: NDArray[np.bool_] | pd.Series, name: str, rule: str) -> None:
    if not fine.all():
        wrong = cells[~fine]
        found = "" if pd.isna(wrong.iloc[0]) else f" ({wrong.iloc[0]!r})"
        raise DataError(
            f"column {name!r}: {rule}: {len(wrong)} of {len(cells)} rows, first: line {wrong.index[0]}{found}"
        )
