"""What the REST registry makes of servers that misbehave; each is a real HTTP server on the loopback."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests

from promotion.errors import (
    ArtifactMissing,
    RegistryBroken,
    RegistryError,
    RegistryForbidden,
    RegistryUnauthorised,
    RegistryUnreachable,
    UnknownModel,
    UsageError,
)
from promotion.registry.http import MlflowServer
from promotion.registry.rest import RestRegistry
from promotion.registry.stages import Stage

Answer = tuple[int, str]
VERSION = {
    "name": "forest",
    "version": "3",
    "creation_timestamp": "1700000000000",
    "last_updated_timestamp": 1700000000500,
    "current_stage": "Production",
    "source": "models:/m-1",
    "status": "READY",
    "tags": [{"key": "best_model", "value": "true"}],
}


class Requests(list[tuple[str, str, str | None]]):
    """What a server was asked: method, path with query, Authorization header."""


@contextmanager
def serving(answer: Callable[[int, str, str], Answer | None]) -> Iterator[tuple[str, Requests]]:
    """A server that answers `(request's index, method, path)` with status and body; None hangs up."""
    seen = Requests()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            seen.append((self.command, self.path, self.headers.get("authorization")))
            answered = answer(len(seen) - 1, self.command, self.path)
            if answered is None:
                self.close_connection = True
                return
            status, body = answered
            self.send_response(status)
            if status in {301, 302, 308}:
                self.send_header("location", body)
            self.send_header("content-length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - http.server looks for these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def always(status: int, body: str = "") -> Callable[[int, str, str], Answer]:
    return lambda _index, _method, _path: (status, body)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests say which credentials there are; the machine's own stay out."""
    for name in ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_401_without_credentials_says_which_to_set() -> None:
    """A server that wants a login is told apart from one that refuses; it is asked once."""
    with (
        serving(always(401, "You are not authenticated.")) as (uri, seen),
        pytest.raises(RegistryUnauthorised, match=r"no credentials were sent; set MLFLOW_TRACKING_USERNAME"),
    ):
        RestRegistry(uri).models()
    assert 1 == len(seen)


def test_401_with_a_password_names_the_user_and_not_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is said with the user's name only."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    with (
        serving(always(401)) as (uri, seen),
        pytest.raises(RegistryUnauthorised, match="password of user 'anna' was not accepted") as caught,
    ):
        RestRegistry(uri).models()
    assert "Basic YW5uYTpzM2NyZXQ=" == seen[0][2]
    assert "s3cret" not in str(caught.value)


def test_403_says_that_the_permission_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known user without permission is not asked for other credentials."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    with (
        serving(always(403, "Permission denied")) as (uri, seen),
        pytest.raises(RegistryForbidden, match=r"403 \(Permission denied\).*ask the server's admin"),
    ):
        RestRegistry(uri).set_stage("forest", 3, Stage.PRODUCTION)
    assert [("POST", "/api/2.0/mlflow/model-versions/transition-stage", "Bearer t0ken")] == seen


@pytest.mark.parametrize(("status", "kind"), [(401, RegistryUnauthorised), (403, RegistryForbidden)])
@pytest.mark.parametrize("refused", range(7))
def test_each_right_is_asked_for(refused: int, status: int, kind: type[RegistryError]) -> None:
    """A server that refuses one of the writes is enough; each is sent once, and cannot succeed."""
    impossible = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid stage"})
    answers = lambda index, _method, _path: (status, "no") if index == refused else (400, impossible)  # noqa: E731
    with serving(answers) as (uri, seen), pytest.raises(kind, match=f"answered {status}"):
        RestRegistry(uri).require_rights("forest", deletes=True)
    assert refused + 1 == len(seen)


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_any_other_answer_says_nothing_about_rights(status: int) -> None:
    """A server in trouble is told later; removing is asked about only where something will be removed."""
    with serving(always(status, "{}")) as (uri, seen):
        RestRegistry(uri).require_rights("forest", deletes=False)
    assert (1 if status >= 500 else 4) == len(seen)
    assert "DELETE" not in {method for method, *_ in seen}


