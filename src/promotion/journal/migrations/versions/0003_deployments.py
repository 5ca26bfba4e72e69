"""Deployments: what was put on which cluster, how far it came, and what ran before.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the table of deployments; at most one of a family and environment is under way."""
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("operation", sa.String(32), nullable=False, unique=True),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("model_version_detail.id"), nullable=False, index=True),
        sa.Column("environment", sa.String(16), nullable=False),
        sa.Column("track", sa.String(16), nullable=False),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("image", sa.Text, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("predecessor", sa.JSON),
        sa.Column("verdict", sa.String(16)),
        sa.Column("explanation", sa.JSON),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("finished_at", _MOMENT),
    )
    op.create_index(
        "deployment_under_way",
        "deployment",
        ["family", "environment"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
