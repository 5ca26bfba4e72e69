"""The journal's record of deployments: one under way at a time, each step with its event, all of it in the chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.promotion.factories import a_journal, a_version, promote

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.delivery.deployments import Deployments
from promotion.delivery.records import (
    Deployment,
    DeploymentState,
    DeploymentTarget,
    Environment,
    Failure,
    Image,
    Predecessor,
    RolloutVerdict,
)
from promotion.errors import JournalLocked, ProductionMoved
from promotion.journal.journal import Journal

TARGET = DeploymentTarget("churn", Environment.PRODUCTION)
IMAGE = Image("registry.example/churn:1", "churn", "churn", 1, "1.0.0", "d" * 64, "", "f" * 64)
BEFORE = Predecessor("5d4f8", "0" * 32, "registry.example/churn:0")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Version 1 of churn is in Production."""
    made = a_journal(tmp_path)
    promote(made, "churn", a_version())
    return made


def begin(journal: Journal, target: DeploymentTarget = TARGET) -> Deployment:
    """Begin to deploy version 1."""
    entry = journal.entry("churn", 1)
    assert entry is not None
    return Deployments(journal).begin(target, IMAGE, entry, BEFORE, cluster="https://c", actor="anna")


def test_what_was_written_comes_back(journal: Journal) -> None:
    """Target, image, predecessor and failure survive the database, and nothing else is under way afterwards."""
    deployments = Deployments(journal)
    begun = begin(journal)
    failure = Failure(RolloutVerdict.VERSION, "it crashes", ("line 1", "line 2"))

    assert (TARGET, IMAGE, BEFORE, DeploymentState.APPLYING, None) == (
        begun.target,
        begun.image,
        begun.predecessor,
        begun.state,
        begun.failure,
    )
    assert begun == deployments.unfinished("churn", Environment.PRODUCTION)
    failed = deployments.advance(begun, DeploymentState.RETURNING, actor="anna", failure=failure)
    assert (failure, False) == (failed.failure, failed.is_going_forward)
    deployments.advance(failed, DeploymentState.FAILED, actor="anna")
    assert deployments.unfinished("churn", Environment.PRODUCTION) is None


def test_only_one_deployment_of_an_environment_is_under_way(journal: Journal) -> None:
    """The database refuses a second one; another environment is another matter."""
    begin(journal)

    with pytest.raises(JournalLocked, match="another process deploys 'churn' to production"):
        begin(journal)

    begin(journal, DeploymentTarget("churn", Environment.STAGING))


def test_a_version_that_moved_since_the_check_is_not_begun(journal: Journal) -> None:
    """Production is compared in the transaction that writes the deployment; nothing is left of it."""
    entry = journal.entry("churn", 1)
    assert entry is not None
    promote(journal, "churn", a_version(number=2))

    with pytest.raises(ProductionMoved, match="expected production for production"):
        Deployments(journal).begin(TARGET, IMAGE, entry, None, cluster="https://c", actor="anna")

    assert Deployments(journal).unfinished("churn", Environment.PRODUCTION) is None
    assert "deploy" not in {event.action for event in journal.history("churn")}


def test_every_step_is_in_the_chain(journal: Journal) -> None:
    """Beginning, verdict and end are events that move nothing, and the audit finds them sound."""
    deployments = Deployments(journal)
    failed = deployments.advance(
        begin(journal), DeploymentState.RETURNING, actor="anna", failure=Failure(RolloutVerdict.INFRASTRUCTURE, "quota")
    )
    deployments.advance(failed, DeploymentState.FAILED, actor="anna")
    done = begin(journal)
    deployments.advance(
        deployments.advance(done, DeploymentState.CHECKING, actor="anna"), DeploymentState.DEPLOYED, actor="anna"
    )

    events = journal.history("churn")[::-1][1:]
    assert ["deploy", "deploy failed", "deploy undone", "deploy", "deployed"] == [event.action for event in events]
    assert not any(event.is_move for event in events)
    assert {"verdict": "infrastructure", "environment": "production", "track": "stable"}.items() <= events[
        1
    ].details.items()
    assert [] == list(verify_journal(JournalSource(journal), [], {}).findings)
