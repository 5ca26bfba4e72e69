"""Where the points of a chart lie on paper; the templates draw them, the style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple, Self, TypeGuard

_STEPS = 4
"""Into how many steps an axis is parted, about."""
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area of a drawing, in its units.

    Attributes:
        x: Values at its left and right edge, numbers or moments.
        y: Values at its lower and upper edge.
        left: Of its edges; so are `right`, `top` and `bottom`.
        width: Of the drawing; so is `height`.
    """

    x: tuple[Any, Any] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    left: float = 46
    right: float = 310
    top: float = 10
    bottom: float = 280
    width: float = 320
    height: float = 320

    def across(self, value: Any) -> float:
        """Where a value lies horizontally."""
        share: float = (value - self.x[0]) / (self.x[1] - self.x[0])
        return round(self.left + share * (self.right - self.left), 1)

    def up(self, value: float) -> float:
        """Where a value lies vertically."""
        return round(self.bottom - (value - self.y[0]) / (self.y[1] - self.y[0]) * (self.bottom - self.top), 1)

    def path(self, points: Iterable[tuple[Any, float | None]]) -> str:
        """A line through points as an SVG path; one without a value breaks it."""
        pieces, pen = [], "M"
        for x, y in points:
            if is_known(y):
                pieces.append(f"{pen}{self.across(x)},{self.up(y)}")
            pen = "L" if is_known(y) else "M"
        return "".join(pieces)


class Bar(NamedTuple):
    """A vertical interval at `x` from `low` to `high`."""

    x: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Series:
    """One model's line.

    Attributes:
        role: Style class: `candidate` or `production`.
        points: Within the chart's frame.
        marks: Whether the points themselves are shown.
        bars: Intervals around them.
    """

    role: str
    points: Sequence[tuple[float, float]]
    marks: bool = False
    bars: Sequence[Bar] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A square chart, of shares against shares unless its frame says otherwise.

    Attributes:
        title: What it shows, in a few words.
        x_label: What the horizontal axis counts, with its unit.
        y_label: What the vertical axis counts, with its unit.
        series: One a model.
        description: What it shows, for those who do not see it.
        note: What to know when reading it.
        frame: Where it is drawn.
        x_ticks: Values along the horizontal axis.
        y_ticks: Values along the vertical axis.
        guide: Ends of the dotted line to hold the others against; none without.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    description: str
    note: str
    frame: Frame = Frame()
    x_ticks: Sequence[float] = _SHARES
    y_ticks: Sequence[float] = _SHARES
    guide: Sequence[tuple[float, float]] = ((0.0, 0.0), (1.0, 1.0))


class Line(NamedTuple):
    """A value that means something all the time: a bound, or the value at promotion."""

    value: float
    role: str
    label: str


class Mark(NamedTuple):
    """A moment at which something happened."""

    at: datetime
    label: str


@dataclass(frozen=True)
class Timeline:
    """One metric over time.

    Attributes:
        title: The metric, with its unit.
        since: Left end.
        until: Right end.
        points: Moment and value, oldest first; a step without a value breaks the line.
        before: The same of the versions that answered before.
        lines: Bounds and the value at promotion.
        marks: Moments to mark.
        spelling: Python's format of a value.
    """

    title: str
    since: datetime
    until: datetime
    points: Sequence[tuple[datetime, float | None]]
    before: Sequence[tuple[datetime, float | None]] = ()
    lines: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    spelling: str = "g"

    @property
    def measured(self) -> list[tuple[datetime, float]]:
        """The points that have a value."""
        return [(at, value) for at, value in self.points if is_known(value)]

    @cached_property
    def ticks(self) -> list[float]:
        """Values along the vertical axis, which ends on the outer ones."""
        shown = [value for _, value in (*self.points, *self.before) if is_known(value)]
        return ticks_around([*shown, *(line.value for line in self.lines)])

    @cached_property
    def frame(self) -> Frame:
        """Where it is drawn."""
        ends = self.ticks[0], self.ticks[-1]
        return Frame((self.since, self.until), ends, left=50, right=418, top=16, bottom=186, width=430, height=220)

    @property
    def moments(self) -> list[datetime]:
        """Moments along the horizontal axis."""
        return [self.since + (self.until - self.since) / _STEPS * number for number in range(_STEPS + 1)]

    @property
    def levels(self) -> list[tuple[float, float, Line]]:
        """Height of each line, height of its label, and the line; labels do not touch."""
        placed: list[tuple[float, float, Line]] = []
        for height, line in sorted(((self.frame.up(line.value), line) for line in self.lines), key=lambda it: it[0]):
            # The topmost label stands on its line, the others hang below theirs.
            label = height - 4 if not placed else max(height, placed[-1][1]) + 11
            placed.append((height, label, line))
        return placed

    def spell(self, value: float) -> str:
        """A value as the axis says it."""
        return f"{round(value, 10):{self.spelling}}"


def ticks_around(values: Sequence[float]) -> list[float]:
    """Values along an axis that holds all of these: one, two or five times a power of ten apart."""
    shown = values or (0.0, 1.0)
    low, high = min(shown), max(shown)
    if math.isclose(low, high, abs_tol=1e-12):
        low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
    raw = (high - low) / _STEPS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def is_known(value: float | None) -> TypeGuard[float]:
    """Whether there is a value to draw."""
    return value is not None and math.isfinite(value)


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

    @classmethod
    def each(cls, rows: Mapping[str, Sequence[float]]) -> dict[str, Self]:
        """One that all rows share where their values are shares; else each its own, as their units differ."""
        found = [value for values in rows.values() for value in values if math.isfinite(value)]
        if all(-1 <= value <= 1 for value in found):
            return dict.fromkeys(rows, cls.around(found))
        ends = {
            name: ticks_around([value for value in values if math.isfinite(value)]) for name, values in rows.items()
        }
        return {name: cls(ticks[0], ticks[-1]) for name, ticks in ends.items()}

    def percent(self, value: float) -> str:
        """Where a value lies, from the left end, as the style sheet wants it."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"
