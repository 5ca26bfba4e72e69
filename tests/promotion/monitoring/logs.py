"""Prediction logs, labels and exports for tests, drawn with a fixed seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from tests.promotion.factories import a_family, a_manifest, seal_unsigned

from promotion.config.family import FamilyConfig
from promotion.monitoring.observe.reference import Reference, read_reference
from promotion.monitoring.observe.watch import KnownVersion, Watch

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
MODEL = "churn-forest"
PROMOTED = {"accuracy": 0.9, "precision": 0.9, "recall": 0.9, "f1": 0.9, "roc_auc": 0.9}
REFERENCE_ROWS = 1000


def churn(**changes: Any) -> FamilyConfig:
    """A family with a measured feature and one of three codes."""
    columns = {
        "x": {"type": "number", "minimum": -100, "maximum": 100, "max_missing": 0.5},
        "c": {"type": "code", "codes": [0, 1, 2]},
        "y": {"type": "code", "codes": [0, 1]},
    }
    return a_family("churn", **({"data": {"path": "data/churn.csv", "columns": columns}} | changes))


@dataclass
class Traffic:
    """A stretch of live rows of one version.

    Attributes:
        rows: How many, evenly spread from `since` to `until`.
        accuracy: Share of the rows whose label is what was predicted.
        shift: Added to the feature x, which has a standard deviation of 1.
        codes: Probability of each code.
        missing: Share of rows without x.
    """

    rows: int = 1000
    version: int = 2
    role: str = "champion"
    since: datetime = NOON - DAY
    until: datetime = NOON
    accuracy: float = 0.9
    shift: float = 0.0
    codes: Sequence[float] = (0.5, 0.3, 0.2)
    missing: float = 0.0
    latency: float = 20.0
    seed: int = 1
    model: str = MODEL
    family: str = "churn"
    lines: list[dict[str, Any]] = field(default_factory=list)
    labels: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        chosen = np.arange(self.rows) % 2
        is_right = np.arange(self.rows) // 2 < round(self.accuracy * self.rows / 2)
        random.shuffle(is_right)
        x = random.normal(self.shift, size=self.rows)
        is_missing = random.random(self.rows) < self.missing
        codes = random.choice(3, self.rows, p=self.codes)
        probability = np.where(chosen, 0.5, 0.0) + 0.5 * random.random(self.rows)
        for place in range(self.rows):
            request = f"{self.role}-{self.version}-{self.seed}-{self.since:%d%H%M}-{place}"
            at = self.since + (self.until - self.since) * (place / self.rows)
            self.lines.append(
                {
                    "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    "request_id": request,
                    "row": 0,
                    "family": self.family,
                    "model": self.model,
                    "version": self.version,
                    "role": self.role,
                    "features": {"x": None if is_missing[place] else float(x[place]), "c": int(codes[place])},
                    "class": int(chosen[place]),
                    "label": f"label {chosen[place]}",
                    "probability": float(probability[place]),
                    "latency_ms": self.latency,
                }
            )
            self.labels.append((request, 0, int(chosen[place] if is_right[place] else 1 - chosen[place])))


def write_log(path: Path, traffic: Iterable[Traffic], *extra: str) -> Path:
    """One JSON object a line, in the order of time; `extra` lines behind."""
    lines = sorted((line for part in traffic for line in part.lines), key=lambda line: str(line["time"]))
    path.write_text("".join(f"{text}\n" for text in [*map(json.dumps, lines), *extra]), encoding="utf-8")
    return path


def write_labels(path: Path, traffic: Iterable[Traffic], *extra: str) -> Path:
    """`request_id,row,label` as CSV; `extra` lines behind."""
    rows = [f"{request},{row},{label}" for part in traffic for request, row, label in part.labels]
    path.write_text("\n".join(["request_id,row,label", *rows, *extra]) + "\n", encoding="utf-8")
    return path


def write_export(
    folder: Path,
    version: int = 2,
    rows: int = REFERENCE_ROWS,
    model: str = MODEL,
    metrics: Mapping[str, float] = PROMOTED,
) -> Path:
    """What an export says of its training rows: x normal, c with the shares of undisturbed traffic."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(version)
    x, c = random.normal(size=rows), random.choice(3, rows, p=Traffic.codes)
    edges = np.quantile(x, np.linspace(0, 1, 11))
    probability = np.where(np.arange(rows) % 2, random.uniform(0.5, 1, rows), random.uniform(0, 0.5, rows))
    ten = np.linspace(0, 1, 11).round(10)
    document = {
        "rows": rows,
        "features": {
            "x": {"missing": 0.0, "edges": edges.tolist(), "counts": np.histogram(x, edges)[0].tolist()},
            "c": {"missing": 0.0, "codes": {str(code): int((c == code).sum()) for code in range(3)}},
        },
        "predictions": {
            "labels": dict.fromkeys(churn().classes, rows // 2),
            "probability": {"edges": ten.tolist(), "counts": np.histogram(probability, ten)[0].tolist()},
        },
        "metrics": {
            name: {"value": value, "low": value - 0.005, "high": value + 0.005} for name, value in metrics.items()
        },
    }
    rewrite_reference(folder, json.dumps(document), version, model)
    return folder


def rewrite_reference(folder: Path, content: str, version: int = 2, model: str = MODEL) -> None:
    """Statistics, and the manifest that was made with them."""
    (folder / "reference.json").write_text(content, encoding="utf-8")
    seal_unsigned(folder, a_manifest(model=model, version=version, semver=f"1.{version}.0"))


def a_watch(source: Path, labels: Path | None = None, **changes: Any) -> Watch:
    """The day before noon."""
    given: dict[str, Any] = {"config": churn(), "source": str(source), "until": NOON, "window": DAY, "labels": labels}
    return Watch(**(given | changes))


def known(
    *folders: Path, production: tuple[str, int] | None = (MODEL, 2), live_since: datetime | None = None
) -> KnownVersion:
    """What exports say, and the version in Production."""
    references: list[Reference] = [read_reference(folder, churn().classes) for folder in folders]
    by_version = {(it.model, it.version): it for it in references}
    return KnownVersion(
        production=production,
        is_recorded=True,
        metrics={},
        semver={},
        references=by_version,
        live_since=live_since,
    )
