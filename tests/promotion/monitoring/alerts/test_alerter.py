"""Alerts: who is told what and when, what is not told, and what the journal knows of it afterwards."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from tests.promotion.factories import ANNA, a_family, a_journal, a_version, promote
from tests.promotion.monitoring.receivers import PAGERDUTY, TOKEN, Mailbox, Receiver, mailing, pagerduty_is, receiving

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.config.policy import Monitoring
from promotion.errors import ChannelFailed, ConfigError
from promotion.journal.clock import VARIABLE
from promotion.journal.journal import Journal
from promotion.journal.monitoring import alert_history
from promotion.journal.records import AlertState, Authority, Change
from promotion.journal.schema import alert_delivery
from promotion.monitoring.alerts.alerter import Alerter
from promotion.monitoring.alerts.channels import Patience
from promotion.monitoring.alerts.records import Told
from promotion.monitoring.finding import Finding, LevelName
from promotion.monitoring.observe.observation import Drift, Observation, Reading, Service
from promotion.registry.stages import Stage

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

TEN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
QUICK = Patience(attempts=3, seconds=5, first_wait=0.01, longest_wait=0.02)
GOOD = Reading(0.87, 0.84, 0.90, 0.87, 512, enough=True)


def found(key: str = "accuracy", level: LevelName | None = "critical", value: float = 0.80) -> Finding:
    text = f"{key} is {value:g}" if level else f"{key}: not enough data"
    return Finding(key, level, key, value, 0.87, 0.05, TEN, 512, text)


def seen(version: int = 2, **changes: Any) -> Observation:
    everything: dict[str, Any] = {
        "is_production": True,
        "serves": True,
        "metrics": {"accuracy": GOOD},
        "drift": [Drift("age", "feature", 0.01, 0.0, 0.5, 512, 500, enough=True)],
        "service": Service(90.0, 0.0, 3.0, 512, "prometheus", enough=True),
    }
    return Observation(
        "churn",
        "churn",
        version,
        f"1.{version - 1}.0",
        "champion",
        since=TEN,
        until=TEN,
        rows=512,
        **everything | changes,
    )


@dataclass
class Watch:
    """A family that is watched: its channels, and a clock that can be put forward."""

    journal: Journal
    slack: Receiver
    pager: Receiver
    mails: Mailbox
    monkeypatch: pytest.MonkeyPatch
    now: datetime = TEN
    environment: dict[str, str] | None = None
    config: Any = None

    def alerter(self) -> Alerter:
        """As a command would make it."""
        environment = self.environment or {
            "SLACK_URL": self.slack.url,
            "PAGERDUTY_URL": PAGERDUTY,
            "EMAIL_URL": self.mails.url,
        }
        return Alerter(self.journal, self.config or a_family("churn"), environment, patience=QUICK)

    def tell(self, *findings: Finding, observation: Observation | None = None, hours: float = 1) -> Told:
        """One run, some time after the one before."""
        self.now += timedelta(hours=hours)
        self.monkeypatch.setenv(VARIABLE, self.now.isoformat())
        return self.alerter().tell(findings, observation or seen())

    @property
    def subjects(self) -> list[str]:
        """Of the mails."""
        return [str(mail["Subject"]) for mail in self.mails.mails]

    @property
    def pages(self) -> list[str]:
        """What the pager was told to do."""
        return [page["event_action"] for page in self.pager.got]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal in which version 2 serves and version 1 did before."""
    folder = tmp_path_factory.mktemp("promoted")
    journal = a_journal(folder)
    promote(journal, "churn", a_version("churn", 1))
    promote(journal, "churn", a_version("churn", 2))
    return folder / "promotion.db"


