"""What `/openapi.json` promises is what the server does."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.promotion.serving.conftest import Fitted, Serve, Served
from tests.promotion.serving.mixed import export_of_every_kind
from tests.system.peer_environments import peer_python


def operations(document: dict[str, Any], method: str) -> dict[str, Any]:
    return {path: methods[method] for path, methods in document["paths"].items() if method in methods}


def example(operation: dict[str, Any], path: str) -> str:
    """The path with the examples of its parameters in it."""
    for parameter in operation.get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    return path


def test_every_get_says_what_it_answers(server: Served) -> None:
    """A schema, or a description of the bytes; and its example path exists."""
    for path, operation in operations(server.get("/openapi.json").json(), "get").items():
        answer = server.get(example(operation, path))
        kind = answer.headers["Content-Type"].partition(";")[0]
        described = operation["responses"]["200"].get("content", {})

        assert 200 == answer.status_code, path
        assert path == "/ping" or described[kind]["schema"], path


def test_every_example_is_answered(server: Served) -> None:
    """In each media type of each prediction route; all statuses these may have are described."""
    posts = operations(server.get("/openapi.json").json(), "post")
    for path, operation in posts.items():
        for kind, body in operation["requestBody"]["content"].items():
            answer = server.post(example(operation, path), body["example"], **{"Content-Type": kind})
            assert 200 == answer.status_code, answer.text
        named = {"404"} if "{name}" in path else set()
        assert {"200", "400", "408", "413", "415", "422", "500", "503"} | named == operation["responses"].keys()

    assert {"/predict", "/invocations", "/v2/models/{name}/infer"} <= posts.keys()


def test_the_key_is_a_security_scheme(serve: Serve, linear: Fitted, server: Served) -> None:
    """Of every route that wants it, so that the page can send it; without a key there is none."""
    served = serve(linear.folder, API_KEY="secret")
    document, without = served.get("/openapi.json").json(), server.get("/openapi.json").json()
    posts = operations(document, "post")

    assert "securitySchemes" not in without.get("components", {})
    assert {"X-API-Key", "bearer"} == {
        scheme.get("scheme") or scheme["name"] for scheme in document["components"]["securitySchemes"].values()
    }
    assert all([{"key": []}, {"bearer": []}] == operation["security"] for operation in posts.values())
    assert all("401" in operation["responses"] for operation in posts.values())
    assert not any("security" in operation for operation in operations(without, "post").values())
    body = posts["/predict"]["requestBody"]["content"]["application/json"]["example"]
    statuses = [
        requests.post(f"{served.url}/predict", json=body, headers=headers, timeout=10).status_code
        for headers in ({}, {"X-API-Key": "secret"})
    ]
    assert [401, 200] == statuses


# What these take no JSON schema can say: how many values a tensor's shape makes, and numbers that may be texts.
CONFIGURATION = """
[[operations]]
include-path-regex = "(/invocations|/infer)$"

[operations.checks]
positive_data_acceptance.enabled = false
negative_data_rejection.enabled = false
"""


@pytest.mark.system
@pytest.mark.peers
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("key", "is_mixed"), [("", False), ("secret", False), ("", True)])
def test_schemathesis_finds_nothing(key: str, is_mixed: bool, serve: Serve, linear: Fitted, tmp_path: Path) -> None:
    """All of its checks, which are its default, with a fixed seed; also where columns are of every kind."""
    folder = export_of_every_kind(tmp_path / "mixed", "onnx") if is_mixed else linear.folder
    served = serve(folder, **({"API_KEY": key} if key else {}))
    program = peer_python("schemathesis-4", "schemathesis>=4,<5").with_name("schemathesis")
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    options = ["--seed", "7", "--max-examples", "40"]
    command = [str(program), "run", f"{served.url}/openapi.json", *options]
    command += ["--header", f"X-API-Key: {key}"] if key else []
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500)

    assert 0 == done.returncode, done.stdout[-6000:] + done.stderr[-2000:]
