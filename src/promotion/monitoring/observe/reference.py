"""What live rows are compared with: the statistics that a version's export brought along."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from promotion.data.arrays import FloatArray, IntArray
from promotion.errors import DataError, UsageError
from promotion.export.folder import MANIFEST, Manifest, is_as_listed
from promotion.gates.evidence import Interval

REFERENCE = "reference.json"


@dataclass(frozen=True)
class Bins:
    """How the values of one column are counted, and how often the reference rows fell into each class.

    The last class always holds the rows without a value, so that a rising share of them is drift as well. Of codes, the
    class before it holds those that training never saw.

    Attributes:
        counts: Reference rows of each class, shape (classes,).
        edges: Of a measured column: lower edge of each class and upper edge of the last, strictly rising; what lies
            outside counts for the class at that end.
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
        return cls(_with_missing(found, missing), edges=rising)

    @classmethod
    def coded(cls, counts: Mapping[str, int], missing: float = 0.0) -> Self:
        """Of counts by code, and the share of rows without a value."""
        by_code = sorted((float(code), int(count)) for code, count in counts.items())
        found = np.array([*(count for _, count in by_code), 0], dtype=np.float64)
        return cls(_with_missing(found, missing), codes=np.array([code for code, _ in by_code]))

    def count_texts(self, values: pa.Array) -> IntArray:
        """How many of some texts fall into each class; null is a row without a value."""
        known = self.texts or ()
        place = pc.fill_null(pc.index_in(values, value_set=pa.array(known, type=pa.string())), len(known))
        counts = np.bincount(np.asarray(place, dtype=np.int64), minlength=len(self.counts))
        counts[len(known)] -= values.null_count
        counts[-1] += values.null_count
        return np.asarray(counts, dtype=np.int64)

    def count(self, values: FloatArray) -> IntArray:
        """How many of some values fall into each class.

        Args:
            values: Shape (rows,); NaN is a row without a value.
        """
        missing = np.isnan(values)
        present = values[~missing]
        if self.edges is not None:
            # As numpy.histogram counts: a class holds its lower edge.
            place = np.searchsorted(self.edges[1:-1], present, side="right")
        else:
            codes = self.codes if self.codes is not None else np.empty(0)
            near = np.minimum(np.searchsorted(codes, present), max(len(codes) - 1, 0))
            known = codes[near] == present if len(codes) else np.zeros(len(present), dtype=np.bool_)
            place = np.where(known, near, len(codes))
        counts = np.bincount(place, minlength=len(self.counts))
        counts[-1] += missing.sum()
        return np.asarray(counts, dtype=np.int64)

    @property
    def labels(self) -> list[str]:
        """What each class holds, in words."""
        if self.texts is not None:
            return [*self.texts, "other", "missing"]
        if self.edges is None:
            codes = self.codes if self.codes is not None else ()
            return [*(f"{code:g}" for code in codes), "other", "missing"]
        inner = self.edges[1:-1]
        ends = [f"{edge:.4g}" for edge in inner]
        between = [f"{low} – {high}" for low, high in pairwise(ends)]
        return [f"< {ends[0]}", *between, f"≥ {ends[-1]}", "missing"] if ends else ["any", "missing"]


@dataclass(frozen=True)
class Reference:
    """The statistics of one version, from its export.

    Attributes:
        model: Registered model.
        version: MLflow's number.
        semver: Semantic version.
        source: The folder.
        rows: Rows of the training split.
        features: By name.
        missing: Share of rows without a value, by feature.
        labels: Held-out rows the version gave each class, in the classes' order.
        probability: Of the same rows; of the positive class of two, of the predicted one of more. Of a regression the
            numbers that are predicted.
        metrics: Value on the held-out rows by name, with its interval.
    """

    model: str
    version: int
    semver: str | None
    source: Path
    rows: int
    features: Mapping[str, Bins]
    missing: Mapping[str, float]
    labels: Mapping[str, int]
    probability: Bins
    metrics: Mapping[str, Interval] = field(default_factory=dict)

    @cached_property
    def classes(self) -> Bins:
        """The predicted classes as codes, from 0."""
        return Bins.coded({str(place): count for place, count in enumerate(self.labels.values())})


def read_reference(folder: Path, classes: list[str]) -> Reference:
    """Read an export's statistics.

    Args:
        folder: What `scripts/export-model.py` wrote.
        classes: The family's classes, in order.

    Raises:
        UsageError: There is no export in the folder.
        ArtifactRefused: Its manifest is malformed.
        DataError: Its statistics are malformed, or not those the manifest was made with.
    """
    try:
        manifest = Manifest.parse((folder / MANIFEST).read_text(encoding="utf-8"), folder / MANIFEST)
        content = (folder / REFERENCE).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{error.filename}: no export here ({error.strerror}): python scripts/export-model.py --model FAMILY "
            "writes the statistics that live rows are compared with"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{folder / MANIFEST}: not text ({error}): export the version again") from error
    if not is_as_listed(manifest.files, REFERENCE, content):
        raise DataError(
            f"{folder / REFERENCE}: not the file that {MANIFEST} was made with: export the version again, or copy both"
        )
    try:
        return _parse(manifest, json.loads(content), folder, classes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder / REFERENCE}: not the statistics of an export ({type(error).__name__}: {error}): export the "
            "version again"
        ) from error


def _parse(manifest: Manifest, document: Any, folder: Path, classes: list[str]) -> Reference:
    features, predictions, rows = document["features"], document["predictions"], int(document["rows"])
    given: Mapping[str, int] = predictions["labels"] if classes else {}
    answer = predictions["probability" if classes else "value"]
    return Reference(
        model=manifest.model,
        version=manifest.version,
        semver=manifest.semver,
        source=folder,
        rows=rows,
        features={name: _bins(found, rows) for name, found in features.items()},
        missing={name: float(found["missing"]) for name, found in features.items()},
        labels={name: int(given.get(name, 0)) for name in classes},
        probability=Bins.measured(answer["edges"], answer["counts"]),
        metrics={
            name: Interval(float(found["value"]), float(found["low"]), float(found["high"]))
            for name, found in document.get("metrics", {}).items()
        },
    )


def _bins(found: Mapping[str, Any], rows: int) -> Bins:
    missing = float(found["missing"])
    if not 0 <= missing <= 1 or rows < 1:
        message = f"a missing share of {missing} in {rows} rows"
        raise ValueError(message)
    if "texts" in found:
        texts = {str(text): int(count) for text, count in found["texts"].items()}
        counts = np.array([*texts.values(), int(found["others"])], dtype=np.float64)
        return Bins(_with_missing(counts, missing), texts=tuple(texts))
    if "codes" in found:
        return Bins.coded(found["codes"], missing)
    return Bins.measured(found["edges"], found["counts"], missing)


def _with_missing(counts: FloatArray, share: float) -> IntArray:
    """Counts, and behind them the rows without a value, from their share of all rows."""
    present = counts.sum()
    missing = round(present * share / (1 - share)) if share < 1 else 1
    return np.array([*counts, missing], dtype=np.int64)