def test_credentials_come_from_mlflows_file_too(tmp_path: Path) -> None:
    """`~/.mlflow/credentials` is read as MLflow reads it."""
    folder = tmp_path / ".mlflow"
    folder.mkdir()
    (folder / "credentials").write_text("[mlflow]\nmlflow_tracking_username = anna\nmlflow_tracking_password = 50%\n")
    with serving(always(200, "{}")) as (uri, seen):
        assert [] == RestRegistry(uri).models()
    assert "Basic YW5uYTo1MCU=" == seen[0][2]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_fails_for_ever_is_asked_three_times(status: int, waits: list[float]) -> None:
    """Failures that may pass are retried, within seconds and not for minutes; then it is said what came back."""
    with (
        serving(always(status, "<html><h1>Internal\nServer Error</h1>")) as (uri, seen),
        pytest.raises(RegistryBroken, match=rf"answered {status} \(<html><h1>Internal Server Error"),
    ):
        RestRegistry(uri).models()
    assert 3 == len(seen)
    assert 2 == len(waits)
    assert 1 < sum(waits) < 10


@pytest.mark.usefixtures("waits")
def test_a_failure_that_passes_is_not_noticed() -> None:
    """One 503 and one broken connection, then the answer: the caller sees the answer."""
    unstaged = {**VERSION, "current_stage": "None"}
    page = json.dumps({"registered_models": [{"name": "forest", "latest_versions": [unstaged]}]})
    with serving(lambda index, _method, _path: [(503, ""), None, (200, page)][index]) as (uri, seen):
        assert ["forest"] == [model.name for model in RestRegistry(uri).models()]
    assert 3 == len(seen)


def test_a_representer_error_in_the_answer_is_not_repeated_here() -> None:
    """The server's own RepresenterError comes back with its explanation; asking again would meet it again."""
    body = json.dumps(
        {"error_code": "INTERNAL_ERROR", "message": "RepresenterError: ('cannot represent an object', <Metric>)"}
    )
    with serving(always(500, body)) as (uri, seen), pytest.raises(RegistryBroken, match=r"MLFLOW-WORKAROUND\.md"):
        RestRegistry(uri).set_stage("forest", 3, Stage.PRODUCTION)
    assert 1 == len(seen)


@pytest.mark.usefixtures("waits")
@pytest.mark.system
def test_a_slow_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within MLFLOW_HTTP_REQUEST_TIMEOUT is unreachable, and the message names the variable."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "0.3")
    gate = threading.Event()

    def late(_index: int, _method: str, _path: str) -> None:
        gate.wait(10)

    started = time.monotonic()
    with serving(late) as (uri, seen):
        with pytest.raises(RegistryUnreachable, match=r"no answer .* within 0\.3 s.*MLFLOW_HTTP_REQUEST_TIMEOUT"):
            RestRegistry(uri).models()
        gate.set()
    assert 3 == len(seen)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize("text", ["soon", "-1", "0", "nan", "inf"])
def test_a_time_out_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A wrong variable is a usage error that names it."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", text)
    with pytest.raises(UsageError, match="MLFLOW_HTTP_REQUEST_TIMEOUT: expected a positive number"):
        RestRegistry("http://127.0.0.1:9")


