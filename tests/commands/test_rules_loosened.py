"""Rules that are loosened for a minute: whoever promotes by them and puts them back is seen everywhere.

The family is `alzheimer_classifier` under its rules, its version 1.2.0 too short in Staging and approved by nobody.
"""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.commands.conftest import Promote
from tests.commands.governed_home import GOVERNED
from tests.promotion.factories import Store

from promotion.config.settings import REPOSITORY

pytestmark = pytest.mark.system

NAMED = ("--model-name", GOVERNED, "--version", "1.2.0")
PROMOTE = (*NAMED, "--from-stage", "staging", "--to-stage", "production", "--approver", "mallory")
LOOSE: dict[str, Any] = {
    "gates": {
        "staging": {"minimum": 0},
        "thresholds": {"roc_auc": {"minimum": 0.1}},
        "better_than_production": {"policy": "not_worse", "margin": 0.5},
    }
}
"""Days 7 → 0, the bounds lowered or left out, and no approvals."""
LOOSENED = [
    "approvals a section (roles) → nothing (looser)",
    "gates.staging.minimum 7 → 0 (looser)",
    "gates.thresholds.roc_auc.minimum 0.8 → 0.1 (looser)",
]
YES = ("--role", "devops", "--approver", "dora@company.com", "--comment", "read it")


