"""What pods counted since an analysis began, out of their own metrics."""

from __future__ import annotations

from collections import Counter

from promotion.delivery.canary.records import Counts
from promotion.delivery.canary.telemetry import TrackCounts, read_metrics
from promotion.serving.metrics import Metrics


def metrics(**answers: int) -> Metrics:
    """A server's, after it answered so many requests a route and status."""
    made = Metrics([])
    for name, count in answers.items():
        route, status = name.split("_")
        for _ in range(count):
            made.begin()
            made.end(f"/{route}", "POST", int(status), 0.15 if status == "200" else 3.0)
    return made


def read(made: Metrics) -> Counter[tuple[str, str]]:
    """As an analysis does."""
    return read_metrics(made.text().decode())


def test_the_servers_own_metrics_are_read() -> None:
    """What asks for predictions, and of it what failed by the server's fault; probes and refusals are neither."""
    counted = TrackCounts()
    counted.add("one", read(metrics()))
    counted.add("one", read(metrics(predict_200=7, predict_500=2, predict_422=3, invocations_200=1, health_500=50)))

    found = counted.counts()

    assert (13, 2) == (found.requests, found.failures)


def test_every_bound_of_the_histogram_is_there() -> None:
    """Also those within which nothing was answered, since that is what a slow canary looks like."""
    counted = TrackCounts()
    counted.add("one", read(metrics(predict_200=1)))
    counted.add("one", read(metrics(predict_200=9, predict_500=2)))

    slower = counted.counts().slower

    assert (10, 10, 2, 2) == (slower["0.001"], slower["0.1"], slower["0.2"], slower["2.5"])


def test_a_first_reading_is_only_a_beginning() -> None:
    """What a pod did before the analysis says nothing about now."""
    counted = TrackCounts()
    counted.add("one", read(metrics(predict_200=900, predict_500=100)))

    assert (0, 0) == (counted.counts().requests, counted.counts().failures)


def test_a_pod_that_starts_again_counts_on() -> None:
    """Its counters begin at zero; what it counted before is kept."""
    counted = TrackCounts()
    for answered in (10, 30, 5, 8):
        counted.add("one", read(metrics(predict_200=answered)))

    assert counted.counts().requests == 20 + 5 + 3


def test_a_shadow_and_a_regression_have_no_classes() -> None:
    """A shadow answers nobody; the one class of a regression says nothing."""
    text = "\n".join(
        f'predictions_total{{label="{label}",model="a \\"b\\"",role="{role}",version="1"}} 5.0'
        for label, role in [("yes", "champion"), ("yes", "challenger"), ("no", "shadow"), ("value", "champion")]
    )
    counted = TrackCounts()
    counted.add("one", Counter())
    counted.add("one", read_metrics(text))

    assert counted.counts() == Counts(predictions={"yes": 10})
