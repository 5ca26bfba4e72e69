"""The rules that acts stand under, each set once, under the digest that the chain's events name.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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
    exists = f"WHEN EXISTS (SELECT 1 FROM {_TABLE} WHERE digest = NEW.digest)"  # noqa: S608  # a name of our own
    return [
        f"CREATE TRIGGER {_TABLE}_no_update BEFORE UPDATE ON {_TABLE} {body}",
        f"CREATE TRIGGER {_TABLE}_no_delete BEFORE DELETE ON {_TABLE} {body}",
        f"CREATE TRIGGER {_TABLE}_no_replace BEFORE INSERT ON {_TABLE} {exists} {body}",
    ]
