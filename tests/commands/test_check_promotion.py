"""`mlops/registry/check_promotion.py`: the plan, and nothing but the plan."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

from promotion.registry.stages import Stage

NAMED = ("--model-name", GOVERNED, "--version", "1.2.0")


@pytest.mark.system
def test_what_is_missing_is_said_exactly(governed: Store, governance: Promote) -> None:
    """Every gate with measured and required, the days, the four reviews, and what to type next; nothing is written."""
    before = governed.rows()

    result = governance("check_promotion", *NAMED)

    assert 3 == result.exit_code, result.output
    assert re.search(r"❌ days in Staging +4\.0 days +required: ≥ 7 days\n +→ wait until", result.stdout)
    assert "wait until 2026-12-08 09:03 UTC" in result.stdout
    assert "0 of 4" in result.stdout
    for role in ("data-science", "devops", "business", "security"):
        command = f"approve_model.py --model-name {GOVERNED} --version 1.2.0 --role {role} --approver WHO"
        assert f"   python mlops/registry/{command}" in result.stdout
    assert "alzheimer_classifier v3 may not enter Production: days in Staging: 4.0 days" in result.stderr
    assert before == governed.rows()


@pytest.mark.system
def test_where_approvals_must_be_signed_the_next_step_signs(governed: Store, governance: Promote) -> None:
    """What is to be typed would be refused without."""
    path = governed.home / "config" / f"{GOVERNED}.yaml"
    config = yaml.safe_load(path.read_text())
    config["approvals"]["signed"] = True
    path.write_text(yaml.safe_dump(config))

    result = governance("check_promotion", *NAMED)

    assert "--role devops --approver WHO --comment WHAT-WAS-LOOKED-AT --sign KEY\n" in result.stdout


@pytest.mark.parametrize("version", ["1.2.0", "3", "v3"])
@pytest.mark.system
def test_as_json_it_is_one_document(governed: Store, governance: Promote, version: str) -> None:
    """By either name of the version."""
    result = governance("check_promotion", "--model-name", GOVERNED, "--version", version, "--json")

    document = json.loads(result.stdout)
    assert (3, 3, "1.2.0") == (result.exit_code, document["exit_code"], document["report"]["version"])
    refused = {gate["name"] for gate in document["report"]["results"] if not gate["passed"]}
    assert {"days in Staging", "approvals"} == refused
    assert 5 == len(document["next"])


@pytest.mark.system
def test_an_eligible_version_gets_the_command_that_promotes_it(governed: Store, governance: Promote) -> None:
    """Back to Staging nothing is asked but soundness; here the archived first version."""
    result = governance("check_promotion", "--model-name", GOVERNED, "--version", "1.0.0", "--to-stage", "STAGING")

    assert 0 == result.exit_code, result.output
    assert "✅ alzheimer_classifier v1 (1.0.0) may enter Staging" in result.stdout
    assert (
        "promote_model.py --model-name alzheimer_classifier --version 1.0.0 --from-stage archived --to-stage staging"
        in (result.stdout)
    )


@pytest.mark.system
def test_a_change_made_outside_is_said_and_not_taken_over(governed: Store, governance: Promote) -> None:
    """A version that somebody moved into Production in MLflow: seen, reported, left alone."""
    governed.move(GOVERNED, 3, Stage.PRODUCTION)
    before = governed.rows()

    result = governance("check_promotion", *NAMED)

    assert 3 == result.exit_code
    assert "changed outside: MLflow shows alzheimer_classifier v2 and alzheimer_classifier v3" in result.stderr
    assert "alzheimer_classifier v3: MLflow shows Production, the journal Staging" in result.stderr
    assert before == governed.rows()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--model-name", "nobody", "--version", "1"), 2, "nobody"),
        (("--model-name", GOVERNED, "--version", "9.9.9"), 2, "the journal knows 1.0.0, 1.1.0, 1.2.0"),
        (("--model-name", GOVERNED, "--version", "new"), 2, "'new' is no version"),
        (("--model-name", GOVERNED, "--version", "1.1.0"), 5, "is in Production already"),
        (("--model-name", GOVERNED), 2, "--version"),
    ],
)
def test_what_cannot_be_checked(
    governed: Store, governance: Promote, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """One line and the documented exit code."""
    result = governance("check_promotion", *arguments)

    assert code == result.exit_code
    assert told in result.stderr
