"""The automatic way back: what it does with a trigger that fires, what it refuses, and what people hear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.promotion.factories import Store, Watched, a_family
from tests.promotion.monitoring.logs import DAY, NOON
from tests.promotion.monitoring.receivers import Receiver, receiving
from tests.promotion.monitoring.test_rollback_trigger import seen
from tests.promotion.shared_home import SharedHome, served_in_turn

from promotion.audit import verify_journal
from promotion.audit.source import JournalSource
from promotion.config.family import FamilyConfig
from promotion.journal.monitoring import newest_runs
from promotion.journal.reviews import Reviews
from promotion.monitoring.alerts.alerter import Alerter
from promotion.monitoring.alerts.announcements import announcer
from promotion.monitoring.automatic_rollback import Returned, WayBack
from promotion.monitoring.done import last_rollback
from promotion.monitoring.finding import Finding
from promotion.monitoring.observe.observation import Arrival, Observation
from promotion.monitoring.report.history import record_run
from promotion.rollbacks import roll_back
from promotion.service import Mover, PromotionService

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MODEL = "tiny-linear"
SLOW: list[float | None] = [600.0, 700.0, 800.0]
BOUNDS = {"accuracy_drop": 0.10, "error_rate": 0.05, "latency_ms": 500}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> SharedHome:
    """Three versions, each better than the one before, served in turn; the third serves."""
    return served_in_turn(tmp_path_factory.mktemp("way-back"), empty_store, MODEL)


@dataclass
class Scene:
    """A family that is watched.

    Attributes:
        store: Its versions.
        config: With channels and rules.
        said: What was reported.
    """

    store: Store
    config: FamilyConfig
    said: list[str] = field(default_factory=list)
    registry: Watched | None = None
    before: Callable[[], None] = lambda: None

    @property
    def service(self) -> PromotionService:
        """Moves the versions."""
        return self.store.service(self.config, registry=self.registry, report=self.said.append)

    def consider(self, observation: Observation, **options: Any) -> Returned:
        """One run's decision."""

        def service() -> PromotionService:
            self.before()
            return self.service

        def no_cluster(_service: PromotionService) -> Any:
            pytest.fail("nothing was ever deployed")

        journal = self.service.journal
        tell = announcer(journal, {self.config.family: self.config})
        return WayBack(journal, self.config, service, no_cluster, tell).consider([observation], **options)

    def production(self) -> str | None:
        """The version in Production, alike in journal and MLflow."""
        entry = self.service.journal.production("tiny")
        shown = [name for name, stage in self.store.shown().items() if stage == "Production"]
        assert ([str(entry)] if entry else []) == shown
        return str(entry) if entry else None


def slow(number: int = 3, **changes: Any) -> Observation:
    """The third version is too slow."""
    return replace(seen("latency", SLOW, **changes), family="tiny", model=MODEL, version=number)


Make = Callable[..., Scene]


@pytest.fixture
def make(shared: SharedHome) -> Make:
    def made(**changes: Any) -> Scene:
        monitoring = {"action": "rollback", "rollback": BOUNDS} | changes.pop("monitoring", {})
        return Scene(shared.back_to("served"), a_family(monitoring=monitoring, **changes))

    return made


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch) -> Any:
    with receiving() as receiver:
        monkeypatch.setenv("SLACK_URL", receiver.url)
        yield receiver


