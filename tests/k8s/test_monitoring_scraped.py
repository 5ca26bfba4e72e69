"""A real Prometheus scrapes the real server: every rule is evaluated, every panel shows something, a crash is seen."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from tests.k8s.queries import filled_in, panel_queries
from tests.k8s.rules import TARGET, rules, write_rules
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted
from tests.system.live_service import free_port, process

from promotion.config.settings import REPOSITORY

pytestmark = pytest.mark.system

FAMILY = "heart-disease"
SECONDS = 30
EMPTY = {"Alerts that fire", "A version begins to serve"}
"""What shows nothing while all is well, or after the first minute."""


@dataclass(frozen=True)
class Watched:
    """A server with a shadow, and the Prometheus that scrapes it every second."""

    server: ExitStack
    prometheus: str

    def ask(self, expression: str) -> list[Any]:
        """What Prometheus answers now."""
        answer = requests.get(f"{self.prometheus}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert "success" == answer["status"], (expression, answer)
        found: list[Any] = answer["data"]["result"]
        return found


def until(wanted: Callable[[], Any]) -> Any:
    """What is wanted, as soon as it is there."""
    deadline = time.monotonic() + SECONDS
    while not (found := wanted()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def watched(linear: Fitted, forest: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Asked well and badly all the time."""
    folder = tmp_path_factory.mktemp("watched")
    ports = free_port(), free_port()
    server, prometheus = (f"http://127.0.0.1:{port}" for port in ports)
    labels = {key: value for key, value in TARGET.items() if key not in {"job", "instance"}}
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(write_rules(folder))],
        "scrape_configs": [
            {
                "job_name": TARGET["job"],
                "static_configs": [{"targets": [f"127.0.0.1:{ports[0]}"], "labels": labels}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration), encoding="utf-8")
    serves = {"MODEL_DIR": str(linear.folder), "SHADOW_MODEL": str(forest.folder), "PORT": str(ports[0])}
    serves |= {"HOST": "127.0.0.1", "PYTHONPATH": str(REPOSITORY / "src"), "PATH": os.environ["PATH"]}
    scrapes = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    scrapes.append(f"--web.listen-address=127.0.0.1:{ports[1]}")
    with ExitStack() as stack, ExitStack() as running:
        running.enter_context(
            process([sys.executable, "-m", "promotion.serving"], f"{server}/ready", folder / "server.txt", **serves)
        )
        stack.enter_context(
            process(scrapes, f"{prometheus}/-/ready", folder / "prometheus.txt", PATH=os.environ["PATH"])
        )
        found = Watched(running, prometheus)
        (row,) = exporting.records(linear.rows.dropna().head(1))
        stopped = threading.Event()

        def ask() -> None:
            while not stopped.wait(0.2):
                for sent in (row, row | {"age": "old"}):
                    with suppress(requests.RequestException):
                        requests.post(f"{server}/predict", json=sent, timeout=10)

        asker = threading.Thread(target=ask)
        asker.start()
        stack.callback(asker.join)
        stack.callback(stopped.set)
        yield found


def test_every_rule_is_evaluated(watched: Watched) -> None:
    """Without an error, and none of them fires on healthy traffic."""

    def evaluated() -> list[dict[str, Any]]:
        document = requests.get(f"{watched.prometheus}/api/v1/rules", timeout=10).json()
        found = [rule for group in document["data"]["groups"] for rule in group["rules"]]
        return found if all(rule["health"] == "ok" for rule in found) else []

    assert until(lambda: watched.ask("version:predicted_rows:rate5m > 0"))
    found = until(evaluated)

    assert len(rules()) == len(found)
    assert {""} == {rule.get("lastError", "") for rule in found}
    assert [] == watched.ask('ALERTS{alertname!="ModelRowsRejected"}')  # half of the rows are refused


@pytest.mark.parametrize(("title", "expression"), panel_queries())
def test_every_panel_shows_something(watched: Watched, title: str, expression: str) -> None:
    """With what Grafana puts in for its variables."""
    query = filled_in(expression, TARGET["namespace"], FAMILY, "5s")

    def shown() -> bool:
        found = watched.ask(query)
        return bool(found) and all(it["value"][1] not in {"NaN", "+Inf"} for it in found)

    shown()
    assert title in EMPTY or until(shown)


def test_recorded_figures_are_those_of_the_traffic(watched: Watched) -> None:
    """By version: half of the rows are refused, none fails, the shadow scores every good one."""
    by_version = {"model": "heart-disease-logistic_regression", "version": "3", "family": FAMILY}
    assert until(lambda: watched.ask("version:shadow_rows:rate5m > 0"))
    (errors,) = until(lambda: watched.ask("version:predict_error_ratio:rate5m"))
    (rejected,) = watched.ask("version:rejected_rows:rate5m / version:predicted_rows:rate5m")
    (shadow,) = watched.ask("version:shadow_rows:rate5m")

    assert by_version.items() <= errors["metric"].items()
    assert "0" == errors["value"][1]
    assert 0.5 < float(rejected["value"][1]) < 2
    assert "7" == shadow["metric"]["version"]


def test_a_crash_is_seen(watched: Watched) -> None:
    """Gone and down, both pending until they lasted."""
    watched.server.close()
    pending = 'ALERTS{alertstate="pending", alertname=~"ModelGone|ModelServerDown"}'

    assert 2 == len(until(lambda: len(found := watched.ask(pending)) == 2 and found))
