"""Which gates are asked, what nobody may override, and what the evidence an approval is bound to covers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.facts import is_fact
from tests.promotion.factories import Scored, a_version, an_entry
from tests.promotion.gates.cases import DIGEST, OTHER, PRODUCTION, a_config, a_context, answer, asked

from promotion.gates import ARTIFACT, BETTER, READY, Context, run_gates
from promotion.gates.evidence import Interval, SliceFigure
from promotion.gates.report import GateReport, GateResult, _figure
from promotion.registry.stages import Stage

EVERYTHING: dict[str, Any] = {
    "thresholds": {"roc_auc": {"minimum": 0.95}},
    "better_than_production": {"also": {"f1": 0.0}},
    "signature": "required",
    "staging": {"minimum": 7.0},
    "latency_p95_ms": 1.0,
    "artifact_size_mb": 1.0,
    "peak_memory_mb": 1.0,
    "cpu": {},
    "data_quality": True,
    "required_artifacts": ["MLmodel"],
    "documentation": True,
    "incidents": True,
    "monitoring": True,
    "rollback_plan": True,
}
INTEGRITY = [READY, ARTIFACT, "signature", "not known bad"]
SOUND = ["safe files", "feature schema", "model runs"]
STAGING = [
    *("artifact size", "required artifacts", "documentation", "data quality", "roc_auc"),
    *("latency p95", "peak memory", "CPU"),
]
SERVING = [BETTER, "f1 kept", "days in Staging", "incidents", "drift monitoring", "rollback plan", "approvals"]


def governed(**changes: Any) -> Context:
    """A version of a family that asks everything."""
    config = a_config(EVERYTHING, approvals={"roles": ["science"]})
    return replace(a_context(config, entry=an_entry("tiny-forest", 2, known_bad="wrong answers")), **changes)


def test_every_rule_is_a_gate_on_the_way_into_production() -> None:
    """In this order, and none is skipped because another one refused."""
    assert ["legal transition", *INTEGRITY, *SOUND, *STAGING, *SERVING] == asked(governed())


def test_less_is_asked_elsewhere() -> None:
    """Staging does not ask for the comparison and the governance, a rollback for soundness alone."""
    assert [*INTEGRITY, *SOUND, *STAGING] == asked(governed(target=Stage.STAGING))
    assert [*INTEGRITY, *SOUND] == asked(governed(is_rollback=True))
    assert INTEGRITY == asked(governed(config=None, is_signed=True))


def test_nobody_overrides_what_cannot_be_trusted() -> None:
    """The artifact itself; everything else a person may answer for."""
    changes = {"digest": None, "is_loaded": False, "unsafe": ("a pickle",), "candidate": a_version(status="FAILED")}
    refused = run_gates("tiny", governed(**changes)).refusals

    assert {READY, ARTIFACT, "signature", "safe files", "model runs"} == {
        result.name for result in refused if not result.overridable
    }
    changed = answer(governed(digest=DIGEST, recorded_digest=OTHER), ARTIFACT)
    forged = answer(governed(is_signed=True, signature_problem="forged"), "signature")
    assert [(False, False)] * 2 == [(result.passed, result.overridable) for result in (changed, forged)]


def test_nothing_is_taken_for_granted() -> None:
    """Without any evidence every gate that asks for some refuses; what nobody found fault with has no fault."""
    bare = Context(config=a_config(EVERYTHING), candidate=a_version("tiny-forest", 2), now=a_version().created_at)

    assert {READY, "safe files", "feature schema", "data quality", BETTER, "f1 kept", "incidents", "rollback plan"} == {
        result.name for result in run_gates("tiny", bare).results if result.passed
    }
    assert (Stage.PRODUCTION, False, None) == (bare.target, bare.is_rollback, bare.from_stage)
    assert "" == bare.verify_approval(cast("Any", None))


def test_a_report_passes_when_every_gate_does() -> None:
    """One refusal is enough, and each of them is listed."""
    passed, refused = (GateResult(name, passed=name == "good", measured="", required="") for name in ("good", "bad"))
    report = run_gates("tiny", a_context(a_config()))

    def of(*results: GateResult) -> GateReport:
        return replace(report, results=results)

    assert of(passed).passed
    assert of().passed
    assert not of(passed, refused).passed
    assert [refused, refused] == of(refused, passed, refused).refusals


@pytest.mark.parametrize(
    ("refused", "expected"), [([], False), ([BETTER], True), ([BETTER, "f1 kept"], False), (["f1 kept"], False)]
)
def test_a_sound_candidate_merely_does_not_beat_production(refused: list[str], *, expected: bool) -> None:
    """Anything else that refuses is another case."""
    names = ["roc_auc", BETTER, "f1 kept"]
    results = tuple(GateResult(name, passed=name not in refused, measured="", required="") for name in names)

    assert expected == replace(run_gates("tiny", a_context(a_config())), results=results).only_not_better


def compared(**changes: Any) -> Context:
    """A candidate beside Production."""
    given: dict[str, Any] = {
        "production": PRODUCTION,
        "evaluation": Scored({"roc_auc": 0.9}),
        "production_evaluation": Scored({"roc_auc": 0.8}),
        "difference": Interval(0.1, 0.1, 0.1),
    }
    return replace(a_context(a_config({"latency_p95_ms": 100.0}), **given), **changes)


def evidence(context: Context, family: str = "tiny") -> str:
    """What an approval would be bound to."""
    return run_gates(family, context).evidence


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate": a_version("tiny-forest", 3)},
        {"digest": OTHER},
        {"digest": None},
        {"production": an_entry("tiny-linear", 2, Stage.PRODUCTION)},
        {"production": None},
        {"evaluation": Scored({"roc_auc": 0.900001})},
        {"evaluation": Scored({"roc_auc": 0.9, "f1": 0.9})},
        {"evaluation": Scored({"roc_auc": 0.9}, data_sha256="1" * 64)},
        {"evaluation": None},
        {"production_evaluation": Scored({"roc_auc": 0.800001})},
        {"production_evaluation": None},
        {"config": a_config({"latency_p95_ms": 101.0})},
        {"config": a_config({"latency_p95_ms": 100.0, "documentation": True})},
    ],
)
def test_other_evidence_needs_other_approvals(changes: dict[str, Any]) -> None:
    """Another artifact, rival, data, figure in the sixth digit, or requirement."""
    assert evidence(compared()) != evidence(compared(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"evaluation": Scored({"roc_auc": 0.9000004})},
        {"production_evaluation": Scored({"roc_auc": 0.7999996})},
        {"difference": Interval(0.1, 0.0, 0.2)},
        {"measurement_problem": "it crashed"},
        {"from_stage": Stage.STAGING},
        {"staged_at": a_version().created_at},
    ],
)
def test_what_varies_between_two_runs_is_no_other_evidence(changes: dict[str, Any]) -> None:
    """The seventh digit, latency, days, where the caller says the version is."""
    assert evidence(compared()) == evidence(compared(**changes))
    assert evidence(compared()) != evidence(compared(), "another")


def test_asking_for_approvals_is_no_other_evidence() -> None:
    """Who is asked may change while people read."""
    asking = a_config({"latency_p95_ms": 100.0}, approvals={"roles": ["science"]})

    assert evidence(compared()) == evidence(compared(config=asking))


def test_a_report_says_what_it_is_about() -> None:
    """Versions by the journal's name where it has one, figures of both, and the artifact."""
    known = run_gates("tiny", compared(entry=an_entry("tiny-forest", 2)))
    unknown = run_gates("tiny", a_context(None, evaluation=None))

    assert ("tiny", "tiny-forest v2", "1.1.0", Stage.PRODUCTION, "tiny-linear v1") == (
        known.family,
        known.candidate,
        known.version,
        known.target,
        known.production,
    )
    assert ({"roc_auc": 0.9}, {"roc_auc": 0.8}, Interval(0.1, 0.1, 0.1)) == (
        known.metrics,
        known.production_metrics,
        known.difference,
    )
    assert ("0" * 64, DIGEST) == (known.data_sha256, known.digest)
    assert ("2", None, {}, {}, None) == (
        unknown.version,
        unknown.production,
        unknown.metrics,
        unknown.production_metrics,
        unknown.data_sha256,
    )


@pytest.mark.parametrize("kind", [GateResult, GateReport, Context])
def test_an_answer_stays_as_it_was_given(kind: type) -> None:
    """Evidence, answers and report."""
    assert is_fact(kind)


def test_a_groups_figure_that_is_no_number_is_null() -> None:
    """JSON has no NaN; numbers and words stay what they are."""
    figure = SliceFigure("c", "1", "accuracy", 7, 0.5, -math.inf, math.nan)
    told = {"column": "c", "group": "1", "metric": "accuracy", "rows": 7, "value": 0.5, "low": None, "high": None}

    assert told == _figure(figure)
