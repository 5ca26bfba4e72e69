"""What the pods of both tracks counted since an analysis began, read from each pod's own metrics."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import requests

from promotion.delivery.canary.records import Counts
from promotion.delivery.errors import ClusterError
from promotion.delivery.kubernetes.cluster import Cluster
from promotion.delivery.kubernetes.objects import Pod

_PORT = "8080"
_SECONDS = 10
_ROUTE = re.compile(r"/predict|/invocations|/v2/models/.+/infer")
_SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_OK = 200
_FAILED = 500

CounterName = tuple[str, str]
"""What is counted, and its bound or class."""


def read_metrics(text: str) -> Counter[CounterName]:
    """The counts that an analysis compares, out of Prometheus' text format.

    Args:
        text: What `/metrics` of the server answers.
    """
    found: Counter[CounterName] = Counter()
    for sample in _SAMPLE.finditer(text):
        labels = dict(_LABEL.findall(sample["labels"]))
        for series in _series(sample["name"], labels):
            found[series] += int(float(sample["value"]))
    return found


def _series(name: str, labels: dict[str, str]) -> Iterator[CounterName]:
    if name == "predictions_total":
        # A shadow answers nobody, and the one class of a regression says nothing.
        if labels["role"] != "shadow" and labels["label"] != "value":
            yield "predicted", labels["label"]
    elif not _ROUTE.fullmatch(labels.get("route", "")):
        return
    elif name == "http_requests_total":
        yield "requests", ""
        if int(labels["status"]) >= _FAILED:
            yield "failures", ""
    elif name == "http_request_duration_seconds_bucket":
        yield ("timed", "") if labels["le"] == "+Inf" else ("within", labels["le"])


@dataclass(slots=True)
class TrackCounts:
    """What the pods of one track count from the first reading on; a pod that starts again goes on from zero.

    Attributes:
        last: The newest reading of each pod.
        total: What was counted since.
    """

    last: dict[str, Counter[CounterName]] = field(default_factory=dict)
    total: Counter[CounterName] = field(default_factory=Counter)

    def add(self, pod: str, reading: Counter[CounterName]) -> None:
        """One more reading of a pod; its first one is only where counting begins."""
        before = self.last.get(pod)
        if before is not None:
            is_new = any(reading[series] < value for series, value in before.items())
            self.total.update(reading if is_new else reading - before)
        self.last[pod] = reading

    def counts(self) -> Counts:
        """What was counted."""
        total = self.total
        # Also those within which nothing was answered.
        bounds = {bound for reading in self.last.values() for what, bound in reading if what == "within"}
        answered, timed = total["requests", ""], total["timed", ""]
        return Counts(
            requests=answered,
            failures=total["failures", ""],
            slower={bound: min(timed - total["within", bound], answered) for bound in bounds},
            predictions={label: value for (what, label), value in total.items() if what == "predicted"},
        )


def read_pods(cluster: Cluster, pods: Sequence[Pod], counts: TrackCounts) -> None:
    """Read what is ready; what does not answer this time is read the next time.

    Args:
        cluster: Where.
        pods: Of one track.
        counts: Where to.
    """
    for pod in pods:
        if not pod.is_ready:
            continue
        try:
            with cluster.forward(f"pod/{pod.name}", _PORT) as url:
                answer = requests.get(f"{url}/metrics", timeout=_SECONDS)
        except (ClusterError, requests.RequestException):
            continue
        if answer.status_code == _OK:
            counts.add(pod.name, read_metrics(answer.text))
