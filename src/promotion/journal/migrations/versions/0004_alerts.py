"""Alerts: what was found wrong with a version that serves, and who was told.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add alerts and their deliveries."""
    op.create_table(
        "alert",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("model_version_detail.id"), nullable=False),
        sa.Column("key", sa.String(256), nullable=False),
        sa.Column("level", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("flapping", sa.Boolean, nullable=False),
        sa.Column("finding", sa.JSON, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("told_at", _MOMENT, nullable=False),
        sa.Column("better_since", _MOMENT),
        sa.Column("eased_at", _MOMENT),
        sa.Column("closed_at", _MOMENT),
        sa.CheckConstraint("state IN ('open', 'recovered', 'ended', 'announced')", name="known_alert_state"),
    )
    op.create_index(
        "one_open_alert",
        "alert",
        ["version_id", "key"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("alert_id", sa.Integer, sa.ForeignKey("alert.id"), nullable=False, index=True),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("recipient", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("claimed_until", _MOMENT),
        sa.Column("answered_at", _MOMENT),
        sa.CheckConstraint("state IN ('pending', 'accepted', 'superseded')", name="known_delivery_state"),
    )
    op.create_index("alert_delivery_state", "alert_delivery", ["state"])
