"""What a review of two versions consists of: the checklist's answers, figures of both, tables to look through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from promotion.gates.evidence import Interval
from promotion.pages import number
from promotion.pages.charts import Axis, Timeline

YES, NO, OPEN = "yes", "no", "open"
SIGNS = {YES: "✓", NO: "✗", OPEN: "?"}


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the checklist.

    Attributes:
        question: What a reviewer wants to be true, as a statement.
        verdict: `yes`, `no`, or `open` where these rows cannot tell.
        says: The figures behind it.
    """

    question: str
    verdict: str
    says: str


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of both on the same rows.

    Attributes:
        name: Of the metric.
        first: Of the version under review.
        second: Of the other one; None without one.
        difference: First minus second, paired; None where there is no second, or nothing is to be won by it.
        lower_is_better: Which way is better.
        decides: Whether versions are chosen by it.
    """

    name: str
    first: Interval
    second: Interval | None
    difference: Interval | None
    lower_is_better: bool = False
    decides: bool = False

    @property
    def reading(self) -> str:
        """What the difference says of the first: `better`, `worse`, or empty where these rows cannot tell."""
        difference = self.difference
        if difference is None or difference.low <= 0 <= difference.high:
            return ""
        return "better" if (difference.high < 0) == self.lower_is_better else "worse"

    @property
    def verdict(self) -> str:
        """The reading as an answer to "is it better"."""
        return {"better": YES, "worse": NO, "": OPEN}[self.reading]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: its key in a row, its title, how its numbers are spelt; empty for text."""

    key: str
    title: str
    spelling: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows to look through.

    Attributes:
        anchor: Its name in the page and in the JSON.
        title: What it shows.
        note: What to know when reading it.
        columns: In order.
        rows: By column key; None shows as a dash.
        drawn: Keys of intervals in each row, of the first and the second version, drawn on one axis.
    """

    anchor: str
    title: str
    note: str
    columns: Sequence[TableColumn]
    rows: Sequence[Mapping[str, Any]]
    drawn: tuple[str, ...] = ()

    @property
    def axis(self) -> Axis:
        """What the drawn intervals share."""
        return Axis.around([0.0, *_ends(each for row in self.rows for each in self.intervals(row))])

    def intervals(self, row: Mapping[str, Any]) -> list[Interval]:
        """What is drawn of a row."""
        return [row[key] for key in self.drawn]


@dataclass(frozen=True, slots=True)
class ReviewFindings:
    """What holding two versions against each other brought.

    Attributes:
        rows: How many both answered.
        about: Which rows.
        checks: The checklist.
        measures: Figures of both.
        tables: Where to look further.
        notes: What limits all of it.
        timelines: What changes with time; not in the JSON, whose tables have it.
    """

    rows: int
    about: str
    checks: Sequence[Check]
    measures: Sequence[Measure]
    tables: Sequence[Table]
    notes: Sequence[str] = field(default_factory=list)
    timelines: Sequence[Timeline] = ()

    @property
    def metric_axes(self) -> dict[str, Axis]:
        """Of each measure its axis, zero on it."""
        return metric_axes(self.measures, [0.0])

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "rows": self.rows,
            "about": self.about,
            "notes": list(self.notes),
            "checks": [asdict(check) for check in self.checks],
            "metrics": {
                measure.name: {
                    "first": asdict(measure.first),
                    "second": asdict(measure.second) if measure.second else None,
                    "difference": asdict(measure.difference) if measure.difference else None,
                    "reading": measure.reading or "cannot tell",
                }
                for measure in self.measures
            },
            **{table.anchor: [_plain(row) for row in table.rows] for table in self.tables},
        }


def metric_axes(measures: Sequence[Measure], beside: Sequence[float] = ()) -> dict[str, Axis]:
    """Of each measure the axis that holds both figures, and further values."""
    return Axis.each({it.name: [*beside, *_ends(each for each in (it.first, it.second) if each)] for it in measures})


def _ends(intervals: Iterable[Interval]) -> list[float]:
    """Everything an axis of them has to hold."""
    return [value for each in intervals for value in (each.low, each.value, each.high)]


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: asdict(value) if isinstance(value, Interval) else value for key, value in row.items()}


def better(measure: Measure, names: tuple[str, str], seen: Sequence[str] = ()) -> Check:
    """Whether the first version is better by the metric that decides.

    Args:
        measure: Of both.
        names: Of both, for people.
        seen: Which of them have learned from some of the rows, so that nobody can tell.
    """
    difference, second = measure.difference or measure.first, measure.second or measure.first
    value, low, high = (number(each, "+.4f") for each in (difference.value, difference.low, difference.high))
    says = f"{measure.first.value:.4f} against {second.value:.4f}, difference {value} (95 % {low} to {high})"
    verdict = OPEN if seen else measure.verdict
    if seen:
        says += f": {' and '.join(seen)} learned from some of these rows"
    elif verdict == OPEN:
        says += ": these rows cannot tell"
    return Check(f"{measure.name} of {names[0]} is better than that of {names[1]}", verdict, says)
