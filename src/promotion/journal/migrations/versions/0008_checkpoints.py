"""Checkpoints: which were written, so that one that is gone is missed.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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
    for statement in _append_only(is_postgresql=op.get_bind().dialect.name == "postgresql"):
        op.execute(statement)


def _append_only(*, is_postgresql: bool) -> list[str]:
    refusal = f"'{_TABLE} is append-only'"
    if is_postgresql:
        name = f"{_TABLE}_append_only"
        what = f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {_TABLE} FOR EACH STATEMENT"
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION {refusal}; END $$",
            f"CREATE TRIGGER {name} {what} EXECUTE FUNCTION {name}()",
        ]
    body = f"BEGIN SELECT RAISE(ABORT, {refusal}); END"
    exists = f"WHEN EXISTS (SELECT 1 FROM {_TABLE} WHERE sequence = NEW.sequence)"  # noqa: S608  # a name of our own
    return [
        f"CREATE TRIGGER {_TABLE}_no_update BEFORE UPDATE ON {_TABLE} {body}",
        f"CREATE TRIGGER {_TABLE}_no_delete BEFORE DELETE ON {_TABLE} {body}",
        f"CREATE TRIGGER {_TABLE}_no_replace BEFORE INSERT ON {_TABLE} {exists} {body}",
    ]
