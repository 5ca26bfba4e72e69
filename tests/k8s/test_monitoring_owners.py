"""Nobody is paged twice for one cause: the table of owners, Prometheus' rules and the monitors' settings are one."""

from __future__ import annotations

import re

import yaml
from tests.k8s.rules import alerts

from promotion.config.settings import REPOSITORY
from promotion.journal.monitoring import CLUSTER
from promotion.monitoring.finding import DATA, FAIRNESS, UNJUDGED
from promotion.monitoring.rollback_trigger import PREFIX, WARNED

TEXT = (REPOSITORY / "docs" / "MONITORING-KUBERNETES.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.split("## Who pages for what")[1].split("## Before")[0].splitlines()
    if re.match(r"\| \w.*\| (Alertmanager|monitor) \|", line)
]


def owned(owner: str, column: int) -> list[str]:
    """Rules or keys of one owner's causes."""
    return [name for row in ROWS if row[1] == owner for name in re.findall(r"`(.+?)`", row[column])]


def test_every_rule_is_alertmanagers_and_stands_there_once() -> None:
    """A rule that is added says in the table what it is about."""
    assert sorted(alerts()) == sorted(owned("Alertmanager", 2))
    assert [] == owned("monitor", 2)


def test_the_monitors_are_told_what_is_not_theirs() -> None:
    """What the table gives to Alertmanager is exactly what the monitors in the cluster leave to it."""
    settings = yaml.safe_load((REPOSITORY / "k8s/monitoring/monitor/kustomization.yaml").read_text(encoding="utf-8"))
    (literals,) = [it["literals"] for it in settings["configMapGenerator"] if it["name"] == "model-monitor"]
    told = dict(it.split("=", 1) for it in literals)["ALERTMANAGER_OWNS"].split()

    assert sorted(told) == sorted(owned("Alertmanager", 3))
    assert not set(told) & set(owned("monitor", 3))


def test_every_kind_of_finding_has_an_owner() -> None:
    """The beginnings of the monitor's keys."""
    kinds = {key.rstrip(":") for key in (PREFIX, WARNED, DATA, FAIRNESS, UNJUDGED, CLUSTER)}
    kinds |= {"error_rate", "latency", "metrics", "stage", "accuracy", "concept", "drift", "missing", "out_of_range"}

    assert kinds == {key for owner in ("Alertmanager", "monitor") for key in owned(owner, 3)} - {"data:silence"}


def test_a_runbook_is_an_address() -> None:
    """What is clicked at night."""
    assert all(rule["annotations"]["runbook_url"].startswith("https://") for rule in alerts().values())