@pytest.fixture
def watch(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """That journal, and three real receivers."""
    monkeypatch.setenv(VARIABLE, TEN.isoformat())
    shutil.copy(promoted, tmp_path)
    journal = a_journal(tmp_path)
    with ExitStack() as stack:
        slack, pager = stack.enter_context(receiving()), stack.enter_context(receiving())
        pagerduty_is(pager, monkeypatch)
        yield Watch(journal, slack, pager, stack.enter_context(mailing()), monkeypatch)


def deliveries(journal: Journal) -> list[tuple[str, str, str]]:
    return [
        (row.channel, row.kind, row.state) for row in journal.rows(select(alert_delivery).order_by(alert_delivery.c.id))
    ]


@pytest.mark.parametrize(
    ("level", "slack", "pager", "mail"), [("critical", 1, 1, 1), ("warning", 1, 0, 1), ("info", 1, 0, 0)]
)
def test_each_level_reaches_the_documented_channels(
    watch: Watch, level: LevelName, slack: int, pager: int, mail: int
) -> None:
    """Critical: pager, Slack and e-mail. Warning: Slack and e-mail. Info: Slack alone."""
    told = watch.tell(found(level=level))

    assert (slack, pager, mail) == (len(watch.slack.got), len(watch.pager.got), len(watch.mails.mails))
    assert slack + pager + mail == len(told.deliveries)
    assert all(delivery.answer.accepted for delivery in told.deliveries)
    assert f"[{level.upper()}] churn v2: accuracy is 0.8" == watch.slack.titles[0]


@pytest.mark.system
def test_the_message_names_the_command_that_takes_the_version_back(watch: Watch) -> None:
    """With the predecessor's version, ready to paste; a version that is known bad is passed over."""
    watch.tell(found())
    first = watch.slack.got[0]["message"]
    journal = watch.journal
    serving, bad = journal.entry("churn", 2), a_version("churn", 3)
    assert serving is not None
    changes = [Change(serving, Stage.ARCHIVED, known_bad="it lied"), Change(bad, Stage.PRODUCTION)]
    journal.move("churn", changes, ANNA, expected_production=serving.id)
    watch.tell(found(), observation=seen(3))

    command = (
        "Run: python mlops/registry/rollback_model.py --model-name churn --to-version 1 --reason 'accuracy is 0.8'"
    )
    assert command in first
    assert "Report: reports/monitoring/churn.html\nRunbook: docs/runbooks/alert.md" in first
    assert command in watch.slack.got[-1]["message"]


def test_with_nothing_to_go_back_to_the_command_is_to_look(watch: Watch) -> None:
    """A version that the journal never heard of is told of all the same, without a way back; the journal is sound."""
    watch.tell(observation=seen(7, is_production=False))
    watch.tell(found(), observation=seen(7, is_production=False))

    assert ["notify", "observe"] == [event.action for event in watch.journal.history("churn")[:2]]
    assert [] == verify_journal(JournalSource(watch.journal), [], {}).findings
    assert "Run: python scripts/monitor-model.py --model churn --once" in watch.slack.got[0]["message"]


@pytest.mark.system
def test_what_was_told_is_not_told_again_until_the_cool_down_is_over(watch: Watch) -> None:
    """Five runs an hour apart, one message; after six hours a reminder that it still lasts, since when it began."""
    for _ in range(5):
        watch.tell(found())
    assert ["[CRITICAL] churn v2: accuracy is 0.8"] == watch.slack.titles
    watch.tell(found(value=0.79), hours=6)

    assert "[STILL CRITICAL] churn v2: accuracy is 0.79" == watch.slack.titles[-1]
    assert "Since: 2026-11-21 11:00 UTC" in watch.slack.got[-1]["message"]
    assert ["trigger", "trigger"] == watch.pages
    assert 1 == len({page["dedup_key"] for page in watch.pager.got})


def test_what_gets_worse_is_told_at_once(watch: Watch) -> None:
    """From warning to critical within the cool-down: the pager hears of it for the first time."""
    watch.tell(found(level="warning"))
    watch.tell(found(level="critical"))

    assert ["trigger"] == watch.pages
    assert ["[WARNING] churn v2: accuracy is 0.8", "[CRITICAL] churn v2: accuracy is 0.8"] == watch.slack.titles


def test_what_gets_better_closes_the_page_and_stays_open_for_the_others(watch: Watch) -> None:
    """From critical to a minor fluctuation: pager and e-mail are told it is over for them, Slack that it eased."""
    watch.tell(found(level="critical"))
    watch.tell(found(level="info", value=0.86))
    watch.tell()

    assert ["trigger", "resolve"] == watch.pages
    assert [
        "[CRITICAL] churn v2: accuracy is 0.8",
        "[EASED TO INFO, OVER HERE] churn v2: accuracy is 0.86",
    ] == watch.subjects
    assert ["CRITICAL", "EASED TO INFO", "RECOVERED"] == [title[1:].split("]")[0] for title in watch.slack.titles]


def test_a_recovery_is_told_to_everybody_who_was_told(watch: Watch) -> None:
    """Once; PagerDuty's incident is resolved under the key it was opened with."""
    watch.tell(found())
    watch.tell()
    told = watch.tell()

    assert [] == told.deliveries
    assert ["trigger", "resolve"] == watch.pages
    assert watch.pager.got[0]["dedup_key"] == watch.pager.got[1]["dedup_key"]
    assert "[RECOVERED] churn v2, was: accuracy is 0.8" == watch.slack.titles[-1] == watch.subjects[-1]
    assert "Since: from 2026-11-21 11:00 UTC until 2026-11-21 12:00 UTC" in watch.slack.got[-1]["message"]


@pytest.mark.parametrize(
    "observation",
    [
        seen(metrics={}),
        seen(metrics={}, drift=(), service=Service()),
    ],
)
def test_what_was_not_measured_has_not_recovered(watch: Watch, observation: Observation) -> None:
    """Without labels nobody knows whether the accuracy is right again: silence, and the alert stays open."""
    watch.tell(found())
    watch.tell(observation=observation)

    assert ["trigger"] == watch.pages
    assert [AlertState.OPEN] == [alert.state for alert in alert_history(watch.journal, "churn", TEN)]


@pytest.mark.parametrize(
    ("service", "closed"),
    [
        (Service(source="prometheus", problem="no connection"), False),
        (Service(90.0, source="prediction log", enough=True), False),
        (Service(requests=0, source="prometheus"), True),
    ],
    ids=["away", "not asked", "back, without traffic"],
)
def test_the_service_is_watched_again_when_prometheus_answers(watch: Watch, service: Service, *, closed: bool) -> None:
    """That nobody asked it does not mean that it is back."""
    watch.tell(found("metrics", "warning"))
    watch.tell(*([found("metrics", "warning")] if service.is_blind else []), observation=seen(service=service))

    assert closed is (watch.slack.titles[-1].startswith("[RECOVERED]"))


def test_not_enough_data_is_neither_an_alarm_nor_an_all_clear(watch: Watch) -> None:
    """Nobody hears of it, before an alert nor after one."""
    watch.tell(found(level=None))
    assert [] == watch.slack.got
    watch.tell(found("error_rate"))
    watch.tell(found("error_rate", level=None))

    assert ["[CRITICAL] churn v2: error_rate is 0.8"] == watch.slack.titles
    assert ["trigger"] == watch.pages


@pytest.mark.system
def test_what_comes_and_goes_is_told_as_over_only_when_it_stays_away(watch: Watch) -> None:
    """Bad and good by turns every hour: alert, recovery, alert, one reminder, and the recovery when it stayed so."""
    for hour in range(12):
        watch.tell(*([found()] if hour % 2 == 0 else []))
    for _ in range(8):
        watch.tell()

    assert ["trigger", "resolve", "trigger", "trigger", "resolve"] == watch.pages
    marks = [title[1:].split("]")[0] for title in watch.slack.titles]
    assert ["CRITICAL", "RECOVERED", "CRITICAL", "STILL CRITICAL", "RECOVERED"] == marks


@pytest.mark.system
def test_several_findings_are_one_message_but_a_page_each(watch: Watch) -> None:
    """A team reads one message; an incident is opened, and closed, for each thing that is wrong."""
    watch.tell(found(), found("drift:age", "warning"), found("latency"))
    watch.tell(found())

    assert ["[CRITICAL] churn v2: accuracy is 0.8 (and 2 more)"] == watch.slack.titles[:1]
    assert 2 == len(watch.slack.titles) == len(watch.subjects)
    assert ["trigger", "trigger", "resolve"] == watch.pages
    assert watch.pager.got[2]["dedup_key"].endswith("latency")


@pytest.mark.system
def test_alerts_of_a_version_that_answers_no_more_are_over(watch: Watch) -> None:
    """After a rollback the old version's incident is closed; what its last rows still show wakes nobody."""
    watch.tell(found())
    watch.tell(observation=seen(1))
    watch.tell(found(), observation=seen(2, serves=False))

    assert ["trigger", "resolve"] == watch.pages
    assert "[ENDED, SERVES NO MORE] churn v2, was: accuracy is 0.8" == watch.slack.titles[-1]
    assert [AlertState.ENDED] == [alert.state for alert in alert_history(watch.journal, "churn", TEN)]


@pytest.mark.parametrize("role", ["challenger", "shadow"])
def test_a_challenger_wakes_nobody(watch: Watch, role: Any) -> None:
    """It is on the page; people are told of the champion."""
    watch.tell(found(), observation=replace(seen(), role=role))

    assert [] == watch.slack.got
    assert [] == alert_history(watch.journal, "churn", TEN)


def test_the_journal_says_who_was_told_what_and_by_which_answer(watch: Watch) -> None:
    """In the tables, and in the chain of events that an auditor verifies."""
    watch.environment = {"SLACK_URL": watch.slack.url, "PAGERDUTY_URL": PAGERDUTY}
    watch.tell(found())
    watch.tell(found())
    event = watch.journal.history("churn")[0]
    told = {item["channel"]: item for item in event.details["told"]}
    rows = {row.channel: row for row in watch.journal.rows(select(alert_delivery))}

    assert ("notify", "monitor", 2) == (event.action, event.actor, event.number)
    assert 1 == len([entry for entry in watch.journal.history("churn") if entry.action == "notify"])
    assert "[CRITICAL] churn v2: accuracy is 0.8" == event.reason
    assert (True, "JSON", 1, "") == tuple(
        told["slack"][name] for name in ("accepted", "recipient", "attempts", "problem")
    )
    assert (False, "EMAIL_URL is not set") == (told["email"]["accepted"], told["email"]["problem"])
    assert ("accepted", "Pager Duty", None) == (
        rows["pagerduty"].state,
        rows["pagerduty"].recipient,
        rows["pagerduty"].error,
    )
    assert ("pending", "EMAIL_URL is not set") == (rows["email"].state, rows["email"].error)


@pytest.mark.system
def test_what_a_channel_did_not_take_the_next_run_delivers(watch: Watch) -> None:
    """E-mail is down for two runs: Slack is not told twice, and the mail comes once, saying since when."""
    url = watch.mails.url
    watch.environment = {
        "SLACK_URL": watch.slack.url,
        "PAGERDUTY_URL": PAGERDUTY,
        "EMAIL_URL": "mailto://127.0.0.1:9/?from=a@example.org&to=b@example.org",
    }
    first = watch.tell(found())
    again = watch.tell(found())
    watch.environment = watch.environment | {"EMAIL_URL": url}
    watch.tell(found())

    assert ["email"] == [delivery.due.channel for delivery in first.deliveries if not delivery.answer.accepted]
    assert [
        "⚠️ email: not delivered, no connection; the next run tries again: [CRITICAL] churn v2: accuracy is 0.8"
    ] == again.lines()
    assert ["[CRITICAL] churn v2: accuracy is 0.8"] == watch.subjects
    assert 1 == len(watch.slack.got)
    assert {("slack", "alert", "accepted"), ("pagerduty", "alert", "accepted"), ("email", "alert", "accepted")} == set(
        deliveries(watch.journal)
    )


@pytest.mark.system
def test_a_recovery_replaces_an_alert_that_was_never_taken(watch: Watch) -> None:
    """Nobody is woken at six for what was wrong at four; the recovery tells that it was."""
    url = watch.mails.url
    watch.environment = {"SLACK_URL": watch.slack.url, "PAGERDUTY_URL": PAGERDUTY, "EMAIL_URL": ""}
    watch.tell(found())
    watch.environment = watch.environment | {"EMAIL_URL": url}
    watch.tell()

    assert ["[RECOVERED] churn v2, was: accuracy is 0.8"] == watch.subjects
    assert ("email", "alert", "superseded") in deliveries(watch.journal)


def test_a_run_that_died_while_it_told_is_finished_by_the_next_one(watch: Watch) -> None:
    """What another run is telling just now is left to it; what one left behind long ago is taken over."""
    watch.monkeypatch.setattr(Alerter, "_deliver", lambda _self, _due, _actor: Told())
    watch.tell(found())
    watch.monkeypatch.undo()
    pagerduty_is(watch.pager, watch.monkeypatch)
    assert [] == watch.tell(found(), hours=0.01).deliveries
    watch.tell(found())

    assert ["[CRITICAL] churn v2: accuracy is 0.8"] == watch.slack.titles


def test_two_runs_at_once_tell_once(watch: Watch) -> None:
    """A scheduled run and a person's meet: one alert, and each channel hears of it once."""
    alerter, start = watch.alerter(), threading.Barrier(2)

    def run(_number: int) -> Told:
        start.wait()
        return alerter.tell([found()], seen())

    with ThreadPoolExecutor(2) as runs:
        told = list(runs.map(run, range(2)))

    assert [0, 3] == sorted(len(each.deliveries) for each in told)
    assert (1, 1, 1) == (len(watch.slack.got), len(watch.pager.got), len(watch.mails.mails))


def test_a_channel_that_the_file_names_no_more_is_forgotten(watch: Watch) -> None:
    """What it did not take is not offered to it for ever."""
    watch.environment = {"SLACK_URL": watch.slack.url, "PAGERDUTY_URL": PAGERDUTY}
    watch.tell(found())
    routing = {"critical": ["slack"], "warning": ["slack"], "info": ["slack"]}
    watch.config = a_family("churn", monitoring={"channels": {"slack": "SLACK_URL"}, "routing": routing})
    told = watch.tell(found())

    assert [] == told.deliveries
    assert ("email", "alert", "superseded") in deliveries(watch.journal)


def test_a_promotion_and_a_rollback_are_announced_once(watch: Watch) -> None:
    """To the channels that hear of warnings: who did it, why, and of a rollback what is bad and next."""
    serving = watch.journal.production("churn")
    target = watch.journal.entry("churn", 1)
    assert serving is not None
    assert target is not None
    changes = [Change(serving, Stage.ARCHIVED), Change(target, Stage.PRODUCTION)]
    watch.journal.move("churn", changes, Authority("rollback", "monitor", "it lied"), expected_production=serving.id)
    event = watch.journal.arrival("churn", Stage.PRODUCTION)
    assert event is not None
    watch.alerter().announce(event)
    again = watch.alerter().announce(event)

    assert [] == again.deliveries
    assert [] == watch.pager.got
    text = "rollback: taken back at 2026-11-21 10:00 UTC to churn v1 by monitor: it lied; known bad: none; "
    text += "next: find out why"
    assert watch.slack.titles == watch.subjects
    assert watch.subjects[0].startswith(f"[NOTICE] churn v1: {text}")
    assert f"What: {text}; were it to go, too, churn v2 would come back\n" in watch.slack.got[0]["message"]


def test_without_channels_a_promotion_is_announced_to_nobody(watch: Watch) -> None:
    """Whoever promotes on a machine of their own is not told about channels."""
    event = watch.journal.arrival("churn", Stage.PRODUCTION)
    assert event is not None
    watch.environment = {"REPORTS_URL": "https://ci.example.org"}

    assert [] == watch.alerter().announce(event).deliveries
    assert [] == deliveries(watch.journal)


def test_what_is_long_over_is_not_told_when_a_channel_returns(watch: Watch) -> None:
    """A channel that is set after weeks does not begin with old stories."""
    watch.environment = {"PAGERDUTY_URL": PAGERDUTY, "SLACK_URL": watch.slack.url}
    watch.tell(found())
    watch.tell()
    watch.environment = watch.environment | {"EMAIL_URL": watch.mails.url}
    watch.tell(hours=8 * 24)

    assert [] == watch.subjects


def test_a_test_reaches_every_channel_and_leaves_no_incident(watch: Watch) -> None:
    """What a test opens at the pager is closed at once; the record knows that somebody tested."""
    tested = watch.alerter().test("anna")
    tested.require_accepted()

    assert ["✅ pagerduty (Pager Duty): test message", "✅ slack (JSON): test message"] == tested.lines()[:2]
    assert ["trigger", "resolve"] == watch.pages
    assert "info" == watch.pager.got[0]["payload"]["severity"]
    assert watch.slack.titles[0].startswith("[TEST] churn v2: a test of the alert channels, asked for by anna")
    assert ("notify", "anna") == (watch.journal.history("churn")[0].action, watch.journal.history("churn")[0].actor)


def test_a_test_names_each_channel_that_fails(watch: Watch) -> None:
    """One line for the exit code, with the reasons; nothing of it needs a journal."""
    watch.environment = {"SLACK_URL": watch.slack.url, "PAGERDUTY_URL": f"slack://{TOKEN}"}

    with pytest.raises(ChannelFailed) as failure:
        watch.alerter().test("anna").require_accepted()
    assert (
        "these channels take no alert: pagerduty (PAGERDUTY_URL holds no URL that Apprise understands), "
        "email (EMAIL_URL is not set)"
    ) == str(failure.value)


def test_no_secret_is_stored(watch: Watch, tmp_path: Path) -> None:
    """Accepted or not: neither database nor answer holds what the environment does."""
    watch.tell(found())
    watch.environment = {"SLACK_URL": f"json://u:{TOKEN}@127.0.0.1:9/{TOKEN}", "PAGERDUTY_URL": f"pagerduty://{TOKEN}"}
    told = watch.tell(found(), found("latency"))

    assert TOKEN.encode() not in (tmp_path / "promotion.db").read_bytes()
    assert [False] * 3 == [delivery.answer.accepted for delivery in told.deliveries]
    assert TOKEN not in json.dumps(told.as_json()) + "".join(told.lines()) + repr(told)


@pytest.mark.parametrize(
    ("monitoring", "message"),
    [
        ({"routing": {"critical": ["phone"]}}, "unknown channel 'phone'; channels has email, pagerduty, slack"),
        ({"routing": {"fatal": []}}, "Extra inputs are not permitted"),
        ({"channels": {"slack": "slack-url"}}, "should match pattern"),
        ({"cool_down": "soon"}, "expected a time span"),
    ],
)
def test_nonsense_in_the_file_is_refused(monitoring: dict[str, Any], message: str) -> None:
    """A route leads to a channel, and a channel names an environment variable."""
    with pytest.raises(ValueError, match=message):
        Monitoring.model_validate(monitoring)


def test_a_secret_in_the_file_is_refused_without_being_repeated(home: Path) -> None:
    """Somebody wrote the URL itself where the variable's name belongs: the console does not show it."""
    from promotion.config.family import load_config

    path = home / "config" / "iris-classifier.yaml"
    path.write_text(path.read_text() + f"\nmonitoring: {{channels: {{slack: 'slack://{TOKEN}/b/c'}}}}\n")

    with pytest.raises(ConfigError, match="name the environment variable") as refusal:
        load_config(home / "config", "iris-classifier")
    assert TOKEN not in str(refusal.value)


def test_a_channel_that_was_added_hears_of_what_lasts(watch: Watch) -> None:
    """Once; the others are not told again."""
    watch.environment = {"SLACK_URL": watch.slack.url}
    watch.config = a_family(
        "churn",
        monitoring={"channels": {"slack": "SLACK_URL"}, "routing": {"critical": ["slack"], "warning": [], "info": []}},
    )
    watch.tell(found())
    watch.environment = watch.config = None
    watch.tell(found())
    watch.tell(found())

    assert (1, ["trigger"], 1) == (len(watch.slack.got), watch.pages, len(watch.subjects))


def test_what_alertmanager_owns_is_written_down_and_told_by_nobody(watch: Watch) -> None:
    """Neither when it begins, nor when it lasts, worsens or ends."""
    watch.environment = {"SLACK_URL": watch.slack.url, "ALERTMANAGER_OWNS": "error_rate,latency"}
    failing = found("error_rate", level="warning")
    for finding in (failing, failing, replace(failing, level="critical")):
        watch.tell(finding, hours=7)
    (kept,) = alert_history(watch.journal, "churn", TEN)
    watch.tell(hours=7)

    assert ("error_rate", "critical", AlertState.OPEN) == (kept.key, kept.level, kept.state)
    assert [] == watch.slack.got
    watch.tell(found())
    assert 1 == len(watch.slack.got)


@pytest.mark.system
def test_a_slow_channel_is_told_once_more_and_no_more(watch: Watch) -> None:
    """What it did not answer may have arrived: neither four times in a run, nor in every run."""
    config = a_family(
        "churn",
        monitoring={"channels": {"slack": "SLACK_URL"}, "routing": {"critical": ["slack"], "warning": [], "info": []}},
    )
    with receiving(delay=60) as sleeper:
        alerter = Alerter(watch.journal, config, {"SLACK_URL": sleeper.url}, patience=replace(QUICK, seconds=0.4))
        for _ in range(4):
            alerter.tell([found()], seen())

        assert 2 == len(sleeper.got)
    assert ["superseded"] == [state for _, _, state in deliveries(watch.journal)]
