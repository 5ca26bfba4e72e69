"""Say which flaws of log and labels are worth a warning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from promotion.config.policy import Monitoring
from promotion.evaluation.intervals import is_beyond_bound
from promotion.monitoring.observe.observation import DataFlaw, Observation

_WORDS = {
    "unreadable_lines": "{part} of {whole} lines of the log cannot be read: {example}",
    "repeated_rows": "{part} of {whole} rows repeat a request_id and row, {example}: each counts once",
    "local_times": "{part} of {whole} rows have a time without its zone, such as {example}: read as UTC",
    "future_rows": "{part} of {whole} rows are stamped later than now: a clock is wrong, or times are local",
    "unknown_labels": "{part} of {whole} labels are no class of the family, or of no row, such as {example!r}",
    "conflicting_labels": "{part} of {whole} labelled rows have two labels that differ",
    "unmatched_labels": "{part} of {whole} labels are of no row in the log: {example}",
    "shrunken_labels": "the file of labels holds {part} fewer than the {whole} of an earlier run",
}


class DataWarning(NamedTuple):
    """One thing that is wrong with log or labels.

    Attributes:
        name: Which: a key of `monitoring.data`.
        share: How much of the whole; None of what is no share.
        bound: The family's.
        rows: Out of how many.
        text: One line for a person.
    """

    name: str
    share: float | None
    bound: float | None
    rows: int
    text: str


def data_warnings(observation: Observation, policy: Monitoring) -> Iterator[DataWarning]:
    """What is beyond a bound, of the version that serves: log and labels are everybody's, and told once.

    Args:
        observation: What was seen.
        policy: The family's bounds.
    """
    if not observation.serves:
        return
    for flaw in observation.flaws:
        bound = getattr(policy.data, flaw.name)
        if flaw.whole and _is_beyond(flaw, bound, policy.confidence):
            text = _WORDS[flaw.name].format(part=f"{flaw.part:,}", whole=f"{flaw.whole:,}", example=flaw.example)
            yield DataWarning(flaw.name, flaw.part / flaw.whole, bound, flaw.whole, text)
    if observation.silence:
        yield DataWarning("silence", None, None, observation.rows, observation.silence)


def _is_beyond(flaw: DataFlaw, bound: float | None, confidence: float) -> bool:
    if bound is None:
        return False
    if flaw.name == "shrunken_labels":
        return flaw.part > bound * flaw.whole
    return bool(is_beyond_bound(flaw.part, flaw.whole, bound, confidence))
