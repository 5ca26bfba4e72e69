"""`src/models/validate_model.py`: what it prints, what it moves, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.commands.conftest import LOGISTIC
from tests.promotion.factories import Store

from models.validate_model import main
from promotion.registry.stages import Stage

pytestmark = pytest.mark.system

Validate = Callable[..., Result]


@pytest.fixture
def validate(monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Call the command in this process, for the trained model; acts as anna."""
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    return lambda *arguments: CliRunner().invoke(main, ["--model-name", LOGISTIC, *arguments])


def _bound(store: Store, **threshold: float) -> None:
    _gates(store, thresholds={"roc_auc": threshold})


def _gates(store: Store, **gates: Any) -> None:
    path = store.home / "config" / "heart-disease.yaml"
    document = yaml.safe_load(path.read_text())
    document["gates"] |= gates
    path.write_text(yaml.safe_dump(document))


def test_a_good_version_goes_to_staging_then_to_production(trained: Store, validate: Validate) -> None:
    """The newest version in None is validated and staged; the staged one goes to Production, each as documented."""
    staged, promoted = validate(), validate("--promote-to-production", "--approver", "ben", "--reason", "reviewed")

    assert [
        "Loading model version 2...",
        "Evaluating on holdout validation set...",
        "Validation ROC-AUC: 0.9665",
        "✓ Performance meets threshold (≥ 0.80)",
        "Promoting to Staging...",
        "✓ Model version 2 promoted to Staging",
    ] == staged.stdout.splitlines(), staged.stderr
    assert [
        "Loading Staging model (version 2)...",
        "Promoting version 2 to Production...",
        "✓ Model version 2 is now in Production",
    ] == promoted.stdout.splitlines(), promoted.stderr
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()
    event = trained.service().journal.history(limit=1)[0]
    assert ("anna", "ben", "reviewed") == (event.actor, event.details["approver"], event.reason)


def test_what_was_found_is_kept_in_the_run(trained: Store, validate: Validate) -> None:
    """Metrics, time and data version are in MLflow; with --no-auto-promote nothing moves."""
    result = validate("--no-auto-promote")
    version = trained.client.get_model_version(LOGISTIC, "2")
    run = trained.client.get_run(version.run_id)

    assert 0 == result.exit_code, result.stderr
    assert "0.9665" == f"{run.data.metrics['validation_roc_auc']:.4f}"
    assert {"validated_at", "validation_data_sha256"} <= set(run.data.tags)
    assert {} == trained.shown()


def test_a_version_that_misses_the_threshold_stays(trained: Store, validate: Validate) -> None:
    """Exit 3 with the measured figure; the refusal is on record."""
    _bound(trained, minimum=0.97)

    result = validate()

    assert 3 == result.exit_code
    assert "✗ Performance misses threshold (≥ 0.97)" in result.stdout
    assert "0.9665, required ≥ 0.97" in result.stderr.splitlines()[-1]
    assert {} == trained.shown()
    assert "refuse" == trained.service().journal.history(limit=1)[0].action


def test_a_looser_threshold_needs_a_reason_and_is_an_override(trained: Store, validate: Validate) -> None:
    """Without --reason exit 2; with it the record says what was waived."""
    _bound(trained, minimum=0.97)

    refused = validate("--threshold", "0.95")
    accepted = validate("--threshold", "0.95", "--reason", "the pilot needs any model")

    assert 2 == refused.exit_code
    assert "say why with --reason" in refused.stderr
    assert 0 == accepted.exit_code, accepted.stderr
    event = trained.service().journal.history(limit=1)[0]
    assert ["roc_auc ≥ 0.95 instead of ≥ 0.97"] == event.details["override"]
    described = trained.client.get_model_version(LOGISTIC, "2").description
    assert described.endswith("(OVERRIDDEN: roc_auc ≥ 0.95 instead of ≥ 0.97): the pilot needs any model")


