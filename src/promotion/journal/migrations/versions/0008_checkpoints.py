"""Checkpoints: which were written, so that one that is gone is missed.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from promotion.journal.migrations.append_only import append_only

revision = "0008"
down_revision = "0007"

_TABLE = "checkpoint"


def upgrade() -> None:
    """Add the list, which only grows; of those from before nobody knows."""
    op.create_table(
        _TABLE,
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    for statement in append_only(_TABLE, "sequence", is_postgresql=op.get_bind().dialect.name == "postgresql"):
        op.execute(statement)