@pytest.mark.usefixtures("waits")
def test_nobody_listening_is_unreachable() -> None:
    """A refused connection names the address without its password, and the likely causes."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RegistryUnreachable, match="is the server up") as caught:
        RestRegistry(f"http://anna:s3cret@127.0.0.1:{port}").models()
    assert f"http://***@127.0.0.1:{port}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[]", '"yes"', "", '{"registered_models": '])
def test_an_answer_that_is_not_mlflows_is_broken(body: str) -> None:
    """A login page, or anything else that is no JSON object, is never "no models"."""
    with serving(always(200, body)) as (uri, _), pytest.raises(RegistryBroken, match="no MLflow answer"):
        RestRegistry(uri).models()


@pytest.mark.parametrize(
    "answer",
    [
        {"registered_models": [{}]},
        {"registered_models": 7},
        {"registered_models": [{"name": "a", "latest_versions": [{**VERSION, "version": "x"}]}]},
        {"registered_models": [{"name": "a", "latest_versions": [{**VERSION, "current_stage": "Limbo"}]}]},
    ],
)
def test_an_answer_with_wrong_fields_is_broken(answer: dict[str, object]) -> None:
    """JSON that MLflow does not document is refused, naming the field."""
    with (
        serving(always(200, json.dumps(answer))) as (uri, _),
        pytest.raises(RegistryBroken, match="'registered_models' is not what MLflow documents"),
    ):
        RestRegistry(uri).models()


def test_pages_are_followed() -> None:
    """All pages of a search are read, in a request each, with the server's own token."""

    def page(index: int, _method: str, _path: str) -> Answer:
        token = {"next_page_token": f"t+{index}"} if index < 2 else {}
        return 200, json.dumps({"registered_models": [{"name": f"m{2 - index}"}], **token})

    with serving(page) as (uri, seen):
        assert ["m0", "m1", "m2"] == [model.name for model in RestRegistry(uri).models()]
    root = "/api/2.0/mlflow/registered-models/search?max_results=1000"
    assert [root, f"{root}&page_token=t%2B0", f"{root}&page_token=t%2B1"] == [path for _, path, _ in seen]


@pytest.mark.parametrize("status", [403, 404, 400])
def test_runs_that_are_not_told_together_are_left_to_be_asked_for(status: int) -> None:
    """Without the right to list experiments, or where a server knows no such question."""
    with serving(always(status, "{}")) as (uri, seen):
        assert {} == RestRegistry(uri).runs([f"r{number}" for number in range(30)])
        assert {} == RestRegistry(uri).runs(["r1"])
    assert ["/api/2.0/mlflow/experiments/search?max_results=1000&view_type=ALL"] == [path for _, path, _ in seen]


def test_a_page_that_repeats_for_ever_is_broken() -> None:
    """A server that hands out the same token again does not hold us in a loop."""
    with (
        serving(always(200, json.dumps({"registered_models": [], "next_page_token": "again"}))) as (uri, seen),
        pytest.raises(RegistryBroken, match="the same page for ever"),
    ):
        RestRegistry(uri).models()
    assert 2 == len(seen)


def test_a_server_without_aliases_is_broken_for_aliases_only() -> None:
    """An MLflow before 2.3 has no alias endpoint; that is no missing model, and stages go on."""

    def old(_index: int, _method: str, path: str) -> Answer:
        return (404, "<h1>Not Found</h1>") if path.endswith("/registered-models/alias") else (200, "{}")

    with serving(old) as (uri, _):
        registry = RestRegistry(uri)
        registry.set_stage("forest", 3, Stage.PRODUCTION)
        with pytest.raises(RegistryBroken, match=r"alias answered 404.*older than MLflow 2\.3"):
            registry.set_alias("forest", "production", 3)
        with pytest.raises(RegistryBroken, match=r"older than MLflow 2\.3"):
            registry.delete_alias("forest", "production")


def test_what_does_not_exist_is_told_apart_from_a_missing_endpoint() -> None:
    """RESOURCE_DOES_NOT_EXIST is an unknown model, named with those that exist."""

    def answer(_index: int, _method: str, path: str) -> Answer:
        if "search" in path:
            return 200, json.dumps({"registered_models": [{"name": "forest"}]})
        return 404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})

    with (
        serving(answer) as (uri, _),
        pytest.raises(UnknownModel, match="no registered model 'forrest': the registry has forest"),
    ):
        RestRegistry(uri).model("forrest")


def test_a_refused_request_shows_the_servers_reason() -> None:
    """A 400 is not retried and passes MLflow's own words on."""
    body = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid alias name: 'v1'"})
    with serving(always(400, body)) as (uri, seen), pytest.raises(RegistryError, match="Invalid alias name"):
        RestRegistry(uri).set_alias("forest", "v1", 3)
    assert 1 == len(seen)


