"""The command that tests the channels, as a person runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.monitoring.receivers import TOKEN, free_port, mailing, receiving

Run = Callable[..., subprocess.CompletedProcess[str]]
TEST = ("scripts/monitor-model.py", "--model", "alzheimer_classifier", "--test-alert")


def test_every_channel_is_tried_and_each_failure_named(home: Path, run: Run) -> None:
    """One line a channel, exit 1 when one does not take the message, 0 when all do; never a secret."""
    with receiving() as team, receiving(403) as other, mailing() as mailbox:
        channels = {"SLACK_URL": team.url, "EMAIL_URL": mailbox.url}
        failed = run(*TEST, "--traceback", **channels, PAGERDUTY_URL=f"pagerduty://{TOKEN}:{TOKEN}@%20")
        refused = run(*TEST, "--json", **channels, PAGERDUTY_URL=other.url)
        passed = run(*TEST, "--json", **channels, PAGERDUTY_URL=team.url)

    assert [1, 1, 0] == [failed.returncode, refused.returncode, passed.returncode], failed.stderr + passed.stderr
    assert "✅ slack (JSON): test message" in failed.stdout
    assert "⚠️ pagerduty: not delivered, PAGERDUTY_URL holds no URL that Apprise understands" in failed.stdout
    assert "pagerduty (HTTP 403, forbidden)" in json.loads(refused.stdout)["message"]
    assert [True, True, True] == [each["accepted"] for each in json.loads(passed.stdout)["deliveries"]]
    assert 3 == len(mailbox.mails)
    assert all(TOKEN not in each.stdout + each.stderr for each in (failed, refused, passed))
    assert not (home / "promotion.db").exists()


def test_a_silent_receiver_does_not_keep_the_process(home: Path, run: Run) -> None:
    """Nobody listens on two channels: refused connections are tried four times, and the process ends."""
    down = f"json://127.0.0.1:{free_port()}"
    with receiving() as team:
        result = run(*TEST, SLACK_URL=team.url, EMAIL_URL=down, PAGERDUTY_URL=down)

    assert 1 == result.returncode
    assert "these channels take no alert: pagerduty (no connection), email (no connection)" in result.stderr
    assert 1 == len(team.got)
