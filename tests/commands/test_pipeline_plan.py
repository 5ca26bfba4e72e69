"""`scripts/pipeline-plan.py`: what a pipeline asks before it acts."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.commands.conftest import LOGISTIC, Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store
from tests.promotion.shared_home import ARTIFACTS

from promotion.config.settings import REPOSITORY
from promotion.registry.stages import Stage

Plan = Callable[..., Result]


@pytest.fixture
def plan() -> Plan:
    """Call the command without paying for a new process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / "pipeline-plan.py"), run_name="pipeline_plan")["main"]
    return lambda *arguments: CliRunner().invoke(main, arguments)


def document(result: Result) -> dict[str, Any]:
    assert 0 == result.exit_code, result.output
    return dict(json.loads(result.stdout))


def test_a_family_that_was_never_trained_has_nothing(store: Store, plan: Plan) -> None:
    """No candidate, no Production: null, and no failure."""
    answer = document(plan("--model", "heart-disease", "--json"))

    assert {
        "exit_code": 0,
        "family": "heart-disease",
        "promotion": "auto",
        "approvals": False,
        "signed": False,
        "online": True,
        "production": None,
        "candidate": None,
    } == answer


@pytest.mark.system
def test_the_best_of_the_newest_training_is_the_candidate(trained: Store, plan: Plan, promote: Promote) -> None:
    """Before the promotion it waits, after it it serves; looking changes nothing."""
    before = trained.rows()
    waiting = document(plan("--model", "heart-disease", "--json"))
    assert before == trained.rows()
    assert (None, f"{LOGISTIC} v2") == (waiting["production"], waiting["candidate"]["name"])

    assert 0 == promote("--auto", "--model", "heart-disease").exit_code

    assert f"{LOGISTIC} v2" == document(plan("--model", "heart-disease", "--json"))["production"]


def test_a_forecast_is_not_served_online(store: Store, plan: Plan) -> None:
    """The pipeline builds no image for it."""
    answer = document(plan("--model", "rossmann-ensemble", "--json"))

    assert ("manual", False) == (answer["promotion"], answer["online"])


@pytest.mark.system
def test_a_governed_candidate_says_who_and_what_is_missing(
    governed: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The days first; when they are over, only people."""
    early = document(plan("--model", GOVERNED, "--json"))["candidate"]
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-09T09:00:00")
    late = document(plan("--model", GOVERNED, "--json"))["candidate"]

    roles = ["data-science", "devops", "business", "security"]
    assert ("1.2.0", "staging", ["days in Staging"], roles) == (
        early["version"],
        early["stage"],
        early["refused"],
        roles,
    )
    assert ([], roles) == (late["refused"], late["missing"])
    text = plan("--model", GOVERNED).stdout
    assert "Candidate:  alzheimer_classifier v3 (1.2.0), in Staging" in text
    assert "Approvals missing: data-science, devops, business, security" in text


@pytest.mark.system
def test_a_younger_version_in_staging_does_not_stand_before_one_whose_days_are_over(
    governed: Store, plan: Plan, governance: Promote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a team that trains daily would never promote."""
    monkeypatch.setenv("PROMOTION_CLOCK", "2026-12-08T10:00:00")
    path = governed.home / "config" / f"{GOVERNED}.yaml"
    strict = path.read_text()
    loose = yaml.safe_load(strict)
    del loose["approvals"]
    try:
        path.write_text(yaml.safe_dump(loose))
        governed.client.create_model_version(GOVERNED, source=str(governed.home / ARTIFACTS / "1.2.0"))
        governed.move(GOVERNED, 4, Stage.STAGING)
        service = governed.service()
        service.synchronise(GOVERNED)
    finally:
        path.write_text(strict)

    assert Stage.STAGING is service.journal.entry(GOVERNED, 4).stage  # type: ignore[union-attr]
    answer = document(plan("--model", GOVERNED, "--json"))["candidate"]

    assert ("1.2.0", []) == (answer["version"], answer["refused"])


def test_an_unknown_family_is_a_usage_error(store: Store, plan: Plan) -> None:
    """One line, exit 2."""
    result = plan("--model", "nobody")

    assert 2 == result.exit_code
    assert "nobody" in result.stderr
