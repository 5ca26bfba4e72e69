"""Gates on the way a version takes: transitions, days in Staging, incidents, monitoring, the way back, approvals."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.promotion.factories import START, a_version, an_entry
from tests.promotion.gates.cases import PRODUCTION, a_config, a_context, answer, asked

from promotion.config.commit import COMMITTED, MODIFIED, NO_FILE, UNCOMMITTED
from promotion.gates import APPROVALS, Context
from promotion.gates.report import TRANSITION
from promotion.journal.records import Incident, RuleSet
from promotion.registry.stages import Stage

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)
STAGING = {"staging": {"minimum": 7.0, "typical": 14.0}}
NONE, STAGED, SERVING, ARCHIVED = Stage.NONE, Stage.STAGING, Stage.PRODUCTION, Stage.ARCHIVED


def moving(stage: Stage, to: Stage, said: Stage | None, gates: dict[str, Any]) -> Context:
    """A version that is in one stage and wants into another, with what the caller says of where it is."""
    entry = an_entry("tiny-forest", 2, stage)
    return a_context(a_config(gates), entry=entry, target=to, from_stage=said)


@pytest.mark.parametrize(
    ("stage", "to", "said", "gates", "expected"),
    [
        (NONE, SERVING, None, {}, None),
        (NONE, STAGED, None, STAGING, None),
        (NONE, SERVING, NONE, {}, ""),
        (STAGED, SERVING, NONE, {}, "it is in Staging, not in None"),
        (STAGED, SERVING, STAGED, {}, ""),
        (ARCHIVED, SERVING, ARCHIVED, {}, ""),
        (ARCHIVED, SERVING, STAGED, {}, "it is in Archived, not in Staging"),
        (NONE, STAGED, NONE, STAGING, ""),
        (ARCHIVED, STAGED, NONE, STAGING, "it is in Archived, not in None"),
        (STAGED, SERVING, None, STAGING, ""),
        (STAGED, SERVING, STAGED, STAGING, ""),
        (NONE, SERVING, None, STAGING, "it is in None, not in Staging"),
        (ARCHIVED, SERVING, None, STAGING, "it is in Archived, not in Staging"),
        (NONE, SERVING, NONE, STAGING, "Production is entered from Staging only"),
        (ARCHIVED, SERVING, ARCHIVED, STAGING, "Production is entered from Staging only"),
        (NONE, SERVING, STAGED, STAGING, "it is in None, not in Staging"),
    ],
)
def test_a_transition_is_legal_from_where_the_version_is(
    stage: Stage, to: Stage, said: Stage | None, gates: dict[str, Any], expected: str | None
) -> None:
    """Where it is must be where the caller says; where days in Staging are asked, that is the only way in."""
    context = moving(stage, to, said, gates)

    assert (expected is not None) == (TRANSITION in asked(context))
    if expected is not None:
        result = answer(context, TRANSITION)
        assert (not expected, expected) == (result.passed, result.why)
        needed = STAGED if gates and to is SERVING else said
        assert (f"{stage} → {to}", f"{needed} → {to}") == (result.measured, result.required)


def test_a_version_the_journal_does_not_know_is_where_the_registry_shows_it() -> None:
    """What the journal knows counts more."""
    shown = a_version("tiny-forest", 2, STAGED)
    unknown = a_context(a_config(), candidate=shown, entry=None, from_stage=STAGED)
    known = a_context(a_config(), candidate=shown, entry=an_entry("tiny-forest", 2, NONE), from_stage=STAGED)

    assert answer(unknown, TRANSITION).passed
    assert not answer(known, TRANSITION).passed


def test_one_that_comes_back_may_come_from_anywhere() -> None:
    """A rollback asks neither for a transition nor for days, incidents, monitoring or a way back."""
    rules = {**STAGING, "incidents": True, "monitoring": True, "rollback_plan": True}
    context = a_context(a_config(rules), from_stage=STAGED, is_rollback=True)

    assert not {TRANSITION, "days in Staging", "incidents", "drift monitoring", "rollback plan"} & set(asked(context))


@pytest.mark.parametrize(
    ("watched", "passed", "why"),
    [
        (7 * DAY - INSTANT, False, "wait until 2026-01-01 00:00 UTC"),
        (7 * DAY, True, ""),
        (7 * DAY + INSTANT, True, ""),
        (14 * DAY, True, ""),
        (14 * DAY + INSTANT, True, "longer than the typical 14 days: is it still wanted?"),
        (0 * DAY, False, "wait until 2026-01-08 00:00 UTC"),
        (-30 * DAY, False, "wait until 2026-02-07 00:00 UTC"),
        (None, False, "it is not in Staging: python src/models/validate_model.py moves it there"),
    ],
)
def test_a_version_is_watched_for_long_enough(watched: timedelta | None, why: str, *, passed: bool) -> None:
    """The last microsecond counts; one that was put there in the future has not been watched at all."""
    context = a_context(a_config(STAGING), staged_at=None if watched is None else START - watched)
    result = answer(context, "days in Staging")

    assert (passed, why, "≥ 7 days") == (result.passed, result.why, result.required)
    assert ("0 days" if watched is None else f"{watched / DAY:.1f} days") == result.measured


def test_days_of_a_rehearsal_are_not_counted() -> None:
    """The reason says so, and what to do."""
    result = answer(a_context(a_config(STAGING), is_rehearsed=True), "days in Staging")

    assert (False, "0 days") == (result.passed, result.measured)
    assert "it entered Staging in a rehearsal (PROMOTION_CLOCK was set)" in result.why


def test_an_incident_of_a_rehearsal_keeps_nothing_out() -> None:
    """It is named nevertheless."""
    found = replace(incident(3, "critical"), is_void=True)

    result = answer(a_context(a_config({"incidents": True}), incidents=(found,)), "incidents")

    assert result.passed
    assert "incident 3 was opened in a rehearsal" in result.why


def test_no_days_may_be_asked_for() -> None:
    """Zero days still mean that it has to be there; without the rule nobody asks."""
    config = a_config({"staging": {"minimum": 0.0}})

    assert answer(a_context(config, staged_at=START), "days in Staging").passed
    assert not answer(a_context(config), "days in Staging").passed
    assert "days in Staging" not in asked(a_context(a_config()))


def incident(number: int, severity: str) -> Incident:
    """An open one."""
    return Incident(number, "tiny-forest", 2, severity, f"fault {number}", "otto", START, None, None, None)


@pytest.mark.parametrize(
    ("severities", "critical", "why"),
    [
        ([], 0, ""),
        (["warning", "info", "Critical", ""], 0, ""),
        (["critical"], 1, "incident 1 of 2026-01-01: fault 1"),
        (["warning", "critical"], 1, "incident 2 of 2026-01-01: fault 2"),
        (["critical", "critical"], 2, "incident 1 of 2026-01-01: fault 1; incident 2 of 2026-01-01: fault 2"),
    ],
)
def test_one_open_critical_incident_keeps_it_out(severities: list[str], critical: int, why: str) -> None:
    """Others do not, however many; every critical one is named."""
    incidents = tuple(incident(number, severity) for number, severity in enumerate(severities, start=1))
    result = answer(a_context(a_config({"incidents": True}), incidents=incidents), "incidents")

    assert (critical == 0, f"{critical} open critical", "none open", why) == (
        result.passed,
        result.measured,
        result.required,
        result.why,
    )


@pytest.mark.parametrize(
    ("monitoring", "passed"), [(None, False), ({"drift": False}, False), ({"drift": True}, True), ({}, True)]
)
def test_drift_must_be_watched(monitoring: dict[str, Any] | None, *, passed: bool) -> None:
    """No section, or one that leaves drift out, is not enough; a section without the key watches it."""
    result = answer(a_context(a_config({"monitoring": True}, monitoring=monitoring)), "drift monitoring")

    assert (passed, "configured" if passed else "not configured") == (result.passed, result.measured)
    assert "configured" == result.required
    assert ("" if passed else "add a section monitoring with drift: true to the family's configuration") == result.why


@pytest.mark.parametrize(
    ("production", "problem", "expected"),
    [
        (None, "", (True, "no Production yet", "")),
        (None, "a problem of nobody", (True, "no Production yet", "")),
        (PRODUCTION, "", (True, "tiny-linear v1 loads and scores", "")),
        (PRODUCTION, "its files are gone", (False, "not proven", "its files are gone")),
    ],
)
def test_there_is_a_way_back(production: Any, problem: str, expected: tuple[bool, str, str]) -> None:
    """What leaves Production must be able to return; the first version has nothing to return to."""
    context = a_context(a_config({"rollback_plan": True}), production=production, production_problem=problem)
    result = answer(context, "rollback plan")

    assert expected == (result.passed, result.measured, result.why)
    assert "a proven predecessor" == result.required


@pytest.mark.parametrize("gates", [{}, {"incidents": False, "monitoring": False, "rollback_plan": False}])
def test_what_no_rule_asks_for_is_not_asked(gates: dict[str, Any]) -> None:
    """Absent and false are the same, whatever the evidence."""
    context = a_context(
        a_config(gates),
        incidents=(incident(1, "critical"),),
        production=PRODUCTION,
        production_problem="its files are gone",
    )

    assert not {"incidents", "drift monitoring", "rollback plan"} & set(asked(context))


@pytest.mark.parametrize("rule", ["incidents", "monitoring", "rollback_plan"])
def test_each_rule_asks_its_own_question(rule: str) -> None:
    """And none of the others'; on the way into Staging none is asked."""
    names = {"incidents": "incidents", "monitoring": "drift monitoring", "rollback_plan": "rollback plan"}
    config = a_config({rule: True})

    assert [names[rule]] == [name for name in asked(a_context(config)) if name in names.values()]
    assert names[rule] not in asked(a_context(config, target=STAGED))


