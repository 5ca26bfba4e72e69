"""The hash chain over the journal's events: each event's hash covers its content and the hash before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

GENESIS = "0" * 64
"""What stands for the hash before the first event."""


# Made once: an audit encodes every event there ever was.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def moment(at: datetime) -> str:
    """A time as it enters a hash: UTC, microseconds, ISO 8601."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


FIELDS = (
    "sequence",
    "operation",
    "family",
    "version_id",
    "action",
    "from_status",
    "to_status",
    "actor",
    "reason",
    "gate_report_id",
    "at",
    "details",
)
"""What of an event enters its hash, in this order; `at` as `moment` spells it, `details` as the text it is."""


def link_event(previous_hash: str, content: Iterable[str | int | None]) -> str:
    """SHA-256, in hexadecimal, of an event: the JSON array of the hash before it and of `FIELDS`, UTF-8, no spaces."""
    return hashlib.sha256(_encode([previous_hash, *content]).encode()).hexdigest()


def canonical(document: object) -> str:
    """JSON that is the same for the same content: keys sorted, no spaces; what JSON does not know is spelt as text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)


def detail(document: Mapping[str, object]) -> str:
    """How a detail stands in an event's text; within a text of somebody's its quotes would be escaped."""
    return canonical(document).strip("{}")


def digest(document: object) -> str:
    """SHA-256 of `canonical`, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()
