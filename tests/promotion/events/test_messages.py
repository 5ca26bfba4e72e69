"""What is sent: CloudEvents as the standard has them, GitHub's and Jenkins' own forms, signed as MLflow's webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest

from promotion.config.events import Receiver
from promotion.events.messages import DELIVERY, SIGNATURE, TIMESTAMP, compose_request
from promotion.journal.records import Event
from promotion.registry.stages import Stage

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
EVENT = Event(
    *(7, 12, "op", "churn risk", "churn/é", 3, "1.2.0", "promote", Stage.STAGING, Stage.PRODUCTION),
    *(
        "anna",
        'better\n"by far"',
        4,
        NOW,
        {"digest": "ab" * 32, "approver": "bert", "report_digest": "cd" * 32},
        "ef" * 32,
    ),
)
BEFORE = replace(EVENT, number=2, version="1.1.0", from_stage=Stage.PRODUCTION, to_stage=Stage.ARCHIVED)
ENVIRONMENT = {"URL": "https://ci.example.com", "KEY": "k3y", "TOKEN": "t0ken\n"}
WITH_TOKEN = {"token": "TOKEN"}
TEXT = {"type": "string", "minLength": 1}
# The required attributes and their types as the CloudEvents 1.0 JSON schema states them.
CLOUD_EVENT = {
    "type": "object",
    "required": ["id", "source", "specversion", "type"],
    "properties": {
        **dict.fromkeys(("id", "type", "subject"), TEXT),
        "source": TEXT | {"format": "uri-reference"},
        "specversion": {"const": "1.0"},
        "time": {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
        "datacontenttype": TEXT,
        "data": {"type": "object"},
    },
    "additionalProperties": False,
}
# Of GitHub's OpenAPI description, `repos/create-dispatch-event`.
DISPATCH = {
    "type": "object",
    "required": ["event_type"],
    "properties": {
        "event_type": {"type": "string", "minLength": 1, "maxLength": 100},
        "client_payload": {"type": "object", "additionalProperties": True, "maxProperties": 10},
    },
    "additionalProperties": False,
}


def _sent(**receiver: Any) -> tuple[dict[str, Any], dict[str, str]]:
    request = compose_request(Receiver(url="URL", **receiver), EVENT, BEFORE, ENVIRONMENT, NOW)
    return json.loads(request.body), dict(request.headers)


def test_a_cloud_event_is_one() -> None:
    """It passes the standard's schema, and is found by its id."""
    document, headers = _sent()

    jsonschema.validate(document, CLOUD_EVENT, format_checker=jsonschema.FormatChecker())
    assert ("ef" * 32, "promotion-layer.version.promote") == (document["id"], document["type"])
    assert ("urn:promotion-layer:family:churn%20risk", "churn%2F%C3%A9/3") == (document["source"], document["subject"])
    assert "application/cloudevents+json; charset=utf-8" == headers["Content-Type"]
    data = document["data"]
    assert ("churn/é", 3, "1.2.0", "Staging", "Production") == tuple(
        data[key] for key in ("model", "version", "semver", "from", "to")
    )
    assert ("anna", "bert", "ab" * 32) == tuple(data[key] for key in ("actor", "approver", "digest"))
    assert {"model": "churn/é", "version": 2, "semver": "1.1.0"} == data["replaced"]


def test_the_signature_is_checked_as_mlflow_documents_it() -> None:
    """`v1,` and the base64 HMAC-SHA256 of delivery, time and body."""
    request = compose_request(Receiver(url="URL", key="KEY"), EVENT, None, ENVIRONMENT, NOW)
    signed = f"{request.headers[DELIVERY]}.{request.headers[TIMESTAMP]}.".encode() + request.body

    version, _, given = request.headers[SIGNATURE].partition(",")
    assert "v1" == version
    assert base64.b64encode(hmac.new(b"k3y", signed, hashlib.sha256).digest()).decode() == given
    assert str(int(NOW.timestamp())) == request.headers[TIMESTAMP]


def test_without_a_key_nothing_is_signed() -> None:
    """No header says what nobody can check."""
    _, headers = _sent()

    assert {SIGNATURE, TIMESTAMP, "Authorization"}.isdisjoint(headers)


def test_github_takes_it() -> None:
    """A repository_dispatch with the event under one of the ten keys that a payload may have."""
    document, headers = _sent(**WITH_TOKEN, format="github")

    jsonschema.validate(document, DISPATCH)
    assert "promotion-promote" == document["event_type"]
    jsonschema.validate(document["client_payload"]["event"], CLOUD_EVENT)
    assert "Bearer t0ken" == headers["Authorization"]
    assert "application/vnd.github+json" == headers["Accept"]
    assert "User-Agent" in headers


def test_jenkins_reads_flat_values() -> None:
    """The Generic Webhook Trigger turns `$.model` into a variable: texts and numbers, nothing nested, nothing null."""
    document, headers = _sent(**WITH_TOKEN, format="jenkins")

    assert ("promote", "churn/é", 3, 2) == tuple(document[key] for key in ("kind", "model", "version", "replaced"))
    assert all(isinstance(value, str | int) for value in document.values())
    assert ("Bearer t0ken", "application/json") == (headers["Authorization"], headers["Content-Type"])


@pytest.mark.parametrize(("form", "key"), [("jenkins", "kind"), ("github", "event_type")])
def test_a_rehearsal_starts_no_job(form: str, key: str) -> None:
    """It has another name than what it rehearses."""
    rehearsed = replace(EVENT, details={"clock": "set by hand"})
    receiver = Receiver.model_validate({"url": "URL", "format": form, **WITH_TOKEN})

    document = json.loads(compose_request(receiver, rehearsed, None, ENVIRONMENT, NOW).body)
    assert document[key].endswith("rehearsal-promote")


@pytest.mark.parametrize("form", ["jenkins", "github"])
def test_who_asks_for_a_token_is_given_one(form: str) -> None:
    """Without it every event would be refused."""
    with pytest.raises(ValueError, match="asks for a token"):
        Receiver.model_validate({"url": "URL", "format": form})