@pytest.mark.system
def test_a_version_that_is_bad_for_long_enough_is_taken_back(make: Make, team: Receiver) -> None:
    """To the one before, by `monitor`, with the figures; validated, announced, recorded; known bad from then on."""
    scene = make(monitoring={"routing": {"critical": [], "warning": ["slack"], "info": []}})

    done = scene.consider(slow())

    assert ("tiny-linear v3", "tiny-linear v2", "tiny-linear v2") == (done.taken_back, done.version, scene.production())
    journal = scene.service.journal
    moved = next(event for event in journal.history("tiny") if event.action == "rollback" and event.number == 2)
    assert ("monitor", True) == (moved.actor, "600 ms of 500, 700 ms of 500, 800 ms of 500" in moved.reason)
    left = journal.entry(MODEL, 3)
    assert left is not None
    assert moved.reason == left.known_bad
    assert [
        "verify service health metrics",
        "confirm prediction quality",
        "update monitoring dashboards",
        "notify stakeholders",
    ] == [item.task for item in done.checklist]
    assert ["by hand", "done", "by hand", "done"] == [item.outcome for item in done.checklist]
    assert "told: slack (JSON)" == done.checklist[-1].detail
    assert 1 == len(team.got)
    since = moved.at + timedelta(minutes=1)
    said = last_rollback(journal, "tiny", [Arrival(NOON - DAY, MODEL, 2), Arrival(since, MODEL, 2)])
    assert said.startswith(f"taken back at {moved.at:%Y-%m-%d %H:%M} UTC to tiny-linear v2 by monitor: latency p95")
    assert f"; answering since {since:%H:%M} UTC; known bad: tiny-linear v3; next: find out why" in said
    assert "" == last_rollback(journal, "another", [])
    assert "to tiny-linear v2 by monitor: latency p95" in team.got[0]["message"]
    checked = journal.history("tiny", limit=1)[0]
    assert ("checklist", "monitor", moved.operation) == (checked.action, checked.actor, checked.details["after"])
    found = verify_journal(JournalSource(journal), [], {}).findings
    assert {"checkpoint"} >= {finding.kind for finding in found}  # a test's moves leave none


@pytest.mark.system
def test_it_is_done_once_and_not_again_in_the_cool_down(make: Make) -> None:
    """The run after sees another version in Production; one that is bad, too, is not taken back in turn."""
    scene = make()
    assert "tiny-linear v3" == scene.consider(slow()).taken_back

    again = scene.consider(slow())
    next_one = scene.consider(slow(2))

    assert [None, None, []] == [again.taken_back, next_one.taken_back, list(again.findings)]
    assert "tiny-linear v2 could NOT be taken back: 'tiny' was rolled back at" in next_one.outcome
    assert ["critical"] == [it.level for it in next_one.findings]
    assert "tiny-linear v2" == scene.production()


@pytest.mark.parametrize("hours", [0, 24])
@pytest.mark.system
def test_what_came_into_production_meanwhile_is_left_alone(make: Make, hours: float) -> None:
    """The measured version is not the one that would leave: nothing moves, nobody is woken."""
    scene = make(rollback={"cool_down_hours": hours})
    scene.before = lambda: _rolled_back(scene.store)

    done = scene.consider(slow())

    assert (None, "tiny-linear v2", []) == (done.taken_back, scene.production(), list(done.findings))
    assert "tiny-linear v3 is not taken back: it is not in Production any more" == done.outcome


@pytest.mark.parametrize("hours", [0, 24])
@pytest.mark.system
def test_two_runs_at_once_take_it_back_once(make: Make, hours: float) -> None:
    """The other one finds another version in Production, and leaves that alone."""
    scene = make(rollback={"cool_down_hours": hours})
    with ThreadPoolExecutor(2) as both:
        done = list(both.map(scene.consider, [slow(), slow()]))

    assert ["tiny-linear v3"] == [it.taken_back for it in done if it.taken_back], done
    assert [] == [finding for it in done for finding in it.findings]
    assert "tiny-linear v2" == scene.production()


def _rolled_back(store: Store) -> None:
    roll_back(store.service(a_family()), "tiny", None, Mover("anna", "I saw it first"))


@pytest.mark.system
def test_known_bad_versions_are_passed_over_until_nobody_is_left(make: Make) -> None:
    """v2 is known bad: v1 returns. Then nothing is left: critical, and the bad version stays."""
    scene = make(rollback={"cool_down_hours": 0})
    _mark_bad(scene, 2)

    assert "tiny-linear v1" == scene.consider(slow()).version
    last = scene.consider(slow(1))

    assert (None, "tiny-linear v1") == (last.taken_back, scene.production())
    (finding,) = last.findings
    assert ("critical", "rollback:latency") == (finding.level, finding.key)
    assert (
        "no version of 'tiny' served before that is not known bad (2 are): there is nothing to go back to"
        in finding.text
    )


