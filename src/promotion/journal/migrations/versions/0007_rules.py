"""The rules that acts stand under, each set once, under the digest that the chain's events name.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from promotion.journal.migrations.append_only import append_only

revision = "0007"
down_revision = "0006"

_TABLE = "rule_set"


def upgrade() -> None:
    """Add the table, which only grows; acts from before name no rules."""
    op.create_table(
        _TABLE,
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("family", sa.String(256), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    for statement in append_only(_TABLE, "digest", is_postgresql=op.get_bind().dialect.name == "postgresql"):
        op.execute(statement)
