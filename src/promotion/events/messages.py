"""One event in the form that its receiver reads, and signed: CloudEvents 1.0, Jenkins' or GitHub's own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from promotion.config.events import Receiver
from promotion.events.receivers import KINDS
from promotion.journal import clock
from promotion.journal.records import Event

SIGNATURE, TIMESTAMP, DELIVERY = "X-Promotion-Signature", "X-Promotion-Timestamp", "X-Promotion-Delivery-Id"
_TYPE = "promotion-layer."
_LONGEST_REASON = 2000
"""Characters; GitHub takes 64 KB for all of it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is posted.

    Attributes:
        body: JSON.
        headers: With the signature, where there is a key.
    """

    body: bytes
    headers: Mapping[str, str]


def event_data(event: Event, replaced: Event | None) -> dict[str, Any]:
    """What is told of an event, in whatever form.

    Args:
        event: What happened.
        replaced: What left Production for it.
    """
    details = event.details
    return {
        **event.act,
        "approver": details.get("approver"),
        "reason": event.reason[:_LONGEST_REASON],
        "digest": details.get("digest"),
        "report_digest": details.get("report_digest"),
        "environment": details.get("environment"),
        "sequence": event.sequence,
        "operation": event.operation,
        "replaced": _version(replaced) if replaced else None,
    }


def cloud_event(event: Event, replaced: Event | None) -> dict[str, Any]:
    """The event as CloudEvents 1.0 writes it in JSON; `id` is its hash in the chain, the same however often it is sent.

    Args:
        event: What happened.
        replaced: What left Production for it.
    """
    return {
        "specversion": "1.0",
        "id": event.hash,
        "source": f"urn:promotion-layer:family:{quote(event.family, safe='')}",
        "type": f"{_TYPE}{'rehearsal' if _is_rehearsed(event) else 'version'}.{KINDS[event.action]}",
        "subject": f"{quote(event.model, safe='')}/{event.number}",
        "time": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": event_data(event, replaced),
    }


def compose_request(
    receiver: Receiver, event: Event, replaced: Event | None, environment: Mapping[str, str], now: datetime
) -> Request:
    """The request that tells one receiver of one event.

    Args:
        receiver: Says in which form.
        event: What happened.
        replaced: What left Production for it.
        environment: Holds key and token.
        now: Goes into the signature, so that an old request cannot be sent again.
    """
    known = cloud_event(event, replaced)
    document, headers = _FORMS[receiver.format](known)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    headers |= {"User-Agent": "promotion-layer", DELIVERY: event.hash}
    if receiver.token:
        headers["Authorization"] = f"Bearer {environment[receiver.token].strip()}"
    if receiver.key:
        moment = str(int(now.timestamp()))
        headers |= {TIMESTAMP: moment, SIGNATURE: sign_body(environment[receiver.key], event.hash, moment, body)}
    return Request(body, headers)


def sign_body(key: str, delivery: str, timestamp: str, body: bytes) -> str:
    """The signature as MLflow's webhooks have it: `v1,` and the HMAC-SHA256 of `<delivery>.<timestamp>.<body>`, base64.

    Args:
        key: Shared with the receiver.
        delivery: Id of the event.
        timestamp: Seconds since 1970.
        body: What is sent.
    """
    signed = b".".join((delivery.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest()).decode()


def _cloudevents(known: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    return known, {"Content-Type": "application/cloudevents+json; charset=utf-8"}


def _jenkins(known: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Flat: the plugin's variables are JSONPaths, and a filter reads `$.kind`."""
    data = known["data"]
    flat = {key: "" if value is None else value for key, value in data.items() if key != "replaced"}
    left = data["replaced"]
    identity = {"id": known["id"], "kind": _kind(known), "time": known["time"]}
    return identity | flat | {"replaced": left["version"] if left else ""}, {"Content-Type": "application/json"}


def _github(known: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A payload of GitHub's has ten keys at most: all of the event stands under one."""
    return {"event_type": f"promotion-{_kind(known)}", "client_payload": {"event": known}}, {
        "Accept": "application/vnd.github+json",
        "Content-Type": "application/json",
        "X-GitHub-Api-Version": "2022-11-28",
    }


_FORMS = {"cloudevents": _cloudevents, "jenkins": _jenkins, "github": _github}


def _kind(known: Mapping[str, Any]) -> str:
    """`promote`; of what was only rehearsed `rehearsal-promote`, so that no job takes it for one."""
    room, _, kind = known["type"].removeprefix(_TYPE).partition(".")
    return f"rehearsal-{kind}" if room == "rehearsal" else str(kind)


def _is_rehearsed(event: Event) -> bool:
    return clock.MARK.items() <= event.details.items()


def _version(event: Event) -> dict[str, Any]:
    return {"model": event.model, "version": event.number, "semver": event.version}