def test_a_redirected_write_is_not_turned_into_a_read() -> None:
    """A redirect of a POST is refused with the address to set instead; it must not arrive as a GET."""
    with (
        serving(always(302, "https://elsewhere.example/")) as (uri, seen),
        pytest.raises(RegistryBroken, match=r"redirect to https://elsewhere\.example/.*MLFLOW_TRACKING_URI"),
    ):
        RestRegistry(uri).set_tag("forest", 3, "a", "b")
    assert ["POST"] == [method for method, _, _ in seen]


def test_a_path_prefix_is_kept_and_listings_cost_few_requests() -> None:
    """A server below a path works; the tag search takes one request, the listing one more for a model in a stage."""
    page = json.dumps(
        {
            "registered_models": [
                {"name": "forest", "latest_versions": [VERSION], "aliases": [{"alias": "production", "version": "3"}]}
            ],
            "model_versions": [VERSION, {**VERSION, "version": 4, "tags": [{"key": "best_model", "value": "TRUE"}]}],
        }
    )
    with serving(always(200, page)) as (uri, seen):
        registry = RestRegistry(f"{uri}/mlflow/")
        (model,) = registry.models()
        assert ({"production": 3}, Stage.PRODUCTION) == (model.aliases, model.versions[0].stage)
        assert ["forest v3"] == [str(version) for version in registry.tagged("best_model", "true")]
    assert 3 == len(seen)
    assert all(path.startswith("/mlflow/api/2.0/mlflow/") for _, path, _ in seen)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("models:/m-1", "mlflow-artifacts/artifacts/1/models/m-1/artifacts"),
        ("runs:/r1/model", "mlflow-artifacts/artifacts/1/r1/artifacts/model"),
        ("s3://bucket/model", "s3://bucket/model"),
    ],
)
def test_the_artifact_uri_is_followed_to_the_storage(source: str, expected: str) -> None:
    """A version registered from a logged model or a run is followed to where the files are."""

    def answer(_index: int, _method: str, path: str) -> Answer:
        if "get-download-uri" in path:
            return 200, json.dumps({"artifact_uri": source})
        if "logged-models/m-1" in path:
            return 200, json.dumps({"model": {"info": {"artifact_uri": "mlflow-artifacts:/1/models/m-1/artifacts"}}})
        if "runs/get" in path:
            return 200, json.dumps({"run": {"info": {"artifact_uri": "mlflow-artifacts:/1/r1/artifacts"}}})
        return 200, json.dumps({"model_version": VERSION})

    with serving(answer) as (uri, _):
        registry = RestRegistry(uri)
        assert registry.artifact_uri(registry.version("forest", 3)).endswith(expected)


