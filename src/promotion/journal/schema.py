"""The journal's tables, under the names people already write SQL against."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

REVISION = "0009"
"""The newest migration; a journal at this revision is used without loading the migration engine."""

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC timestamp, also on SQLite, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give the zone back."""
        if value is None:
            return None
        aware: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC)


family = Table(
    "family",
    metadata,
    Column("name", String(256), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
)

model_registry = Table(
    "model_registry",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(256), nullable=False, unique=True),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
)

model_version_detail = Table(
    "model_version_detail",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", ForeignKey("model_registry.id"), nullable=False),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
    Column("mlflow_version", Integer, nullable=False),
    Column("version", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("run_id", String(64)),
    Column("digest", String(64)),
    Column("feature_hash", String(64)),
    Column("metrics", JSON),
    Column("lineage", JSON),
    Column("approver", String(256)),
    Column("reason", Text),
    Column("promoted_at", UtcDateTime),
    Column("deprecated_at", UtcDateTime),
    Column("signature", Text),
    Column("trainer", String(256)),
    Column("registered_at", UtcDateTime),
    Column("known_bad", Text),
    Column("provenance", String(16)),
    UniqueConstraint("model_id", "mlflow_version"),
    UniqueConstraint("model_id", "version"),
    CheckConstraint("status IN ('none', 'staging', 'production', 'archived')", name="known_status"),
)

gate_report = Table(
    "gate_report",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("family", String(256), nullable=False, index=True),
    Column("model", String(256), nullable=False),
    Column("mlflow_version", Integer, nullable=False),
    Column("target", String(16), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("report", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("evidence", String(64)),
)

promotion_event = Table(
    "promotion_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("operation", String(32), nullable=False, index=True),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
    Column("version_id", ForeignKey("model_version_detail.id"), nullable=False),
    Column("action", String(16), nullable=False),
    Column("from_status", String(16), nullable=False),
    Column("to_status", String(16), nullable=False),
    Column("actor", String(256), nullable=False),
    Column("reason", Text, nullable=False),
    Column("gate_report_id", ForeignKey("gate_report.id")),
    Column("at", UtcDateTime, nullable=False),
    Column("sequence", Integer, nullable=False, unique=True),
    Column("details", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

rule_set = Table(
    "rule_set",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("family", String(256), nullable=False),
    Column("content", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

approval = Table(
    "approval",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("model_version_detail.id"), nullable=False, index=True),
    Column("role", String(64), nullable=False),
    Column("approver", String(256), nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("artifact_digest", String(64), nullable=False),
    Column("evidence", String(64), nullable=False),
    Column("gate_report_id", ForeignKey("gate_report.id"), nullable=False),
    Column("statement", Text, nullable=False),
    Column("signature", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("hash", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
)

incident = Table(
    "incident",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("model_version_detail.id"), nullable=False, index=True),
    Column("severity", String(16), nullable=False),
    Column("summary", Text, nullable=False),
    Column("opened_by", String(256), nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_by", String(256)),
    Column("closed_at", UtcDateTime),
    Column("resolution", Text),
)

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("operation", String(32), nullable=False, unique=True),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
    Column("version_id", ForeignKey("model_version_detail.id"), nullable=False, index=True),
    Column("environment", String(16), nullable=False),
    Column("track", String(16), nullable=False),
    Column("cluster", Text, nullable=False),
    Column("image", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("predecessor", JSON),
    Column("verdict", String(16)),
    Column("explanation", JSON),
    Column("actor", String(256), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
    Column("operation", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", Text),
    Column("done_at", UtcDateTime, index=True),
    Column("receiver", String(64)),
    Column("sequence", Integer),
    Column("not_before", UtcDateTime),
    Column("dead_at", UtcDateTime),
)

alert = Table(
    "alert",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("family", ForeignKey("family.name"), nullable=False, index=True),
    Column("version_id", ForeignKey("model_version_detail.id"), nullable=False),
    Column("key", String(256), nullable=False),
    Column("level", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("finding", JSON, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("told_at", UtcDateTime, nullable=False),
    Column("better_since", UtcDateTime),
    Column("eased_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    CheckConstraint("state IN ('open', 'recovered', 'ended', 'announced')", name="known_alert_state"),
)

alert_delivery = Table(
    "alert_delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("alert_id", ForeignKey("alert.id"), nullable=False, index=True),
    Column("channel", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("recipient", Text),
    Column("title", Text),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("claimed_until", UtcDateTime),
    Column("answered_at", UtcDateTime),
    CheckConstraint("state IN ('pending', 'accepted', 'superseded')", name="known_delivery_state"),
)

monitoring_run = Table(
    "monitoring_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("family", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("mlflow_version", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("level", String(16)),
    Column("observation", JSON, nullable=False),
    Column("findings", JSON, nullable=False),
)