@pytest.mark.parametrize(("reason", "expected"), [(None, None), ("", None), ("wrong answers", False)])
def test_a_version_that_was_taken_back_says_why(reason: str | None, *, expected: bool | None) -> None:
    """Even in a model without configuration; nothing held against it is no question."""
    for config in (None, a_config()):
        context = a_context(config, entry=an_entry("tiny-forest", 2, known_bad=reason))
        assert (expected is not None) == ("not known bad" in asked(context))
        if expected is not None:
            result = answer(context, "not known bad")
            assert (expected, "known bad", "nothing known") == (result.passed, result.measured, result.required)
            assert "wrong answers; only promote_model.py --override-gates --reason WHY puts it back" == result.why
            assert result.overridable


def test_approvals_are_asked_last_and_on_the_way_into_production_only() -> None:
    """Neither for Staging, nor for a rollback, nor without a policy."""
    config = a_config(approvals={"roles": ["science", "devops"]})

    assert APPROVALS == asked(a_context(config))[-1]
    assert APPROVALS not in asked(a_context(config, target=STAGED))
    assert APPROVALS not in asked(a_context(config, is_rollback=True))
    assert APPROVALS not in asked(a_context(a_config()))
    assert APPROVALS not in asked(a_context(None))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (COMMITTED, ""),
        (MODIFIED, "commit it, or take back what was changed"),
        (UNCOMMITTED, "commit it, or take back what was changed"),
        (NO_FILE, "work in a checkout, with git installed"),
    ],
)
def test_a_file_that_asks_for_it_is_committed(state: str, why: str) -> None:
    """Nobody waives that: the file that was changed for a minute would be the one that allows it."""
    rules = RuleSet("tiny", {}, {"file": "config/tiny.yaml", "state": state}, "1.0")

    result = answer(a_context(a_config(rules="committed"), rules=rules), "rules committed")

    assert (not why, state, "config/tiny.yaml committed") == (result.passed, result.measured, result.required)
    assert result.why.endswith(why)
    assert not result.overridable
    assert "rules committed" not in asked(a_context(a_config(), rules=rules))
