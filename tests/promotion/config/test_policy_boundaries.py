"""Numbers in a family's file: the smallest and largest that are taken, and none that bounds nothing."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from promotion.config.family import load_config
from promotion.config.policy import (
    AlertBounds,
    Approvals,
    BetterThanProduction,
    Cpu,
    Gates,
    Levels,
    Monitoring,
    Retention,
    Review,
    Rollback,
    StagingDays,
    Sustained,
    Threshold,
)
from promotion.config.settings import REPOSITORY
from promotion.config.values import Strict
from promotion.errors import ConfigError

LEAST = 5e-324
Part = type[Strict]
RULES: list[tuple[Part, dict[str, Any], str, list[Any], list[Any]]] = [
    (Gates, {}, "latency_p95_ms", [None, LEAST, 100.0], [0.0, -1.0]),
    (Gates, {}, "artifact_size_mb", [None, LEAST], [0.0, -1.0]),
    (Gates, {}, "peak_memory_mb", [None, LEAST], [0.0, -1.0]),
    (Cpu, {}, "share", [0.0, 1.0], [-LEAST, math.nextafter(1, 2)]),
    (Cpu, {}, "requests_per_second", [LEAST], [0.0]),
    (Cpu, {}, "cores", [LEAST], [0.0]),
    (StagingDays, {}, "minimum", [0.0], [-LEAST]),
    (StagingDays, {}, "typical", [0.0], [-LEAST]),
    (Threshold, {}, "minimum", [-1.0, 0.0], []),
    (Threshold, {}, "maximum", [-1.0, 0.0], []),
    (Threshold, {}, "below", [-1.0, 0.0], []),
    (BetterThanProduction, {}, "minimum_gain", [0.0], [-LEAST]),
    (BetterThanProduction, {}, "margin", [0.0], [-LEAST]),
    (Approvals, {"roles": ["science"]}, "expire_days", [LEAST], [0.0]),
    (Rollback, {}, "cool_down_hours", [0.0], [-LEAST]),
    (Retention, {}, "days", [1], [0, 1.5]),
    (AlertBounds, {}, "accuracy_drop", [None, 0.0, 1.0], [-LEAST, 1.01]),
    (AlertBounds, {}, "error_rate", [None, 0.0, 1.0], [-LEAST, 1.01]),
    (AlertBounds, {}, "latency_ms", [None, LEAST], [0.0]),
    (Levels, {}, "info", [None, LEAST], [0.0]),
    (Levels, {}, "warning", [None, LEAST], [0.0]),
    (Levels, {}, "critical", [None, LEAST], [0.0]),
    (Sustained, {"needed": 1}, "of", [1, 100], [0, 101]),
    (Sustained, {"of": 3}, "needed", [1, 3], [0, 4]),
    (Sustained, {}, "minimum_labels", [1], [0]),
    (Monitoring, {}, "minimum_rows", [1], [0]),
    (Monitoring, {}, "minimum_labels", [1], [0]),
    (Monitoring, {}, "confidence", [LEAST, math.nextafter(1, 0)], [0.0, 1.0]),
    (Monitoring, {}, "concept_change", [0.0, 1.0], [-LEAST, 1.01]),
    (Monitoring, {}, "missing_rise", [0.0, 1.0], [-LEAST, 1.01]),
    (Monitoring, {}, "out_of_range", [0.0, 1.0], [-LEAST, 1.01]),
    (Review, {}, "criteria_days", [1], [0]),
    (Review, {}, "performance_days", [1], [0]),
    (Review, {}, "process_days", [1], [0]),
]
IDS = [f"{part.__name__}.{name}" for part, _, name, _, _ in RULES]


@pytest.mark.parametrize(("part", "others", "name", "taken", "refused"), RULES, ids=IDS)
def test_a_number_and_the_range_it_is_taken_from(
    part: Part, others: dict[str, Any], name: str, taken: list[Any], refused: list[Any]
) -> None:
    """On the edge it is taken; beyond it, NaN and infinite it is refused, and so is a number in quotes."""
    for value in taken:
        assert value == getattr(part.model_validate({**others, name: value}), name)
    for value in [*refused, math.nan, math.inf, -math.inf, "1", True]:
        with pytest.raises(ValidationError, match=name):
            part.model_validate({**others, name: value})


@pytest.mark.parametrize("loss", [math.nan, math.inf, -LEAST])
def test_a_tolerated_loss_is_a_number(loss: float) -> None:
    """An infinite one would tolerate anything."""
    assert {"f1": 0.0} == BetterThanProduction(also={"f1": 0.0}).also
    with pytest.raises(ValidationError, match=r"also\.f1"):
        BetterThanProduction(also={"f1": loss})


@pytest.mark.parametrize("roles", [[], [""]])
def test_approvals_ask_somebody(roles: list[str]) -> None:
    """A policy that asks nobody would let everything pass."""
    with pytest.raises(ValidationError, match="roles"):
        Approvals(roles=roles)


@pytest.mark.parametrize("text", ["0m", "5", "m", "5 m", "-5m", "1.5h", "1000000s", "5w", ""])
def test_a_time_span_is_a_whole_number_of_a_unit(text: str) -> None:
    """Zero is no span: nothing would ever be looked at."""
    assert 60 == Sustained.model_validate({"window": "1m"}).window.total_seconds()
    with pytest.raises(ValidationError, match="expected a time span such as 90s, 5m, 24h or 7d"):
        Sustained.model_validate({"window": text})


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_a_file_with_a_bound_that_bounds_nothing_is_refused_in_one_line(tmp_path: Path, number: str) -> None:
    """File, line, key, and what was found there."""
    document = (REPOSITORY / "config" / "iris-classifier.yaml").read_text(encoding="utf-8")
    (tmp_path / "iris-classifier.yaml").write_text(
        document.replace("gates:\n", f"gates:\n  latency_p95_ms: {number}\n")
    )

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path, "iris-classifier")

    assert re.fullmatch(
        rf".*iris-classifier\.yaml:\d+: gates\.latency_p95_ms: expected a .*, found {re.escape(number)}; correct it",
        str(caught.value),
    )
