"""`promotion ab-test`: from a log and labels to a record, a page, and the gate that asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.promotion.factories import a_journal, a_version, promote
from tests.promotion.monitoring.logs import MODEL, NOON, Traffic, churn, write_export, write_labels, write_log

from promotion.cli.main import main
from promotion.journal.journal import Journal

pytestmark = pytest.mark.system


@pytest.fixture
def tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose version 2 is in Production, with version 3 known and beside it in the log."""
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    document = churn().model_dump(mode="json", exclude_unset=True)
    (home / "config" / "churn.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    for number in (3, 2):
        promote(a_journal(home), "churn", a_version(MODEL, number))
    write_export(home / "build" / "export" / "churn")
    monkeypatch.setenv("PROMOTION_HOME", str(home))
    monkeypatch.setenv("PROMOTION_ACTOR", "anna")
    monkeypatch.setenv("PROMOTION_CLOCK", NOON.isoformat())
    monkeypatch.delenv("PREDICTION_LOG_SOURCE", raising=False)
    traffic = (Traffic(1000, accuracy=0.7), Traffic(1000, version=3, role="challenger", accuracy=0.9, seed=2))
    write_log(home / "log.jsonl", traffic)
    write_labels(home / "labels.csv", traffic)
    return home


def ab_test(home: Path, *options: str) -> Result:
    """Call it."""
    files = ["--labels", str(home / "labels.csv"), "--log", str(home / "log.jsonl")]
    return CliRunner().invoke(main, ["ab-test", "churn", *files, *options])


def recorded(home: Path) -> list[str]:
    """What was recorded with version 3."""
    journal = Journal(a_journal(home).database)
    return [event.reason for event in journal.history("churn") if event.action == "ab test"]


def test_a_look_is_said_recorded_and_shown(tested: Path) -> None:
    """As often as one likes."""
    first = ab_test(tested, "--slice", "c")
    second = ab_test(tested, "--json")

    assert 0 == first.exit_code, first.output
    assert f"📊 {MODEL} v3 against {MODEL} v2: accuracy +0.2" in first.stdout
    assert ": the challenger is better" in first.stdout
    assert "keys an arm" in first.stdout
    said = json.loads(second.stdout)
    assert ("the challenger is better", [MODEL, 3]) == (said["verdict"], said["challenger"])
    assert 2 == len(recorded(tested))
    page = (tested / "reports" / "ab-test" / "churn.html").read_text(encoding="utf-8")
    assert "A/B test of churn: the challenger is better" in page


def test_a_dry_run_leaves_nothing(tested: Path) -> None:
    """Neither a record nor a page."""
    assert 0 == ab_test(tested, "--dry-run").exit_code
    assert [] == recorded(tested)
    assert not (tested / "reports").exists()


def test_what_is_missing_is_said(tested: Path) -> None:
    """A log, labels, a column: one line, exit 2."""
    missing = CliRunner().invoke(main, ["ab-test", "churn", "--labels", str(tested / "labels.csv")])
    gone = ab_test(tested, "--labels", str(tested / "none.csv"))
    column = ab_test(tested, "--slice", "nothing")

    assert [2, 2, 2] == [each.exit_code for each in (missing, gone, column)]
    assert "no prediction log: name it with --log" in missing.stderr
    assert "no such file of labels" in gone.stderr
    assert "has no feature 'nothing'" in column.stderr
