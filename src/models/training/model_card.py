"""The model card: one page in each version's own files that says what it is, what it was worth, and what it is not for.

Sections follow Mitchell et al. (2019), Model Cards for Model Reporting, as far as a configuration and a training know
them. The same facts always give the same bytes, because the card is part of the version's digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.data.sources import describe_invention
from promotion.config.commit import Commit
from promotion.config.family import FamilyConfig
from promotion.config.training import Column
from promotion.data.arrays import FloatArray
from promotion.gates.evidence import Interval

_SPECIAL = re.compile(r"([\\`*_\[\]<>#~&$])")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a training knows beyond its configuration.

    Attributes:
        algorithm: Name in the family's configuration.
        params: Every hyper-parameter of the estimator.
        cross_validation: By metric, one score a fold, shape (folds * repeats,).
        test: By metric, on the test split, with its 95 % interval.
        data_sha256: Digest of the data file.
        train_rows: Number of rows learned from.
        test_rows: Number of rows of the test split.
        trainer: Who started the training.
        timestamp: When, UTC, ISO 8601.
        commit: Of the code; None outside a git repository.
    """

    algorithm: str
    params: Mapping[str, object]
    cross_validation: Mapping[str, FloatArray]
    test: Mapping[str, Interval]
    data_sha256: str
    train_rows: int
    test_rows: int
    trainer: str
    timestamp: str
    commit: Commit | None


def model_card(config: FamilyConfig, facts: CardFacts) -> str:
    """Write the card of one trained candidate.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    template = Path(__file__).with_name("model_card.md.j2")
    invention = describe_invention(config, facts.data_sha256)
    incomplete = [name for name in config.features if config.data.columns[name].max_missing]
    return render_markdown(template, config=config, facts=facts, invention=invention, incomplete=incomplete)


def render_markdown(template: Path, **facts: object) -> str:
    """Fill a template of Markdown.

    Its filters: `text` shows a value literally, `code` as a code span, `row` makes cells one row of a table, `allowed`
    says which values a column takes, `day` spells a day that is counted since 1970.

    Args:
        template: The file.
        facts: What it shows, by the template's names; one the template misses is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=False,  # noqa: S701  # it is no HTML; `text` and `code` escape for Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": _text, "code": _code, "row": _row, "allowed": _allowed, "day": _day}
    return environment.get_template(template.name).render(**facts, unknown="not recorded")


def _day(number: int) -> str:
    return str(np.datetime64(number, "D"))


def _row(cells: Iterable[str]) -> str:
    # A cell ends at a bare pipe, even inside a code span.
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _allowed(column: Column) -> str:
    if column.codes is not None:
        return ", ".join(str(code) for code in column.codes)
    low, high = (None if bound is None else f"{bound:g}" for bound in (column.minimum, column.maximum))
    if low is None and high is None:
        return "any"
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} – {high}"


def _text(value: str) -> str:
    """One line that shows `value` literally."""
    return _SPECIAL.sub(r"\\\1", _line(value))


def _code(value: object) -> str:
    """A code span of one line; its fence is longer than any run of back-ticks inside (CommonMark 6.1)."""
    line = _line(str(value)) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def _line(text: str) -> str:
    printable = (character if character.isprintable() else " " for character in text)
    return " ".join("".join(printable).split())
