"""The automatic way back on a served model: which faults take a version back, which do not, and who hears of what."""

from __future__ import annotations

import json
import runpy
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from tests.promotion.monitoring.receivers import Receiver, receiving
from tests.promotion.serving.exporting import records, reseal
from tests.system.live_service import People, asking, fails_from, free_port, scraping, serving, shuffled

from models.training.training import train
from promotion.bootstrap import open_promotions
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY, Settings
from promotion.data.datasets import load_dataset, split_dataset
from promotion.registry.stages import Stage
from promotion.service import Mover

pytestmark = [pytest.mark.system, pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")]

FAMILY, MODEL = "heart-disease", "heart-disease-logistic_regression"
WINDOW, SPAN = 4, 10
"""Seconds of a window of the way back, and of a whole run's."""
OLDEST = 100
"""Age in years from which the served model fails."""
RULES = {
    "action": "rollback",
    "rollback": {"accuracy_drop": 0.10, "error_rate": 0.05, "latency_ms": 500},
    "label_coverage": 0.5,
    "minimum_rows": 25,
    "minimum_labels": 25,
    "sustained": {"window": f"{WINDOW}s", "of": 3, "needed": 2, "minimum_labels": 25},
    "channels": {"slack": "SLACK_URL"},
    "routing": {"critical": ["slack"], "warning": ["slack"], "info": ["slack"]},
}
GOOD = 0.92
"""Accuracy: a little above the one at promotion."""
DATABASES = ("mlflow.db", "promotion.db")


@dataclass
class World:
    """A served family.

    Attributes:
        home: Its stores; version 2 is in Production, version 1 served before.
        kept: The stores as they were at first.
        log: What the server writes.
        prometheus: Address.
        people: Who asks the server.
        team: Who is told.
    """

    home: Path
    kept: Path
    log: Path
    prometheus: str
    people: People
    team: Receiver

    def monitor(self, *arguments: str, prometheus: str | None = None, **environment: str) -> dict[str, Any]:
        """One run of the command; its document."""
        main = runpy.run_path(str(REPOSITORY / "scripts" / "monitor-model.py"), run_name="monitor_model")["main"]
        variables = {"PROMETHEUS_URL": prometheus or self.prometheus, "SLACK_URL": self.team.url} | environment
        given = ["--model", FAMILY, "--once", "--window", f"{SPAN}s", "--log", str(self.log), "--json", *arguments]
        done = CliRunner().invoke(main, given, env=variables)
        assert done.stdout, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        assert document["exit_code"] == done.exit_code, done.stderr
        return document

    def labels(self, accuracy: float) -> tuple[str, str]:
        """Labels of everything that was answered; the rows the model was least decided about were wrong."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        undecided = sorted(lines, key=lambda line: abs(line["probability"] - 0.5))
        wrong = {line["request_id"] for line in undecided[: round((1 - accuracy) * len(lines))]}
        rows = [f"{it['request_id']},{abs(it['class'] - (it['request_id'] in wrong))}" for it in lines]
        path = self.home / "labels.csv"
        path.write_text("\n".join(["request_id,label", *rows]) + "\n", encoding="utf-8")
        return "--labels", str(path)

    def stages(self) -> dict[str, str]:
        """As MLflow shows them."""
        uri = f"sqlite:///{self.home / 'mlflow.db'}"
        versions = MlflowClient(uri, uri).search_model_versions(f"name = '{MODEL}'")
        return {str(version.version): str(version.current_stage) for version in versions}

    def told(self) -> list[str]:
        """What kinds of message the team got."""
        return [body["title"].split("]")[0].strip("[") for body in self.team.got]


KEPT, BACK = {"1": "Archived", "2": "Production"}, {"1": "Production", "2": "Archived"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Two trained versions, promoted one after the other; the second's export cannot score very old patients."""
    home = tmp_path_factory.mktemp("watched")
    for name in ("config", "data"):
        shutil.copytree(REPOSITORY / name, home / name)
    shutil.copy(empty_store, home / "mlflow.db")
    path = home / "config" / f"{FAMILY}.yaml"
    config = yaml.safe_load(path.read_text())
    config["candidates"] = {"logistic_regression": config["candidates"]["logistic_regression"]}
    config["cross_validation"] = {"folds": 2, "repeats": 1}
    config["gates"]["better_than_production"] = {"policy": "not_worse", "margin": 0.5}
    path.write_text(yaml.safe_dump(config | {"monitoring": RULES}))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "PROMOTION_HOME": str(home),
            "PROMOTION_KEYS": str(home / "keys"),
            "PROMOTION_ACTOR": "tess@lab.example",
        }.items():
            environment.setenv(name, value)
        settings = Settings.from_environment()
        service = open_promotions(settings)
        for number in (1, 2):
            train(load_config(settings.config_folder, FAMILY), settings, lambda *_progress: None)
            plan = service.check(service.candidate(MODEL, number), Stage.PRODUCTION)
            service.promote(plan, Mover("anna", "better"))
        export = runpy.run_path(str(REPOSITORY / "scripts" / "export-model.py"), run_name="export_model")["main"]
        exported = CliRunner().invoke(export, ["--model", FAMILY])
        assert 0 == exported.exit_code, exported.stderr
    folder = home / "build" / "export" / FAMILY
    fails_from(folder / "model.onnx", "age", OLDEST)
    reseal(folder)
    return home


