"""Gates on how good a version is: thresholds, the comparison with Production, "also" metrics, the data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.promotion.factories import Scored, a_version
from tests.promotion.gates.cases import PRODUCTION, a_config, a_context, answer, asked

from promotion.config.family import FamilyConfig
from promotion.gates import BETTER, Context, run_gates
from promotion.gates.evidence import Interval
from promotion.gates.quality import better_gates
from promotion.registry.stages import Stage

FIRST = ("no Production yet", "first version: thresholds only")


@pytest.mark.parametrize(
    ("bounds", "value", "passed"),
    [
        ({"minimum": 0.8}, math.nextafter(0.8, 1), True),
        ({"minimum": 0.8}, 0.8, True),
        ({"minimum": 0.8}, math.nextafter(0.8, 0), False),
        ({"maximum": 0.8}, math.nextafter(0.8, 0), True),
        ({"maximum": 0.8}, 0.8, True),
        ({"maximum": 0.8}, math.nextafter(0.8, 1), False),
        ({"below": 0.8}, math.nextafter(0.8, 0), True),
        ({"below": 0.8}, 0.8, False),
        ({"below": 0.8}, math.nextafter(0.8, 1), False),
        ({"minimum": 0.7, "below": 0.8}, 0.7, True),
        ({"minimum": 0.7, "below": 0.8}, 0.69, False),
        ({"minimum": 0.0}, 0.0, True),
        ({"below": 0.8}, 0, True),
        ({"below": 0.8}, -math.inf, False),
        ({"minimum": 0.8}, math.inf, False),
        ({"maximum": 0.8}, math.nan, False),
        ({"below": 0.8}, math.nan, False),
    ],
)
def test_a_metric_and_its_bound(bounds: dict[str, float], value: float, *, passed: bool) -> None:
    """`minimum` and `maximum` may be reached, `below` may not; what is no finite number keeps no bound."""
    config = a_config({"thresholds": {"roc_auc": bounds}})
    result = answer(a_context(config, evaluation=Scored({"roc_auc": value})), "roc_auc")

    assert passed == result.passed
    assert (f"{value:.4f}" if math.isfinite(value) else str(value)) == result.measured
    reason = "roc_auc misses its bound" if math.isfinite(value) else "roc_auc is missing or not a finite number"
    assert ("" if passed else reason) == result.why


@pytest.mark.parametrize(
    ("run", "logged", "passed", "measured", "why"),
    [
        ("r1", {"auc": 0.8}, True, "0.8000 (the trainer's figure)", ""),
        ("r1", {"auc": math.nextafter(0.8, 0)}, False, "0.8000 (the trainer's figure)", "auc misses its bound"),
        ("r1", {"auc": math.nan}, False, "nan (the trainer's figure)", "auc is no finite number in run r1"),
        ("r1", {"auc": math.inf}, False, "inf (the trainer's figure)", "auc is no finite number in run r1"),
        ("r1", {}, False, "not measured", "run r1 has no metric auc; log it there"),
        ("r1", {"auc_": 0.9}, False, "not measured", "run r1 has no metric auc; did you mean 'auc_'?"),
        ("r1", None, False, "not measured", "its run r1 is not in MLflow, so that there is no trainer's figure"),
        (None, None, False, "not measured", "it was registered without a run, so that there is no trainer's figure"),
    ],
)
def test_the_trainers_figure_and_its_bound(
    run: str | None, logged: dict[str, float] | None, *, passed: bool, measured: str, why: str
) -> None:
    """`from: run` bounds what the version's run says, which is never mistaken for what is measured here."""
    config = a_config({"thresholds": {"auc": {"minimum": 0.8, "from": "run"}}})
    candidate = replace(a_version("tiny-forest", 2), run_id=run)
    context = a_context(config, candidate=candidate, run_metrics=logged, evaluation=Scored({"auc": 0.99}))

    result = answer(context, "auc")

    assert (passed, measured) == (result.passed, result.measured)
    assert result.why.startswith(why) if why else result.why == ""


