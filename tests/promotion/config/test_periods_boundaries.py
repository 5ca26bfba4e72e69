"""Periods that decide: the cool-down of a rollback and the retention, a microsecond before, at and after their end."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from tests.promotion.factories import START, a_family, a_journal, a_version, an_entry

from promotion.cleanup import _Facts, _retained
from promotion.config.family import FamilyConfigs
from promotion.errors import GateRefused
from promotion.gates.gathering import Gatherer
from promotion.journal import clock
from promotion.journal.records import Authority
from promotion.registry.contract import Registry
from promotion.registry.stages import Stage
from promotion.rollbacks import ACTION, _require_calm
from promotion.service import PromotionService

INSTANT, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("rollback", "action", "later", "calm"),
    [
        ({"cool_down_hours": 2.0}, ACTION, 2 * HOUR - INSTANT, False),
        ({"cool_down_hours": 2.0}, ACTION, 2 * HOUR, False),
        ({"cool_down_hours": 2.0}, ACTION, 2 * HOUR + INSTANT, True),
        ({"cool_down_hours": 2.0}, ACTION, 0 * HOUR, False),
        ({"cool_down_hours": 2.0}, "promote", 0 * HOUR, True),
        ({"cool_down_hours": 0.0}, ACTION, 0 * HOUR, True),
        ({}, ACTION, DAY, False),
        ({}, ACTION, DAY + INSTANT, True),
        (None, ACTION, DAY, False),
        (None, ACTION, DAY + INSTANT, True),
        (None, None, DAY, True),
    ],
)
def test_a_second_rollback_waits_until_the_cool_down_is_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rollback: dict[str, Any] | None,
    action: str | None,
    later: timedelta,
    *,
    calm: bool,
) -> None:
    """Rule of the family, rule absent, no configuration, zero hours; other acts do not count."""
    journal = a_journal(tmp_path)
    configs = FamilyConfigs({} if rollback is None else {"tiny": a_family(rollback=rollback)})
    service = PromotionService(journal, cast("Registry", None), configs, cast("Gatherer", None))
    monkeypatch.setenv(clock.VARIABLE, START.isoformat())
    journal.record("other", a_version("other"), Authority(ACTION, "anna", "elsewhere"))
    if action:
        journal.record("tiny", a_version("tiny"), Authority(action, "anna", "wrong answers"))
    monkeypatch.setenv(clock.VARIABLE, (START + later).isoformat())

    if calm:
        _require_calm(service, "tiny")
    else:
        with pytest.raises(
            GateRefused, match=r"'tiny' was rolled back at 2026-01-01 00:00 UTC already \(wrong answers"
        ):
            _require_calm(service, "tiny")


@pytest.mark.parametrize(
    ("ended", "now", "kept"),
    [
        (START, START, True),
        (START, START + 10 * DAY - INSTANT, True),
        (START, START + 10 * DAY, False),
        (START, START + 10 * DAY + INSTANT, False),
        (START, START - DAY, True),
        (None, START, False),
    ],
)
def test_a_version_is_retained_until_its_days_have_passed(ended: datetime | None, now: datetime, *, kept: bool) -> None:
    """In that moment no longer; one that never served is not retained at all."""
    facts = _Facts({}, (), {1: ended} if ended else {}, (), (), (), (), (), {}, days=10, now=now)

    why = _retained(a_version("tiny", 1), an_entry("tiny", 1), facts)

    assert ("served or archived, retained until 2026-01-11 (10 days)" if kept else "") == why


@pytest.mark.parametrize(("stage", "kept"), [(Stage.ARCHIVED, True), (Stage.NONE, False)])
def test_what_was_archived_nobody_knows_when_is_kept(stage: Stage, *, kept: bool) -> None:
    """Whether the journal knows the version or not."""
    facts = _Facts({}, (), {}, (), (), (), (), (), {}, days=1, now=START)

    for entry in (None, an_entry("tiny", 1)):
        why = _retained(a_version("tiny", 1, stage), entry, facts)
        assert ("Archived, since when is not recorded" if kept else "") == why
