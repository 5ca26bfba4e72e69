"""The outbox: what other systems are told of, beside what MLflow is to show.

Revision ID: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Say for whom an entry is, and of which event; what was there before is for MLflow."""
    op.add_column("outbox", sa.Column("receiver", sa.String(64)))
    op.add_column("outbox", sa.Column("sequence", sa.Integer))
    op.add_column("outbox", sa.Column("not_before", sa.DateTime(timezone=True)))
    op.add_column("outbox", sa.Column("dead_at", sa.DateTime(timezone=True)))
