"""Where the points of a chart lie on paper; the template draws them, the style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

Point = tuple[float, float]

SIZE = 320
"""Width and height of a chart's frame, in units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 40
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _x(value: float) -> float:
    return round(LEFT + value * (SIZE - LEFT - RIGHT), 1)


def _y(value: float) -> float:
    return round(SIZE - BOTTOM - value * (SIZE - TOP - BOTTOM), 1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A vertical interval at `x` from `low` to `high`, all between 0 and 1."""

    x: float
    low: float
    high: float

    @property
    def path(self) -> str:
        """As an SVG path."""
        return f"M{_x(self.x)},{_y(self.low)}V{_y(self.high)}"


@dataclass(frozen=True, slots=True)
class Series:
    """One model's line.

    Attributes:
        role: Style class: `candidate` or `production`.
        points: Between 0 and 1 on both axes.
        marks: Whether the points themselves are shown.
        bars: Intervals around them.
    """

    role: str
    points: Sequence[Point]
    marks: bool = False
    bars: Sequence[Bar] = ()

    @property
    def path(self) -> str:
        """The line as an SVG path."""
        return "M" + "L".join(f"{_x(x)},{_y(y)}" for x, y in self.points)

    @property
    def dots(self) -> list[Point]:
        """Centres of the marks."""
        return [(_x(x), _y(y)) for x, y in self.points] if self.marks else []


@dataclass(frozen=True, slots=True)
class Chart:
    """A square chart of shares against shares.

    Attributes:
        title: What it shows, in a few words.
        x_label: What the horizontal axis counts, with its unit.
        y_label: What the vertical axis counts, with its unit.
        series: One a model.
        description: What it shows, for those who do not see it.
        note: What to know when reading it.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    description: str
    note: str

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Positions and labels along the horizontal axis."""
        return [(_x(value), f"{value:g}") for value in _TICKS]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Positions and labels along the vertical axis."""
        return [(_y(value), f"{value:g}") for value in _TICKS]

    @property
    def frame(self) -> dict[str, float]:
        """Corners of the plotting area."""
        return {"left": _x(0), "right": _x(1), "top": _y(1), "bottom": _y(0), "size": SIZE}


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis that several table rows share.

    Attributes:
        low: Its left end.
        high: Its right end.
    """

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> Self:
        """One that ends on tenths and holds all values, which lie between 0 and 1."""
        found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = math.floor(min(found) * 10) / 10, math.ceil(max(found) * 10) / 10
        return cls(low, high if high > low else low + 0.1)

    def percent(self, value: float) -> str:
        """Where a value lies, from the left end, as the style sheet wants it."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"
