"""The Jenkinsfile in our stand-in for Jenkins, with the real commands: what it records is what an auditor finds."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from tests.commands.governed_home import GOVERNED, governed_home
from tests.jenkins.builds import CREDENTIALS, PUSH, REAL, Scenario, execute

from promotion.keys import Keys
from promotion.reviews import Reviews
from promotion.settings import REPOSITORY

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROLES = {"data-science": "dana", "devops": "olaf", "business": "bea", "security": "sam"}
PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'


def real(*names: str, line: str) -> dict[str, str]:
    return dict.fromkeys(names, line)


def credentials(folder: Path, database: Path) -> dict[str, dict[str, str]]:
    """Those of a team whose journal is a file: real values where the commands use them."""
    key = folder / "signing-key.pem"
    Keys(key).signing_key()
    return CREDENTIALS | {
        "promotion-database-url": {"kind": "string", "value": f"sqlite:///{database}"},
        "promotion-signing-key": {"kind": "file", "value": str(key)},
    }


def test_a_commit_becomes_production(tmp_path: Path) -> None:
    """Clone, download, train, validate, promote for real: lists before and after, a checkpoint, a page for reviewers."""
    workspace = tmp_path / "build" / "workspace"
    commands = real("download-data.py", "train.py", "promote-model.py --auto --model", "--dry-run", line=PYTHON)
    commands |= real("pipeline-plan.py", "promotion-report.py", line=PYTHON)
    scenario = Scenario(
        "first",
        commands,
        causes=[PUSH],
        credentials=credentials(tmp_path, workspace / "promotion.db"),
        agent={"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONIOENCODING": "utf-8"},
        repository=REPOSITORY,
    )

    first = execute(tmp_path, [scenario.prepare(tmp_path / "build")])["first"]

    assert "SUCCESS" == first.result, first.console
    text = first.console
    assert text.index("📊 MLflow Model Registry - Before Promotion") < text.index("🏆 Auto-Promoting Best Model")
    assert "✅ Successfully promoted heart-disease-logistic_regression v1 to Production!" in text
    assert text.index("Successfully promoted") < text.index("📊 MLflow Model Registry - After Promotion")
    assert "heart-disease-logistic_regression v1 in Production" in first.description
    (archived,) = first.steps("archiveArtifacts")
    assert 1 == len([file for file in archived["files"] if file.startswith("checkpoints/")])
    (published,) = first.steps("publishHTML")
    assert published["published"]


def test_answers_become_approvals(empty_store: Path, fitted_model: Path, tmp_path: Path) -> None:
    """Four people answer, none of them the trainer; plan, approvals and promotion are the real commands."""
    store = governed_home(tmp_path / "home", empty_store, fitted_model).store
    answers = {
        f"promotion-{role}": {"by": who, "values": {"DECISION": "approve", "COMMENT": f"{role} looked at it"}}
        for role, who in ROLES.items()
    }
    commands = real("pipeline-plan.py", "approve_model.py", "promote_model.py", line=REAL)
    agent = {"PROMOTION_HOME": str(store.home), "PROMOTION_CLOCK": "2026-12-09T09:00:00"}
    known = credentials(tmp_path, store.home / "promotion.db")
    given = Scenario("approved", commands, params={"MODEL": GOVERNED}, answers=answers, agent=agent, credentials=known)

    build = execute(tmp_path, [given.prepare(tmp_path / "build")])["approved"]

    assert "SUCCESS" == build.result, build.console
    journal = store.service().journal
    entry = journal.entry(GOVERNED, 3)
    assert entry
    assert ("alzheimer_classifier v3", "anna") == (str(journal.production(GOVERNED)), entry.approver)
    recorded = {item.role: (item.approver, item.comment) for item in Reviews(journal).approvals(entry)}
    assert {role: (who, f"{role} looked at it") for role, who in ROLES.items()} == recorded
    assert "jenkins-promotion-42" == entry.reason


def test_a_denial_becomes_a_rejection(empty_store: Path, fitted_model: Path, tmp_path: Path) -> None:
    """One says no: it is recorded with the name, the promotion is refused, Production stays."""
    store = governed_home(tmp_path / "home", empty_store, fitted_model).store
    answers = {
        f"promotion-{role}": {"by": who, "values": {"DECISION": "approve", "COMMENT": "fine"}}
        for role, who in ROLES.items()
    }
    answers["promotion-security"] = {"by": "sam", "values": {"DECISION": "reject", "COMMENT": "an old library"}}
    commands = real("pipeline-plan.py", "approve_model.py", "promote_model.py", line=REAL)
    agent = {"PROMOTION_HOME": str(store.home), "PROMOTION_CLOCK": "2026-12-09T09:00:00"}
    known = credentials(tmp_path, store.home / "promotion.db")
    given = Scenario("denied", commands, params={"MODEL": GOVERNED}, answers=answers, agent=agent, credentials=known)

    build = execute(tmp_path, [given.prepare(tmp_path / "build")])["denied"]

    assert "UNSTABLE" == build.result, build.console
    journal = store.service().journal
    entry = journal.entry(GOVERNED, 3)
    assert entry
    assert "alzheimer_classifier v2" == str(journal.production(GOVERNED))
    assert [("sam", False, "an old library")] == [
        (item.approver, item.approved, item.comment)
        for item in Reviews(journal).approvals(entry)
        if item.role == "security"
    ]
    assert build.ran("deploy-model.py --model")
