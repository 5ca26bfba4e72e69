"""What surrounds the predictions: identifiers, the key, counters, documents, failures."""

from __future__ import annotations

import re
import socket
from typing import Any

import numpy as np
import pytest
import requests
from playwright.sync_api import Browser
from prometheus_client.parser import text_string_to_metric_families
from tests.promotion.serving import exporting
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.requests_by_protocol import Row, eventually, predict

from promotion.serving.exported.engines import Prediction
from promotion.serving.exported.rows import Matrix


def samples(server: Served) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample, by name and label values in the order of their names."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    found = [sample for family in families for sample in family.samples]
    return {(item.name, tuple(value for _, value in sorted(item.labels.items()))): item.value for item in found}


def test_probes_and_version(server: Served) -> None:
    """Health, readiness, MLflow's ping, and which version on what evidence."""
    version = server.get("/version").json()

    assert {"status": "ok"} == server.get("/health").json()
    assert 200 == server.get("/ready").status_code
    assert (200, "\n") == (server.get("/ping").status_code, server.get("/ping").text)
    assert ("heart-disease", 3, "1.2.0", "onnx", None) == (
        *(version[name] for name in ("family", "version", "semver", "engine", "challenger")),
    )


def test_request_identifiers_come_back(server: Served) -> None:
    """A safe identifier is kept, any other replaced: it ends up in logs."""
    kept = server.get("/health", **{"X-Request-Id": "jenkins:build/17"}).headers["X-Request-Id"]
    made = [
        server.get("/health", **{"X-Request-Id": given}).headers["X-Request-Id"] for given in ('a"b', "x" * 129, "a b")
    ]

    assert "jenkins:build/17" == kept
    assert all(re.fullmatch("[0-9a-f]{32}", identifier) for identifier in made)


def test_a_key_may_hold_any_character(serve: Serve, linear: Fitted, row: Row) -> None:
    """Headers are bytes; a key with an umlaut is compared as such."""
    served = serve(linear.folder, API_KEY="schlüssel")
    headers = {"X-API-Key": "schlüssel".encode()}

    assert 200 == requests.post(f"{served.url}/predict", json=row, headers=headers, timeout=10).status_code


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/predict", {}, 401),
        ("/predict", {"X-API-Key": "wrong"}, 401),
        ("/predict", {"X-API-Key": "sécret".encode()}, 401),
        ("/predict", {"Authorization": "Basic secret"}, 401),
        ("/predict", {"X-API-Key": "secret"}, 200),
        ("/predict", {"Authorization": "Bearer secret"}, 200),
        ("/invocations", {}, 401),
        ("/v2/models/heart-disease/infer", {}, 401),
    ],
)
def test_the_key_guards_predictions(
    path: str, headers: dict[str, Any], status: int, serve: Serve, linear: Fitted, row: Row
) -> None:
    """Only with the key, in either header; probes and metrics stay open."""
    served = serve(linear.folder, API_KEY="secret")
    response = requests.post(served.url + path, json=row, headers=headers, timeout=10)

    assert status == response.status_code
    assert [200] * 3 == [served.get(open_path).status_code for open_path in ("/ready", "/metrics", "/version")]


def test_requests_are_counted_by_template(serve: Serve, linear: Fitted, row: Row) -> None:
    """Paths and methods that anybody invents share one label value; refused rows count by reason."""
    served = serve(linear.folder)
    for path in ("/a", "/b", "/v2/models/heart-disease/ready"):
        served.get(path)
    requests.request("PROPFIND", f"{served.url}/predict", timeout=10)
    predict(served, [row, row])
    predict(served, [{**row, "cp": 0, "sex": None}])
    found = samples(served)

    assert 2 == found["http_requests_total", ("GET", "unmatched", "404")]
    assert 1 == found["http_requests_total", ("GET", "/v2/models/{name}/ready", "200")]
    assert 1 == found["http_requests_total", ("OTHER", "/predict", "405")]
    assert 1 == found["http_requests_total", ("POST", "/predict", "422")]
    assert 3 == found["http_request_duration_seconds_count", ("/predict",)]
    assert (1, 1) == (found["rejected_rows_total", ("code",)], found["rejected_rows_total", ("null",)])
    assert 1 == found["http_requests_in_progress", ()]


@pytest.mark.system
def test_predictions_are_counted_by_class_and_probability(serve: Serve, linear: Fitted) -> None:
    """Classes, the histogram of probabilities with its sum, and which version is served."""
    served = serve(linear.folder)
    rows = exporting.records(linear.rows)
    predict(served, rows)
    for row in rows:
        predict(served, [row])
    found = samples(served)
    classes = linear.pipeline.predict(linear.rows)
    probabilities = linear.pipeline.predict_proba(linear.rows)[:, 1]
    negative, positive = served.answering.reader.schema.labels
    place = ("heart-disease-logistic_regression", "champion", "3")

    assert 2 * sum(classes == 1) == found["predictions_total", (positive, *place)]
    assert 2 * sum(classes == 0) == found["predictions_total", (negative, *place)]
    assert 2 * sum(probabilities <= 0.3) == found["prediction_probability_bucket", ("0.3", "champion", "3")]
    assert 2 * len(rows) == found["prediction_probability_count", ("champion", "3")]
    assert pytest.approx(2 * sum(probabilities), abs=1e-3) == found["prediction_probability_sum", ("champion", "3")]
    digest = ("a" * 64, "onnx", "heart-disease")
    assert 1 == found["model_info", (*digest, "heart-disease-logistic_regression", "champion", "1.2.0", "3")]


