"""`mlops/registry/rollback_model.py`: the documented command, and what it says afterwards."""

from __future__ import annotations

import json

import pytest
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

NAMED = ("--model-name", GOVERNED)
WHY = ("--reason", "Performance degradation detected")


@pytest.mark.system
def test_the_version_that_served_before_is_back_and_validated(governed: Store, governance: Promote) -> None:
    """Without a version: the predecessor, not the highest archived one; then the documented validation."""
    result = governance("rollback_model", *NAMED, *WHY)

    assert 0 == result.exit_code, result.output
    shown = result.stdout.splitlines()
    assert [
        "✅ alzheimer_classifier v1 (1.0.0) is back in Production",
        "   alzheimer_classifier v2 is in Archived, known bad: Performance degradation detected",
        "Rollback validation:",
    ] == shown[:3]
    assert "   📋 verify service health metrics: by hand:" in shown[3]
    assert "   ✅ confirm prediction quality: done: roc_auc 0.9665 (required ≥ 0.8) on 61 test rows" == shown[4]
    assert "Production" == governed.shown()["alzheimer_classifier v1"]


@pytest.mark.system
def test_the_documented_command_then_a_second_one(governed: Store, governance: Promote) -> None:
    """`--to-version 1.0.0` works once, again is nothing to do, and going back and forth needs --force."""
    arguments = (*NAMED, "--to-version", "1.0.0", *WHY)
    first = governance("rollback_model", *arguments, "--keep-version-good", "--json")

    document = json.loads(first.stdout)
    assert (0, False, "alzheimer_classifier v2") == (first.exit_code, document["known_bad"], document["left"])
    assert 5 == governance("rollback_model", *arguments).exit_code
    back = (*NAMED, "--to-version", "1.1.0", *WHY)
    refused = governance("rollback_model", *back)
    assert (3, True) == (refused.exit_code, "rolled back at 2026-12-05 09:00 UTC already" in refused.stderr)
    assert 0 == governance("rollback_model", *back, "--force").exit_code


@pytest.mark.system
def test_missing_rows_do_not_stop_it(governed: Store, governance: Promote) -> None:
    """The model loads, that must do; the quality is left to a person."""
    rows = governed.home / "data" / "heart-disease.csv"
    aside = rows.rename(rows.with_suffix(".aside"))
    try:
        result = governance("rollback_model", *NAMED, *WHY)
    finally:
        aside.rename(rows)

    assert 0 == result.exit_code, result.output
    assert "📋 confirm prediction quality: by hand: alzheimer_classifier v1 loads, but the rows" in result.stdout


def test_what_cannot_be_rolled_back(governed: Store, governance: Promote) -> None:
    """A version that never served, one that does not exist, no reason."""
    never = governance("rollback_model", *NAMED, "--to-version", "1.2.0", *WHY)
    assert (3, True) == (never.exit_code, "never served in Production" in never.stderr)
    assert 2 == governance("rollback_model", *NAMED, "--to-version", "9.9.9", *WHY).exit_code
    assert 2 == governance("rollback_model", "--model-name", "nobody", *WHY).exit_code
    assert 2 == governance("rollback_model", *NAMED, "--reason", " ").exit_code
    assert "Production" == governed.shown()["alzheimer_classifier v2"]
