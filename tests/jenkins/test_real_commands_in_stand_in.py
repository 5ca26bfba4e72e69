"""The Jenkinsfile in our stand-in for Jenkins, with the real commands: what it records is what an auditor finds."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.commands.governed_home import GOVERNED, governed_home
from tests.jenkins.builds import CREDENTIALS, PUSH, REAL, Outcome, Scenario, execute
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.reviews import Reviews
from promotion.signing.keys import Keys

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROLES = {"devops": "olaf", "security": "sam"}
PYTHON = f'exec {shlex.quote(sys.executable)} "$@"'


def real(*names: str, line: str) -> dict[str, str]:
    return dict.fromkeys(names, line)


def credentials(database: Path, key: Path) -> dict[str, dict[str, str]]:
    """Those of a team whose journal is a file: real values where the commands use them."""
    Keys(key).signing_key()
    return CREDENTIALS | {
        "promotion-database-url": {"kind": "string", "value": f"sqlite:///{database}"},
        "promotion-signing-key": {"kind": "file", "value": str(key)},
    }


def test_a_commit_becomes_production(tmp_path: Path) -> None:
    """Trained and validated on one agent, promoted on another; by the commit's author, for a push is nobody."""
    commands = real("download-data.py", "train.py", "promote-model.py --auto --model", "--dry-run", line=PYTHON)
    commands |= real("pipeline-plan.py", "promotion-report.py", "registry-page.py", line=PYTHON)
    scenario = Scenario(
        "first",
        commands,
        causes=[PUSH],
        credentials=credentials(tmp_path / "promotion.db", tmp_path / "signing-key.pem"),
        variables={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
            "PYTHONIOENCODING": "utf-8",
        },
        repository=REPOSITORY,
        agents=2,
    )

    first = execute(tmp_path, [scenario.prepare(tmp_path / "build")])["first"]

    assert "SUCCESS" == first.result, first.console
    text = first.console
    assert text.index("📊 MLflow Model Registry - Before Promotion") < text.index("🏆 Auto-Promoting Best Model")
    assert "✅ Successfully promoted heart-disease-logistic_regression v1 to Production!" in text
    assert text.index("Successfully promoted") < text.index("📊 MLflow Model Registry - After Promotion")
    assert "heart-disease-logistic_regression v1 in Production" in first.description
    archived = [file for step in first.steps("archiveArtifacts") for file in step["files"]]
    kept = [file for file in archived if file.startswith("checkpoints/")]
    assert [".intoto.jsonl", ".json"] == sorted(f".{file.partition('.')[2]}" for file in kept)
    assert [True, True] == [step["published"] for step in first.steps("publishHTML")]
    entry = Journal(Database(f"sqlite:///{tmp_path / 'promotion.db'}")).production("heart-disease")
    author = subprocess.run(
        ["git", "-C", str(REPOSITORY), "show", "--no-patch", "--format=%ae"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert entry
    assert (author, "jenkins") == (entry.trainer, entry.approver)


@pytest.fixture
def store(empty_store: Path, fitted_model: Path, tmp_path: Path) -> Store:
    """The governed family with a version in Staging; two people are asked, to keep this short."""
    store = governed_home(tmp_path / "home", empty_store, fitted_model).store
    path = store.home / "config" / f"{GOVERNED}.yaml"
    config = yaml.safe_load(path.read_text())
    config["approvals"]["roles"] = list(ROLES)
    path.write_text(yaml.safe_dump(config))
    return store


def ask(store: Store, folder: Path, **decisions: str) -> Outcome:
    """The build that anna starts when the days in Staging are over; tina trained what waits."""
    answers = {
        f"promotion-{role}": {"by": who, "values": {"DECISION": decisions[role], "COMMENT": f"{role} looked at it"}}
        for role, who in ROLES.items()
    }
    scenario = Scenario(
        "asked",
        real("pipeline-plan.py", "approve_model.py", "promote_model.py", line=REAL),
        params={"MODEL": GOVERNED},
        answers=answers,
        variables={"PROMOTION_HOME": str(store.home), "PROMOTION_CLOCK": "2026-12-09T09:00:00"},
        credentials=credentials(store.home / "promotion.db", store.home / "keys" / "signing-key.pem"),
    )
    return execute(folder, [scenario.prepare(folder / "build")])["asked"]


def recorded(store: Store) -> dict[str, tuple[str, bool, str]]:
    """What the journal holds of each role: who, for or against, in which words."""
    journal = store.service().journal
    entry = journal.entry(GOVERNED, 3)
    assert entry
    return {item.role: (item.approver, item.approved, item.comment) for item in Reviews(journal).approvals(entry)}


def test_answers_become_approvals(store: Store, tmp_path: Path) -> None:
    """With the names Jenkins authenticated; whoever started the build answers for the move."""
    build = ask(store, tmp_path, devops="approve", security="approve")

    assert "SUCCESS" == build.result, build.console
    journal = store.service().journal
    entry = journal.production(GOVERNED)
    assert entry
    assert (3, "anna", "jenkins-promotion-42") == (entry.number, entry.approver, entry.reason)
    assert {role: (who, True, f"{role} looked at it") for role, who in ROLES.items()} == recorded(store)


def test_a_denial_becomes_a_rejection(store: Store, tmp_path: Path) -> None:
    """It is recorded with the name, the promotion is refused, and what serves is delivered."""
    build = ask(store, tmp_path, devops="approve", security="reject")

    assert "UNSTABLE" == build.result, build.console
    assert "alzheimer_classifier v2" == str(store.service().journal.production(GOVERNED))
    assert ("sam", False, "security looked at it") == recorded(store)["security"]
    assert build.ran("deploy-model.py --model")
