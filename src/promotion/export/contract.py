"""What a family's model takes and answers, as the family's file or the model's own signature says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from promotion.config.family import FamilyConfig

_BINARY = 2

CellType = Literal["number", "integer", "code", "boolean", "date", "text"]


def group_name(column: str, value: Any) -> str:
    """What the rows are called that have a value in a column: `sex=1`."""
    return f"{column}={value:g}" if isinstance(value, int | float) else f"{column}={value}"


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """What one column of a row may hold.

    Attributes:
        type: `number`, `integer`, `code` (one of `codes`), `boolean`, `date` or `text`.
        minimum: Smallest value, inclusive.
        maximum: Largest value, inclusive.
        codes: The values of a `code`.
        texts: The only values of a `text`; None where it may be any.
        unit: Of the value.
        description: What is measured.
        hint: What to say to a value that is not allowed.
        nullable: Whether the value may be missing.
    """

    type: CellType
    minimum: float | None = None
    maximum: float | None = None
    codes: Sequence[int] | None = None
    texts: Sequence[str] | None = None
    unit: str | None = None
    description: str = ""
    hint: str | None = None
    nullable: bool = False


@dataclass(frozen=True)
class Contract:
    """Columns and classes.

    Attributes:
        family: Whose.
        columns: Rules of each feature by name, in the model's order.
        target: Name of what is predicted.
        classes: What the classes 0, 1, … mean; none for a regression.
        numeric: Features that are measured; of all others the values are counted.
        instead: What to do with a model that does not become a graph.
        answers: What MLflow's clients are told of each class; None for its position.
        labels: What people read for each class; None for `classes`.
    """

    family: str
    columns: Mapping[str, FeatureRules]
    target: str
    classes: Sequence[str]
    numeric: frozenset[str]
    instead: str = field(compare=False)
    answers: Sequence[int | float | str] | None = None
    labels: Sequence[str] | None = None

    @property
    def positive(self) -> int | None:
        """Position of the positive class of two, else None."""
        return 1 if len(self.classes) == _BINARY else None

    @property
    def names(self) -> list[str]:
        """What people read for each class, by position."""
        return list(self.labels or self.classes)

    @property
    def features(self) -> list[str]:
        """Names of the features, in the model's order."""
        return list(self.columns)

    @property
    def texts(self) -> frozenset[str]:
        """Features that hold texts."""
        return frozenset(name for name, rules in self.columns.items() if rules.type == "text")


def contract_of(config: FamilyConfig) -> Contract:
    """The contract that a family's file states."""
    columns = config.data.columns
    return Contract(
        family=config.family,
        columns={
            name: FeatureRules(
                type="text" if columns[name].type == "label" else columns[name].type,  # type: ignore[arg-type]  # no others
                minimum=columns[name].minimum,
                maximum=columns[name].maximum,
                codes=columns[name].codes,
                texts=columns[name].labels if columns[name].unknown == "refuse" else None,
                unit=columns[name].unit,
                description=columns[name].description,
                hint=columns[name].hint,
                nullable=columns[name].max_missing > 0,
            )
            for name in config.features
        },
        target=config.target.column,
        classes=config.classes,
        numeric=frozenset(name for name in config.numeric if columns[name].type != "boolean"),
        instead="--native exports the registered files as they are",
        labels=config.labels,
    )
