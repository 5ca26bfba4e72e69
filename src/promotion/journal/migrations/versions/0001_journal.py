"""The journal: who is where, why, and what MLflow has not been told yet.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)

_ONE_PRODUCTION_SQLITE = (
    "CREATE UNIQUE INDEX one_production_per_family ON model_version_detail (family) WHERE status = 'production'"
)
# Deferred to the commit, so that people may write the two UPDATEs of a promotion by hand in either order.
_ONE_PRODUCTION_POSTGRESQL = (
    "ALTER TABLE model_version_detail ADD CONSTRAINT one_production_per_family "
    "EXCLUDE USING btree (family WITH =) WHERE (status = 'production') DEFERRABLE INITIALLY DEFERRED"
)
_APPEND_ONLY_SQLITE = [
    f"CREATE TRIGGER promotion_event_no_{verb.lower()} BEFORE {verb} ON promotion_event "
    "BEGIN SELECT RAISE(ABORT, 'promotion_event is append-only'); END"
    for verb in ("UPDATE", "DELETE")
]
# INSERT OR REPLACE deletes without telling the trigger above.
_APPEND_ONLY_SQLITE.append(
    "CREATE TRIGGER promotion_event_no_replace BEFORE INSERT ON promotion_event "
    "WHEN EXISTS (SELECT 1 FROM promotion_event WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'promotion_event is append-only'); END"
)
_APPEND_ONLY_POSTGRESQL = [
    """
    CREATE FUNCTION promotion_event_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'promotion_event is append-only'; END $$
    """,
    """
    CREATE TRIGGER promotion_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON promotion_event
    FOR EACH STATEMENT EXECUTE FUNCTION promotion_event_append_only()
    """,
]


def upgrade() -> None:
    """Create the tables, the constraint of one Production per family, and the append-only triggers."""
    op.create_table(
        "family",
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "model_registry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(256), nullable=False, unique=True),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
    )
    op.create_table(
        "model_version_detail",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model_id", sa.Integer, sa.ForeignKey("model_registry.id"), nullable=False),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
        sa.Column("mlflow_version", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("run_id", sa.String(64)),
        sa.Column("digest", sa.String(64)),
        sa.Column("feature_hash", sa.String(64)),
        sa.Column("metrics", sa.JSON),
        sa.Column("lineage", sa.JSON),
        sa.Column("approver", sa.String(256)),
        sa.Column("reason", sa.Text),
        sa.Column("promoted_at", _MOMENT),
        sa.Column("deprecated_at", _MOMENT),
        sa.UniqueConstraint("model_id", "mlflow_version"),
        sa.UniqueConstraint("model_id", "version"),
        sa.CheckConstraint("status IN ('none', 'staging', 'production', 'archived')", name="known_status"),
    )
    op.create_table(
        "gate_report",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("family", sa.String(256), nullable=False, index=True),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("mlflow_version", sa.Integer, nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "promotion_event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("operation", sa.String(32), nullable=False, index=True),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
        sa.Column("version_id", sa.Integer, sa.ForeignKey("model_version_detail.id"), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("from_status", sa.String(16), nullable=False),
        sa.Column("to_status", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("gate_report_id", sa.Integer, sa.ForeignKey("gate_report.id")),
        sa.Column("at", _MOMENT, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("family", sa.String(256), sa.ForeignKey("family.name"), nullable=False, index=True),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.Text),
        sa.Column("done_at", _MOMENT, index=True),
    )
    if op.get_bind().dialect.name == "postgresql":
        statements = [_ONE_PRODUCTION_POSTGRESQL, *_APPEND_ONLY_POSTGRESQL]
    else:
        statements = [_ONE_PRODUCTION_SQLITE, *_APPEND_ONLY_SQLITE]
    for statement in statements:
        op.execute(statement)