def test_a_waiver_for_staging_does_not_open_production(trained: Store, validate: Validate) -> None:
    """The bound is asked again; whoever answers for Production waives it once more, and that is on record too."""
    _bound(trained, minimum=0.97)
    validate("--threshold", "0.95", "--reason", "the pilot needs any model")

    refused = validate("--promote-to-production")
    assert 3 == refused.exit_code
    assert "0.9665, required ≥ 0.97" in refused.stderr.splitlines()[-1]
    assert 2 == validate("--promote-to-production", "--threshold", "0.95").exit_code
    accepted = validate("--promote-to-production", "--threshold", "0.95", "--reason", "agreed with sales")

    assert 0 == accepted.exit_code, accepted.stderr
    event = trained.service().journal.history(limit=1)[0]
    assert (Stage.PRODUCTION, ["roc_auc ≥ 0.95 instead of ≥ 0.97"]) == (event.to_stage, event.details["override"])


def test_what_serves_is_not_sent_back_to_staging(trained: Store, validate: Validate) -> None:
    """Validating the version in Production again measures it and leaves it where it is."""
    validate()
    validate("--promote-to-production")

    again = validate("--version", "2")

    assert 3 == again.exit_code
    assert "does not leave it without a successor" in again.stderr
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()
    assert 0 == validate("--version", "2", "--no-auto-promote").exit_code


def test_a_refusal_does_not_claim_that_validation_passed(trained: Store, validate: Validate) -> None:
    """The reason on record when nobody gave one fits both outcomes."""
    _bound(trained, minimum=0.97)
    validate()

    assert "automated validation" == trained.service().journal.history(limit=1)[0].reason


def test_an_exclusive_bound_excludes_itself(trained: Store, validate: Validate) -> None:
    """`below` is strict, also when it is given on the command line."""
    _bound(trained, below=0.99)
    value = json.loads(validate("--no-auto-promote", "--json").stdout)["report"]["metrics"]["roc_auc"]

    assert 3 == validate("--no-auto-promote", "--threshold", repr(value)).exit_code


def test_whether_production_is_entered_from_staging_only_is_the_familys_rule(
    trained: Store, validate: Validate
) -> None:
    """With `gates.staging` a version in None is refused, exit 3, and no move is printed; without, it goes."""
    _gates(trained, staging={"minimum": 0})

    refused = validate("--promote-to-production", "--version", "2")
    assert (3, "Loading registered model (version 2)...\n") == (refused.exit_code, refused.stdout)
    assert "legal transition: None → Production, required Staging → Production" in refused.stderr
    _gates(trained, staging=None)

    assert 0 == validate("--promote-to-production", "--version", "2").exit_code
    assert {f"{LOGISTIC} v2": "Production"} == trained.shown()


def test_nothing_to_validate_and_nothing_to_promote(trained: Store, validate: Validate) -> None:
    """Exit 5 names the stages."""
    empty = validate("--promote-to-production")
    validate()
    again = validate()

    assert 5 == empty.exit_code
    assert f"no version of '{LOGISTIC}' is in stage Staging: v2 None\n" == empty.stderr
    assert 5 == again.exit_code
    assert "is in stage None: v2 Staging" in again.stderr


def test_force_goes_with_a_reason_and_a_version_that_comes_back(trained: Store, validate: Validate) -> None:
    """Otherwise exit 2: there is no waiting that it could cut short."""
    validate()

    bare = validate("--promote-to-production", "--force")
    staged = validate("--promote-to-production", "--force", "--reason", "again")

    assert (2, 2) == (bare.exit_code, staged.exit_code)
    assert "--force goes with --promote-to-production and --reason" in bare.stderr
    assert f"{LOGISTIC} v2 is in Staging: leave it out" in staged.stderr
    assert {f"{LOGISTIC} v2": "Staging"} == trained.shown()


def test_a_family_without_configuration_is_refused(trained: Store) -> None:
    """Nobody says how to validate it: exit 2."""
    result = CliRunner().invoke(main, ["--model-name", "churn"])

    assert 2 == result.exit_code
    assert "no configuration says how to validate 'churn'" in result.stderr
