"""Gates on files: size, required files, documentation, digests compared whole, signatures, columns."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from tests.promotion.factories import START, Scored, a_training_family, a_version, an_entry
from tests.promotion.gates.cases import DIGEST, OTHER, a_config, a_context, answer, asked, says

from promotion.artifacts.files import MODEL_CARD
from promotion.artifacts.provenance import Registered
from promotion.config.family import FamilyConfig
from promotion.gates import ARTIFACT, READY

VIEW = {"name": "tiny-v1", "hash": DIGEST, "approved_by": "anna", "approved_on": date(2026, 1, 1)}


@pytest.mark.parametrize(
    ("files", "passed", "measured"),
    [
        ({"model": 999_999}, True, "1.00 MB"),
        ({"model": 1_000_000}, False, "1.00 MB"),
        ({"model": 1_000_001}, False, "1.00 MB"),
        ({"model": 600_000, "card": 399_999}, True, "1.00 MB"),
        ({"model": 600_000, "card": 400_000}, False, "1.00 MB"),
        ({"model": 0}, True, "0.00 MB"),
        ({}, False, "0.00 MB"),
    ],
)
def test_the_size_stays_below_its_bound(files: dict[str, int], measured: str, *, passed: bool) -> None:
    """All files together, in MB of 10^6 bytes; no files at all are not small, they are missing."""
    result = answer(a_context(a_config({"artifact_size_mb": 1.0}), files=files), "artifact size")

    assert (passed, measured, "< 1 MB") == (result.passed, result.measured, result.required)
    assert ("" if passed else "it is missing or too large") == result.why


@pytest.mark.parametrize(
    ("files", "passed", "measured", "why"),
    [
        ({"MLmodel": 1, "model.skops": 1}, True, "2 of 2", ""),
        ({"MLmodel": 1, "model.skops": 1, "more": 0}, True, "2 of 2", ""),
        ({"MLmodel": 1, "model.skops": 0}, False, "1 of 2", "missing or empty: model.skops"),
        ({"MLmodel": 1}, False, "1 of 2", "missing or empty: model.skops"),
        ({"MLmodel": 1, "sub/model.skops": 1}, False, "1 of 2", "missing or empty: model.skops"),
        ({}, False, "0 of 2", "missing or empty: MLmodel, model.skops"),
    ],
)
def test_every_required_file_is_there_and_not_empty(
    files: dict[str, int], measured: str, why: str, *, passed: bool
) -> None:
    """One byte is enough, none is not; a file of that name elsewhere is another file."""
    config = a_config({"required_artifacts": ["MLmodel", "model.skops"]})
    result = answer(a_context(config, files=files), "required artifacts")

    assert (passed, measured, "MLmodel, model.skops", why) == (
        result.passed,
        result.measured,
        result.required,
        result.why,
    )


@pytest.mark.parametrize(
    ("files", "passed"),
    [({MODEL_CARD: 1}, True), ({MODEL_CARD: 0}, False), ({MODEL_CARD.lower(): 9}, False), ({}, False)],
)
def test_the_documentation_is_a_card_that_says_something(files: dict[str, int], *, passed: bool) -> None:
    """Missing, empty or misspelt is none."""
    result = answer(a_context(a_config({"documentation": True}), files=files), "documentation")

    assert (passed, f"{int(passed)} of 1", MODEL_CARD) == (result.passed, result.measured, result.required)


@pytest.mark.parametrize(
    "gates", [{}, {"documentation": False, "required_artifacts": [], "artifact_size_mb": None, "data_quality": False}]
)
def test_what_no_rule_asks_for_is_not_asked(gates: dict[str, Any]) -> None:
    """Absent and switched off are the same."""
    names = asked(a_context(a_config(gates)))

    assert not {"artifact size", "required artifacts", "documentation", "data quality"} & set(names)


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION", "ready", "", "READY"])
def test_only_a_finished_registration_is_ready(status: str) -> None:
    """Whatever else the registry says is not."""
    result = answer(a_context(a_config(), candidate=a_version(status=status)), READY)

    assert (status == "READY", status, "READY") == (result.passed, result.measured, result.required)
    assert ("" if result.passed else "its registration has not finished or failed") == result.why


@pytest.mark.parametrize(
    ("digest", "recorded", "passed", "why"),
    [
        (DIGEST, DIGEST, True, ""),
        (DIGEST, None, True, ""),
        (DIGEST, OTHER, False, "the artifact changed after the journal recorded it"),
        (DIGEST, DIGEST[:12], False, "the artifact changed after the journal recorded it"),
        (DIGEST, "", False, "the artifact changed after the journal recorded it"),
        (None, DIGEST, False, "nobody found it"),
        (None, None, False, "nobody found it"),
    ],
)
def test_a_digest_is_compared_whole(digest: str | None, recorded: str | None, why: str, *, passed: bool) -> None:
    """One digit of 64 is another artifact, and so is the part of a digest that people are shown."""
    context = a_context(a_config(), digest=digest, recorded_digest=recorded, artifact_problem="nobody found it")
    result = answer(context, ARTIFACT)

    assert (passed, why) == (result.passed, result.why)
    assert (f"sha256 {DIGEST[:12]}" if digest else "none") == result.measured
    assert ("files" if passed or not digest else f"sha256 {str(recorded)[:12]}") == result.required


@pytest.mark.parametrize(
    ("rule", "is_signed", "problem", "expected"),
    [
        ("required", True, "", (True, "valid")),
        ("required", True, "forged", (False, "broken")),
        ("required", False, "", (False, "none")),
        ("checked", True, "", (True, "valid")),
        ("checked", True, "forged", (False, "broken")),
        ("checked", False, "", None),
        (None, True, "forged", (False, "broken")),
        (None, True, "", (True, "valid")),
        (None, False, "", None),
    ],
)
def test_a_signature_is_asked_where_one_exists_or_must(
    rule: str | None, problem: str, expected: tuple[bool, str] | None, *, is_signed: bool
) -> None:
    """A model without configuration is not asked for one, but a broken one is refused there too."""
    config = a_config({"signature": rule}) if rule else None
    context = a_context(config, is_signed=is_signed, signature_problem=problem)

    assert (expected is not None) == ("signature" in asked(context))
    if expected:
        assert expected == says(context, "signature")
        result = answer(context, "signature")
        assert "valid signature" == result.required
        assert (problem if is_signed else "register-model.py tiny-forest 2") in result.why


@pytest.mark.parametrize(
    ("provenance", "is_rollback", "expected"),
    [
        ("trained", False, (True, "valid")),
        ("received", False, (False, "not of our training")),
        ("vouched for", False, (False, "not of our training")),  # whatever else is said of it one day
        (None, False, (False, "none")),
        ("trained", True, (True, "valid")),
        ("received", True, (True, "valid")),
        (None, True, None),
    ],
)
def test_a_family_that_trains_asks_for_its_trainings_signature(
    provenance: Any, expected: tuple[bool, str] | None, *, is_rollback: bool
) -> None:
    """On the way onwards; what served before may come back, and nobody may override it."""
    told = Registered(
        model="tiny-forest",
        number=2,
        operation="op",
        provenance=provenance,
        is_explicit=True,
        actor="anna",
        at=START,
        trainer="tina",
        round=None,
        is_best=None,
        digest=DIGEST,
        facts=None,
    )
    context = a_context(
        a_training_family(),
        is_rollback=is_rollback,
        is_signed=provenance is not None,
        registered=told if provenance else None,
    )

    assert (expected is not None) == ("signature" in asked(context))
    if expected:
        result = answer(context, "signature")
        assert (expected, False) == ((result.passed, result.measured), result.overridable)
        assert (not result.passed) == ("train.py --model tiny" in result.why)
    if expected == (False, "not of our training"):
        known = replace(told, origin_key="ab" * 32)
        result = answer(replace(context, registered=known), "signature")
        assert f"trusted_origins: [{'ab' * 32}] to the file of 'tiny'" in result.why
        assert "train.py" not in result.why


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (a_training_family(), "vouches for its files: train it here (python src/models/train.py --model tiny)"),
        (
            a_config({"signature": "required"}),
            "python scripts/register-model.py tiny-forest 2, if you know whose it is",
        ),
    ],
    ids=["trained here", "trained elsewhere"],
)
def test_a_missing_signature_says_what_can_be_done(config: FamilyConfig, advice: str) -> None:
    """Training again helps where the family trains here only."""
    assert answer(a_context(config, is_signed=False), "signature").why.endswith(advice)


def test_anything_dangerous_is_named() -> None:
    """Every finding is told; none is the only number that passes."""
    clean, two = (answer(a_context(a_config(), unsafe=found), "safe files") for found in ((), ("a pickle", "a link")))

    assert (True, "nothing found", "") == (clean.passed, clean.measured, clean.why)
    assert (False, "2 found", "a pickle; a link") == (two.passed, two.measured, two.why)
    assert "no pickle, no escaping path" == two.required


@pytest.mark.parametrize(
    ("is_loaded", "rows", "expected"),
    [
        (True, 60, (True, "scores 60 rows", "")),
        (True, None, (True, "loads (no rows to score)", "")),
        (False, 60, (False, "no", "it crashed")),
        (False, None, (False, "no", "it crashed")),
    ],
)
def test_a_model_runs_when_it_loads(rows: int | None, expected: tuple[bool, str, str], *, is_loaded: bool) -> None:
    """Scoring needs rows, which a rollback may have to do without."""
    evaluation = None if rows is None else Scored({"roc_auc": 0.9}, rows=rows)
    context = a_context(a_config(), is_loaded=is_loaded, evaluation=evaluation, artifact_problem="it crashed")
    result = answer(context, "model runs")

    assert expected == (result.passed, result.measured, result.why)
    assert "loads and scores" == result.required


@pytest.mark.parametrize(
    ("view", "trained_on", "now", "problems", "expected"),
    [
        (False, None, None, (), (True, "hash None", "")),
        (False, DIGEST, OTHER, (), (True, "hash abababababab", "")),  # nobody approved a view that could be left
        (True, DIGEST, DIGEST, (), (True, "hash abababababab", "")),
        (True, None, DIGEST, (), (True, "hash abababababab", "")),
        (True, OTHER, DIGEST, (), (False, "1 problems", "it was trained on schema abababababab, the family's is")),
        (True, OTHER, OTHER, (), (False, "1 problems", "have changed since view 'tiny-v1' was approved by anna")),
        (True, DIGEST, OTHER, (), (False, "2 problems", f"approve the new hash {OTHER} in feature_view")),
        (True, DIGEST, None, (), (False, "1 problems", "have changed since view")),
        (False, None, None, ("x is text",), (False, "1 problems", "x is text")),
        (True, DIGEST, DIGEST, ("x is text", "y is gone"), (False, "2 problems", "x is text; y is gone")),
    ],
)
def test_columns_are_the_approved_ones(
    view: bool,
    trained_on: str | None,
    now: str | None,
    problems: tuple[str, ...],
    expected: tuple[bool, str, str],
) -> None:
    """Hashes are compared whole: the version's, the family's and the approved one."""
    context = a_context(
        a_config(feature_view=VIEW if view else None),
        entry=an_entry("tiny-forest", 2, feature_hash=trained_on),
        feature_hash=now,
        schema_problems=problems,
    )
    result = answer(context, "feature schema")
    passed, measured, why = expected

    assert (passed, measured) == (result.passed, result.measured)
    assert why in result.why
    assert passed == (not result.why)
    assert ("view tiny-v1 abababababab" if view else "the family's columns") == result.required


def test_a_version_the_journal_does_not_know_was_trained_on_nothing_known() -> None:
    """Then only the family's columns are held against the approved ones."""
    context = a_context(a_config(feature_view=VIEW), entry=None, feature_hash=DIGEST)

    assert answer(context, "feature schema").passed


@pytest.mark.parametrize("config", [None, a_config({})])
def test_a_version_whose_run_is_deleted_is_refused(config: FamilyConfig | None) -> None:
    """The next `mlflow gc` would take its files: the refusal names the run and the command that brings it back."""
    context = a_context(config, candidate=replace(a_version("tiny"), run_id="r7"), run_is_deleted=True)

    assert (False, "deleted") == says(context, "run")
    assert "mlflow runs restore --run-id r7" in answer(context, "run").why
    assert "run" not in asked(a_context(config))


@pytest.mark.parametrize("config", [None, a_config({})])
def test_a_version_whose_logged_model_is_deleted_is_refused(config: FamilyConfig | None) -> None:
    """MLflow has no way back for it: the refusal names it and says what is left to do."""
    candidate = replace(a_version("tiny"), source="models:/m-7")
    context = a_context(config, candidate=candidate, logged_model_is_deleted=True)

    assert (False, "deleted") == says(context, "logged model")
    assert "its logged model m-7 is deleted in MLflow" in answer(context, "logged model").why
    assert "logged model" not in asked(a_context(config))
