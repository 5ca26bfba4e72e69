"""Governance: the hash chain over events, registrations, approvals, incidents, the known-bad mark.

Revision ID: 0002
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from promotion.journal.migrations.append_only import append_only

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)
_EVIDENCE = {"promotion_event": ("id", "sequence"), "gate_report": ("id",), "approval": ("id",)}


def upgrade() -> None:
    """Add what governance records, and chain the events that are there already."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in _dropped_triggers(is_postgresql=is_postgresql):
        op.execute(statement)
    for column in (
        sa.Column("signature", sa.Text),
        sa.Column("trainer", sa.String(256)),
        sa.Column("registered_at", _MOMENT),
        sa.Column("known_bad", sa.Text),
    ):
        op.add_column("model_version_detail", column)
    op.add_column("gate_report", sa.Column("evidence", sa.String(64)))
    _chain_events()
    op.create_table(
        "approval",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("model_version_detail.id"), nullable=False, index=True),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("approver", sa.String(256), nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("artifact_digest", sa.String(64), nullable=False),
        sa.Column("evidence", sa.String(64), nullable=False),
        sa.Column("gate_report_id", sa.Integer, sa.ForeignKey("gate_report.id"), nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("signature", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("model_version_detail.id"), nullable=False, index=True),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("opened_by", sa.String(256), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("closed_by", sa.String(256)),
        sa.Column("closed_at", _MOMENT),
        sa.Column("resolution", sa.Text),
    )
    # Counting and paging the events of one version, and what stands in a status, must not read the whole table.
    op.create_index("promotion_event_version", "promotion_event", ["version_id", "sequence"])
    op.create_index("promotion_event_family_sequence", "promotion_event", ["family", "sequence"])
    op.create_index("promotion_event_arrival", "promotion_event", ["family", "to_status", "sequence"])
    op.create_index("promotion_event_at", "promotion_event", ["at"])
    op.create_index("model_version_detail_status", "model_version_detail", ["family", "status"])
    op.create_index("gate_report_version", "gate_report", ["model", "mlflow_version"])
    for table, keys in _EVIDENCE.items():
        for statement in append_only(table, *keys, is_postgresql=is_postgresql):
            op.execute(statement)


def _dropped_triggers(*, is_postgresql: bool) -> list[str]:
    if is_postgresql:
        return ["DROP TRIGGER promotion_event_append_only ON promotion_event"]
    return [f"DROP TRIGGER promotion_event_no_{verb}" for verb in ("update", "delete", "replace")]


def _chain_events() -> None:
    columns: list[sa.Column[Any]] = [
        sa.Column("sequence", sa.Integer),
        sa.Column("details", sa.Text, nullable=False, server_default="{}"),
        sa.Column("previous_hash", sa.String(64), nullable=False, server_default=""),
        sa.Column("hash", sa.String(64), nullable=False, server_default=""),
    ]
    for column in columns:
        op.add_column("promotion_event", column)
    connection = op.get_bind()
    events = sa.Table("promotion_event", sa.MetaData(), autoload_with=connection)
    previous = "0" * 64
    for sequence, row in enumerate(connection.execute(sa.select(events).order_by(events.c.id)).all(), start=1):
        linked = _hash(row, previous, sequence)
        connection.execute(
            events.update().where(events.c.id == row.id).values(sequence=sequence, previous_hash=previous, hash=linked)
        )
        previous = linked
    op.create_index("promotion_event_sequence", "promotion_event", ["sequence"], unique=True)
    # SQLite cannot alter a column: there the table is made again.
    with op.batch_alter_table("promotion_event") as batch:
        batch.alter_column("sequence", existing_type=sa.Integer, nullable=False)
        for name, kind in (("details", sa.Text()), ("previous_hash", sa.String(64)), ("hash", sa.String(64))):
            batch.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)


def _hash(row: Any, previous: str, sequence: int) -> str:
    """As `promotion.journal.chain.link` did when this migration was written; a migration never changes afterwards."""
    at: datetime = row.at if row.at.tzinfo else row.at.replace(tzinfo=UTC)
    content = [
        previous,
        sequence,
        row.operation,
        row.family,
        row.version_id,
        row.action,
        row.from_status,
        row.to_status,
        row.actor,
        row.reason,
        row.gate_report_id,
        at.astimezone(UTC).isoformat(timespec="microseconds"),
        row.details,
    ]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
