"""Rules and dashboard read what the running server emits, and nothing that it does not."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from tests.k8s.queries import dashboard, panel_queries, read, rule_queries
from tests.k8s.rules import TARGET, rules
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve

QUERIES = [*rule_queries(), *panel_queries()]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
ELSEWHERE = {
    "up": set(TARGET),
    "ALERTS": {*TARGET, "alertname", "alertstate", "family", "model", "version"},
    "kube_cronjob_created": {"namespace", "cronjob"},
    "kube_cronjob_status_last_successful_time": {"namespace", "cronjob"},
}
"""Of Prometheus itself, and of kube-state-metrics."""
BY_VERSION = {"namespace", "family", "model", "version"}

Emitted = dict[str, set[str]]


def _emitted(served_text: str) -> Emitted:
    found: Emitted = {}
    for family in text_string_to_metric_families(served_text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_and_label_is_emitted(serve: Serve, linear: Fitted, forest: Fitted) -> None:
    """By the server itself after good and refused requests; or recorded by a rule, or known to be elsewhere."""
    served = serve(linear.folder, SHADOW_MODEL=str(forest.folder))
    rows = exporting.records(linear.rows.dropna().head(3))
    assert served.post("/predict", {"rows": rows}).ok
    assert 422 == served.post("/predict", rows[0] | {"age": "old"}).status_code
    served.answering.scorer.close(5)
    found = _emitted(served.get("/metrics").text)
    known = {name: labels | set(TARGET) for name, labels in found.items()}
    known |= dict.fromkeys(RECORDED, BY_VERSION) | ELSEWHERE

    for name, expression in QUERIES:
        used = read(expression)
        assert set() == set(used.metrics) - set(known), name
        for metric, labels in used.metrics.items():
            assert set() == labels - known[metric], (name, metric)
        assert set() == used.labels - set().union(*(known[metric] for metric in used.metrics)), name


def test_every_metric_of_the_server_is_looked_at() -> None:
    """What is emitted and shown nowhere costs storage for nothing."""
    used = {metric for _name, expression in QUERIES for metric in read(expression).metrics}

    assert {
        *("http_requests_total", "http_request_duration_seconds_bucket", "http_requests_in_progress", "model_info"),
        *("predictions_total", "prediction_probability_bucket", "rejected_rows_total", "prediction_log_dropped_total"),
        *("shadow_dropped_total", "process_resident_memory_bytes", "process_cpu_seconds_total"),
    } <= used


def test_an_expression_is_taken_apart() -> None:
    """Names, matchers and grouping are found, functions and strings are not."""
    used = read('sum by (a, b) (rate(x_total{c="d{e}", f!~".+"}[5m] offset 1h)) / on (g) group_left (h) max(y) > 0.5')

    assert ({"x_total": {"c", "f"}, "y": set()}, {"a", "b", "g", "h"}) == (used.metrics, used.labels)


def test_the_dashboard_is_provisioned_and_asks_one_prometheus() -> None:
    """Panels do not overlap, none can be edited in place, and the data source is chosen, not named."""
    document = dashboard()
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [
        (x, y) for it in places for x in range(it["x"], it["x"] + it["w"]) for y in range(it["y"], it["y"] + it["h"])
    ]

    assert False is document["editable"]
    assert len(cells) == len(set(cells))
    assert max(x for x, _y in cells) < 24
    assert {"${datasource}"} == {panel["datasource"]["uid"] for panel in document["panels"]}
    assert len(document["panels"]) == len({panel["id"] for panel in document["panels"]})


def test_the_documents_bounds_are_drawn() -> None:
    """2 and 5 % of errors, 200 and 500 ms."""
    drawn = {
        panel["title"]: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for panel in dashboard()["panels"]
        if panel["type"] == "timeseries" and "thresholds" in panel["fieldConfig"]["defaults"]
    }

    assert [0.02, 0.05] == drawn["Failed requests by version"]
    assert [0.2, 0.5] == drawn["Latency"]
