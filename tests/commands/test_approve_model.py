"""`mlops/registry/approve_model.py` and `report_incident.py`: what people say of a version."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.conftest import Run
from tests.promotion.factories import Store

NAMED = ("--model-name", GOVERNED, "--version", "1.2.0")
ANNA = (*NAMED, "--role", "devops", "--approver", "anna@company.com", "--comment", "it deploys")


@pytest.mark.system
def test_an_approval_is_recorded_and_what_else_refuses_is_said(governed: Store, governance: Promote) -> None:
    """While the days in Staging still run."""
    result = governance("approve_model", *ANNA)

    assert 0 == result.exit_code, result.output
    assert "✅ alzheimer_classifier v3 (1.2.0) approved by anna@company.com for devops" in result.stdout
    assert "✅ devops: anna@company.com, until 2027-01-04 09:00 UTC: it deploys" in result.stdout
    assert "❌ security: nobody yet" in result.stdout
    assert "also missing: days in Staging: 4.0 days, required ≥ 7 days; wait until" in result.stderr


@pytest.mark.system
def test_the_listing_writes_nothing(governed: Store, governance: Promote) -> None:
    """What is given, what is missing and why, as text and as data."""
    assert 0 == governance("approve_model", *ANNA, "--reject").exit_code
    before = governed.rows()

    text = governance("approve_model", *NAMED, "--list")
    data = json.loads(governance("approve_model", *NAMED, "--list", "--json").stdout)

    assert "Approvals of alzheimer_classifier v3 (1.2.0): 0 of 4" in text.stdout
    assert "❌ devops: rejected by anna@company.com: it deploys" in text.stdout
    assert ({}, "rejected by anna@company.com: it deploys") == (data["given"], data["missing"]["devops"])
    assert before == governed.rows()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--role", "legal", "--approver", "anna", "--comment", "x"), 2, "unknown role 'legal'"),
        (("--role", "devops", "--approver", "tina@x.org", "--comment", "x"), 3, "tina@x.org trained"),
        (("--role", "devops", "--approver", "anna"), 2, "say --role, --approver and --comment, or --list"),
        ((*ANNA[4:], "--statement", __file__), 2, "--statement and --signature belong together"),
    ],
)
def test_who_may_not_approve(
    governed: Store, governance: Promote, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Unknown role, the trainer, half a command."""
    result = governance("approve_model", *NAMED, *arguments)

    assert code == result.exit_code
    assert told in result.stderr


@pytest.mark.system
@pytest.mark.needs("ssh-keygen")
def test_a_signature_made_elsewhere_in_two_steps(governed: Store, run: Run, tmp_path: Path) -> None:
    """As processes of their own, with the ssh-keygen command that the first one prints."""
    path = governed.home / "config" / f"{GOVERNED}.yaml"
    written = path.read_text()
    config = yaml.safe_load(written)
    config["approvals"]["signed"] = True
    key, signers = tmp_path / "key", tmp_path / "signers"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    signers.write_text(f"anna@company.com {key.with_suffix('.pub').read_text()}")
    statement = tmp_path / "statement.json"
    command = ("mlops/registry/approve_model.py", *ANNA)
    try:
        path.write_text(yaml.safe_dump(config))
        printed = run(*command, "--print-statement", PROMOTION_ALLOWED_SIGNERS=str(signers))
        assert 0 == printed.returncode, printed.stderr
        statement.write_text(printed.stdout)
        line = next(line for line in printed.stderr.splitlines() if line.strip().startswith("ssh-keygen"))
        sign = line.replace("~/.ssh/id_ed25519", str(key)).split()
        subprocess.run(sign, check=True, cwd=tmp_path, capture_output=True)
        signed = ("--statement", str(statement), "--signature", f"{statement}.sig")
        recorded = run(*command, *signed, "--json", PROMOTION_ALLOWED_SIGNERS=str(signers))
    finally:
        path.write_text(written)

    assert 0 == recorded.returncode, recorded.stderr
    assert json.loads(recorded.stdout)["given"]["devops"]["signed"]


@pytest.mark.system
def test_an_incident_is_reported_listed_and_closed(governed: Store, governance: Promote) -> None:
    """An open critical one keeps the version out of Production; a closed one no longer does."""
    opened = governance("report_incident", *NAMED, "--severity", "critical", "--summary", "drops half of the rows")
    assert (0, "✅ incident 1 of alzheimer_classifier v3 (1.2.0) is open: critical: drops half of the rows\n") == (
        opened.exit_code,
        opened.stdout,
    )
    assert "drops half of the rows (opened by jenkins)" in governance("report_incident", "--list").stdout
    assert "incident 1 of 2026-12-05: drops half" in governance("check_promotion", *NAMED).stdout

    assert 0 == governance("report_incident", "--close", "1", "--resolution", "the caller was wrong").exit_code

    assert [] == json.loads(governance("report_incident", "--list", "--json").stdout)
    for arguments in (("--close", "1", "--resolution", "x"), ("--close", "1"), NAMED, ("--close", "7")):
        assert 2 == governance("report_incident", *arguments).exit_code