def test_an_approval_is_bound_to_the_trainers_figure() -> None:
    """Whoever logs another value afterwards needs the approvals again; of metrics that nothing bounds no one asks."""
    config = a_config({"thresholds": {"auc": {"minimum": 0.8, "from": "run"}}})
    reports = [
        run_gates("tiny", a_context(config, run_metrics=logged))
        for logged in ({"auc": 0.9}, {"auc": 0.9, "loss": 1.0}, {"auc": 0.91})
    ]

    assert [True, False] == [reports[0].evidence == report.evidence for report in reports[1:]]


def test_every_bound_is_said() -> None:
    """In the order minimum, maximum, below."""
    config = a_config({"thresholds": {"roc_auc": {"minimum": 0.7, "maximum": 0.95, "below": 0.9}}})

    assert "≥ 0.7 and ≤ 0.95 and < 0.9" == answer(a_context(config), "roc_auc").required


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"evaluation": None, "artifact_problem": "it crashed"}, "it crashed"),
        ({"evaluation": None}, "recall is missing or not a finite number"),
        ({"evaluation": Scored({"roc_auc": 0.9}), "artifact_problem": "odd"}, "recall is missing or not a finite"),
    ],
)
def test_a_metric_that_is_missing_keeps_no_bound(changes: dict[str, Any], why: str) -> None:
    """Not scored at all, or scored without it."""
    result = answer(a_context(a_config({"thresholds": {"recall": {"minimum": 0.0}}}), **changes), "recall")

    assert (False, "not measured") == (result.passed, result.measured)
    assert why in result.why


def test_a_metric_without_a_threshold_is_not_asked() -> None:
    """Each threshold is a gate, and nothing else is."""
    assert "roc_auc" not in asked(a_context(a_config()))
    assert ["recall"] == [
        name
        for name in asked(a_context(a_config({"thresholds": {"recall": {"minimum": 0.5}}})))
        if name in {"roc_auc", "recall"}
    ]


@pytest.mark.parametrize(
    ("problems", "measured", "why"),
    [((), "no problems", ""), (("x is empty",), "1 problems", "x is empty"), (("a", "b"), "2 problems", "a; b")],
)
def test_the_data_has_no_problem_at_all(problems: tuple[str, ...], measured: str, why: str) -> None:
    """One is too many; on the way into Staging too."""
    config = a_config({"data_quality": True})

    for target in (Stage.STAGING, Stage.PRODUCTION):
        result = answer(a_context(config, target=target, data_problems=problems), "data quality")
        assert (not problems, measured, why) == (result.passed, result.measured, result.why)
        assert "contract kept, checks passed" == result.required


@pytest.mark.parametrize("rule", [None, False])
def test_the_data_is_not_asked_about_unless_the_family_says_so(*, rule: bool | None) -> None:
    """Rule absent, rule false, or a rollback."""
    config = a_config({} if rule is None else {"data_quality": rule})

    assert "data quality" not in asked(a_context(config, data_problems=("x is empty",)))
    assert "data quality" not in asked(a_context(a_config({"data_quality": True}), is_rollback=True))


def against(
    rule: dict[str, Any],
    difference: Interval | None,
    *,
    config: FamilyConfig | None = None,
    ours: dict[str, float] | None = None,
    theirs: dict[str, float] | None = None,
    **changes: Any,
) -> Context:
    """A candidate beside Production."""
    evidence: dict[str, Any] = {
        "production": PRODUCTION,
        "evaluation": Scored(ours or {"roc_auc": 0.9}),
        "production_evaluation": Scored(theirs or {"roc_auc": 0.9}),
        "difference": difference,
    }
    return a_context(config or a_config({"better_than_production": rule}), **(evidence | changes))


def certain(value: float) -> Interval:
    """A difference without doubt."""
    return Interval(value, value, value)


TINY = 5e-324


@pytest.mark.parametrize(
    ("gain", "difference", "passed"),
    [
        (0.0, certain(0.0), False),
        (0.0, certain(TINY), True),
        (0.0, certain(-TINY), False),
        (0.01, certain(0.011), True),
        (0.01, certain(0.01), False),
        (0.01, certain(0.91 - 0.90), False),  # 0.010000000000000009 to a computer
        (0.01, certain(0.009), False),
        (0.0, Interval(0.01, -0.5, 0.5), True),
        (0.0, Interval(-0.01, 0.01, 0.5), False),
        (0.0, certain(math.nan), False),
        (0.0, certain(math.inf), False),
        (0.0, certain(-math.inf), False),
    ],
)
def test_strictly_greater_asks_the_difference_itself(gain: float, difference: Interval, *, passed: bool) -> None:
    """It must exceed the gain, not reach it; an infinite one proves nothing."""
    rule = {"policy": "strictly_greater", "minimum_gain": gain}
    result = answer(against(rule, difference), BETTER)

    assert passed == result.passed
    assert f"roc_auc > Production{f' by more than {gain:g}' if gain else ''}" == result.required
    stays = "tiny-linear v1 stays: it does at least as well on the same 60 rows"
    assert ("" if passed else stays) == result.why


