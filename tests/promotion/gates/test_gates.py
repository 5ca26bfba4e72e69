"""Gates: one question each, answered with what was measured."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from tests.promotion.factories import START, Scored, a_family, a_version, an_entry

from promotion.config.family import FamilyConfig
from promotion.gates import ARTIFACT, BETTER, READY, Context, GateResult, run_gates
from promotion.gates.evidence import Interval
from promotion.registry.stages import Stage

SOUND = ["safe files", "feature schema", "model runs"]
PRODUCTION = an_entry("tiny-linear", 1, Stage.PRODUCTION)


def _context(config: FamilyConfig | None = None, roc_auc: float = 0.9, **changes: object) -> Context:
    """A sound first candidate, with some of its evidence changed."""
    evidence = Context(
        config=config or a_family(),
        candidate=a_version("tiny-forest", 2),
        now=START,
        digest="ab" * 32,
        is_loaded=True,
        evaluation=Scored({"roc_auc": roc_auc}),
    )
    return replace(evidence, **changes)  # type: ignore[arg-type]


def _against(difference: float, half_width: float = 0.02, config: FamilyConfig | None = None) -> Context:
    """A candidate that differs from Production by so much."""
    return _context(
        config,
        0.9 + difference,
        production=PRODUCTION,
        production_evaluation=Scored({"roc_auc": 0.9}),
        difference=Interval(difference, difference - half_width, difference + half_width),
    )


def _gate(context: Context, name: str) -> GateResult:
    return next(result for result in run_gates("tiny", context).results if result.name == name)


def test_a_first_version_needs_its_thresholds_only() -> None:
    """Without a Production there is nothing to beat, and the report says so."""
    report = run_gates("tiny", _context())

    assert report.passed
    assert [] == report.refusals
    assert [READY, ARTIFACT, *SOUND, "roc_auc", BETTER] == [result.name for result in report.results]
    assert ("no Production yet", "first version: thresholds only") == (
        report.results[-1].measured,
        report.results[-1].required,
    )
    assert report.production is None


@pytest.mark.parametrize(
    ("bounds", "value", "passed"),
    [
        ({"minimum": 0.8}, 0.8, True),
        ({"minimum": 0.8}, math.nextafter(0.8, 0), False),
        ({"maximum": 0.8}, 0.8, True),
        ({"maximum": 0.8}, math.nextafter(0.8, 1), False),
        ({"minimum": 0.7, "maximum": 0.8}, 0.75, True),
        ({"minimum": 0.7, "maximum": 0.8}, 0.69, False),
        ({"minimum": 0.7, "maximum": 0.8}, 0.81, False),
        ({"minimum": 0.8}, math.nan, False),
        ({"minimum": 0.8}, math.inf, False),
        ({"maximum": 0.8}, -math.inf, False),
        ({"maximum": 0.8}, math.nan, False),
    ],
)
def test_a_threshold_includes_its_bound_and_excludes_what_is_no_number(
    bounds: dict[str, float], value: float, passed: bool
) -> None:
    """A value equal to the bound passes; NaN and both infinities never do."""
    context = _context(a_family(gates={"thresholds": {"roc_auc": bounds}}), value)

    assert passed == _gate(context, "roc_auc").passed


def test_a_metric_nobody_measured_is_refused() -> None:
    """A threshold on a metric that the evaluation does not have, or without any evaluation, blocks."""
    config = a_family(gates={"thresholds": {"roc_auc": {"minimum": 0.5}, "recall": {"minimum": 0.5}}})

    recall = _gate(_context(config), "recall")
    unscored = _gate(_context(config, evaluation=None), "roc_auc")

    for result in (recall, unscored):
        assert not result.passed
        assert "not measured" == result.measured
        assert "missing or not a finite number" in result.why


@pytest.mark.parametrize(
    ("difference", "passed"), [(0.01, True), (1e-12, True), (0.0, False), (-1e-12, False), (math.nan, False)]
)
def test_strictly_greater_means_greater(difference: float, passed: bool) -> None:
    """An equal candidate, as an unchanged retrain is one, does not beat Production; the interval does not decide."""
    result = _gate(_against(difference, half_width=0.5), BETTER)

    assert passed == result.passed
    assert "roc_auc > Production" == result.required


def test_the_comparison_shows_both_values_and_the_interval() -> None:
    """A person reads the two scores, the difference and its 95 % interval."""
    result = _gate(_against(0.01), BETTER)

    assert "0.9100 against 0.9000 (+0.0100, 95 % -0.0100 … +0.0300)" == result.measured


@pytest.mark.parametrize(
    ("difference", "margin", "passed"),
    [(0.03, 0.0, True), (0.02, 0.0, True), (0.01, 0.0, False), (0.0, 0.02, True), (-0.01, 0.02, False)],
)
def test_not_worse_asks_the_lower_end_of_the_interval(difference: float, margin: float, passed: bool) -> None:
    """With 0.02 to either side, the lower end must not fall below minus the margin."""
    config = a_family(gates={"better_than_production": {"policy": "not_worse", "margin": margin}})

    result = _gate(_against(difference, config=config), BETTER)

    assert passed == result.passed
    assert f"roc_auc not worse than Production by {margin:g}" == result.required


def test_a_production_that_cannot_be_scored_blocks() -> None:
    """Without a comparison nothing is promoted, and the reason is the report's."""
    problem = "Production (tiny-linear v1) cannot be re-scored: its artifact is gone"
    context = _context(production=PRODUCTION, production_problem=problem)

    result = _gate(context, BETTER)

    assert (False, "not compared", problem) == (result.passed, result.measured, result.why)


