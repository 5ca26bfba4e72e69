"""A check's outcome, and what it takes to be one: levels, and the bounds of the family's file by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, TypeGuard

from promotion.config.policy import AlertBounds, Levels, Monitoring

LevelName = Literal["critical", "warning", "info"]
LEVELS: tuple[LevelName, ...] = ("critical", "warning", "info")
"""Worst first."""
DATA = "data:"
"""Beginning of the keys of what is wrong with log and labels themselves."""
FAIRNESS = "fairness:"
"""Beginning of the keys of what sets groups of rows apart."""
UNJUDGED = "labels"
"""Key of the finding that labels do not tell how good the version is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell, or one thing that cannot be told.

    A check that has no finding is healthy, on rows enough.

    Attributes:
        key: Of the check, the same whatever the level: `accuracy`, `drift:age`, `error_rate`, …
        level: How bad; None when there is not enough data, or not enough certainty: neither an alarm nor an all-clear.
        metric: What was measured, in words.
        value: Measured; None when unknown.
        reference: Value at promotion, where there is one.
        bound: The bound that was crossed; for a finding without level, the first one.
        since: Start of the rows it was measured on, UTC.
        rows: How many rows or requests.
        text: One line for a person.
    """

    key: str
    level: LevelName | None
    metric: str
    value: float | None
    reference: float | None
    bound: float | None
    since: datetime
    rows: int
    text: str

    @property
    def reason(self) -> str:
        """The text without what it is about; a column may be called `wall: north`."""
        name = self.key.partition(":")[2]
        rest = self.text.partition(name)[2] if name else self.text
        return rest.partition(": ")[2] or self.text

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"since": self.since.isoformat()}


def worst(findings: Sequence[Finding]) -> LevelName | None:
    """The highest level among findings; None when none has one."""
    found = {finding.level for finding in findings}
    return next((level for level in LEVELS if level in found), None)


def alert_bounds(monitoring: Monitoring, name: str) -> list[tuple[LevelName, float]]:
    """A bound's levels, worst first."""
    alerts: tuple[tuple[LevelName, AlertBounds], ...] = (
        ("critical", monitoring.critical),
        ("warning", monitoring.warning),
    )
    found = [(level, getattr(alert, name)) for level, alert in alerts]
    return [(level, bound) for level, bound in found if bound is not None]


def bounds_of(levels: Levels) -> list[tuple[LevelName, float]]:
    """Those that are set, worst first."""
    return [(level, bound) for level in LEVELS if (bound := getattr(levels, level)) is not None]


def is_figure(value: float | None) -> TypeGuard[float]:
    """Whether a figure says anything: what is no number is beyond no bound, and no all-clear either."""
    return value is not None and not math.isnan(value)


def is_beyond(value: float, bound: float) -> bool:
    """Whether a bound is crossed: 0.90 - 0.85 is 0.05000000000000004 to a computer, and not beyond 0.05 to people."""
    return value > bound + 1e-9


def crossed_bound(value: float, bounds: list[tuple[LevelName, float]]) -> tuple[LevelName, float] | None:
    """The worst bound that the value is beyond, with its level."""
    return next(((level, bound) for level, bound in bounds if is_beyond(value, bound)), None)
