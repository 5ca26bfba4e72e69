"""The alerting rules of k8s/monitoring as `promtool` takes them, and series to try them on."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.programs import needed

from promotion.config.settings import REPOSITORY

RULES = REPOSITORY / "k8s" / "monitoring" / "operator" / "prometheus-rule.yaml"
HOUR = 60
"""Samples: one a minute, which is the evaluation's step, too."""
LENGTH = 3 * HOUR

TARGET = {
    "namespace": "models-production",
    "job": "model-server",
    "service": "heart-disease",
    "instance": "10.0.0.1:8080",
    "pod": "heart-disease-1",
    "track": "stable",
}
"""Labels that Prometheus gives what it scrapes."""
BOUNDS = ("0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.2", "0.5", "1.0", "2.5", "+Inf")


@cache
def groups() -> list[dict[str, Any]]:
    """The groups of rules."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["spec"]["groups"]
    return found


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for group in groups() for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def write_rules(folder: Path) -> Path:
    """The rules as a file of Prometheus' own."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups()}), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Server:
    """What one server lets Prometheus scrape, as promtool's series: `start+step x times`.

    Attributes:
        requests: Answered requests to predict in each minute; a series of its own notation when text.
        failed: Of these, answered 500.
        slow: Where 95 % and all of the answers are: upper bounds of two buckets, and the share within the first.
        rejected: Refused rows in each minute.
        lost: Rows that the prediction log lost in each minute.
        shadow: Rows that a shadow scored, and that it missed; None without one.
        version: Which version answers.
        up: Whether it can be scraped.
        present: Samples until it vanishes.
        labels: Of the target, where they differ.
    """

    requests: float | str = 300
    failed: float = 0
    slow: tuple[str, float, str] = ("0.05", 1.0, "0.1")
    rejected: float = 0
    lost: float = 0
    shadow: tuple[float, float] | None = None
    version: str = "3"
    up: int = 1
    present: int = LENGTH
    labels: Mapping[str, str] = field(default_factory=dict)

    def series(self) -> list[dict[str, str]]:
        """As promtool's `input_series`."""
        counted: list[tuple[str, dict[str, str], float | str]] = [
            ("prediction_log_dropped_total", {}, self.lost),
            ("shadow_dropped_total", {}, self.shadow[1] if self.shadow else 0),
            ("rejected_rows_total", {"reason": "range"}, self.rejected),
            ("http_requests_total", {"route": "/health", "method": "GET", "status": "200"}, 3),
            ("predictions_total", self._model("champion") | {"label": "disease"}, self.requests),
        ]
        request = {"route": "/predict", "method": "POST"}
        answered = self.requests if isinstance(self.requests, str) else self.requests - self.failed
        counted.append(("http_requests_total", request | {"status": "200"}, answered))
        if self.failed:
            counted.append(("http_requests_total", request | {"status": "500"}, self.failed))
        if self.shadow:
            counted.append(("predictions_total", self._model("shadow", "9") | {"label": "disease"}, self.shadow[0]))
        if not isinstance(self.requests, str):
            first, share, last = self.slow
            for bound in BOUNDS:
                reached = 1.0 if float(bound) >= float(last) else share if float(bound) >= float(first) else 0.0
                labels = {"route": "/predict", "le": bound}
                counted.append(("http_request_duration_seconds_bucket", labels, self.requests * reached))
        constant = [("up", {}, self.up), ("model_info", self._info("champion"), 1)]
        if self.shadow:
            constant.append(("model_info", self._info("shadow", "9"), 1))
        return [
            *(self._series(name, labels, _rising(by, self.present)) for name, labels, by in counted),
            *(self._series(name, labels, f"{value}x{self.present}") for name, labels, value in constant),
        ]

    def _model(self, role: str, version: str | None = None) -> dict[str, str]:
        return {"role": role, "model": "heart-disease-random_forest", "version": version or self.version}

    def _info(self, role: str, version: str | None = None) -> dict[str, str]:
        return self._model(role, version) | {"family": "heart-disease", "semver": "", "digest": "a", "engine": "onnx"}

    def _series(self, name: str, labels: Mapping[str, str], values: str) -> dict[str, str]:
        inside = ",".join(f'{key}="{value}"' for key, value in {**TARGET, **self.labels, **labels}.items())
        ended = " stale" if self.present < LENGTH else ""
        return {"series": f"{name}{{{inside}}}", "values": values + ended}


def _rising(by: float | str, times: int) -> str:
    return by if isinstance(by, str) else f"0+{by}x{times}"


def fired_at(folder: Path, servers: list[Server], minutes: Mapping[int, set[str]], extra: Any = ()) -> str:
    """Have promtool say what is wrong: empty when exactly the expected alerts fire at each of the minutes."""
    series = [*(it for server in servers for it in server.series()), *extra]
    tests = [
        {
            "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for minute, names in minutes.items()
    ]
    document = {
        "rule_files": [write_rules(folder).name],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run([needed("promtool"), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else re.sub(r"\s+", " ", done.stdout + done.stderr)
