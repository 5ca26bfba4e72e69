"""Alerts on a journal in PostgreSQL, as a team has it: the same rules, and two runs at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.promotion.factories import a_family, a_version, promote
from tests.promotion.monitoring.alerts.test_alerter import found, seen
from tests.promotion.monitoring.receivers import receiving

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.journal.database import Database
from promotion.journal.journal import Journal
from promotion.journal.monitoring import alert_history
from promotion.journal.records import AlertState
from promotion.monitoring.alerts.alerter import Alerter
from promotion.monitoring.alerts.channels import Patience
from promotion.monitoring.alerts.records import Told

pytestmark = [
    pytest.mark.system,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]


def test_alert_and_recovery_are_told_once_each(database: str) -> None:
    """Two runs find the same at the same moment, then two find it gone: one alert, one recovery, a sound chain."""
    journal = Journal(Database(database))
    promote(journal, "churn", a_version("churn", 1))
    promote(journal, "churn", a_version("churn", 2))
    routing = {"critical": ["slack"], "warning": ["slack"], "info": ["slack"]}
    config = a_family("churn", monitoring={"channels": {"slack": "SLACK_URL"}, "routing": routing})
    start = threading.Barrier(2)
    journals = [Journal(Database(database)) for _ in range(2)]
    patience = Patience(attempts=2, seconds=5, first_wait=0.01)
    with receiving() as slack:

        def run(own: Journal, bad: bool) -> Told:
            start.wait()
            alerter = Alerter(own, config, {"SLACK_URL": slack.url}, patience=patience)
            return alerter.tell([found()] if bad else [], seen())

        with ThreadPoolExecutor(2) as runs:
            told = [list(runs.map(run, journals, [bad, bad])) for bad in (True, False)]

    (alert,) = alert_history(journal, "churn", journal.history("churn")[-1].at)
    assert [[0, 1], [0, 1]] == [sorted(len(each.deliveries) for each in pair) for pair in told]
    assert ["[CRITICAL]", "[RECOVERED]"] == [title.split()[0] for title in slack.titles]
    assert AlertState.RECOVERED is alert.state
    assert 2 == len([event for event in journal.history("churn") if event.action == "notify"])
    assert [] == verify_journal(JournalSource(journal), [], {}).findings
    for each in (journal, *journals):
        each.database._engine.dispose()
