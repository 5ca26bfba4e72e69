"""Alembic's entry: run the migrations on the connection the journal hands over, in the journal's transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
