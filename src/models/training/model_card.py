"""The model card: one page in each version's own files that says what it is, what it was worth, and what it is not for.

Sections follow Mitchell et al. (2019), Model Cards for Model Reporting, as far as a configuration and a training know
them. The same facts always give the same bytes, because the card is part of the version's digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from models.data.sources import describe_invention
from models.training.lineage import Commit
from promotion.config.family import FamilyConfig
from promotion.config.training import Column
from promotion.data.arrays import FloatArray
from promotion.gates.evidence import Interval

_SPECIAL = re.compile(r"([\\`*_\[\]<>#~&$])")
_UNKNOWN = "not recorded"


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

    Args:
        config: The family.
        facts: What came out of its training.

    Returns:
        Markdown (CommonMark with tables), ending in a line break.
    """
    sections = {
        "Purpose": _purpose(config),
        "Algorithm": _algorithm(config, facts),
        "How it was chosen": _choice(config, facts),
        "What it was worth on test rows": _worth(facts),
        "Data": _data(config, facts),
        "Inputs": _inputs(config),
        "Limits": _limits(config, facts),
        "Provenance": _provenance(facts),
    }
    blocks = [f"# Model card: {_text(config.model_name(facts.algorithm))}"]
    blocks += [f"## {title}\n\n{body}" for title, body in sections.items()]
    return "\n\n".join(blocks) + "\n"


def _purpose(config: FamilyConfig) -> str:
    meaning = config.data.columns[config.target.column].description
    return _items(
        Family=_code(config.family),
        Task=_text(config.task),
        Predicts=_code(config.target.column) + (f", {_text(meaning)}" if meaning else ""),
        Classes=", ".join(_code(name) for name in config.classes),
    )


def _algorithm(config: FamilyConfig, facts: CardFacts) -> str:
    chosen = config.candidates[facts.algorithm].params
    rows = [
        (_code(name), _code(facts.params[name]), "configured" if name in chosen else "default")
        for name in sorted(facts.params)
    ]
    return f"{_items(Name=_code(facts.algorithm))}\n\n{_table(('hyper-parameter', 'value', 'from'), rows)}"


def _choice(config: FamilyConfig, facts: CardFacts) -> str:
    plan = config.cross_validation
    scheme = f"{plan.folds}-fold cross-validation" + (f", {plan.repeats} rounds," if plan.repeats > 1 else "")
    where = f"{scheme} on the {facts.train_rows} training rows"
    if len(config.candidates) == 1:
        said = f"It was the only candidate; {where} says how much its figures vary."
    else:
        rivals = ", ".join(_code(name) for name in sorted(config.candidates))
        said = f"Candidates ({rivals}) are ranked by the mean {_code(config.selection_metric)} of {where}."
    rows = [
        (_code(metric), f"{scores.mean():.4f} ± {scores.std(ddof=1):.4f}")
        for metric, scores in facts.cross_validation.items()
    ]
    table = _table(("metric", "cross-validation, mean ± standard deviation"), rows)
    return f"{said} The test rows have no part in it.\n\n{table}"


def _worth(facts: CardFacts) -> str:
    rows = [
        (_code(metric), f"{found.value:.4f}", f"{found.low:.4f} – {found.high:.4f}")
        for metric, found in facts.test.items()
    ]
    return _table(("metric", f"on {facts.test_rows} test rows", "95 % interval"), rows)


def _data(config: FamilyConfig, facts: CardFacts) -> str:
    data, split = config.data, config.split
    return _items(
        File=_code(data.path),
        SHA_256=_code(facts.data_sha256),
        Rows=f"{facts.train_rows} to learn from, {facts.test_rows} to test on "
        f"(stratified, {100 * split.test_size:g} %, seed {split.seed})",
        Source=f"built-in source {_code(data.generator)}" if data.generator else _text(data.url or _UNKNOWN),
        Licence=_text(data.licence or _UNKNOWN),
    )


def _inputs(config: FamilyConfig) -> str:
    columns = config.data.columns
    rows = [
        (
            _code(name),
            _text(columns[name].type),
            _allowed(columns[name]),
            _text(columns[name].unit or ""),
            f"up to {100 * columns[name].max_missing:g} %" if columns[name].max_missing else "no",
            _text(columns[name].description),
        )
        for name in config.features
    ]
    return _table(("column", "type", "allowed", "unit", "may be empty", "meaning"), rows)


def _allowed(column: Column) -> str:
    if column.codes is not None:
        return ", ".join(str(code) for code in column.codes)
    low, high = (None if bound is None else f"{bound:g}" for bound in (column.minimum, column.maximum))
    if low is None and high is None:
        return "any"
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} – {high}"


def _limits(config: FamilyConfig, facts: CardFacts) -> str:
    invention = describe_invention(config, facts.data_sha256)
    invented = [f"The rows are invented ({_text(invention)}): no figure here says anything about real cases."]
    incomplete = [_code(name) for name in config.features if config.data.columns[name].max_missing]
    limits = [
        *(invented if invention else []),
        "Rows outside the ranges above were never seen: what the model answers there means nothing.",
        "It was tested on rows of the same file only; another population, place or time may give other figures.",
        f"The intervals cover the chance in drawing {facts.test_rows} test rows, not a change of the population.",
        "It has learned what goes together, not what causes what.",
        "Performance in subgroups was not measured.",
    ]
    if incomplete:
        limits.append(
            f"Empty cells in {', '.join(incomplete)} are filled in; where many are empty, expect it to be worse."
        )
    return "\n".join(f"- {limit}" for limit in limits)


def _provenance(facts: CardFacts) -> str:
    commit = _UNKNOWN
    if facts.commit is not None:
        commit = _code(facts.commit.sha) + (", with uncommitted changes" if facts.commit.dirty else "")
    return _items(Trained_by=_text(facts.trainer or _UNKNOWN), Trained_at=_text(facts.timestamp), Commit=commit)


def _items(**values: str) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in values.items())


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    # A cell ends at a bare pipe, even inside a code span.
    escaped = ([cell.replace("|", r"\|") for cell in cells] for cells in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)


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
