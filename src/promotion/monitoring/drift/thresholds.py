"""Say of a distribution that moved how bad that is: by its size, its certainty, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from promotion.config.policy import Monitoring
from promotion.monitoring.finding import LEVELS, Finding, LevelName, bounds_of, crossed_bound, is_figure
from promotion.monitoring.observe.observation import Drift, Observation

_INDEX = "population stability index"
# A feature is one of many that are looked at in every run: how unlikely chance must be as the reason.
_DRIFT_P_VALUE = 0.001
_UNSEEN_P_VALUE = 0.003
_WORTH_SAYING = 0.01
# A smaller share of what moves the answers is none.
_UNUSED = 0.001


def drift_findings(observation: Observation, monitoring: Monitoring, *, tests: int) -> Iterator[Finding]:
    """Of every feature and of the predictions.

    Args:
        observation: What was seen.
        monitoring: The family's bounds.
        tests: How many distributions are compared in this run.
    """
    features = sum(drift.of == "feature" for drift in observation.drift)
    for drift in observation.drift:
        weight = 1.0 if drift.importance is None else min(1.0, drift.importance * features)
        yield from _drift(observation, monitoring, drift, weight=weight, tests=tests)


def _drift(
    observation: Observation, monitoring: Monitoring, drift: Drift, *, weight: float, tests: int
) -> Iterator[Finding]:
    levels = bounds_of(monitoring.psi)
    key, metric = f"drift:{drift.name}", f"{_INDEX} of {drift.name}"
    facts = (metric, drift.psi, 0.0, levels[-1][1] if levels else None, observation.since, drift.rows)
    if not drift.rows:
        yield Finding(key, None, *facts, f"drift of {drift.name}: not enough data, no rows")
        return
    if not is_figure(drift.psi) or not is_figure(drift.p_value):
        yield Finding(key, None, *facts, f"drift of {drift.name}: unknown, there is no reference of this version")
        return
    if not drift.enough:
        needed = f"{drift.rows:,} rows, {monitoring.minimum_rows:,} needed"
        yield Finding(key, None, *facts, f"drift of {drift.name}: not enough data, {needed}")
        return
    found = [
        _index(drift, levels, weight=weight, tests=tests),
        _unseen(drift, bounds_of(monitoring.unseen), tests=tests),
    ]
    crossed = [it for it in found if it is not None]
    if not crossed:
        return
    # Both are about one feature, and one alert: the worse leads.
    crossed.sort(key=lambda it: LEVELS.index(it.level) if it.level else len(LEVELS))
    first, metric = crossed[0], f"{crossed[0].metric} of {drift.name}"
    text = f"{drift.name} drifted: {'; '.join([*(it.text for it in crossed), *_weight_in_words(drift)])}"
    yield Finding(key, first.level, metric, first.value, 0.0, first.bound, observation.since, drift.rows, text)


def _weight_in_words(drift: Drift) -> list[str]:
    if drift.of == "prediction":
        return []
    share = drift.importance
    return ["its importance is not known" if share is None else f"{share:.1%} of what moves the model's answers"]


class _Crossed(NamedTuple):
    level: LevelName | None
    metric: str
    value: float
    bound: float
    text: str


def _index(drift: Drift, levels: list[tuple[LevelName, float]], *, weight: float, tests: int) -> _Crossed | None:
    if not is_figure(drift.psi) or not is_figure(drift.p_value):
        return None
    # What chance alone adds is taken off, or a small reference would be a drift for ever.
    size = drift.psi - drift.by_chance
    crossed = crossed_bound(size, levels)
    if crossed is None:
        return None
    chance = f", {drift.by_chance:.2f} of it by chance" if drift.by_chance >= _WORTH_SAYING else ""
    text = f"{_INDEX} {drift.psi:.2f}{chance} over {drift.rows:,} rows"
    # Bonferroni.
    if drift.p_value * tests > _DRIFT_P_VALUE:
        text = f"{text}; too few to be sure (p = {drift.p_value:.2g})"
        return _Crossed(None, _INDEX, drift.psi, levels[-1][1], text)
    weighed = crossed_bound(size * weight, levels)
    level: LevelName = weighed[0] if weighed else "info"
    if level == crossed[0]:
        return _Crossed(crossed[0], _INDEX, drift.psi, crossed[1], f"{text}; {crossed[0]} beyond {crossed[1]:g}")
    text = f"{text}, beyond {crossed[1]:g}; {level} only, by its importance it weighs {size * weight:.2f}"
    return _Crossed(level, _INDEX, drift.psi, crossed[1], text)


def _unseen(drift: Drift, levels: list[tuple[LevelName, float]], *, tests: int) -> _Crossed | None:
    """Values such as training never had: in the tails, or new codes.

    How much a feature counts among values that training had says nothing of others, unless it does not count at all.
    """
    crossed = crossed_bound(drift.unseen, levels) if is_figure(drift.unseen) else None
    if crossed is None or drift.unseen is None or drift.unseen_p_value * tests > _UNSEEN_P_VALUE:
        return None
    level: LevelName = "info" if drift.importance is not None and drift.importance < _UNUSED else crossed[0]
    text = f"{drift.unseen:.1%} of {drift.rows:,} rows hold values such as none of {drift.reference_rows:,} at training"
    text = f"{text}; {level} beyond {crossed[1]:g}"
    return _Crossed(level, "unseen values", drift.unseen, crossed[1], text)