def _mark_bad(scene: Scene, number: int) -> None:
    from promotion.rollbacks import withdraw

    entry = scene.service.journal.entry(MODEL, number)
    assert entry is not None
    withdraw(scene.service, entry, Mover("anna", "crashes"))


def test_a_version_that_does_not_pass_its_checks_does_not_come_back(make: Make) -> None:
    """Its artifact was changed since it served."""
    scene = make()
    (scene.store.artifact(MODEL, 2) / "scores.json").write_text('{"roc_auc": 0.99}')

    done = scene.consider(slow())

    assert (None, "tiny-linear v3") == (done.taken_back, scene.production())
    assert "tiny-linear v3 could NOT be taken back: tiny-linear v2 may not enter Production" in done.findings[0].text


@pytest.mark.parametrize("options", [{"monitoring": {"action": "alert-only"}}, {}])
def test_alert_only_and_dry_run_move_nothing(make: Make, options: dict[str, Any]) -> None:
    """The one tells people to decide, the other says what would be done."""
    scene = make(**options)
    rows = scene.store.rows()

    done = scene.consider(slow(), dry_run=not options)

    assert rows == scene.store.rows()
    if options:
        assert "action is alert-only: a person decides" in done.findings[0].text
    else:
        assert done.outcome.startswith("tiny-linear v3 would be taken back, to tiny-linear v2, if")
        assert [] == list(done.findings)


def test_a_registry_that_is_away_is_said_and_tried_again(make: Make) -> None:
    """MLflow lags behind, the journal decides: the version is back, and the outcome says what MLflow does not show."""
    scene = make()
    scene.registry = Watched(scene.store.registry, is_down=True)

    done = scene.consider(slow())

    assert "tiny-linear v2" == done.version
    assert "MLflow does not show it yet" in done.outcome


def test_nothing_happens_without_a_trigger(make: Make) -> None:
    """Neither a service is opened nor anything written."""
    scene = make()
    scene.before = lambda: pytest.fail("nobody has to move anything")
    rows = scene.store.rows()

    quiet = scene.consider(seen("latency", [20.0, 30.0, 40.0]))

    assert ("", None, rows) == (quiet.outcome, quiet.taken_back, scene.store.rows())


def test_that_it_could_not_go_back_is_told_once_and_is_over_when_the_trigger_is(make: Make, team: Receiver) -> None:
    """A key for each trigger: other figures do not end it."""
    scene = make(monitoring={"action": "alert-only", "routing": {"critical": ["slack"], "warning": [], "info": []}})
    alerter = Alerter(scene.service.journal, scene.config)
    for observation in (
        slow(),
        slow(),
        slow(3, rows=0),
        _well(seen("error_rate", [0.0] * 3)),
        _well(seen("latency", [9.0] * 3)),
    ):
        alerter.tell(scene.consider(observation).findings, observation)

    assert 2 == len(team.got)
    assert team.got[0]["title"].startswith("[CRITICAL] tiny-linear v3: latency p95 beyond 500 ms in 3 of the newest 3")
    assert team.got[1]["title"].startswith("[RECOVERED]")


def _well(observation: Observation, version: int = 3) -> Observation:
    return replace(observation, family="tiny", model=MODEL, version=version)


def _an_incident(scene: Scene) -> None:
    journal = scene.service.journal
    entry = journal.entry(MODEL, 2)
    assert entry is not None
    Reviews(journal).open_incident("tiny", entry, severity="critical", summary="wrong for children", actor="anna")


def _an_alert(scene: Scene) -> None:
    Alerter(scene.service.journal, scene.config).tell([_critical("accuracy")], _well(seen("error_rate", [0.0] * 3), 2))


def _an_alert_that_ended(scene: Scene, *found: Finding) -> None:
    """Another version answered; of what is left of the old one's rows a later run cannot tell anything."""
    _an_alert(scene)
    Alerter(scene.service.journal, scene.config).tell([], _well(seen("error_rate", [0.0] * 3)))
    later = scene.service.journal.now() + timedelta(minutes=1)
    unknown = replace(_critical("accuracy"), level=None, text="accuracy: not enough data")
    observation = replace(_well(seen("error_rate", [0.0] * 3), 2), until=later)
    record_run(scene.service.journal, observation, found or [unknown])