@pytest.mark.parametrize(
    ("margin", "low", "passed"),
    [
        (0.0, 0.0, True),
        (0.0, TINY, True),
        (0.0, -TINY, False),
        (0.02, -0.019, True),
        (0.02, -0.02, True),
        (0.02, 0.88 - 0.90, True),  # -0.020000000000000018 to a computer
        (0.02, -0.021, False),
        (0.02, math.nan, False),
        (0.02, -math.inf, False),
        (0.02, math.inf, False),
    ],
)
def test_not_worse_asks_the_lower_end(margin: float, low: float, *, passed: bool) -> None:
    """It may reach minus the margin; the difference itself does not decide."""
    rule = {"policy": "not_worse", "margin": margin}

    for value in (0.5, -0.5):
        result = answer(against(rule, Interval(value, low, 0.6)), BETTER)
        assert passed == result.passed
        assert f"roc_auc not worse than Production by {margin:g}" == result.required


@pytest.mark.parametrize(
    ("rule", "difference", "passed", "required"),
    [
        ({}, Interval(-0.01, -0.02, 0.5), True, "rmspe < Production"),
        ({}, Interval(0.01, -0.5, 0.02), False, "rmspe < Production"),
        ({}, certain(0.0), False, "rmspe < Production"),
        ({}, certain(-math.inf), False, "rmspe < Production"),
        ({"minimum_gain": 0.01}, certain(-0.01), False, "rmspe < Production by more than 0.01"),
        ({"minimum_gain": 0.01}, certain(-0.011), True, "rmspe < Production by more than 0.01"),
        ({"policy": "not_worse"}, Interval(0.5, -0.5, 0.0), True, "rmspe not worse than Production by 0"),
        ({"policy": "not_worse"}, Interval(-0.5, -0.6, TINY), False, "rmspe not worse than Production by 0"),
        (
            {"policy": "not_worse", "margin": 0.02},
            Interval(-0.5, -0.6, 0.02),
            True,
            "rmspe not worse than Production by 0.02",
        ),
        (
            {"policy": "not_worse", "margin": 0.02},
            Interval(-0.5, -0.6, 0.021),
            False,
            "rmspe not worse than Production by 0.02",
        ),
    ],
)
def test_a_smaller_error_is_better(rule: dict[str, Any], difference: Interval, required: str, *, passed: bool) -> None:
    """Of an error the difference counts the other way round, and the upper end is the worst."""
    config = a_config({"better_than_production": rule}).model_copy(update={"selection_metric": "rmspe"})
    context = against({}, difference, config=config, ours={"rmspe": 0.1}, theirs={"rmspe": 0.1})
    result = better_gates(config)[0](context)

    assert (passed, required) == (result.passed, result.required)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"difference": None, "production_problem": "its files are gone"}, "its files are gone"),
        ({"difference": None, "artifact_problem": "it crashed"}, "it crashed"),
        ({"difference": None, "production_problem": "theirs", "artifact_problem": "ours"}, "theirs"),
        ({"difference": None}, "it could not be scored"),
        ({"evaluation": None}, "it could not be scored"),
        ({"production_evaluation": None}, "it could not be scored"),
    ],
)
def test_what_cannot_be_compared_is_not_better(changes: dict[str, Any], why: str) -> None:
    """Any of the two scores, or their difference, is missing."""
    result = answer(against({}, **({"difference": certain(0.1)} | changes)), BETTER)

    assert (False, "not compared", why) == (result.passed, result.measured, result.why)


def test_a_first_version_is_compared_with_nothing() -> None:
    """Neither on the selection metric nor on the others."""
    context = against({"also": {"recall": 0.0}}, None, production=None)

    for name in (BETTER, "recall kept"):
        result = answer(context, name)
        assert (True, *FIRST) == (result.passed, result.measured, result.required)


