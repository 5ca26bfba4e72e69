"""What Prometheus scrapes; updating is a few dictionary look-ups, because it happens at every request."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPMethod
from threading import Lock

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.model import Model

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5)
PROBABILITIES = np.arange(1, 10) / 10
METHODS = frozenset(HTTPMethod)
MODEL = ("role", "family", "model", "version", "semver", "digest", "engine")


class PredictionCounts(Collector):
    """Predicted classes and probabilities by version, counted a request at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, tuple[Model, npt.NDArray[np.int64], npt.NDArray[np.int64], list[float]]] = {}

    def add(self, model: Model, prediction: Prediction) -> None:
        """Count the rows of one answer."""
        scores = model.scores(prediction)
        places = PROBABILITIES.searchsorted(scores)
        with self._lock:
            if model.role not in self._counts:
                empty = np.zeros(len(model.schema.labels) or 1, np.int64), np.zeros(len(PROBABILITIES) + 1, np.int64)
                self._counts[model.role] = (model, *empty, [0.0])
            _, classes, buckets, total = self._counts[model.role]
            classes += np.bincount(prediction.classes, minlength=len(classes))
            buckets += np.bincount(places, minlength=len(buckets))
            total[0] += float(scores.sum())

    def collect(self) -> Iterable[Metric]:
        """The two families, as Prometheus wants them: buckets cumulative, up to infinity."""
        labels = CounterMetricFamily(
            "predictions", "Predicted rows by class.", labels=("role", "model", "version", "label")
        )
        probabilities = HistogramMetricFamily(
            "prediction_probability",
            "Probability of the positive class of two, of the predicted class otherwise.",
            labels=("role", "version"),
        )
        limits = [*map(str, PROBABILITIES), "+Inf"]
        with self._lock:
            for role, (model, classes, buckets, total) in self._counts.items():
                name, version = model.manifest.model, str(model.manifest.version)
                for label, count in zip(model.schema.labels or ("value",), classes.tolist(), strict=True):
                    labels.add_metric((role, name, version, label), count)
                if model.schema.is_regression:
                    continue
                cumulative = zip(limits, np.cumsum(buckets).tolist(), strict=True)
                probabilities.add_metric((role, version), list(cumulative), total[0])
        return labels, probabilities


class Metrics:
    """The server's counters, in a registry of their own.

    Args:
        models: The versions served.
    """

    def __init__(self, models: Iterable[Model]) -> None:
        # A second series for each counter that says when it began, which nobody asked for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self.predictions = PredictionCounts()
        registry.register(self.predictions)
        self._in_progress = Gauge("http_requests_in_progress", "Requests being answered.", registry=registry)
        self._requests = Counter("http_requests", "Requests.", ("route", "method", "status"), registry=registry)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._rejected = Counter("rejected_rows", "Refused rows by what was wrong.", ("reason",), registry=registry)
        self._log_dropped = Counter("prediction_log_dropped", "Rows missing in the prediction log.", registry=registry)
        self._shadow_dropped = Counter(
            "shadow_dropped", "Rows the shadow model could not score in time.", registry=registry
        )
        self._failures = Counter(
            "challenger_failures",
            "Requests the champion answered instead of the challenger.",
            ("role", "version", "reason"),
            registry=registry,
        )
        info = Gauge("model_info", "The versions served.", MODEL, registry=registry)
        for model in models:
            it = model.manifest
            told = (it.family, it.model, str(it.version), it.semver or "", it.artifact_digest, it.engine)
            info.labels(model.role, *told).set(1)
        # labels() builds and locks; what was asked for once is kept.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def begin(self) -> None:
        """A request arrived."""
        self._in_progress.inc()

    def end(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: Template of the route, never the path that was asked for.
            method: As sent; anybody can invent methods, so unknown ones share a label.
            status: HTTP status.
            seconds: From the request's head to the end of the answer.
        """
        self._in_progress.dec()
        key = (route, method if method in METHODS else "OTHER", status)
        if key not in self._children:
            self._children[key] = self._requests.labels(*key), self._seconds.labels(route)
        requests, duration = self._children[key]
        requests.inc()
        duration.observe(seconds)

    def reject(self, problems: Iterable[tuple[int, str]]) -> None:
        """Rows were refused.

        Args:
            problems: Position of the row and reason, each pair once.
        """
        for _row, reason in problems:
            self._rejected.labels(reason).inc()

    def fail(self, model: Model, reason: str) -> None:
        """A challenger did not answer: it failed, took too long, or was busy with what took too long."""
        self._failures.labels(model.role, str(model.manifest.version), reason).inc()

    def lose_log(self, rows: int) -> None:
        """Rows did not get into the prediction log."""
        self._log_dropped.inc(rows)

    def lose_shadow(self, rows: int) -> None:
        """Rows were not scored by the shadow model."""
        self._shadow_dropped.inc(rows)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)