@pytest.fixture
def file(governed: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The family's file, strict, and so again afterwards; checkpoints are this test's own, as its key is."""
    monkeypatch.setenv("PROMOTION_CHECKPOINTS", str(tmp_path / "checkpoints"))
    path = governed.home / "config" / f"{GOVERNED}.yaml"
    strict = path.read_bytes()
    yield path
    path.write_bytes(strict)


def say(script: str, *arguments: str) -> Result:
    """Call one of `scripts/` without paying for a new process."""
    main = runpy.run_path(str(REPOSITORY / "scripts" / script), run_name="command")["main"]
    return CliRunner().invoke(main, arguments)


def loosen(file: Path) -> None:
    """What is one edit in an editor."""
    strict = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({key: value for key, value in strict.items() if key != "approvals"} | LOOSE))


@pytest.fixture
def attacked(file: Path, governance: Promote) -> Path:
    """After the attack: refused, loosened, promoted, put back to the byte."""
    strict = file.read_bytes()
    assert 3 == governance("promote_model", *PROMOTE).exit_code
    loosen(file)
    promoted = governance("promote_model", *PROMOTE)
    assert 0 == promoted.exit_code, promoted.output
    file.write_bytes(strict)
    return file


def alerts() -> list[str]:
    """What needs attention in December, beside that the tests' clock is set by hand."""
    found = json.loads(say("compliance-report.py", "--month", "2026-12", "--json").stdout)["alerts"]
    return [alert for alert in found if "clock" not in alert]


def test_the_monthly_report_needs_attention(attacked: Path) -> None:
    """Every loosened rule stands on top, before what is merely counted, and in a section of its own."""
    said = next(alert for alert in alerts() if "rules loosened before the promote" in alert)

    assert [] == [change for change in LOOSENED if change not in said]
    assert said.startswith(f"{GOVERNED}: rules loosened before the promote of {GOVERNED} 1.2.0, event ")
    page = (attacked.parents[1] / "reports" / "compliance" / "compliance-2026-12.html").read_text(encoding="utf-8")
    assert page.index(LOOSENED[0]) < page.index('<section id="overrides">')
    assert '<section id="rules">' in page
    assert "approvals nothing → a section (roles) (tighter)" in page


def test_history_and_audit_say_what_the_promotion_stood_under(attacked: Path) -> None:
    """Compared with the promotion before it; the record itself was not touched and verifies."""
    history, shown = say("promote-model.py", "--history"), say("audit.py", "show", "--model", GOVERNED)

    for output in (history.stdout, shown.stdout):
        (said,) = [line for line in output.splitlines() if "⚠️ rules changed since the last promotion: " in line]
        assert [] == [change for change in LOOSENED if change not in said]
    assert "rules " in next(line for line in shown.stdout.splitlines() if "promote by jenkins" in line)
    documents = json.loads(say("promote-model.py", "--history", "--json").stdout)
    loud = [document for document in documents if "looser" in {it["direction"] for it in document["rule_changes"]}]
    assert [("promote", "1.2.0")] == [(document["action"], document["semver"]) for document in loud]
    # What is left over from before this test was signed with another key.
    findings = json.loads(say("audit.py", "verify", "--json").stdout)["findings"]
    assert set() == {finding["kind"] for finding in findings} - {"checkpoint", "attestation"}


def test_the_next_check_says_what_the_last_promotion_stood_under(attacked: Path, governance: Promote) -> None:
    """On the console, as data, and on the reviewer's page."""
    named = ("--model-name", GOVERNED, "--version", "1.1.0")
    checked = governance("check_promotion", *named)
    report = json.loads(governance("check_promotion", *named, "--json").stdout)["report"]
    page = attacked.parent / "page.html"
    assert 0 == say("promotion-report.py", *named, "--output", str(page)).exit_code

    assert "⚠️ rules changed since the last promotion: approvals nothing → a section (roles) (tighter)" in checked.stdout
    assert "approvals nothing → a section (roles) (tighter)" in report["rule_changes"]
    assert {"digest", "file", "state", "commit", "dirty", "software"} == set(report["rules"])
    assert "<li>approvals nothing → a section (roles) (tighter)</li>" in page.read_text(encoding="utf-8")


def test_a_version_that_was_never_judged_by_the_strict_rules_needs_attention(file: Path, governance: Promote) -> None:
    """Nothing was recorded under them before: what followed tells."""
    strict = file.read_bytes()
    loosen(file)
    assert 0 == governance("promote_model", *PROMOTE).exit_code
    file.write_bytes(strict)

    (said,) = [alert for alert in alerts() if "1.2.0 was promoted by looser rules than those that followed" in alert]
    assert "gates.staging.minimum 0 → 7 (tighter)" in said


def test_a_file_that_was_away_for_a_minute_is_missed(file: Path, governance: Promote) -> None:
    """Without it nobody asks for anything."""
    assert 3 == governance("promote_model", *PROMOTE).exit_code
    away = file.with_suffix(".away")
    file.rename(away)
    assert 0 == governance("promote_model", *PROMOTE).exit_code
    away.rename(file)

    assert [] != [alert for alert in alerts() if "the family's file there → gone (looser)" in alert]
    assert "the family's file there → gone (looser)" in say("promote-model.py", "--history").stdout


def test_an_approval_is_void_once_a_rule_has_changed(file: Path, governance: Promote) -> None:
    """The message names the key; a channel by another name, or the word of a column, changes no rule."""
    assert 0 == governance("approve_model", *NAMED, *YES).exit_code
    document = yaml.safe_load(file.read_text())
    contacts = {"stakeholders": ["somebody@else.org"]}
    channels = {"channels": {"chat": "CHAT_URL"}, "routing": {"critical": ["chat"], "warning": [], "info": []}}
    document["monitoring"] = {}
    file.write_text(yaml.safe_dump(document))
    assert 0 == governance("approve_model", *NAMED, *YES).exit_code

    file.write_text(yaml.safe_dump(document | {"contacts": contacts, "monitoring": channels}))
    assert "devops: dora@company.com" in governance("check_promotion", *NAMED).stdout

    document["access"] = {"production": ["mallory"]}
    file.write_text(yaml.safe_dump(document))
    said = "the rules changed since dora@company.com approved: access.production nothing → mallory (tighter): ask again"
    assert said in governance("check_promotion", *NAMED).stdout


@pytest.fixture
def committed(file: Path) -> Iterator[Path]:
    """The file, committed, that asks for being so; without what needs time or people."""
    document = yaml.safe_load(file.read_text()) | {"rules": "committed"} | LOOSE
    file.write_text(yaml.safe_dump({key: value for key, value in document.items() if key != "approvals"}))
    git(file, "init")
    git(file, "add", "config")
    git(file, "commit", "--message", "rules")
    yield file
    shutil.rmtree(file.parents[1] / ".git")


def git(file: Path, *arguments: str) -> None:
    """Run git as somebody, in the home of the file."""
    who = ["-c", "user.name=anna", "-c", "user.email=anna@example.com"]
    subprocess.run(["git", "-C", str(file.parents[1]), *who, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("break_glass", [(), ("--override-gates", "--reason", "quick")])
def test_committed_rules_keep_a_modified_file_from_moving_anything_on(
    committed: Path, governance: Promote, break_glass: tuple[str, ...]
) -> None:
    """Named with its state, for nobody to override; the way back stays open."""
    text = committed.read_text()
    committed.write_text(text + "\n# a word\n")

    result = governance("promote_model", *PROMOTE, *break_glass)

    assert 3 == result.exit_code, result.output
    assert f"config/{GOVERNED}.yaml is modified, and it says rules: committed: commit it" in result.output
    assert 0 == governance("rollback_model", "--model-name", GOVERNED, "--reason", "wrong answers").exit_code


def test_committed_rules_let_a_committed_file_pass(committed: Path, governance: Promote) -> None:
    """The report names the commit."""
    report = json.loads(governance("promote_model", *PROMOTE, "--json").stdout)["report"]

    assert ("committed", False) == (report["rules"]["state"], report["rules"]["dirty"])
    assert 40 == len(report["rules"]["commit"])


def test_a_dropped_demand_for_committed_rules_is_a_loosened_rule(committed: Path, governance: Promote) -> None:
    """The modified file moves the version, and both stand on top of the month."""
    strict = committed.read_text()
    committed.write_text(strict + "\n# a word\n")
    assert 3 == governance("promote_model", *PROMOTE).exit_code
    committed.write_text(strict.replace("rules: committed\n", ""))
    assert 0 == governance("promote_model", *PROMOTE).exit_code

    found = alerts()
    assert [] != [alert for alert in found if "rules committed → nothing (looser)" in alert]
    assert "1 version was promoted by rules that are in no commit" in found
