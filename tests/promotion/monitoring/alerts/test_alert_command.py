"""The command that tests the channels, as a person runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.promotion.monitoring.receivers import TOKEN, free_port, mailing, receiving

Run = Callable[..., subprocess.CompletedProcess[str]]
TEST = ("scripts/monitor-model.py", "--model", "alzheimer_classifier", "--test-alert")


@pytest.mark.system
def test_every_channel_is_tried_and_each_failure_named(home: Path, run: Run) -> None:
    """One line a channel; exit 1 when one does not take the message, a dead one included, 0 when all do; no secret."""
    with receiving() as team, mailing() as mailbox:
        wrong = {
            "PAGERDUTY_URL": f"pagerduty://{TOKEN}:{TOKEN}@%20",
            "EMAIL_URL": f"json://127.0.0.1:{free_port()}/{TOKEN}",
        }
        failed = run(*TEST, "--traceback", **wrong, SLACK_URL=team.url)
        passed = run(*TEST, "--json", PAGERDUTY_URL=team.url, EMAIL_URL=mailbox.url, SLACK_URL=team.url)

    assert [1, 0] == [failed.returncode, passed.returncode], failed.stderr + passed.stderr
    assert [
        "⚠️ pagerduty: not delivered, PAGERDUTY_URL holds no URL that Apprise understands; check its URL: test message",
        "✅ slack (JSON): test message",
        "⚠️ email: not delivered, no connection; check its URL: test message",
    ] == failed.stdout.splitlines()
    assert "these channels take no alert: pagerduty (PAGERDUTY_URL holds" in failed.stderr
    assert [True, True, True] == [each["accepted"] for each in json.loads(passed.stdout)["deliveries"]]
    assert (3, 1) == (len(team.got), len(mailbox.mails))
    assert all(TOKEN not in each.stdout + each.stderr for each in (failed, passed))
    assert not (home / "promotion.db").exists()
