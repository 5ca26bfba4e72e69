"""How the server did, asked of Prometheus; what it cannot tell is unknown, and unknown is never zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from promotion.errors import PromotionError
from promotion.monitoring.observe.observation import FailingInstance, Service

VARIABLE = "PROMETHEUS_URL"
ROUTES = "/predict|/invocations|/v2/models/.+/infer"
"""The routes that predict, as the server's metrics name them."""
_TIMEOUT = (5.0, 30.0)
_QUANTILE = 0.95
_INSTANCES_KEPT = 20


@dataclass(frozen=True, slots=True)
class Trend:
    """What happened in each step: figures of equal length, None where nothing is known."""

    latency_p95_ms: Sequence[float | None]
    error_rate: Sequence[float | None]
    throughput: Sequence[float | None]


class ServedVersion(NamedTuple):
    """What a server says it answers with."""

    family: str
    model: str
    number: int

    def __str__(self) -> str:
        return f"{self.model} v{self.number} alone"


class _Silent(PromotionError):
    """Prometheus gave no answer that can be used."""


class Prometheus:
    """One server's HTTP API.

    Args:
        url: Its address; a user and a password in it are used and never shown.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        parts = urlsplit(self._url)
        self.name = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def observe(
        self, family: str, since: datetime, until: datetime, *, steps: int, minimum_requests: int
    ) -> tuple[Service, Trend]:
        """Latency, errors and throughput of the instances that served a family.

        Args:
            family: Named by the instances' `model_info`.
            since: Start of the window.
            until: Its end.
            steps: How many equal steps the trend has.
            minimum_requests: Requests below which nothing is said.

        Returns:
            The whole window, and its steps; without an answer everything is None and the problem is named.
        """
        nothing: list[float | None] = [None] * steps
        try:
            return self._observe(family, since, until, steps, minimum_requests)
        except _Silent as error:
            return Service(source="prometheus", problem=str(error)), Trend(nothing, nothing, nothing)

    def observe_version(
        self, version: ServedVersion, since: datetime, until: datetime, minimum_requests: int
    ) -> Service:
        """The same of one version, by the servers that answered with it all the time and with no other.

        Where a server also answers with a challenger, nobody can tell whose errors they are: it is left out.

        Args:
            version: Family, registered model and number.
            since: Start of the window.
            until: Its end.
            minimum_requests: Requests below which nothing is said.
        """
        window = max(round((until - since).total_seconds()), 1)
        try:
            return self._whole(_only(version, window), str(version), window, until, minimum_requests)
        except _Silent as error:
            return Service(source="prometheus", problem=str(error))

    def _observe(
        self, family: str, since: datetime, until: datetime, steps: int, minimum_requests: int
    ) -> tuple[Service, Trend]:
        window = max(round((until - since).total_seconds()), 1)
        service = self._whole(_instances(family, window), family, window, until, minimum_requests)
        return service, self._trend(family, since, until, steps)

    def _whole(self, ours: str, name: str, window: int, until: datetime, minimum_requests: int) -> Service:
        if not self._now(f"count({ours})", until):
            raise _Silent(f"Prometheus at {self.name} has scraped no server of {name} in the window")
        counted, failed, seconds = (self._now(query, until) for query in _queries(ours, window))
        requests_by, failed_by = _by_instance(counted), _by_instance(failed)
        total = sum(requests_by.values())
        failing = [
            FailingInstance(instance, round(requests_by.get(instance, number)), round(number))
            for instance, number in sorted(failed_by.items(), key=lambda item: -item[1])
            if round(number)
        ]
        return Service(
            latency_p95_ms=_milliseconds(_value(seconds)) if total else None,
            error_rate=sum(failed_by.values()) / total if total else None,
            throughput=total / window,
            requests=round(total),
            source="prometheus",
            enough=total >= minimum_requests,
            instances=sum(number > 0 for number in requests_by.values()),
            failing=failing[:_INSTANCES_KEPT],
        )

    def _trend(self, family: str, since: datetime, until: datetime, steps: int) -> Trend:
        step = max(round((until - since).total_seconds() / steps), 1)
        # A step is asked at its end, and named by it.
        ends = [round(since.timestamp()) + step * (number + 1) for number in range(steps)]
        totals, errors, seconds = (
            _at(self._range(query, since, until, step), ends)
            for query in _queries(_instances(family, step), step, by="")
        )
        return Trend(
            [_milliseconds(p95) if total else None for p95, total in zip(seconds, totals, strict=True)],
            [(error or 0.0) / total if total else None for error, total in zip(errors, totals, strict=True)],
            [None if total is None else total / step for total in totals],
        )

    def _now(self, query: str, at: datetime) -> list[Any]:
        return self._ask("query", {"query": query, "time": f"{at.timestamp():.3f}"})

    def _range(self, query: str, since: datetime, until: datetime, step: int) -> list[Any]:
        start = round(since.timestamp()) + step
        times = {"start": str(start), "end": f"{max(until.timestamp() + 1, start):.0f}", "step": str(step)}
        return self._ask("query_range", {"query": query, **times})

    def _ask(self, what: str, parameters: dict[str, str]) -> list[Any]:
        import requests

        try:
            answer = requests.post(f"{self._url}/api/v1/{what}", data=parameters, timeout=_TIMEOUT)
            document = answer.json()
        except requests.Timeout as error:
            raise _Silent(f"Prometheus at {self.name} did not answer in time") from error
        except requests.RequestException as error:
            # The exception's own words may hold the URL, and with it a password.
            raise _Silent(f"Prometheus at {self.name} does not answer ({type(error).__name__})") from error
        if not isinstance(document, dict) or document.get("status") != "success":
            problem = document.get("error") if isinstance(document, dict) else None
            raise _Silent(
                f"Prometheus at {self.name} answered {answer.status_code}: {problem or 'not what it documents'}"
            )
        try:
            result: list[Any] = document["data"]["result"]
        except (KeyError, TypeError) as error:
            raise _Silent(f"Prometheus at {self.name} answered without a result") from error
        return result


def _instances(family: str, seconds: int) -> str:
    """The scraped instances that served a family at any time of the last seconds."""
    return _showing(f"family={_quoted(family)}", seconds)


def _only(version: ServedVersion, seconds: int) -> str:
    """The instances that answered with this version and with no other of its family."""
    family, model, number = (_quoted(part) for part in (version.family, version.model, str(version.number)))
    champion = f'family={family},model={model},version={number},role="champion"'
    other_models = f'family={family},model!={model},role!="shadow"'
    other_versions = f'family={family},version!={number},role!="shadow"'
    return (
        f"({_showing(champion, seconds)} unless on (job, instance) "
        f"({_showing(other_models, seconds)} or {_showing(other_versions, seconds)}))"
    )


def _showing(labels: str, seconds: int) -> str:
    return f"max by (job, instance) (max_over_time(model_info{{{labels}}}[{seconds}s]))"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _queries(instances: str, seconds: int, by: str = " by (job, instance) ") -> tuple[str, str, str]:
    """Requests, failed requests, and the quantile of their duration in seconds, over the last seconds."""
    ours, routes = f"and on (job, instance) {instances}", f'route=~"{ROUTES}"'
    durations = f"increase(http_request_duration_seconds_bucket{{{routes}}}[{seconds}s])"
    return (
        f"sum{by}(increase(http_requests_total{{{routes}}}[{seconds}s]) {ours})",
        f'sum{by}(increase(http_requests_total{{{routes},status=~"5.."}}[{seconds}s]) {ours})',
        f"histogram_quantile({_QUANTILE}, sum by (le) ({durations} {ours}))",
    )


def _by_instance(result: list[Any]) -> dict[str, float]:
    """What was counted of each instance; of one that several jobs scrape, by job."""
    found: dict[str, float] = {}
    for series in result:
        labels = series["metric"]
        instance = str(labels.get("instance", ""))
        found[instance if instance not in found else f"{labels.get('job')}/{instance}"] = (
            _finite(series["value"][1]) or 0.0
        )
    return found


def _value(result: list[Any]) -> float | None:
    return _finite(result[0]["value"][1]) if result else None


def _at(result: list[Any], ends: Sequence[int]) -> list[float | None]:
    """What a range query found at each of the ends."""
    values = result[0]["values"] if result else []
    found = {round(float(moment)): _finite(value) for moment, value in values}
    return [found.get(end) for end in ends]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