def _a_last_figure(scene: Scene) -> None:
    observation = _well(seen("error_rate", [0.0] * 3), 2)
    record_run(scene.service.journal, observation, [_critical("accuracy")])


def _critical(key: str) -> Finding:
    return Finding(key, "critical", key, 0.7, 0.9, 0.05, NOON, 500, f"{key} is far below promotion")


@pytest.mark.parametrize(
    ("against", "why"),
    [
        (_an_incident, "critical incident 1 of"),
        (_an_alert, "critical alert since"),
        (_an_alert_that_ended, "critical alert since"),
        (_a_last_figure, "critical when it was looked at last, 2026-11-21: accuracy is far below promotion"),
    ],
)
def test_it_never_goes_back_to_a_version_in_doubt(make: Make, against: Callable[[Scene], None], why: str) -> None:
    """To the one before that; where there is none, a person decides, and is told why."""
    scene = make(rollback={"cool_down_hours": 0})
    against(scene)

    assert "to tiny-linear v1" in scene.consider(slow(), dry_run=True).outcome
    done = scene.consider(slow())
    assert ("tiny-linear v1", "tiny-linear v1") == (done.version, scene.production())
    assert f"tiny-linear v2 is passed over: {why}" in done.outcome


def test_what_was_measured_well_since_is_in_doubt_no_more(make: Make) -> None:
    """The alert ended with the version's answers, and a later run finds the figure well."""
    scene = make(rollback={"cool_down_hours": 0})
    _an_alert_that_ended(scene, replace(_critical("recall"), level="info"))

    assert "to tiny-linear v2" in scene.consider(slow(), dry_run=True).outcome


def test_where_everything_is_in_doubt_a_person_decides(make: Make) -> None:
    """Critical, with the reason; named by a person, the version comes back."""
    scene = make(rollback={"cool_down_hours": 0})
    _mark_bad(scene, 1)
    _an_incident(scene)

    done = scene.consider(slow())

    assert (None, "tiny-linear v3") == (done.taken_back, scene.production())
    assert "could NOT be taken back: tiny-linear v2 is passed over: critical incident" in done.findings[0].text
    assert "wrong for children: a person decides" in done.findings[0].text
    assert "nobody to go back to; tiny-linear v2" in scene.consider(slow(), dry_run=True).outcome


@pytest.mark.system
def test_people_are_told_before_the_version_goes(make: Make, team: Receiver) -> None:
    """What it goes for is critical first; the rollback comes after it, in the order in which things happened."""
    scene = make(monitoring={"routing": {"critical": ["slack"], "warning": ["slack"], "info": []}})
    alerter, served = Alerter(scene.service.journal, scene.config), []

    def warn(findings: Sequence[Finding]) -> None:
        served.append(scene.production())
        alerter.tell(findings, slow())

    done = scene.consider(slow(), warn=warn)

    assert (["tiny-linear v3"], "tiny-linear v2", []) == (served, done.version, list(done.findings))
    first, second = (str(message["title"]) for message in team.got[:2])
    assert first.startswith("[CRITICAL] tiny-linear v3: latency p95 beyond 500 ms")
    assert "tiny-linear v2" in second
    assert "tiny-linear v3 goes now, if one that served before passes its checks" in str(team.got[0])


def test_what_runs_leave_is_kept_for_a_while(make: Make) -> None:
    """The newest run of each version stays, however old it is."""
    journal = make().service.journal
    old, new = NOON - timedelta(days=91), NOON
    for version, at in ((2, old - DAY), (2, old), (3, old), (3, old + DAY), (3, new)):
        observation = replace(_well(seen("error_rate", [0.0] * 3), version), since=at, until=at)
        record_run(journal, observation, [], timedelta(days=90))

    kept = [(run.version, run.at) for run in newest_runs(journal, "tiny", 10)]
    assert [(3, new), (3, old + DAY), (2, old)] == kept