def test_openapi_shows_the_familys_contract(server: Served) -> None:
    """Fields with ranges, codes, units and meaning; the example in the documents is a row the server answers."""
    document = server.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    row = body["schema"]["anyOf"][0]

    assert {
        "type": "integer",
        "description": "resting blood pressure [mm Hg]",
        "minimum": 50,
        "maximum": 260,
        "x-unit": "mm Hg",
    } == row["properties"]["trestbps"]
    assert [3, 6, 7, None] == row["properties"]["thal"]["enum"]
    assert 13 == len(row["required"])
    assert 200 == server.post("/predict", body["example"]).status_code
    assert {"/invocations", "/v2/models/{name}/infer", "/metrics", "/ready"} <= document["paths"].keys()


@pytest.mark.system
def test_the_documents_are_whole_without_the_internet(server: Served, browser: Browser) -> None:
    """In a browser: every route is shown, with nothing fetched from elsewhere, and the example can be tried."""
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if message.type == "error" else None)
    page.goto(f"{server.url}/docs")
    page.locator("#operations-predictions-predict_predict_post").wait_for()
    shown = page.locator(".opblock").count()
    page.locator("#operations-predictions-predict_predict_post button").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.locator(".live-responses-table").wait_for()
    answered = page.locator(".live-responses-table .response-col_status").last.inner_text()
    page.close()

    assert [] == [url for url in asked if not url.startswith((server.url, "data:"))]
    assert shown == sum(len(methods) for methods in server.get("/openapi.json").json()["paths"].values())
    assert answered.startswith("200")
    assert [] == refused


def test_a_browser_runs_nothing_but_what_the_page_came_with(server: Served) -> None:
    """No other script, no other server, no frame of another site; and every answer is what it says it is."""
    page = server.get("/docs")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))

    assert ("'none'", "'none'", "'self'") == (policy["default-src"], policy["frame-ancestors"], policy["connect-src"])
    assert "unsafe" not in policy["script-src"]
    assert ("DENY", "no-referrer") == (page.headers["X-Frame-Options"], page.headers["Referrer-Policy"])
    for path in ("/docs", "/", "/predict", "/nothing", "/static-offline-docs/swagger-ui-bundle.js"):
        assert "nosniff" == server.get(path).headers["X-Content-Type-Options"]


def test_unknown_paths_and_methods_have_the_form_of_all_errors(server: Served) -> None:
    """404 and 405 too carry the identifier."""
    unknown, method = server.get("/nothing"), server.get("/predict")

    assert (404, 405) == (unknown.status_code, method.status_code)
    assert unknown.headers["X-Request-Id"] == unknown.json()["request_id"]
    assert "POST" == method.headers["Allow"]


class Broken:
    """An engine that fails, or answers with what is no number."""

    def __init__(self, *, silently: bool) -> None:
        self.silently = silently

    def predict(self, matrix: Matrix) -> Prediction:
        """Raise, or answer NaN."""
        if not self.silently:
            raise RuntimeError("secret detail of the server")
        rows = matrix.shape[1]
        return Prediction(np.zeros(rows, np.int64), np.full((rows, 2), np.nan, np.float32))


@pytest.mark.parametrize("silently", [False, True])
def test_our_own_failure_leaks_nothing(silently: bool, serve: Serve, linear: Fitted, row: Row) -> None:
    """500 with an identifier to ask with; the server goes on, and counts it."""
    served = serve(linear.folder, Broken(silently=silently))
    response = predict(served, [row])

    assert 500 == response.status_code
    assert {
        "error": "the server failed on this request",
        "problems": [],
        "request_id": response.headers["X-Request-Id"],
    } == response.json()
    assert 1 == samples(served)["http_requests_total", ("POST", "/predict", "500")]


def test_a_body_that_does_not_arrive_is_not_waited_for(
    serve: Serve, linear: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408, and the connection is closed."""
    monkeypatch.setattr("promotion.serving.bodies.BODY_SECONDS", 0.05)
    port = int(serve(linear.folder).url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_goes_away_is_no_failure(serve: Serve, linear: Fitted) -> None:
    """Half a body and then nothing: counted under a status of its own, not as an error of the server."""
    served = serve(linear.folder)
    port = int(served.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    assert eventually(lambda: ("http_requests_total", ("POST", "/predict", "499")) in samples(served))


def test_readiness_ends_before_the_server_does(serve: Serve, linear: Fitted) -> None:
    """503 on both readiness routes from the moment the server is asked to stop; it is alive all the same."""
    served = serve(linear.folder)
    served.answering.ready = False

    assert [503, 503, 503] == [
        served.get(path).status_code for path in ("/ready", "/v2/health/ready", "/v2/models/heart-disease/ready")
    ]
    assert 200 == served.get("/health").status_code