@pytest.mark.parametrize("target", [Stage.STAGING, None])
def test_a_comparison_is_for_production_only(target: Stage | None) -> None:
    """Neither on the way into Staging, nor in a rollback."""
    changes: dict[str, Any] = {"is_rollback": True} if target is None else {"target": target}
    context = against({"also": {"recall": 0.0}}, certain(-0.1), **changes)

    assert not {BETTER, "recall kept"} & set(asked(context))


@pytest.mark.parametrize(
    ("loss", "ours", "theirs", "passed"),
    [
        (0.0, 0.9, 0.9, True),
        (0.0, 0.91, 0.9, True),
        (0.0, math.nextafter(0.9, 0), 0.9, False),
        (0.05, 0.851, 0.9, True),
        (0.05, 0.85, 0.9, True),  # a loss of 0.050000000000000044 to a computer
        (0.05, 0.849, 0.9, False),
        (0.05, math.nan, 0.9, False),
        (0.05, 0.9, math.nan, False),
        (0.05, math.inf, 0.9, False),
        (0.05, 0.9, -math.inf, False),
        (0.05, None, 0.9, False),
        (0.05, 0.9, None, False),
    ],
)
def test_another_metric_may_fall_by_its_loss(
    loss: float, ours: float | None, theirs: float | None, *, passed: bool
) -> None:
    """As far as the loss and no further; missing, NaN and infinite are not kept."""
    found = [{"roc_auc": 0.9} | ({} if value is None else {"recall": value}) for value in (ours, theirs)]
    context = against({"also": {"recall": loss}}, certain(0.1), ours=found[0], theirs=found[1])
    result = answer(context, "recall kept")

    assert passed == result.passed
    assert (f"≥ Production − {loss:g}" if loss else "≥ Production") == result.required
    assert ("" if passed else "recall is worse than what tiny-linear v1 reaches on the same rows") == result.why
    shown = [math.nan if value is None else value for value in (ours, theirs)]
    assert f"{shown[0]:.4f} against {shown[1]:.4f}" == result.measured
    assert answer(context, BETTER).passed


@pytest.mark.parametrize(
    ("loss", "ours", "passed"),
    [
        (0.0, 0.1, True),
        (0.0, 0.09, True),
        (0.0, math.nextafter(0.1, 1), False),
        (0.02, 0.119, True),
        (0.02, 0.12, True),
        (0.02, 0.121, False),
        (0.02, -math.inf, False),
    ],
)
def test_another_error_may_rise_by_its_loss(loss: float, ours: float, *, passed: bool) -> None:
    """Of an error, more is worse."""
    context = against(
        {"also": {"rmspe": loss}},
        certain(0.1),
        ours={"roc_auc": 0.9, "rmspe": ours},
        theirs={"roc_auc": 0.9, "rmspe": 0.1},
    )
    result = answer(context, "rmspe kept")

    assert (passed, f"≤ Production + {loss:g}" if loss else "≤ Production") == (result.passed, result.required)


@pytest.mark.parametrize("missing", ["evaluation", "production_evaluation"])
def test_a_metric_of_a_version_that_was_not_scored_is_not_kept(missing: str) -> None:
    """On either side."""
    context = against({"also": {"roc_auc": 0.5}}, certain(0.1), **{missing: None})

    assert not answer(context, "roc_auc kept").passed


def test_no_other_metric_is_kept_without_its_rule() -> None:
    """`also` is absent, or names another one."""
    assert [] == [name for name in asked(against({}, certain(0.1))) if name.endswith(" kept")]
    assert ["f1 kept"] == [
        name for name in asked(against({"also": {"f1": 0.0}}, certain(0.1))) if name.endswith(" kept")
    ]


@pytest.mark.parametrize("problems", [(), ("it was trained with another split",)])
def test_a_declared_split_is_asked_for(problems: tuple[str, ...]) -> None:
    """Where the file declares groups or asks for a sound split, and nowhere else, a version must not know its test."""
    config = a_config({"split": "sound"})

    result = answer(a_context(config, split_problems=problems), "split")

    assert (not problems, "; ".join(problems)) == (result.passed, result.why)
    assert "split" not in asked(a_context(a_config({}), split_problems=problems))