@pytest.mark.parametrize(
    ("source", "what"), [("models:/m-1", "logged model m-1 is"), ("runs:/r1/model", "run r1 is deleted in MLflow")]
)
def test_files_of_what_is_deleted_are_missing_and_the_registry_is_not_broken(source: str, what: str) -> None:
    """What MLflow does not hand out any more is named, and that it cannot be brought back."""

    def answer(_index: int, _method: str, path: str) -> Answer:
        if "get-download-uri" in path:
            return 200, json.dumps({"artifact_uri": source})
        if "logged-models/m-1" in path or "runs/get" in path:
            return 404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such thing"})
        return 200, json.dumps({"model_version": VERSION})

    with serving(answer) as (uri, _), pytest.raises(ArtifactMissing, match=what):
        RestRegistry(uri).artifact_uri(RestRegistry(uri).version("forest", 3))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"mlflow_tracking_password = S3CRET\n", "MissingSectionHeaderError"),
        (b"[mlflow]\nmlflow_tracking_password = S3CR\xc4T\n", "UnicodeDecodeError"),
        (b"[mlflow]\nmlflow_tracking_password = S3CRET\n[mlflow]\n", "DuplicateSectionError"),
        (b"[mlflow]\nS3CRET\n", "ParsingError"),
    ],
    ids=["no section", "latin-1", "section twice", "no value"],
)
def test_a_credentials_file_that_cannot_be_read_is_said_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, reason: str
) -> None:
    """One line with the file and what was expected."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_bytes(content)

    with pytest.raises(
        UsageError, match=rf"~/.mlflow/credentials: not readable \({reason}\): expected .*\[mlflow\]"
    ) as said:
        MlflowServer("http://127.0.0.1:1")

    assert "S3CR" not in str(said.value)


@pytest.mark.parametrize("token", ["S3CRET\n", "S3CRET\r", "S3CR\u00c4T"])
def test_a_token_that_no_header_takes_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """The variable is what an operator changes."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", token)

    with pytest.raises(UsageError, match="MLFLOW_TRACKING_TOKEN: holds a line break") as said:
        MlflowServer("http://127.0.0.1:1")

    assert "S3CR" not in str(said.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/bundle.pem"),
        ({"MLFLOW_TRACKING_INSECURE_TLS": "true"}, False),
        ({"MLFLOW_TRACKING_SERVER_CERT_PATH": "/own.pem"}, "/own.pem"),
    ],
)
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_mlflows_own_variables_win_over_those_of_requests(
    variable: str, environment: dict[str, str], expected: str | bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in MLflow's client: an agent's proxy certificate does not hide what was said about this server."""
    seen: list[object] = []

    def send(_adapter: object, _request: object, verify: object, **_options: object) -> None:
        seen.append(verify)
        raise requests.exceptions.SSLError("self-signed")

    def named(path: str) -> str:
        return str(shutil.copy(certifi.where(), tmp_path / path.removeprefix("/")))

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, named("/bundle.pem"))
    for name, value in environment.items():
        monkeypatch.setenv(name, named(value) if value.startswith("/") else value)
    with pytest.raises(RegistryUnreachable, match="TLS failed"):
        MlflowServer("https://mlflow:5000").get("registered-models/search")
    assert [str(tmp_path / expected.removeprefix("/")) if isinstance(expected, str) else expected] == seen


@pytest.mark.parametrize(
    "variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "REQUESTS_CA_BUNDLE"]
)
def test_a_certificate_that_is_not_there_is_named_by_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path is a wrong setting, not a server that does not answer."""
    monkeypatch.setenv(variable, "/nowhere.pem")
    with pytest.raises(UsageError, match=rf"^{variable}: '/nowhere.pem' does not exist"):
        MlflowServer("https://mlflow:5000")


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("MLFLOW_TRACKING_SERVER_CERT_PATH", "expected certificates in PEM"),
        ("REQUESTS_CA_BUNDLE", "expected certificates in PEM"),
        ("MLFLOW_TRACKING_CLIENT_CERT_PATH", "expected a certificate and its key, both in this one file"),
    ],
)
def test_a_file_without_a_certificate_is_named_by_its_variable(
    variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by whatever TLS makes of it when the first request is sent."""
    (tmp_path / "key.pem").write_text("no certificate", encoding="utf-8")
    monkeypatch.setenv(variable, str(tmp_path / "key.pem"))
    with pytest.raises(UsageError, match=rf"^{variable}: '.*key.pem' is not readable .*{expected}"):
        MlflowServer("https://mlflow:5000")


def test_only_the_bundle_that_requests_reads_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another variable of another program may say what it likes."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere.pem")
    MlflowServer("https://mlflow:5000")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (requests.exceptions.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "is it http://"),
        (requests.exceptions.SSLError("tlsv13 alert certificate required"), "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        (requests.exceptions.SSLError("self-signed certificate"), "MLFLOW_TRACKING_SERVER_CERT_PATH to the CA's file"),
        (
            requests.exceptions.ConnectionError("Remote end closed connection without response"),
            "finds it by MLFLOW_TRACKING_CLIENT_CERT_PATH",
        ),
    ],
)
def test_what_tls_stumbles_over_has_its_own_remedy(
    raised: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing certificate of the client's is not looked for among the CAs."""

    def send(*_given: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    with pytest.raises(RegistryUnreachable, match=re.escape(expected)):
        MlflowServer("https://mlflow:5000").get("registered-models/search")
