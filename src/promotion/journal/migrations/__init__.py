"""Ordered changes of the journal's schema, run by Alembic."""