@pytest.fixture(scope="module")
def people(home: Path) -> People:
    """They ask as in training; slowly; with very old patients among them; and with a population that is younger."""
    config = load_config(home / "config", FAMILY)
    rows = shuffled(records(split_dataset(load_dataset(config, home), config).train_features))
    old = [row | {"age": 105.0} if place % 4 == 0 else row for place, row in enumerate(rows)]
    young = [row | {"age": max(row["age"] - 20.0, 20.0)} for row in rows]
    return People({"healthy": rows, "errors": old, "drift": young}, {"slow": 0.7})


@pytest.fixture(scope="module")
def live(home: Path, people: People, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The server, Prometheus and the people, for all tests."""
    folder = tmp_path_factory.mktemp("live")
    kept = folder / "kept"
    kept.mkdir()
    for name in DATABASES:
        shutil.copy(home / name, kept)
    log = folder / "predictions.jsonl"
    with ExitStack() as stack:
        port = stack.enter_context(serving(home / "build" / "export" / FAMILY, log, folder))
        prometheus = stack.enter_context(scraping(port, folder))
        stack.enter_context(asking(port, people))
        yield World(home, kept, log, prometheus, people, Receiver())


@pytest.fixture
def world(live: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same, with the stores as they were at first and a team that has heard of nothing."""
    for name in DATABASES:
        with closing(sqlite3.connect(live.kept / name)) as source, closing(sqlite3.connect(live.home / name)) as target:
            source.backup(target)
    monkeypatch.setenv("PROMOTION_HOME", str(live.home))
    monkeypatch.setenv("PROMOTION_KEYS", str(live.home / "keys"))
    with receiving() as team:
        live.team = team
        yield live


def test_healthy_traffic_wakes_nobody(world: World) -> None:
    """Run after run: no alert, no move; everything was measured."""
    world.people.ask("healthy", SPAN + 4)
    runs = [world.monitor(*world.labels(GOOD)) for _ in range(3)]

    assert [0, 0, 0] == [run["exit_code"] for run in runs], runs[0]["versions"][0]["findings"]
    triggers = runs[-1]["rollback"]["triggers"]
    assert {"accuracy": "", "error_rate": "", "latency": ""} == {it["key"]: it["problem"] for it in triggers}
    assert all(it["stretches"][-1]["enough"] and not any(it["bad"]) for it in triggers), triggers
    assert ([], KEPT) == (world.told(), world.stages()), world.team.got
    assert {200} == set(world.people.statuses)


def test_degraded_labels_take_the_version_back(world: World) -> None:
    """First a dry run says so; then it is done, told, validated; the run after finds nothing more to do."""
    world.people.ask("healthy", SPAN + 2)
    labels = world.labels(0.6)

    rehearsed = world.monitor(*labels, "--dry-run")
    assert ([], KEPT) == (world.told(), world.stages())
    done = world.monitor(*labels)
    again = world.monitor(*labels)

    assert f"{MODEL} v2 would be taken back, to {MODEL} v1" in rehearsed["rollback"]["outcome"]
    assert (3, f"{MODEL} v2", f"{MODEL} v1") == (
        done["exit_code"],
        done["rollback"]["taken_back"],
        done["rollback"]["version"],
    )
    assert (None, BACK) == (again["rollback"]["taken_back"], world.stages())
    tasks = {item["task"]: item["outcome"] for item in done["rollback"]["checklist"]}
    assert {
        "verify service health metrics": "by hand",
        "confirm prediction quality": "done",
        "update monitoring dashboards": "by hand",
        "notify stakeholders": "done",
    } == tasks
    # The warning is that the server, which nobody deployed anew, still answers with the version that left.
    assert {"NOTICE": 1, "CRITICAL": 1, "WARNING": 1} == Counter(world.told()), world.team.got


def test_rows_from_the_future_and_a_missing_prometheus_move_nothing(world: World) -> None:
    """Rows of a clock that is hours ahead are counted apart and told, as is that Prometheus is away."""
    world.people.ask("healthy", SPAN + 2)
    labels = world.labels(GOOD)
    ahead = []
    for line in world.log.read_text().splitlines()[-300:]:
        row = json.loads(line)
        at = datetime.fromisoformat(row["time"]) + timedelta(hours=3)
        ahead.append(json.dumps(row | {"time": at.isoformat(), "request_id": f"ahead-{row['request_id']}"}))
    with Path(labels[1]).open("a") as file:
        file.writelines(f"{json.loads(line)['request_id']},{1 - json.loads(line)['class']}\n" for line in ahead)
    skewed = world.log.with_suffix(".ahead.jsonl")
    skewed.write_text(world.log.read_text() + "\n".join(ahead) + "\n")

    future = world.monitor(*labels, "--log", str(skewed))
    blind = world.monitor(*labels, prometheus=f"http://127.0.0.1:{free_port()}")

    assert (0, 300) == (future["exit_code"], future["versions"][0]["left_out"]["from_the_future"])
    assert (0, KEPT) == (blind["exit_code"], world.stages())
    problems = [it["problem"] for it in blind["rollback"]["triggers"]]
    assert problems[0] == ""
    assert all("does not answer" in problem for problem in problems[1:])
    titles = sorted(told["title"] for told in world.team.got)
    assert ["RECOVERED", "WARNING", "WARNING"] == [title[1:].partition("]")[0] for title in titles]
    assert "stamped later than now" in titles[0]
    assert any("stamped later than now" in title for title in titles[1:])
    assert any("the service cannot be watched" in title for title in titles[1:])


def test_a_fault_that_comes_and_goes_takes_nothing_back(world: World) -> None:
    """One slow window of three is told; then it is well again."""
    world.people.ask("healthy", SPAN + 4)
    world.people.ask("slow", WINDOW)
    during = world.monitor()
    world.people.ask("healthy", SPAN + 2)
    after = world.monitor()

    def latency(run: dict[str, Any]) -> dict[str, Any]:
        return next(it for it in run["rollback"]["triggers"] if it["key"] == "latency")

    assert [1, False] == [sum(latency(during)["bad"]), latency(during)["fires"]], latency(during)
    assert not latency(after)["bad"][-1]
    assert (["WARNING", "RECOVERED"], KEPT) == (world.told(), world.stages()), world.team.got


def test_drifting_inputs_are_told_and_take_nothing_back(world: World) -> None:
    """Younger patients, as well answered as ever."""
    world.people.ask("drift", SPAN + 2)
    run = world.monitor(*world.labels(GOOD))

    assert (0, KEPT) == (run["exit_code"], world.stages())
    loud = {finding["key"]: finding["level"] for finding in run["versions"][0]["findings"] if finding["level"]}
    assert "warning" == loud["drift:age"]
    assert {"drift"} == {key.split(":")[0] for key in loud}
    assert ["WARNING"] == world.told(), world.team.got


def test_slow_answers_take_the_version_back(world: World) -> None:
    """Beyond 500 ms in two windows: back, with the figures in the record."""
    world.people.ask("slow", SPAN + 1)
    run = world.monitor()

    assert (3, f"{MODEL} v1", BACK) == (run["exit_code"], run["rollback"]["version"], world.stages())
    journal = open_promotions(Settings.from_environment()).journal
    moved = next(event for event in journal.history(FAMILY) if event.action == "rollback")
    assert ("monitor", True) == (moved.actor, moved.reason.startswith("latency p95 beyond 500 ms in "))
    # What it goes for, with all that is wrong, and then that it went.
    assert ["CRITICAL", "NOTICE"] == world.told(), world.team.got


def test_errors_take_the_version_back_unless_only_people_may(world: World) -> None:
    """A version that cannot score a quarter of the rows: alert only first, then back."""
    world.people.ask("errors", SPAN + 2)
    path = world.home / "config" / f"{FAMILY}.yaml"
    text = path.read_text()
    path.write_text(yaml.safe_dump(yaml.safe_load(text) | {"monitoring": RULES | {"action": "alert-only"}}))
    try:
        asked = world.monitor()
    finally:
        path.write_text(text)
    assert (3, None, KEPT) == (asked["exit_code"], asked["rollback"]["taken_back"], world.stages())
    assert "alert-only: a person decides" in asked["rollback"]["outcome"]

    done = world.monitor()

    assert (3, f"{MODEL} v1", BACK) == (done["exit_code"], done["rollback"]["version"], world.stages())
    # What is over is that a person had to decide; the second critical one is told before it goes.
    assert {"CRITICAL": 2, "NOTICE": 1, "RECOVERED": 1} == Counter(world.told()), world.team.got
    assert {200, 500} == set(world.people.statuses)
    fired = [it for it in done["rollback"]["triggers"] if it["fires"]]
    assert ["error_rate"] == [it["key"] for it in fired]
    assert pytest.approx(0.25, abs=0.1) == fired[0]["stretches"][-1]["value"]
