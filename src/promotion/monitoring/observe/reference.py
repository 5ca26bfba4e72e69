"""What live rows are compared with: the statistics that a version's export brought along."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from promotion.errors import DataError, UsageError
from promotion.export.folder import MANIFEST, Manifest, is_as_listed
from promotion.gates.evidence import Interval
from promotion.monitoring.drift.classes import Bins, with_missing

REFERENCE = "reference.json"


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
        importance: Share of each feature in what moves the answers, 1 together; empty in exports that do not say.
        groups: The same of the rows of each group of a segment, by its name.
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
    importance: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Reference] = field(default_factory=dict)

    @cached_property
    def classes(self) -> Bins:
        """The predicted classes, in order; no row is without one."""
        return Bins(np.array([*self.labels.values(), 0, 0], dtype=np.int64), texts=tuple(self.labels))


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
        document = json.loads(content)
        return _parse(manifest, document, folder, classes, _importance(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder / REFERENCE}: not the statistics of an export ({type(error).__name__}: {error}): export the "
            "version again"
        ) from error


def _importance(document: Any) -> Mapping[str, float]:
    """Of the version, hence of every group of its rows."""
    found = {name: float(share) for name, share in document.get("importance", {}).items()}
    if found and not (found.keys() == document["features"].keys() and all(0 <= share <= 1 for share in found.values())):
        message = "an importance that is not a share for each feature"
        raise ValueError(message)
    return found


def _parse(
    manifest: Manifest, document: Any, folder: Path, classes: list[str], importance: Mapping[str, float]
) -> Reference:
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
        importance=importance,
        groups={
            name: _parse(manifest, found, folder, classes, importance)
            for name, found in document.get("segments", {}).items()
        },
    )


def _bins(found: Mapping[str, Any], rows: int) -> Bins:
    missing = float(found["missing"])
    if not 0 <= missing <= 1 or rows < 1:
        message = f"a missing share of {missing} in {rows} rows"
        raise ValueError(message)
    if "texts" in found:
        texts = {str(text): int(count) for text, count in found["texts"].items()}
        return Bins(with_missing([*texts.values(), int(found["others"])], missing), texts=tuple(texts))
    if "codes" in found:
        return Bins.coded(found["codes"], missing)
    edges = list(found["edges"])
    if edges and found.get("minimum", edges[0]) is None:
        # The export tells nobody's value: where the tails end is not known.
        edges[0], edges[-1] = -math.inf, math.inf
    return Bins.measured(edges, found["counts"], missing)