def test_all_refusals_are_shown_together() -> None:
    """A candidate with several faults learns all of them at once."""
    context = _against(-0.2)
    context = replace(context, candidate=a_version(status="FAILED_REGISTRATION"), digest=None, artifact_problem="gone")

    report = run_gates("tiny", context)

    assert not report.passed
    assert [READY, ARTIFACT, "roc_auc", BETTER] == [result.name for result in report.refusals]
    assert not report.only_not_better


def test_only_not_better_means_sound_but_beaten() -> None:
    """The champion staying is told apart from a faulty candidate."""
    assert run_gates("tiny", _against(0.0)).only_not_better
    assert not run_gates("tiny", _against(-0.2)).only_not_better
    assert not run_gates("tiny", _against(0.1)).only_not_better


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION", ""])
def test_a_version_that_is_not_ready_is_refused(status: str) -> None:
    """An unfinished or failed registration blocks, for models without configuration too."""
    context = Context(config=None, candidate=a_version(status=status), now=START, digest="ab" * 32)

    assert [READY] == [result.name for result in run_gates("churn", context).refusals]


@pytest.mark.parametrize(
    ("recorded", "passed"), [(None, True), ("ab" * 32, True), ("cd" * 32, False)], ids=["new", "same", "changed"]
)
def test_an_artifact_that_changed_since_it_was_recorded_is_refused(recorded: str | None, passed: bool) -> None:
    """The files must be those that the journal has seen, if it has seen the version before."""
    result = _gate(_context(recorded_digest=recorded), ARTIFACT)

    assert passed == result.passed
    assert passed or "sha256 cdcdcdcdcdcd" == result.required


def test_a_model_without_configuration_is_asked_two_things() -> None:
    """READY and files present; nothing is loaded or compared."""
    context = Context(config=None, candidate=a_version(), now=START, digest="ab" * 32, production=PRODUCTION)

    report = run_gates("churn", context)

    assert report.passed
    assert [READY, ARTIFACT] == [result.name for result in report.results]


def test_a_report_is_plain_data() -> None:
    """It survives JSON, so it can be stored and printed."""
    report = run_gates("tiny", _against(0.01)).as_json()

    assert report == {**report, **json.loads(json.dumps({**report, "results": list(report["results"])}))} | {
        "results": report["results"]
    }
    assert report["passed"]
    assert {"roc_auc": pytest.approx(0.91)} == report["metrics"]
    assert ("tiny", "tiny-forest v2", "tiny-linear v1") == (
        report["family"],
        report["candidate"],
        report["production"],
    )
