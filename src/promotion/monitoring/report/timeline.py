"""Where the points of a trend lie on paper; the template draws them, the style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

WIDTH, HEIGHT = 430, 220
"""Of a chart's frame, in units of its drawing."""
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 16, 34
_TICKS = 4
_LONG = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Line:
    """A value that means something all the time: a bound, or the value at promotion."""

    value: float
    role: str
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
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

    @cached_property
    def values(self) -> list[float]:
        """What was measured, without the gaps."""
        return [value for _, value in self.points if value is not None and math.isfinite(value)]

    @property
    def frame(self) -> dict[str, float]:
        """Corners of the plotting area, and the size of the drawing."""
        return {
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
            "width": WIDTH,
            "height": HEIGHT,
        }

    @property
    def path(self) -> str:
        """The measured line as an SVG path, with gaps."""
        return self._path(self.points)

    @property
    def path_before(self) -> str:
        """The same of the versions before."""
        return self._path(self.before)

    @property
    def dots(self) -> list[tuple[float, float, str]]:
        """Centres of the measured points, and what each says."""
        return [
            (self._x(at), self._y(value), f"{at:%Y-%m-%d %H:%M} UTC: {self.spell(value)}")
            for at, value in self.points
            if value is not None and math.isfinite(value)
        ]

    @property
    def levels(self) -> list[tuple[float, float, Line]]:
        """Height of each line, height of its label, and the line; labels do not touch."""
        placed: list[tuple[float, float, Line]] = []
        for height, line in sorted(((self._y(line.value), line) for line in self.lines), key=lambda item: item[0]):
            # The topmost label stands on its line, the others hang below theirs.
            label = height - 4 if not placed else max(height, placed[-1][1]) + 11
            placed.append((height, label, line))
        return placed

    @property
    def moments(self) -> list[tuple[float, str]]:
        """Where the marks stand, and what they say."""
        return [(self._x(mark.at), mark.label) for mark in self.marks]

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Positions and labels along the time."""
        spelling = "%m-%d" if self.until - self.since > _LONG else "%H:%M"
        step = (self.until - self.since) / _TICKS
        moments = [self.since + step * number for number in range(_TICKS + 1)]
        return [(self._x(at), f"{at:{spelling}}") for at in moments]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Heights and labels."""
        low, high, step = self._scale
        count = round((high - low) / step)
        return [(self._y(low + step * number), self.spell(low + step * number)) for number in range(count + 1)]

    def spell(self, value: float) -> str:
        """A value as the axis says it."""
        return f"{round(value, 10):{self.spelling}}"

    @cached_property
    def _scale(self) -> tuple[float, float, float]:
        """Ends of the axis and its step: one, two or five times a power of ten."""
        earlier = [value for _, value in self.before if value is not None and math.isfinite(value)]
        shown = [*self.values, *earlier, *(line.value for line in self.lines)] or [0.0, 1.0]
        low, high = min(shown), max(shown)
        if math.isclose(low, high, abs_tol=1e-12):
            low, high = low - 0.05 * (abs(low) or 1), high + 0.05 * (abs(high) or 1)
        raw = (high - low) / _TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step

    def _path(self, points: Sequence[tuple[datetime, float | None]]) -> str:
        pieces, is_open = [], False
        for at, value in points:
            if value is None or not math.isfinite(value):
                is_open = False
                continue
            pieces.append(f"{'L' if is_open else 'M'}{self._x(at)},{self._y(value)}")
            is_open = True
        return "".join(pieces)

    def _x(self, at: datetime) -> float:
        share = (at - self.since) / (self.until - self.since)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, value: float) -> float:
        low, high, _ = self._scale
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)
