"""Each alerting rule fires on what it is about and on nothing else, by `promtool test rules`."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.k8s.rules import HOUR, LENGTH, TARGET, Server, alerts, fired_at, write_rules
from tests.programs import needed

from promotion.config.policy import Monitoring
from promotion.config.settings import REPOSITORY

WELL = Server()
SECOND = {"instance": "10.0.0.2:8080", "pod": "heart-disease-2"}
STOPPED = f"0+300x{HOUR} {300 * HOUR}x{LENGTH - HOUR}"
Expected = dict[int, set[str]]


@pytest.mark.system
def test_the_rules_are_rules(tmp_path: Path) -> None:
    """`promtool check rules` has no objection."""
    done = subprocess.run(
        [needed("promtool"), "check", "rules", write_rules(tmp_path)], capture_output=True, text=True, check=False
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.system
def test_the_document_scrapes_the_same_without_the_operator(tmp_path: Path) -> None:
    """Its configuration is valid, and gives the labels that the ServiceMonitor gives."""
    text = (REPOSITORY / "docs" / "MONITORING-KUBERNETES.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(scrape_configs:.+?)```", text, flags=re.DOTALL)
    (scraped,) = yaml.safe_load(block)["scrape_configs"]
    # Debian's Prometheus is built without Kubernetes' discovery; the relabelling it can check.
    (discovery,) = scraped.pop("kubernetes_sd_configs")
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scraped]}))
    command = [needed("promtool"), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    given = {it["target_label"] for it in scraped["relabel_configs"] if "target_label" in it}

    assert 0 == done.returncode, done.stderr
    assert {"role": "pod", "namespaces": {"names": [TARGET["namespace"]]}} == discovery
    assert (TARGET["job"], set(TARGET) - {"job", "instance"}) == (scraped["job_name"], given)


CASES: dict[str, tuple[list[Server], Expected]] = {
    "healthy": ([WELL, replace(WELL, labels=SECOND)], {5: set(), 60: set(), 179: set()}),
    "nobody asks": ([replace(WELL, requests=0)], {60: set(), 100: set()}),
    "a shadow keeps up": ([replace(WELL, shadow=(300, 3))], {60: set()}),
    "2 % fail": ([replace(WELL, failed=6)], {60: set()}),
    "3 % fail": ([replace(WELL, failed=9)], {4: set(), 60: {"ModelErrorRateCritical"}}),
    "5 % fail": ([replace(WELL, failed=15)], {60: {"ModelErrorRateCritical"}}),
    "6 % fail": ([replace(WELL, failed=18)], {60: {"ModelErrorRateCritical", "ModelErrorRateTakesBack"}}),
    "all of too few fail": ([replace(WELL, requests=5, failed=5)], {60: set()}),
    "one of two servers fails": (
        [WELL, replace(WELL, failed=300, labels=SECOND)],
        {60: {"ModelErrorRateCritical", "ModelErrorRateTakesBack"}},
    ),
    "a failing canary is small beside the stable servers": (
        [replace(WELL, requests=9000), replace(WELL, failed=18, version="4", labels={**SECOND, "track": "canary"})],
        {60: {"ModelErrorRateCritical", "ModelErrorRateTakesBack"}},
    ),
    "95 % within 200 ms": ([replace(WELL, slow=("0.2", 0.95, "0.5"))], {60: set()}),
    "90 % within 200 ms": ([replace(WELL, slow=("0.2", 0.90, "0.5"))], {8: set(), 60: {"ModelLatencyHigh"}}),
    "95 % within 500 ms": ([replace(WELL, slow=("0.5", 0.95, "1.0"))], {60: {"ModelLatencyHigh"}}),
    "90 % within 500 ms": (
        [replace(WELL, slow=("0.5", 0.90, "1.0"))],
        {60: {"ModelLatencyHigh", "ModelLatencyTakesBack"}},
    ),
    "too few are slow": ([replace(WELL, requests=5, slow=("1.0", 0.9, "2.5"))], {60: set()}),
    "one server is away": ([WELL, replace(WELL, up=0, labels=SECOND)], {4: set(), 60: {"ModelServerDown"}}),
    "all servers vanish": (
        [replace(WELL, present=HOUR)],
        {60: set(), 61: set(), 70: {"ModelGone"}, 170: {"ModelGone"}},
    ),
    "clients go away": ([replace(WELL, requests=STOPPED)], {70: set(), 90: {"ModelTrafficStopped"}}),
    "two versions for long": (
        [WELL, replace(WELL, version="4", labels=SECOND)],
        {20: set(), 40: {"ModelVersionsMixed"}},
    ),
    "a canary beside": ([WELL, replace(WELL, version="4", labels={**SECOND, "track": "canary"})], {100: set()}),
    "5 % of the rows are refused": ([replace(WELL, requests=285, rejected=15)], {60: set()}),
    "10 % of the rows are refused": ([replace(WELL, requests=270, rejected=30)], {8: set(), 60: {"ModelRowsRejected"}}),
    "all rows are refused": ([replace(WELL, requests=0, rejected=30)], {60: {"ModelRowsRejected"}}),
    "too few rows are refused": ([replace(WELL, requests=5, rejected=4)], {60: set()}),
    "the log loses rows": ([replace(WELL, lost=1)], {60: {"PredictionLogLosesRows"}}),
    "a shadow lags": ([replace(WELL, shadow=(200, 100))], {8: set(), 60: {"ShadowMissesRows"}}),
}


@pytest.mark.system
@pytest.mark.parametrize("case", CASES)
def test_exactly_these_alerts_fire(tmp_path: Path, case: str) -> None:
    """On the bound nothing fires, beyond it after the time the rule says, and no other rule with it."""
    servers, expected = CASES[case]

    assert "" == fired_at(tmp_path, servers, expected)


@pytest.mark.system
@pytest.mark.parametrize(
    ("metric", "ended", "expected"),
    [
        ("status_last_successful_time", "0+60", set()),
        ("status_last_successful_time", "0+0", {"ModelMonitorSilent"}),
        ("created", "0+0", {"ModelMonitorSilent"}),
    ],
)
def test_a_monitor_that_ends_well_no_more_is_told(tmp_path: Path, metric: str, ended: str, expected: set[str]) -> None:
    """After an hour without a success, or without a first one; kube-state-metrics says when the last one was."""
    series = f'kube_cronjob_{metric}{{namespace="models-production",cronjob="monitor"}}'
    extra = [{"series": series, "values": f"{ended}x{LENGTH}"}]

    assert "" == fired_at(tmp_path, [WELL], {50: set(), 100: expected}, extra)


@pytest.mark.system
def test_a_message_says_what_how_bad_and_what_to_do(tmp_path: Path) -> None:
    """Model, version, the figure that was measured, and one command."""
    labels = {"severity": "critical", "topic": "errors", "degree": "rollback", "namespace": TARGET["namespace"]}
    labels |= {"family": "heart-disease", "model": "heart-disease-random_forest", "version": "3"}
    said = {
        "summary": "heart-disease-random_forest v3 fails 6% of its requests",
        "description": "More than 5 % for five minutes in models-production: the monitor takes the version back, "
        "unless the family's file says that a person decides.",
        "command": 'python mlops/registry/rollback_model.py --model-name heart-disease --reason "error rate 6%"',
        "runbook_url": "https://git.example.org/promotion-layer/docs/runbooks/rollback.md",
    }
    test: dict[str, Any] = {"alertname": "ModelErrorRateTakesBack", "eval_time": "1h"}
    test |= {"exp_alerts": [{"exp_labels": labels, "exp_annotations": said}]}
    document: dict[str, Any] = {"rule_files": [write_rules(tmp_path).name], "evaluation_interval": "1m"}
    case = {"interval": "1m", "input_series": replace(WELL, failed=18).series(), "alert_rule_test": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document | {"tests": [case]}))
    command = [needed("promtool"), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    """So that a new rule without a test is seen."""
    fired = {name for _servers, expected in CASES.values() for names in expected.values() for name in names}

    assert set(alerts()) == fired | {"ModelMonitorSilent"}


def test_every_alert_is_routed_and_says_what_to_do() -> None:
    """The labels that Alertmanager routes and inhibits by, and everything a person needs at night."""
    for name, rule in alerts().items():
        assert {"severity", "topic", "degree"} == set(rule["labels"]), name
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert {"summary", "description", "command", "runbook_url"} == set(rule["annotations"]), name


def test_the_bounds_are_those_of_the_configuration() -> None:
    """One document is behind both: the rules may not drift from the monitor's defaults."""
    policy = Monitoring()
    bounds = {
        name: float(re.findall(r"> ([\d.]+)(?: and|$)", rule["expr"])[0])
        for name, rule in alerts().items()
        if "p95" in rule["expr"] or "error_ratio" in rule["expr"]
    }

    assert {
        "ModelErrorRateTakesBack": policy.rollback.error_rate,
        "ModelErrorRateCritical": policy.critical.error_rate,
        "ModelLatencyTakesBack": (policy.rollback.latency_ms or 0) / 1000,
        "ModelLatencyHigh": (policy.warning.latency_ms or 0) / 1000,
    } == bounds
