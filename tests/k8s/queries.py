"""Every PromQL expression of k8s/monitoring, and what it reads."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.k8s.rules import rules

from promotion.config.settings import REPOSITORY

DASHBOARD = REPOSITORY / "k8s" / "monitoring" / "grafana" / "model-serving.json"
_WORDS = frozenset({"and", "or", "unless", "by", "on", "ignoring", "group_left", "offset"})
_LABELS = re.compile(r"\b(?:by|on|ignoring|group_left)\s*\(([^)]*)\)")
_METRIC = re.compile(r"(?<![\w:.$])([a-zA-Z_][\w:]*+)(?!\s*\()\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@dataclass(frozen=True)
class Read:
    """What one expression reads.

    Attributes:
        metrics: Labels it selects by, by metric.
        labels: Labels it joins and groups by.
    """

    metrics: dict[str, set[str]]
    labels: set[str]


def read(expression: str) -> Read:
    """Take an expression apart, far enough to know metrics and labels."""
    quiet = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    quiet = re.sub(r"\[[^\]]*\]", "", quiet)
    labels = {label.strip() for found in _LABELS.findall(quiet) for label in found.split(",") if label.strip()}
    quiet = re.sub(r"\boffset\s+\S+", "", _LABELS.sub(" ", quiet))
    metrics: dict[str, set[str]] = {}
    for name, matchers in _METRIC.findall(quiet):
        if name not in _WORDS:
            metrics.setdefault(name, set()).update(_MATCHER.findall(matchers))
    return Read(metrics, labels)


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def panel_queries() -> list[tuple[str, str]]:
    """Title and expression of every query, annotations included."""
    document = dashboard()
    found = [(panel["title"], target["expr"]) for panel in document["panels"] for target in panel["targets"]]
    return found + [(it["name"], it["expr"]) for it in document["annotations"]["list"]]


def rule_queries() -> list[tuple[str, str]]:
    """Name and expression of every rule."""
    return [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def filled_in(expression: str, namespace: str, family: str, interval: str) -> str:
    """A panel's expression with the values that Grafana puts in."""
    values = {"$namespace": namespace, "$family": family, "$__rate_interval": interval}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression
