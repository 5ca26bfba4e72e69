"""`mlops/registry/promote_model.py`: the documented command, refused, approved, overridden."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

DOCUMENTED = """
python mlops/registry/promote_model.py \\
  --model-name alzheimer_classifier \\
  --version 1.2.0 \\
  --from-stage staging \\
  --to-stage production \\
  --approver "john.doe@company.com"
"""
NAMED = ("--model-name", GOVERNED, "--version", "1.2.0", "--from-stage", "staging")
PROMOTE = (*NAMED, "--to-stage", "production", "--approver", "john.doe@company.com")
REVIEWERS = {"data-science": "dana", "devops": "deniz", "business": "bo", "security": "sam"}


@pytest.mark.system
def test_the_documented_way_from_refused_to_promoted(
    governed: Store, governance: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First 3 with days and reviews missing; with four reviews and the days over it moves, and the tasks follow."""
    refused = governance("promote_model", *PROMOTE)
    assert 3 == refused.exit_code
    assert re.search(r"days in Staging: 4\.0 days.*approvals: 0 of 4, .*security: nobody yet", refused.stderr)
    for role, name in REVIEWERS.items():
        said = governance("approve_model", *NAMED[:4], "--role", role, "--approver", name, "--comment", "looked at it")
        assert 0 == said.exit_code, said.output
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-09T09:00:00")

    result = governance("promote_model", *PROMOTE)

    assert 0 == result.exit_code, result.output
    shown = result.stdout.splitlines()
    assert [
        "✅ alzheimer_classifier v3 (1.2.0) is in Production",
        "   alzheimer_classifier v2 is in Archived",
    ] == shown[:2]
    assert "Post-promotion tasks:" == shown[2]
    assert "   📋 notify stakeholders of deployment: by hand: tell ds-team@duetmind.ai" in shown
    assert 5 == len(shown[3:])
    assert "Production" == governed.shown()["alzheimer_classifier v3"]
    entry = governed.service().journal.entry(GOVERNED, "1.2.0")
    assert entry is not None
    assert "john.doe@company.com" == entry.approver
    assert 5 == governance("promote_model", *PROMOTE).exit_code


@pytest.mark.system
def test_breaking_the_glass_is_loud_and_on_record(governed: Store, governance: Promote) -> None:
    """It needs a reason, names every gate it overrides, and the record holds them."""
    assert 2 == governance("promote_model", *PROMOTE, "--override-gates").exit_code

    result = governance("promote_model", *PROMOTE, "--override-gates", "--reason", "patients wait", "--json")

    assert 0 == result.exit_code, result.output
    document = json.loads(result.stdout)
    assert ["days in Staging", "approvals"] == document["overridden"]
    loud = "🚨 GATES OVERRIDDEN by john.doe@company.com: days in Staging, approvals. Why: patients wait"
    assert loud in result.stderr
    move = next(event for event in governed.service().journal.history(GOVERNED) if event.action == "promote")
    assert ["days in Staging", "approvals"] == move.details["override"]


@pytest.mark.system
def test_nobody_overrides_a_changed_artifact(governed: Store, governance: Promote) -> None:
    """Where the files cannot be trusted the glass does not break."""
    (governed.artifact(GOVERNED, 3) / "added.txt").write_text("x")

    result = governance("promote_model", *PROMOTE, "--override-gates", "--reason", "patients wait")

    assert 3 == result.exit_code
    assert "nobody may override: artifact present" in result.stderr
    assert "Staging" == governed.shown()["alzheimer_classifier v3"]


@pytest.mark.system
def test_a_version_that_is_somewhere_else_is_refused(governed: Store, governance: Promote) -> None:
    """The caller says where it is, and is wrong."""
    arguments = ["--model-name", GOVERNED, "--version", "1.0.0", "--from-stage", "Staging", "--to-stage", "Production"]

    result = governance("promote_model", *arguments, "--approver", "john")

    assert 3 == result.exit_code
    assert "it is in Archived, not in Staging" in result.stderr


@pytest.mark.system
def test_a_rejected_candidate_is_archived_and_production_is_not(governed: Store, governance: Promote) -> None:
    """Staging may be left for good; Production only for a successor."""
    result = governance("promote_model", *NAMED, "--to-stage", "archived", "--approver", "john")
    assert (0, "✅ alzheimer_classifier v3 is in Archived\n") == (result.exit_code, result.stdout)
    serving = ("--model-name", GOVERNED, "--version", "1.1.0", "--from-stage", "production", "--to-stage", "archived")

    refused = governance("promote_model", *serving, "--approver", "john")

    assert 3 == refused.exit_code
    assert "python mlops/registry/rollback_model.py --model-name alzheimer_classifier --reason WHY" in refused.stderr


@pytest.mark.system
def test_the_documented_command_runs_as_written(governed: Store) -> None:
    """Pasted into a shell at the repository's root."""
    result = run_shell(DOCUMENTED)

    assert 3 == result.returncode, result.stderr
    assert "alzheimer_classifier v3 may not enter Production: days in Staging" in result.stderr


def run_shell(text: str) -> subprocess.CompletedProcess[str]:
    """What a person pastes, with this interpreter as python."""
    return subprocess.run(  # noqa: S602  # that the shell's own line continuation works is the point
        text.replace("python ", f"{shlex.quote(sys.executable)} ", 1),
        shell=True,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
