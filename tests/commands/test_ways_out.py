"""What was done past the rules is said alike by every command, and each way out that is named leads to its end."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from contextlib import closing

import pytest
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

from promotion.journal.records import Entry, Event
from promotion.registry.stages import Stage

pytestmark = pytest.mark.system

NEW = ("--model-name", GOVERNED, "--version", "1.2.0")
ROLES = {"data-science": "dana", "devops": "olaf", "business": "berta", "security": "sam"}
# Document 004's statements; SQLite has no NOW().
PROMOTE = """
UPDATE model_version_detail
SET status = 'production',
    promoted_at = CURRENT_TIMESTAMP
WHERE model_id = (SELECT id FROM model_registry WHERE name = 'alzheimer_classifier')
  AND version = '1.2.0';
"""
ARCHIVE = """
UPDATE model_version_detail
SET status = 'archived',
    deprecated_at = CURRENT_TIMESTAMP
WHERE model_id = (SELECT id FROM model_registry WHERE name = 'alzheimer_classifier')
  AND status = 'production'
  AND version != '1.2.0';
"""


def _type(store: Store, *statements: str) -> int:
    """Type statements without a transaction; returns how many the database refused."""
    refused = 0
    with closing(sqlite3.connect(store.home / "promotion.db", isolation_level=None)) as database:
        for statement in statements:
            try:
                database.execute(statement)
            except sqlite3.IntegrityError:
                refused += 1
    return refused


def _entry(store: Store, version: str) -> Entry:
    entry = store.service().journal.entry(GOVERNED, version)
    assert entry
    return entry


def _require_true_times(store: Store) -> None:
    """Each row says of its service what the events say."""
    journal = store.service().journal
    for entry in journal.entries(GOVERNED):
        moves = [event for event in journal.history(version_id=entry.id) if event.is_move]
        entered = _newest(moves, "to_stage")
        left = _newest(moves, "from_stage")
        gone = left if left and (entered is None or left.sequence > entered.sequence) else None
        assert (entered and entered.at, gone and gone.at) == (entry.promoted_at, entry.deprecated_at), entry


def _newest(moves: list[Event], end: str) -> Event | None:
    return next((move for move in moves if getattr(move, end) is Stage.PRODUCTION), None)


def _approve_all(governance: Promote) -> None:
    for role, who in ROLES.items():
        said = ("--role", role, "--approver", f"{who}@company.com", "--comment", "read the report")
        result = governance("approve_model", *NEW, *said)
        assert 0 == result.exit_code, result.output


@pytest.mark.parametrize("how", ["SQL", "MLflow", "MLflow, box unticked"])
def test_the_way_of_a_version_that_was_put_there_leads_into_production(
    governed: Store, governance: Promote, promote: Promote, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Check says 3 and what is missing, approvals are taken, reconcile ratifies; times and record are true."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-09T09:00:00")
    if how == "SQL":
        assert 0 == _type(governed, ARCHIVE, PROMOTE)
    else:
        governed.move(GOVERNED, 3, Stage.PRODUCTION, archive=how == "MLflow")

    checked = governance("check_promotion", *NEW)
    assert 3 == checked.exit_code, checked.output
    assert "0 of 4" in checked.stdout
    assert "❌ days in Staging" not in checked.stdout
    assert "QUARANTINED" in checked.stderr
    assert f"--reconcile --model {GOVERNED}" in checked.stderr
    assert 3 == promote("--reconcile", "--model", GOVERNED).exit_code

    _approve_all(governance)
    allowed = governance("check_promotion", *NEW)
    assert 3 == allowed.exit_code
    (step,) = re.findall(r"Next:\n +python scripts/promote-model\.py (.+)", allowed.stdout)
    assert f"--reconcile --model {GOVERNED}" == step

    ratified = promote(*shlex.split(step))

    assert 0 == ratified.exit_code, ratified.output
    assert Stage.PRODUCTION is _entry(governed, "1.2.0").stage
    assert {
        f"{GOVERNED} v1": "Archived",
        f"{GOVERNED} v2": "Archived",
        f"{GOVERNED} v3": "Production",
    } == governed.shown()
    _require_true_times(governed)
    assert 5 == governance("check_promotion", *NEW).exit_code


@pytest.mark.parametrize("how", ["SQL", "MLflow, box unticked"])
def test_the_way_back_leads_back(governed: Store, governance: Promote, promote: Promote, how: str) -> None:
    """The other way that is named: what was recorded is there again, with its own times."""
    if how == "SQL":
        assert 0 == _type(governed, ARCHIVE, PROMOTE)
    else:
        governed.move(GOVERNED, 3, Stage.PRODUCTION)

    restored = promote("--restore", "--model", GOVERNED, "--reason", "not reviewed")

    assert 0 == restored.exit_code, restored.output
    assert Stage.PRODUCTION is _entry(governed, "1.1.0").stage
    assert Stage.STAGING is _entry(governed, "1.2.0").stage
    _require_true_times(governed)
    assert "⚠️" not in promote("--list").stderr
    assert "QUARANTINED" not in governance("check_promotion", *NEW).stderr


EMPTYING = {
    "the promoting one first": ((PROMOTE, ARCHIVE), 1),
    "the archiving one alone": ((ARCHIVE,), 0),
    "a misspelt version": ((ARCHIVE.replace("1.2.0", "1.2.O"), PROMOTE.replace("1.2.0", "1.2.O")), 0),
    "the archiving one twice": ((ARCHIVE, PROMOTE, ARCHIVE.replace("1.2.0", "1.2.O")), 0),
}


@pytest.mark.parametrize("case", EMPTYING)
def test_statements_that_leave_nobody_are_named_with_both_ways(
    governed: Store, governance: Promote, promote: Promote, case: str
) -> None:
    """List, check, reconcile: what took effect, the command for the old version, the one for the intended one."""
    statements, refused = EMPTYING[case]
    assert refused == _type(governed, *statements)

    said = {
        "list": promote("--list"),
        "check": governance("check_promotion", *NEW),
        "check the old one": governance("check_promotion", "--model-name", GOVERNED, "--version", "1.1.0"),
        "reconcile": promote("--reconcile"),
    }
    assert [0, 3, 3, 3] == [result.exit_code for result in said.values()]
    for result in said.values():
        assert f"{GOVERNED} v2: its row says Archived, the events say Production" in result.stderr
        assert f"the statement that archives took {GOVERNED} v2 out" in result.stderr
        assert f"--restore --model {GOVERNED} --reason WHY puts back what was recorded" in result.stderr
        assert f"promote_model.py --model-name {GOVERNED} --version" in result.stderr
        assert "one_production_per_family" in result.stderr
    listed = json.loads(promote("--list", "--json").stdout)
    assert "NO PRODUCTION" in listed[0]["disagreements"][0]

    assert 0 == promote("--restore", "--model", GOVERNED, "--reason", "misspelt").exit_code
    assert Stage.PRODUCTION is _entry(governed, "1.1.0").stage
    _require_true_times(governed)


def test_the_intended_version_gets_there_by_one_command(
    governed: Store, governance: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the line names: what was recorded is put back, then every gate is asked."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-09T09:00:00")
    assert 1 == _type(governed, PROMOTE, ARCHIVE)
    onwards = (*NEW, "--from-stage", "staging", "--to-stage", "production", "--approver", "john.doe@company.com")

    refused = governance("promote_model", *onwards)
    assert 3 == refused.exit_code
    assert "approvals: 0 of 4" in refused.stderr
    assert Stage.PRODUCTION is _entry(governed, "1.1.0").stage

    assert 0 == _type(governed, ARCHIVE)
    _approve_all(governance)
    promoted = governance("promote_model", *onwards)

    assert 0 == promoted.exit_code, promoted.output
    assert Stage.PRODUCTION is _entry(governed, "1.2.0").stage
    _require_true_times(governed)


def test_two_productions_are_named_by_every_command_that_reads(
    governed: Store, governance: Promote, promote: Promote
) -> None:
    """MLflow's own dialog leaves the box unticked: which versions are there, what the journal says, what settles it."""
    governed.move(GOVERNED, 3, Stage.PRODUCTION)
    both = f"MLflow shows {GOVERNED} v2 and {GOVERNED} v3 in Production, the journal holds {GOVERNED} v2"

    for result in (
        promote("--list"),
        promote(GOVERNED, "1.2.0", "--dry-run"),
        promote("--reconcile"),
        promote(GOVERNED, "1.2.0"),
        governance("check_promotion", *NEW),
        governance("approve_model", *NEW, "--list"),
        governance("rollback_model", "--model-name", GOVERNED, "--reason", "3 a.m."),
    ):
        assert both in result.stderr, result.output
        assert f"--reconcile --model {GOVERNED}" in result.stderr
    listed = json.loads(promote("--list", "--json").stdout)
    assert [3, 2] == [version["version"] for version in listed[0]["versions"] if version["stage"] == "Production"]
    assert both in listed[0]["disagreements"][0]
