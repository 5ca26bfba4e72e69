"""Whose word a registration is: our training's, or that of whoever registered a version found in MLflow.

Revision ID: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; registrations from before say nothing, and were all our training's."""
    op.add_column("model_version_detail", sa.Column("provenance", sa.String(16)))
